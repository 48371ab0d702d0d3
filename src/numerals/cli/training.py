"""Runs the trainings behind `numerals train`, `train-reader` and `adapt`, and reports them in the terminal."""

import contextlib
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numerals.article import datasets
from numerals.article.recipe import Recipe, parse_settings
from numerals.cli.options import TrainOptions
from numerals.cli.terminal import Result, log_to_stderr, plain_console, score_line, status_printer
from numerals.errors import DataError, InputError, PictureError
from numerals.spec import SIDE

if TYPE_CHECKING:
    from numerals.article.metrics import Metrics
    from numerals.read.pixels import Pixels
    from numerals.readers.train import ReaderRun
    from numerals.runs.train import FinishedRun
    from numerals.server.corrections import Correction

CORRECTIONS = "corrections:"  # a prefix of --data in earlier versions


def train(options: TrainOptions) -> Result:
    """Run `numerals train`.

    Raises:
        InputError: options that do not go together.
        KeyboardInterrupt: interrupted; the message says what was saved.
    """
    if options.data is not None and options.data.startswith(CORRECTIONS):
        raise InputError(f"--data {options.data}: use numerals adapt {options.data.removeprefix(CORRECTIONS)}")
    if options.seeds is not None:
        from numerals.cli.ray_jobs import train_seeds

        return train_seeds(options, options.seeds)
    if options.address is not None:
        raise InputError(f"--address {options.address} needs --seeds")
    if options.resume is not None:
        return _resume(options, options.resume)
    if options.force:
        raise InputError("--force needs --resume RUN")
    return _train(options)


def _train(options: TrainOptions) -> Result:
    recipe = options.load_recipe()
    loader = ThreadPoolExecutor(1)
    dataset = loader.submit(datasets.load, options.data)  # loads while torch is imported, which takes a second
    try:
        from numerals.article.device import keep_freed_memory
        from numerals.runs.progress import TrainingProgress
        from numerals.runs.train import train

        keep_freed_memory()
        with TrainingProgress(plain_console(options.quiet)) as progress:
            run = train(
                recipe,
                dataset.result,
                out=options.out,
                seed=options.seed or 0,
                device=options.device,
                callbacks=[progress],
                every_steps=options.every_steps,
            )
            progress.finished(run)
    finally:
        loader.shutdown(wait=False, cancel_futures=True)
    return _result(run)


def _resume(options: TrainOptions, folder: Path) -> Result:
    if options.out is not None:
        raise InputError(f"--resume {folder} continues in its own folder; leave out --out")
    if options.settings:
        raise InputError(f"--resume {folder} continues with its own recipe; leave out --set")
    from numerals.article.device import keep_freed_memory
    from numerals.runs.progress import TrainingProgress
    from numerals.runs.resume import resume

    keep_freed_memory()
    log_to_stderr(quiet=True)  # the damages that it found; the progress prints the rest itself
    with TrainingProgress(plain_console(options.quiet)) as progress:
        run = resume(
            folder,
            epochs=options.epochs,
            recipe=options.recipe,
            data=options.data,
            seed=options.seed,
            device=options.device,
            force=options.force,
            every_steps=options.every_steps,
            callbacks=[progress],
        )
        progress.finished(run)
    return _result(run)


def _result(run: "FinishedRun") -> Result:
    if run.test is None:
        raise KeyboardInterrupt(
            f"the best model so far, of epoch {run.best_epoch}, is saved in {run.folder}; "
            f"continue with numerals train --resume {shlex.quote(str(run.folder))}"
        )
    return _scored(run.test, run.metrics)


def resume_reader(run: Path, other_options: Sequence[str], quiet: bool) -> Result:
    """Run `numerals train-reader --resume`.

    Raises:
        InputError: given with options that the run decides.
        KeyboardInterrupt: interrupted; the message says what was saved.
    """
    if other_options:
        raise InputError(f"--resume {run}: leave out {', '.join(other_options)}; the run keeps its own")
    from numerals.readers import train as reader_training

    print_status = status_printer(quiet)
    return _trained(reader_training.resume(run, report=print_status), print_status)


