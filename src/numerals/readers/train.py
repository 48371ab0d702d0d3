"""Train a network that reads, and keep the run: `numerals train-reader digits|rows|detector`.

Samples are synthesised while the network learns, so there are no epochs; the weights so far are saved with each line of
progress. The detector's training, which takes longest, also saves a checkpoint there and can be resumed.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from numerals.article import datasets
from numerals.article.data import Dataset
from numerals.article.device import choose_device
from numerals.article.metrics import Metrics
from numerals.article.state import StateDict, snapshot
from numerals.errors import DataError, InputError, RunError
from numerals.files import read_plain
from numerals.readers import recipes
from numerals.readers.common import Progress
from numerals.readers.evaluate import evaluate_network, open_run
from numerals.readers.pretrained import PRETRAINED, pretrained_weights
from numerals.readers.recipes import AnyRecipe, DetectorRecipe, DigitRecipe, ReaderRecipe
from numerals.readers.train_detector import DetectorTraining, train_detector
from numerals.readers.train_digits import train_digits
from numerals.readers.train_rows import train_rows
from numerals.runs.folder import DETECTOR_CHECKPOINT, MAX_TENSOR_BYTES, RunFolder, weights_sha256
from numerals.runs.profiling import versions
from numerals.runs.session import Session, check_seed
from numerals.spec import CLASSES

SECONDS_BETWEEN_CHECKPOINTS = 60.0

Report = Callable[[str], None]  # receives a line of progress


@dataclass(frozen=True)
class ReaderRun:
    """What the training of a reading network returns."""

    folder: Path
    test: Metrics  # on the test digits, or on rows written with them
    metrics: dict[str, Any]  # the content of metrics.json


def train(
    recipe: ReaderRecipe,
    data: str | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    initial: str | Path | None = None,
    report: Report = lambda line: None,
) -> ReaderRun:
    """Train, keep the run, and evaluate it once on the test digits, or on rows or pages written with them.

    Digits and rows train on the CPU, the detector on a GPU if there is one.

    Args:
        recipe: of the digit or the row network.
        data: as `datasets.load` takes it; every class must be in its training, validation and test parts.
        out, seed: as `runs.train.train` takes them.
        initial: a run of the same network whose weights to start from; "shipped" for the digit model that ships.
        report: called with each line of progress.

    Raises:
        DataError, RunError, InputError: an argument cannot be used; nothing was written.
        StorageError: the disk is full.
        KeyboardInterrupt: interrupted; the message says whether weights are saved.
    """
    check_seed(seed)
    session = Session()
    with session.profile("load"):
        dataset = datasets.load(data)
        _check_classes(dataset, recipe)
        start = _initial_weights(initial, recipe) if initial is not None else None
    with session.new_folder(out, recipe.name, {"recipe.toml": recipe.to_toml().encode()}) as folder:
        with session.profile("fit"), _one_thread():
            network = _fit(recipe, dataset, seed, session, folder, start, report)
        return finish(session, folder, recipe, seed, start, dataset, network)


def resume(run: str | Path, *, report: Report = lambda line: None) -> ReaderRun:
    """Continue the training of a detector at the step of its last checkpoint.

    On the same machine and with the same versions it ends with the weights of a training that was never interrupted.

    Args:
        run: its run folder.
        report: called with each line of progress.

    Raises:
        RunError: no such training, or it has ended, or its checkpoint is damaged.
        DataError, StorageError, KeyboardInterrupt: as `train`; the checkpoint stays.
    """
    session = Session()
    path = Path(run) / DETECTOR_CHECKPOINT
    if not path.is_file():
        raise RunError(
            f"{run}: nothing to resume, {DETECTOR_CHECKPOINT} is missing; only train-reader detector saves it"
        )
    if (Path(run) / "metrics.json").exists():
        raise RunError(f"{run}: this training has ended; train in a new folder")
    with session.existing_folder(run) as folder:
        folder.refuse_links()
        recipe = recipes.load(folder.path / "recipe.toml")
        if not isinstance(recipe, DetectorRecipe):
            raise RunError(f"{run}: its recipe is not a detector's; only train-reader detector can be resumed")
        checkpoint = _Checkpoint.read(path)
        with session.profile("load"):
            dataset = datasets.load(checkpoint.source)
        if dataset.sha256() != checkpoint.data_sha256:
            raise RunError(f"{run}: the digits of {dataset.name} have changed since; train in a new folder")
        with session.profile("fit"), _one_thread():
            network = _fit(recipe, dataset, checkpoint.seed, session, folder, None, report, checkpoint)
        folder.write_model(snapshot(network))
        return finish(session, folder, recipe, checkpoint.seed, None, dataset, network)


@dataclass(frozen=True)
class _Checkpoint:
    """What a detector's training continues from."""

    tensors: StateDict
    seed: int
    source: str | None  # of the data, as `datasets.load` takes it
    data_sha256: str
    history: list[dict[str, float]]

    def write(self, folder: RunFolder) -> None:
        facts = {"seed": self.seed, "source": self.source, "data_sha256": self.data_sha256, "history": self.history}
        (folder.path / DETECTOR_CHECKPOINT).parent.mkdir(exist_ok=True)
        folder.write(DETECTOR_CHECKPOINT, safetensors.torch.save(self.tensors, {"training": json.dumps(facts)}))

    @classmethod
    def read(cls, path: Path) -> "_Checkpoint":
        """Raises RunError if it is damaged."""
        try:
            content = read_plain(path, MAX_TENSOR_BYTES)
            tensors = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["training"])
            source = None if facts["source"] is None else str(facts["source"])
            return cls(tensors, int(facts["seed"]), source, str(facts["data_sha256"]), list(facts["history"]))
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise RunError(f"{path}: damaged ({str(error).splitlines()[0]}); train in a new folder") from error


