"""A training that was killed, stopped or has ended goes on: `numerals train --resume RUN`.

It ends with the very weights of one that was never interrupted, or says what is not as it was and stops.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from numerals.article import datasets, model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset
from numerals.article.device import choose_device
from numerals.article.metrics import compute_metrics
from numerals.article.recipe import Recipe
from numerals.errors import InputError, RunError
from numerals.runs.checkpoint import About, Checkpoints, Saved, about, recipe_of
from numerals.runs.conclude import Run
from numerals.runs.folder import START, RunFolder
from numerals.runs.load import read_probabilities
from numerals.runs.profiling import Stages
from numerals.runs.recovery import newest
from numerals.runs.train import Observer, explained, train_in

SHOWN = ("name", "curves", "tensorboard", "epochs")  # of a recipe, what the weights so far do not depend on
MAKERS = ("numerals", "torch", "numpy", "numba")  # whose versions they do depend on


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    data: str | Dataset | None = None,
    seed: int | None = None,
    device: str = "auto",
    anyway: bool = False,
    every_steps: int | None = None,
    observer: Observer | None = None,
) -> Run:
    """Go on from the last whole checkpoint of a run, with the recipe, seed, data, device and threads that it had.

    Args:
        run: the folder of a training of the article's kind, ended or not.
        epochs: more than before extends it, as if it had been so many from the beginning.
        recipe, data, seed, device: what is given must be what the run has; "auto" is the run's device.
        anyway: go on although something is not as it was; also after early stopping, which then counts anew.
        every_steps, observer: as `train` takes them.

    A run that has ended, where nothing is to be done, is given back as it is.

    Raises:
        RunError: not such a run, another training is in it, or something is not as it was.
        DataError, RecipeError, InputError: a mistake in what was passed.
        FailureError, StorageError, KeyboardInterrupt: as `train`; the checkpoints stay.
    """
    folder, stages = RunFolder(Path(run)), Stages()
    if not (folder.path / "checkpoint").is_dir():
        raise RunError(f"{run}: no training to resume, it has no {START}; recipes reader and rows keep none")
    with folder.locked(), explained(folder, fresh=False):
        saved, said = newest(folder.path)
        before = saved.about
        with stages("load"):
            dataset = data if isinstance(data, Dataset) else datasets.load(data or before["data"]["source"])
        with _threads(before["threads"]):
            place = choose_device(before["device"] if device == "auto" else device)
            wanted = _recipe(recipe, epochs, before)
            now = about(wanted, before["seed"] if seed is None else seed, place, dataset)
            differing = differences(before, now)
            if differing and not anyway:
                raise RunError(f"{run}: {'; '.join(differing)}; go on --anyway, or train anew")
            _check_epochs(saved, wanted, epochs, anyway)
            if folder.sums() and not said and _is_done(saved, wanted):
                return _as_it_is(folder, saved, wanted)
            checkpoints = Checkpoints(folder.path, now, stages, every_steps, saved, said)
            return train_in(folder, dataset, checkpoints, observer)


def differences(before: About, now: About) -> list[str]:
    """What the weights depend on and is not as it was, a few words each."""
    found = list(_unlike("recipe", _weighty(before["recipe"]), _weighty(now["recipe"])))
    for what in ("seed", "device", "precision", "processor"):
        found += _unlike(what, before[what], now[what])
    found += _unlike("SHA-256 of the data", before["data"]["sha256"][:12], now["data"]["sha256"][:12])
    for maker in MAKERS:
        found += _unlike(f"version of {maker}", before["versions"].get(maker), now["versions"].get(maker))
    return found


def _weighty(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what its weights do not depend on; on a cycle they do depend on the number of epochs."""
    cycle = recipe["schedule"]["kind"] == "one-cycle"
    return {key: value for key, value in recipe.items() if key not in SHOWN or (key == "epochs" and cycle)}


def _unlike(what: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _unlike(f"{what} {key}" if what == "recipe" else f"{what}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{what} was {before} and is {now}"


def _recipe(given: str | Path | Recipe | None, epochs: int | None, before: About) -> Recipe:
    """The recipe to go on with."""
    if given is None:
        recipe = recipe_of(before)
    else:
        recipe = given if isinstance(given, Recipe) else Recipe.load(given)
        recipe = recipe.change(name=before["recipe"]["name"])
    return recipe if epochs is None else recipe.change(epochs=epochs)


def _check_epochs(saved: Saved, wanted: Recipe, epochs: int | None, anyway: bool) -> None:
    """Fewer epochs than were begun cannot be; more than early stopping left are only to be had `anyway`."""
    done = len(saved.facts.get("history", ()))
    begun = done + (saved.facts.get("step", 0) > 0)
    if wanted.epochs < begun:
        raise InputError(f"--epochs {wanted.epochs}: the run is in its epoch {begun} already; give {begun} or more")
    if _has_stopped(saved, wanted) and anyway:
        saved.facts["early_stopping"]["wait"] = 0
    elif _has_stopped(saved, wanted) and epochs is not None and epochs > done:
        raise InputError(
            f"--epochs {epochs}: the run stopped early after epoch {done}, as it would have with so many; "
            "--anyway counts the epochs without gain anew"
        )


def _has_stopped(saved: Saved, wanted: Recipe) -> bool:
    return bool(saved.facts) and saved.facts["early_stopping"]["wait"] >= wanted.early_stopping.patience


def _is_done(saved: Saved, wanted: Recipe) -> bool:
    return len(saved.facts.get("history", ())) >= wanted.epochs or _has_stopped(saved, wanted)


def _as_it_is(folder: RunFolder, saved: Saved, recipe: Recipe) -> Run:
    """A run that has ended."""
    metrics = folder.metrics()
    kept = folder.path / "test_probabilities.npz"
    test = compute_metrics(*read_probabilities(kept, metrics["ended"])) if metrics.get("test") else None
    history = tuple(Epoch(**row) for row in saved.facts["history"])
    predict = model.predictor(folder.network())
    return Run(folder.path, recipe, history, saved.facts["best_epoch"], test, metrics, predict)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """torch on as many threads as before: sums of other parts round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
