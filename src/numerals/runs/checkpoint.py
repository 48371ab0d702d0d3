"""What a killed training goes on from: RUN/checkpoint, the last two of them. Knows nothing about how to train.

    start.json               what the training is: recipe, seed, data, versions; there since the folder is
    00003-000120.safetensors all tensors after 3 epochs and 120 steps: weights, Adam's, the best epoch's
    00003-000120.json        all else, and the SHA-256 of the other file; written last, and sealed with its own

A checkpoint needs no other file of the run: recipe.toml, history.csv and model.safetensors can be made from it. It
holds their SHA-256 as well, so that damage is noticed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from numerals import files
from numerals.article.data import Dataset
from numerals.article.device import uses_bfloat16
from numerals.article.recipe import Recipe
from numerals.article.state import State, Weights
from numerals.errors import RunError
from numerals.runs import events
from numerals.runs.folder import START, SUMS, as_csv
from numerals.runs.profiling import Stages, versions
from numerals.runs.sigint import CtrlC
from numerals.runs.tensorboard import TensorBoard

FORM = 1  # of these files; another is another program's
KEPT = 2
CONCLUDED = (SUMS, "metrics.json", "curves.svg", "test_probabilities.npz")  # what only a training that has ended has
About = dict[str, Any]  # what a training is


def about(recipe: Recipe, seed: int, device: torch.device, data: Dataset) -> About:
    """Everything that the weights of a training depend on."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "data": data.metadata(),
        "device": str(device),
        "precision": "bfloat16" if uses_bfloat16(recipe.precision, device) else "float32",
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),  # which of its instructions torch uses
        "versions": versions(),
    }


def start(about: About) -> dict[str, bytes]:
    """What a run folder is made with: from here on it can be resumed."""
    return {"recipe.toml": recipe_of(about).to_toml().encode(), START: sealed({"form": FORM, "about": about})}


def recipe_of(about: About) -> Recipe:
    return Recipe.model_validate(about["recipe"])


@dataclass(frozen=True)
class Saved:
    """A checkpoint, whole; recovery.py finds it."""

    name: str  # empty for the beginning
    about: About
    tensors: Weights | None  # None is the beginning
    facts: dict[str, Any]
    events: events.Known


class Checkpoints:
    """Those of one training, and the one that it goes on from, if any.

    Args:
        run: the run folder.
        about: what the training is.
        every: steps after which one is written, beside that at the end of each epoch.
        saved: the one to go on from.
        said: what is to be said of damage that was found, a line each.
    """

    def __init__(
        self,
        run: Path,
        about: About,
        stages: Stages | None = None,
        every: int | None = None,
        saved: Saved | None = None,
        said: Sequence[str] = (),
    ) -> None:
        self.about, self.stages, self.said, self.ctrl_c = about, stages or Stages(), said, CtrlC()
        self._run, self._folder, self._every, self._saved = run, run / "checkpoint", every, saved

    @property
    def resumed(self) -> tuple[int, int] | None:
        """The epoch and the steps done in it where the training goes on; None where it begins."""
        facts = self._saved.facts if self._saved else None
        return None if facts is None else (facts.get("epoch", 1), facts.get("step", 0))

    def begin(self, state: State) -> None:
        """Bring the training and the files of the run to the checkpoint.

        Raises:
            RunError: the checkpoint does not fit the recipe.
            StorageError: the disk is full or refuses.
        """
        self._folder.mkdir(exist_ok=True)
        if self._saved is None:
            return
        if self._saved.tensors is not None:
            try:
                state.restore(self._saved.tensors, self._saved.facts)
            except (ValueError, KeyError, TypeError, RuntimeError) as error:
                raise RunError(f"{self._run}: its checkpoint does not fit this recipe ({error})") from error
        for folder in (self._run, self._folder):
            files.remove_temporary_files(folder)
        for name in CONCLUDED:
            files.remove(self._run / name)
        for name, content in (start(self.about) | derived(self.about, state)).items():
            if files.sha256(self._run / name) != hashlib.sha256(content).hexdigest():
                files.write_atomically(self._run / name, content)
        self._keep_two([name for name in names(self._folder) if name <= self._saved.name])
        events.cut_back(self._run / "tensorboard", self._saved.events)

    def after_step(self, state: State, board: TensorBoard | None) -> None:
        """Save, if it is time or if Ctrl-C was pressed.

        Raises:
            KeyboardInterrupt: it was pressed.
        """
        if self.ctrl_c.asked or (self._every and state.step % self._every == 0):
            self.save(state, board)
        self.heed_ctrl_c()

    def heed_ctrl_c(self) -> None:
        """Raises KeyboardInterrupt, if Ctrl-C was pressed: everything is saved now."""
        if self.ctrl_c.asked:
            raise KeyboardInterrupt

    def save(self, state: State, board: TensorBoard | None) -> None:
        """Write a checkpoint, then remove the one before the last.

        Raises:
            StorageError: the disk is full or refuses; the checkpoints before are as they were.
        """
        with self.stages("checkpoint"):
            self._write(state, board)

    def _write(self, state: State, board: TensorBoard | None) -> None:
        if board:
            board.flush()
        name = "{:05}-{:06}".format(*state.place)
        content = safetensors.torch.save({name: each.contiguous() for name, each in state.tensors().items()})
        facts = {
            "form": FORM,
            "about": self.about,
            "tensors": hashlib.sha256(content).hexdigest(),
            "files": files_of(self.about, state),
            "events": events.known(self._run / "tensorboard"),
            "state": state.facts(),
        }
        files.write_atomically(self._folder / f"{name}.safetensors", content)
        files.write_atomically(self._folder / f"{name}.json", sealed(facts))
        self._keep_two(names(self._folder))

    def _keep_two(self, whole: list[str]) -> None:
        """Remove what is not of the last two; a checkpoint's .json first, as without it there is none."""
        for path in sorted(self._folder.glob("*-*.*")):
            if path.stem not in whole[-KEPT:]:
                files.remove(path)


def names(folder: Path) -> list[str]:
    """The checkpoints in the folder, the oldest first."""
    return sorted(path.stem for path in folder.glob("*-*.json"))


def derived(about: About, state: State) -> dict[str, bytes]:
    """The files of the run that a checkpoint can make."""
    found = {"recipe.toml": start(about)["recipe.toml"]}
    if state.best:
        found["model.safetensors"] = safetensors.torch.save(state.best[1])
    if state.history:
        found["history.csv"] = as_csv([row.to_dict() for row in state.history]).encode()
    return found


def files_of(about: About, state: State) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in derived(about, state).items()}


def sealed(content: dict[str, Any]) -> bytes:
    """JSON that holds its own SHA-256: a single other byte shows."""
    text = json.dumps(content, indent=1)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": content}, indent=1).encode()