def train_reader(
    recipe: str | None,
    settings: Sequence[str],
    *,
    seed: int,
    data: str | None,
    initial: str | None,
    out: Path | None,
    quiet: bool,
) -> Result:
    """Run `numerals train-reader`.

    Raises:
        InputError: a recipe for another command, or a mistake in another option.
        KeyboardInterrupt: interrupted; the message says what was saved.
    """
    from numerals.readers.recipes import AdaptRecipe
    from numerals.readers.recipes import load as load_recipe

    if recipe is None:
        raise InputError("name the network to train: digits, rows, detector or a recipe file; or give --resume RUN")
    loaded = load_recipe(recipe)
    if isinstance(loaded, Recipe):
        raise InputError(f"recipe {recipe} trains the article's network; use numerals train --recipe {recipe}")
    if isinstance(loaded, AdaptRecipe):
        raise InputError(f"recipe {recipe} adapts a trained model; use numerals adapt CORRECTIONS --recipe {recipe}")
    from numerals.readers import train as reader_training

    print_status = status_printer(quiet)
    run = reader_training.train(
        loaded.override(parse_settings(settings)), data, out=out, seed=seed, initial=initial, report=print_status
    )
    return _trained(run, print_status)


def _trained(run: "ReaderRun", print_status: Callable[[str], None]) -> Result:
    print_status(f"Saved in {run.folder}. To read with it: numerals export {shlex.quote(str(run.folder))}")
    return _scored(run.test, run.metrics)


def adapt(
    corrections: Path,
    recipe: str,
    settings: Sequence[str],
    *,
    seed: int,
    initial: str | None,
    out: Path | None,
    quiet: bool,
) -> Result:
    """Run `numerals adapt`.

    Raises:
        DataError: no file of corrections, too few of them, or one whose picture cannot be decoded.
        InputError: a mistake in another option.
    """
    from numerals.readers.recipes import AdaptRecipe
    from numerals.server.corrections import MAX_CORRECTIONS, CorrectionStore

    loaded = AdaptRecipe.load(recipe).override(parse_settings(settings))
    if not corrections.is_file():
        raise DataError(f"{corrections}: no such file; numerals serve prints where it saves corrections")
    saved = sorted(CorrectionStore(corrections).latest(MAX_CORRECTIONS), key=lambda correction: correction.id)
    from numerals.readers.adapt import adapt

    digits, labels = _images(saved), np.array([correction.digit for correction in saved], np.uint8)
    print_status = status_printer(quiet)
    run = adapt(loaded, (digits, labels), out=out, seed=seed, initial=initial, report=print_status)
    path = shlex.quote(str(run.folder))
    print_status(f"Saved in {run.folder}. To read with it: numerals export {path}, then read or serve --model")
    return _scored(run.test, run.metrics)


def _images(corrections: "Sequence[Correction]") -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The corrected digits, uint8 (n, 28, 28): as the network saw them, else normalised from the stored picture."""
    from numerals.read.normalise import normalise
    from numerals.read.sandbox import Sandbox

    images = np.zeros((len(corrections), SIDE, SIDE), np.uint8)
    with contextlib.closing(Sandbox()) as sandbox:
        for index, correction in enumerate(corrections):
            if correction.seen:
                picture: Pixels = np.frombuffer(correction.seen, np.uint8).reshape(SIDE, SIDE)
            else:
                try:
                    picture = sandbox.decode(correction.picture).pixels
                except PictureError as error:
                    raise DataError(f"correction {correction.id}: {error}; delete it") from error
            images[index] = normalise([picture])[0]
    return images


def _scored(test: "Metrics", metrics: dict[str, Any]) -> Result:
    return Result(score_line(test.accuracy, test.loss), metrics)