def finish(
    session: Session,
    folder: RunFolder,
    recipe: AnyRecipe,
    seed: int,
    start: StateDict | None,
    dataset: Dataset,
    network: nn.Module,
    data_facts: dict[str, int] | None = None,
    **figures: Any,
) -> ReaderRun:
    """Evaluate once on the test digits and write metrics.json.

    Args:
        start: the weights that the training started from; None if they were random.
        data_facts: added to what metrics.json says about the data.
        figures: further entries of metrics.json.
    """
    with session.profile("test"):
        test = evaluate_network(network, dataset.test)
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "init_sha256": weights_sha256(start) if start else None,
        "data": dataset.metadata() | (data_facts or {}),
        **figures,
        "test": test.to_dict(),
        "weights_sha256": weights_sha256(snapshot(network)),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": versions(),
        **session.profile.to_dict(),
    }
    folder.write_metrics(metrics)
    return ReaderRun(folder.path, test, metrics)


def _check_classes(dataset: Dataset, recipe: ReaderRecipe) -> None:
    """Samples are written with digits of every class, in each part."""
    training, validation = dataset.split(recipe.split.validation, recipe.split.random_state)
    for name, (_, labels) in {"training": training, "validation": validation, "test": dataset.test}.items():
        missing = sorted(set(range(len(CLASSES))) - set(labels.tolist()))
        if missing:
            raise DataError(f"{dataset.name}: its {name} part has no digit {missing[0]}; it needs some of each")


def _initial_weights(run: str | Path, recipe: ReaderRecipe) -> StateDict:
    """The weights of a run of the same network."""
    if str(run) == PRETRAINED and isinstance(recipe, DigitRecipe):
        return pretrained_weights()
    if str(run) == PRETRAINED:
        raise InputError(f"--init {run}: only the digit model can start from it; give a run of train-reader rows")
    other, network = open_run(RunFolder.open(run))
    if type(other) is not type(recipe):
        raise RunError(f"{run}: a run of another network than recipe {recipe.name}; choose another --init")
    return snapshot(network)


def _fit(
    recipe: ReaderRecipe,
    dataset: Dataset,
    seed: int,
    session: Session,
    folder: RunFolder,
    start: StateDict | None,
    report: Report,
    checkpoint: _Checkpoint | None = None,
) -> nn.Module:
    """Train; with each line of progress, save the weights and a row of history."""
    started = saved = time.perf_counter()
    history = checkpoint.history if checkpoint else []
    first = int(checkpoint.tensors["step"]) if checkpoint else 0

    def on_progress(averaged: nn.Module, progress: Progress) -> None:
        folder.write_model(snapshot(averaged))
        history.append(progress.history_row())
        folder.write_history(history)
        done = progress.done - first
        left = (time.perf_counter() - started) * (progress.total - progress.done) / done
        metrics = {"loss": progress.loss, **progress.metrics}
        words = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        report(f"{progress.unit} {progress.done}/{progress.total}  {words}  about {left / 60:.0f} min left")
        session.sigint.check()

    def on_step(training: DetectorTraining) -> None:
        nonlocal saved
        if session.sigint.requested or time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _Checkpoint(training.tensors(), seed, dataset.source, dataset.sha256(), history).write(folder)
            saved = time.perf_counter()
        session.sigint.check()

    if isinstance(recipe, DetectorRecipe):
        tensors, device = checkpoint.tensors if checkpoint else None, choose_device("auto")
        with session.sigint.deferred():  # so that Ctrl-C saves a checkpoint after its step
            return train_detector(
                recipe, dataset, seed, on_progress, start, device=device, checkpoint=tensors, on_step=on_step
            )
    if isinstance(recipe, DigitRecipe):
        return train_digits(recipe, dataset, seed, on_progress, start)
    return train_rows(recipe, dataset, seed, on_progress, start)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: the other core makes samples, and so small a network gains nothing from two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
