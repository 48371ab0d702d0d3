"""What `numerals train` does by kind of recipe: check the options, train with the terminal watching, say what was kept.

Knows nothing about how the options are parsed.
"""

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numerals.article import datasets
from numerals.article.metrics import Metrics
from numerals.article.recipe import Recipe
from numerals.cli.progress import Show, say
from numerals.errors import DataError, InputError
from numerals.read.normalise import normalise
from numerals.read.picture import load_pixels
from numerals.readers.recipes import AdaptRecipe, ReaderRecipe
from numerals.server.corrections import MAX_CORRECTIONS, Correction, CorrectionStore
from numerals.spec import SIDE

CORRECTIONS = "corrections:"  # how --data names a file of corrections

if TYPE_CHECKING:
    from numerals.runs.train import Run


@dataclass(frozen=True)
class Ended:
    """How well a training did, and its metrics.json."""

    test: Metrics
    metrics: dict[str, Any]


def train_article(
    recipe: Recipe,
    epochs: int | None,
    seed: int,
    device: str,
    data: str | None,
    out: Path | None,
    quiet: bool,
    every_steps: int | None = None,
) -> Ended:
    """A network of the article's kind.

    Raises:
        KeyboardInterrupt: it says what is kept.
    """
    if epochs is not None:
        recipe = recipe.change(epochs=epochs)
    beside = ThreadPoolExecutor(1)
    loading = beside.submit(datasets.load, data)  # while torch is imported, which takes a second
    try:
        from numerals.article.device import keep_freed_memory
        from numerals.runs.train import train

        keep_freed_memory()
        with Show(quiet) as show:
            run = train(
                recipe, loading.result, out=out, seed=seed, device=device, observer=show, every_steps=every_steps
            )
            show.ended(run)
    finally:
        beside.shutdown(wait=False, cancel_futures=True)
    return _ended(run)


def resume_article(
    folder: Path,
    recipe: str | None,
    epochs: int | None,
    seed: int | None,
    device: str,
    data: str | None,
    quiet: bool,
    every_steps: int | None,
    anyway: bool,
) -> Ended:
    """A run of a network of the article's kind goes on.

    Raises:
        KeyboardInterrupt: it says what is kept.
    """
    from numerals.article.device import keep_freed_memory
    from numerals.runs.resume import resume

    keep_freed_memory()
    with Show(quiet) as show:
        run = resume(
            folder,
            epochs=epochs,
            recipe=recipe,
            data=data,
            seed=seed,
            device=device,
            anyway=anyway,
            every_steps=every_steps,
            observer=show,
        )
        show.ended(run)
    return _ended(run)


def _ended(run: "Run") -> Ended:
    if run.test is None:
        kept = f"the best model so far, of epoch {run.best_epoch}, is kept in {run.folder}"
        raise KeyboardInterrupt(f"{kept}; numerals train --resume goes on")
    return Ended(run.test, run.metrics)


def train_reading(
    recipe: ReaderRecipe,
    epochs: int | None,
    seed: int,
    device: str,
    data: str | None,
    out: Path | None,
    quiet: bool,
    initial: Path | None,
) -> Ended:
    """One of the two networks that read."""
    if epochs is not None:
        raise InputError(f"--epochs {epochs}: recipe {recipe.name} has none; change its numbers in a file of your own")
    from numerals.readers.session import train_reading as train

    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device}: recipe {recipe.name} trains on the CPU, which makes its samples")
    folder, test, metrics = train(recipe, data, out=out, seed=seed, initial=initial, say=say(quiet))
    say(quiet)(f"Kept in {folder.path}. To read with it: numerals export {shlex.quote(str(folder.path))}")
    return Ended(test, metrics)


def train_adapted(
    recipe: AdaptRecipe, seed: int, data: str, out: Path | None, quiet: bool, initial: Path | None
) -> Ended:
    """The model of single digits, brought to the writing of kept corrections."""
    if not data.startswith(CORRECTIONS):
        raise InputError(f"--data {data}: recipe {recipe.name} learns from {CORRECTIONS}FILE")
    path = Path(data.removeprefix(CORRECTIONS))
    if not path.is_file():
        raise DataError(f"{path}: there is nothing there; numerals serve says where it keeps corrections")
    kept = sorted(CorrectionStore(path).latest(MAX_CORRECTIONS), key=lambda each: each.id)
    from numerals.readers.adapt import adapt

    digits, labels = _digits(kept), np.array([each.digit for each in kept], np.uint8)
    folder, test, metrics = adapt(recipe, (digits, labels), out=out, seed=seed, initial=initial, say=say(quiet))
    path_of_run = shlex.quote(str(folder.path))
    say(quiet)(f"Kept in {folder.path}. To read with it: numerals export {path_of_run}, then read or serve --model")
    return Ended(test, metrics)


def _digits(kept: Sequence[Correction]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Each as the network saw it, or else its picture brought to that form: uint8 (n, 28, 28)."""
    pictures = [
        np.frombuffer(each.seen, np.uint8).reshape(SIDE, SIDE) if each.seen else load_pixels(each.picture)
        for each in kept
    ]
    return normalise(pictures)
