"""A training of one of the two networks that read, kept as a run: recipe `reader` or `rows`. Knows no terminal.

The article's networks have `train.py`. Here samples are made while the network learns, so there are no epochs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from numerals.article import datasets
from numerals.article.data import Dataset
from numerals.article.metrics import Metrics
from numerals.errors import DataError, InputError, RunError
from numerals.readers.common import Progress
from numerals.readers.evaluate import evaluate_network, open_run
from numerals.readers.pretrained import PRETRAINED, pretrained_weights
from numerals.readers.recipes import DigitRecipe, ReaderRecipe
from numerals.readers.train_digits import train_digits
from numerals.readers.train_rows import train_rows
from numerals.runs.folder import RunFolder, Weights, snapshot, weights_sha256
from numerals.runs.profiling import Stages, versions
from numerals.runs.sigint import CtrlC
from numerals.spec import CLASSES

Say = Callable[[str], None]  # a line of progress


def train_reading(
    recipe: ReaderRecipe,
    data: str | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    initial: str | Path | None = None,
    say: Say = lambda line: None,
) -> tuple[RunFolder, Metrics, dict[str, Any]]:
    """Train on the CPU, keep the run, and evaluate it once on the test digits, or on rows drawn with them.

    Args:
        recipe, data, out, seed: as `train` takes them.
        initial: a run of the same network, whose weights to start from.
        say: is told how far it is.

    Returns:
        The folder, how well it does, and what metrics.json has.

    Raises:
        DataError, RunError, InputError: a mistake in what was passed; nothing was written.
        StorageError: the disk is full.
        KeyboardInterrupt: interrupted; it says where the weights of the last progress are, if there are any.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: must be 0 or more, and under 2^63")
    stages = Stages()
    with stages("load"):
        dataset = datasets.load(data)
        _check_classes(dataset, recipe)
        start = _weights_of(initial, recipe) if initial is not None else None
    with CtrlC() as ctrl_c:  # not between the folder and what cleans it up
        folder = RunFolder.create(out, recipe.name)
        try:
            ctrl_c.at_once()
            folder.write("recipe.toml", recipe.to_toml())
            with stages("fit"), _one_thread():
                network = _fit(recipe, dataset, seed, folder, start, say, ctrl_c)
            with stages("test"):
                test = evaluate_network(network, dataset.test)
        except BaseException as error:
            kept = f"the weights so far are kept in {folder.path}" if folder.has_model() else "nothing was kept"
            if not folder.has_model():
                folder.discard()
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from error
            raise
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "init_sha256": weights_sha256(start) if start else None,
        "data": dataset.metadata(),
        "test": test.to_dict(),
        "weights_sha256": weights_sha256(snapshot(network)),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": versions(),
        **stages.to_dict(),
    }
    folder.write_metrics(metrics)
    return folder, test, metrics


def _check_classes(dataset: Dataset, recipe: ReaderRecipe) -> None:
    """Rows and samples are written with digits of every class, in each part."""
    training, validation = dataset.split(recipe.split.validation, recipe.split.random_state)
    for name, (_, labels) in {"training": training, "validation": validation, "test": dataset.test}.items():
        missing = sorted(set(range(len(CLASSES))) - set(labels.tolist()))
        if missing:
            raise DataError(f"{dataset.name}: its {name} part has no digit {missing[0]}; it needs some of each")


def _weights_of(run: str | Path, recipe: ReaderRecipe) -> Weights:
    """The weights of a kept run of the same network."""
    if str(run) == PRETRAINED and isinstance(recipe, DigitRecipe):
        return pretrained_weights()
    folder = RunFolder.open(run)
    found, network = open_run(folder)
    if type(found) is not type(recipe):
        raise RunError(f"{run}: a run of another network than recipe {recipe.name}; choose another --init")
    return snapshot(network)


def _fit(
    recipe: ReaderRecipe,
    dataset: Dataset,
    seed: int,
    folder: RunFolder,
    start: Weights | None,
    say: Say,
    ctrl_c: CtrlC,
) -> nn.Module:
    """Train, keeping the weights and a line of history with every word of progress."""
    started, history = time.perf_counter(), []

    def on_progress(averaged: nn.Module, progress: Progress) -> None:
        folder.write_model(snapshot(averaged))
        history.append(progress.history_row())
        folder.write_history(history)
        left = (time.perf_counter() - started) * (progress.total / progress.done - 1)
        metrics = {"loss": progress.loss, **progress.metrics}
        words = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        say(f"{progress.unit} {progress.done}/{progress.total}  {words}  about {left / 60:.0f} min left")
        if ctrl_c.asked:
            raise KeyboardInterrupt

    if isinstance(recipe, DigitRecipe):
        return train_digits(recipe, dataset, seed, on_progress, start)
    return train_rows(recipe, dataset, seed, on_progress, start)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: the other core makes samples, and two threads of so small a network wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
