"""Continue a training that was killed, interrupted or has ended: `numerals train --resume RUN`.

It ends with exactly the weights of a training that was never interrupted. If data, versions or anything else that the
weights depend on has changed, it lists the differences and stops.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from numerals.article import datasets
from numerals.article.data import Dataset
from numerals.article.device import choose_device
from numerals.article.fit import Callback
from numerals.article.recipe import Recipe
from numerals.errors import InputError, RunError
from numerals.runs.checkpoint import Checkpoint, CheckpointStore, TrainingSpec
from numerals.runs.folder import START, RunFolder
from numerals.runs.load import load_finished
from numerals.runs.session import Session
from numerals.runs.train import FinishedRun, run_training

LOG = logging.getLogger(__name__)
HARMLESS_KEYS = ("name", "curves", "tensorboard", "epochs")  # of a recipe: the weights so far do not depend on them
PACKAGES = ("numerals", "torch", "numpy", "numba")  # the weights depend on their versions


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    data: str | Dataset | None = None,
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    every_steps: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> FinishedRun:
    """Continue from the last undamaged checkpoint, with the run's recipe, seed, data, device and number of threads.

    A run that has ended and needs nothing more is returned unchanged.

    Args:
        run: the folder of a training of the article's kind, ended or not.
        epochs: a higher number extends the run, as if it had been given from the start.
        recipe, data, seed, device: must be what the run has; "auto" is the run's device.
        force: continue although something differs, although the run had more threads than there are cores, or although
            early stopping had ended it.
        every_steps, callbacks: as for `train`.

    Raises:
        RunError: the folder is not such a run, contains a link, is in use by another training, or something differs.
        DataError, RecipeError, InputError: an argument cannot be used.
        FailureError, StorageError, KeyboardInterrupt: as `train`; the checkpoints stay.
    """
    session = Session()
    if not (Path(run) / "checkpoint").is_dir():
        raise RunError(f"{run}: nothing to resume, {START} is missing; train-reader and adapt keep no checkpoints")
    with session.existing_folder(run) as folder:
        folder.refuse_links()
        checkpoint, damages = CheckpointStore(folder).newest()
        before = checkpoint.spec
        with session.profile("load"):
            dataset = data if isinstance(data, Dataset) else datasets.load(data or before.data.source)
        with _threads(_allowed_threads(folder, before, force)):
            chosen_device = choose_device(before.device if device == "auto" else device)
            wanted = _recipe(recipe, epochs, before.recipe)
            spec = TrainingSpec.of(wanted, before.seed if seed is None else seed, chosen_device, dataset)
            changes = differences(before, spec)
            if changes and not force:
                raise RunError(f"{run}: {'; '.join(changes)}; pass --force to continue, or train in a new folder")
            _check_epochs(checkpoint, wanted, epochs, force)
            for line in damages:
                LOG.warning("%s", line)
            if folder.sums() and not damages and _is_done(checkpoint, wanted):
                return replace(load_finished(folder), recipe=wanted)
            return run_training(
                session, folder, spec, dataset, checkpoint=checkpoint, callbacks=callbacks, every_steps=every_steps
            )


def differences(before: TrainingSpec, now: TrainingSpec) -> list[str]:
    """What the weights depend on and has changed, a few words each."""
    found = list(_changes("recipe", _relevant(before.recipe), _relevant(now.recipe)))
    for name in ("seed", "device", "precision", "processor"):
        found += _changes(name, getattr(before, name), getattr(now, name))
    found += _changes("SHA-256 of the data", before.data.sha256[:12], now.data.sha256[:12])
    for package in PACKAGES:
        found += _changes(f"version of {package}", before.versions.get(package), now.versions.get(package))
    return found


def _relevant(recipe: Recipe) -> dict[str, Any]:
    """The keys that the weights so far depend on; with a one-cycle schedule the number of epochs is one of them."""
    keys = recipe.model_dump(mode="json")
    one_cycle = recipe.schedule.kind == "one-cycle"
    return {key: value for key, value in keys.items() if key not in HARMLESS_KEYS or (key == "epochs" and one_cycle)}


def _changes(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            separator = " " if name == "recipe" else "."
            yield from _changes(f"{name}{separator}{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name} was {before} and is {now}"


def _recipe(given: str | Path | Recipe | None, epochs: int | None, before: Recipe) -> Recipe:
    """The recipe to continue with."""
    if given is None:
        recipe = before
    else:
        recipe = given if isinstance(given, Recipe) else Recipe.load(given)
        recipe = recipe.change(name=before.name)
    return recipe if epochs is None else recipe.change(epochs=epochs)


def _check_epochs(checkpoint: Checkpoint, wanted: Recipe, epochs: int | None, force: bool) -> None:
    """Refuse fewer epochs than were begun and, unless `force`, more than early stopping left."""
    done = len(checkpoint.history)
    begun = done + (checkpoint.position[1] > 0)
    if wanted.epochs < begun:
        raise InputError(f"--epochs {wanted.epochs}: the run is already in epoch {begun}; give {begun} or more")
    stopped_early = checkpoint.has_stopped_early(wanted)
    if stopped_early and force:
        checkpoint.reset_patience()
    elif stopped_early and epochs is not None and epochs > done:
        raise InputError(
            f"--epochs {epochs}: early stopping ended the run after epoch {done}; "
            "pass --force to let it count from zero again"
        )


def _is_done(checkpoint: Checkpoint, wanted: Recipe) -> bool:
    return len(checkpoint.history) >= wanted.epochs or checkpoint.has_stopped_early(wanted)


def _allowed_threads(folder: RunFolder, before: TrainingSpec, force: bool) -> int:
    """The run's number of threads, but with `force` no more than this process may use.

    It may use one per core, as its affinity says, or as many as torch took: OMP_NUM_THREADS is the user's own choice.

    Raises:
        RunError: the run had more, and not `force`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(cores, torch.get_num_threads())
    if before.threads > most and not force:
        raise RunError(
            f"{folder.path}: trained with {before.threads} threads, and this process may use {most}; pass --force to "
            f"continue with {most}, which rounds differently, or set OMP_NUM_THREADS to use more than one per core"
        )
    return min(before.threads, most)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use as many threads as before, because sums over other parts round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
