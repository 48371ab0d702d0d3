"""What `numerals train` does by kind of recipe: check the options, train with the terminal watching, say what was kept.

Knows nothing about how the options are parsed.
"""

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numerals.app.show import Show, say
from numerals.errors import InputError
from numerals.learn import sources
from numerals.learn.evaluate import Metrics
from numerals.learn.recipe import ReaderRecipe, Recipe, RowRecipe

if TYPE_CHECKING:
    from numerals.learn.train import Run


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
    loading = beside.submit(sources.load, data)  # while torch is imported, which takes a second
    try:
        from numerals.learn import kernel
        from numerals.learn.train import train

        kernel.keep_memory()
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
    from numerals.learn import kernel
    from numerals.learn.resume import resume

    kernel.keep_memory()
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
    recipe: ReaderRecipe | RowRecipe,
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
    from numerals.learn.train_reading import train_reading as train

    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device}: recipe {recipe.name} trains on the CPU, which makes its samples")
    folder, test, metrics = train(recipe, data, out=out, seed=seed, initial=initial, say=say(quiet))
    say(quiet)(f"Kept in {folder.path}. To read with it: numerals export {shlex.quote(str(folder.path))}")
    return Ended(test, metrics)
