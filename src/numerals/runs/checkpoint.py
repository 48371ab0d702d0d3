"""Checkpoints: what a killed training continues from. RUN/checkpoint holds the last two.

    start.json               the TrainingSpec; part of the run folder from its first moment
    00003-000120.safetensors all tensors after 3 epochs and 120 steps: weights, optimizer, best weights
    00003-000120.json        everything else, and the SHA-256 of the .safetensors; written last

Each JSON file contains its own SHA-256. A checkpoint needs no other file of the run: recipe.toml, history.csv and
model.safetensors can be written again from it. It has their SHA-256 too, and those of TensorBoard's files, so that
damage is noticed.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from numerals import files
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset
from numerals.article.device import uses_bfloat16
from numerals.article.fit import Callback
from numerals.article.recipe import Recipe
from numerals.article.state import StateDict, TrainingState
from numerals.errors import RecipeError, RunError
from numerals.runs.folder import MAX_TENSOR_BYTES, MAX_TEXT_BYTES, START, SUMS, RunFolder, as_csv, damage_message
from numerals.runs.profiling import versions
from numerals.runs.session import Session
from numerals.runs.tensorboard import TensorBoard

FORMAT = 1  # version of these files; written under the key "form"
CHECKPOINTS_KEPT = 2
RESULTS = (SUMS, "metrics.json", "curves.svg", "test_probabilities.npz")  # files that only a finished training has

EventFiles = dict[str, tuple[int, str]]  # name in RUN/tensorboard -> size in bytes, SHA-256


class DataSpec(BaseModel):
    """Which digits a training uses; see `Dataset.metadata`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    name: str
    source: str | None
    sha256: str


class TrainingSpec(BaseModel):
    """Everything that the weights of a training depend on."""

    model_config = ConfigDict(frozen=True, strict=True)

    recipe: Recipe
    seed: int
    data: DataSpec
    device: str
    precision: Literal["float32", "bfloat16"]
    threads: int = Field(ge=1)
    processor: str  # the instruction set that torch uses
    versions: dict[str, str]

    @classmethod
    def of(cls, recipe: Recipe, seed: int, device: torch.device, data: Dataset) -> Self:
        """The spec of a training in this process."""
        return cls(
            recipe=recipe,
            seed=seed,
            data=DataSpec.model_validate(data.metadata()),
            device=str(device),
            precision="bfloat16" if uses_bfloat16(recipe.precision, device) else "float32",
            threads=torch.get_num_threads(),
            processor=torch.backends.cpu.get_cpu_capability(),
            versions=versions(),
        )

    def first_files(self) -> dict[str, bytes]:
        """What a run folder contains from its first moment, so that it can be resumed."""
        start = {"form": FORMAT, "about": self.model_dump(mode="json")}
        return {"recipe.toml": self.recipe.to_toml().encode(), START: sealed(start)}


class _Saved(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Patience(_Saved):
    best: float | None
    wait: int = Field(ge=0)


class _Optimizer(_Saved):
    rate: float
    done: int = Field(ge=0)


class _State(_Saved):
    """`TrainingState.to_dict`."""

    epoch: int
    step: int = Field(ge=0)
    loss_sum: float
    right: int
    seen: int
    seconds: float
    best_epoch: int | None
    optimizer: _Optimizer
    early_stopping: _Patience
    plateau: _Patience
    history: list[Epoch]

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        done = self.epoch - 1
        if len(self.history) != done or any(row.epoch != epoch for epoch, row in enumerate(self.history, 1)):
            raise ValueError(f"its history is not that of {done} epochs")
        if self.best_epoch not in (range(1, done + 1) if done else (None,)):
            raise ValueError(f"its best epoch is {self.best_epoch}, of {done}")
        return self


class _CheckpointFile(_Saved):
    """The JSON file of a checkpoint, without the TrainingSpec."""

    tensors: str
    files: dict[str, str]
    events: dict[str, tuple[Annotated[int, Field(ge=0)], str]]
    state: _State


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read whole, or the beginning of a training."""

    name: str  # of its files; empty for the beginning
    spec: TrainingSpec
    tensors: StateDict | None = None  # None for the beginning
    values: dict[str, Any] | None = None  # `TrainingState.to_dict`
    event_files: EventFiles | None = None  # TensorBoard's when it was written

    @property
    def history(self) -> list[Epoch]:
        return [Epoch(**row) for row in self.values["history"]] if self.values else []

    @property
    def position(self) -> tuple[int, int]:
        """The epoch in which the training continues, from 1, and the steps done in it."""
        return (self.values["epoch"], self.values["step"]) if self.values else (1, 0)

    def has_stopped_early(self, recipe: Recipe) -> bool:
        """Whether early stopping, with the patience of `recipe`, has ended the training."""
        return self.values is not None and self.values["early_stopping"]["wait"] >= recipe.early_stopping.patience

    def reset_patience(self) -> None:
        """Let early stopping count from zero again."""
        if self.values:
            self.values["early_stopping"]["wait"] = 0


class CheckpointStore:
    """The checkpoints in a run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._run = folder.path
        self._folder = folder.path / "checkpoint"

    def names(self) -> list[str]:
        """The names of the checkpoints, oldest first."""
        return sorted(path.stem for path in self._folder.glob("*-*.json"))

    def save(self, spec: TrainingSpec, state: TrainingState) -> None:
        """Write a checkpoint, then delete the one before the last.

        Raises:
            StorageError: the disk is full or refuses; earlier checkpoints stay.
        """
        name = "{:05}-{:06}".format(*state.position)
        content = safetensors.torch.save({name: each.contiguous() for name, each in state.tensors().items()})
        values = {
            "form": FORMAT,
            "about": spec.model_dump(mode="json"),
            "tensors": hashlib.sha256(content).hexdigest(),
            "files": {name: hashlib.sha256(each).hexdigest() for name, each in derived_files(spec, state).items()},
            "events": event_files(self._run / "tensorboard"),
            "state": state.to_dict(),
        }
        files.write_atomically(self._folder / f"{name}.safetensors", content)
        files.write_atomically(self._folder / f"{name}.json", sealed(values))
        self._delete_all_but(self.names()[-CHECKPOINTS_KEPT:])

    def restore(self, checkpoint: Checkpoint, spec: TrainingSpec, state: TrainingState) -> None:
        """Bring a new training, and the files of its run, to a checkpoint.

        Raises:
            RunError: the checkpoint does not fit the recipe.
            StorageError: the disk is full or refuses.
        """
        if checkpoint.tensors is not None and checkpoint.values is not None:
            try:
                state.restore(checkpoint.tensors, checkpoint.values)
            except (ValueError, KeyError, TypeError, RuntimeError) as error:
                raise RunError(f"{self._run}: its checkpoint does not fit this recipe ({error})") from error
        for folder in (self._run, self._folder):
            files.remove_temporary_files(folder)
        for name in RESULTS:
            files.remove(self._run / name)
        for name, content in (spec.first_files() | derived_files(spec, state)).items():
            if files.sha256(self._run / name) != hashlib.sha256(content).hexdigest():
                files.write_atomically(self._run / name, content)
        older = [name for name in self.names() if name <= checkpoint.name]
        self._delete_all_but(older[-CHECKPOINTS_KEPT:])
        cut_back_event_files(self._run / "tensorboard", checkpoint.event_files or {})

    def newest(self) -> tuple[Checkpoint, list[str]]:
        """The last undamaged checkpoint or, before the first one, the beginning; and a line about each damaged file.

        Raises:
            RunError: this is not a run that can be resumed, or all of it is damaged.
        """
        damages = list[str]()
        checkpoints, hashes = list[Checkpoint](), list[dict[str, str]]()
        for name in reversed(self.names()):
            try:
                content = unsealed(self._folder / f"{name}.json")
                spec, saved = _parse(content, self._folder / f"{name}.json")
                hashes.append(saved.files)
                checkpoints.append(self._read(name, spec, saved, content["state"]))
            except RunError as error:
                damages.append(f"{error}; using the checkpoint before it")
        start = self._run / START
        try:
            beginning = Checkpoint("", _spec(unsealed(start), start))
        except RunError as error:
            if not checkpoints:
                nothing_left = f"{error}; no checkpoint is left, so train again in a new folder"
                raise RunError("; ".join([*damages, nothing_left])) from error
            damages.append(f"{error}; writing it again")
            beginning = checkpoints[0]
        newest = (checkpoints or [beginning])[0]
        if lost := damaged_event_file(self._run / "tensorboard", newest.event_files or {}):
            damages.append(f"{lost}; writing the figures again, without the histograms of earlier epochs")
        complete = hashes if len(hashes) == len(self.names()) else []  # else the last one's are unknown
        return newest, [*damages, *self._damaged_files(complete, " ".join(damages))]

    def _read(self, name: str, spec: TrainingSpec, saved: _CheckpointFile, values: dict[str, Any]) -> Checkpoint:
        path = self._folder / f"{name}.safetensors"
        found = files.sha256(path)
        if found != saved.tensors:
            raise RunError(damage_message(path, found, saved.tensors))
        try:
            tensors = safetensors.torch.load(files.read_plain(path, MAX_TENSOR_BYTES))
            return Checkpoint(name, spec, tensors, values, saved.events)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as error:
            raise RunError(f"{path}: not a checkpoint of numerals ({str(error).splitlines()[0]})") from error

    def _damaged_files(self, written: list[dict[str, str]], mentioned: str) -> list[str]:
        """A line about each file that differs from what the training wrote at its end or at one of its checkpoints."""
        final, lines = dict[str, str](), list[str]()
        try:
            final, _ = RunFolder(self._run).read_sums()
        except RunError as error:
            lines.append(f"{error}; writing it again")
        for name in sorted(set(final).union(*written) if written else final):
            expected = [final[name]] if name in final else [each[name] for each in written if name in each]
            sha = files.sha256(self._run / name)
            may_be_missing = name not in final and not os.path.lexists(self._run / name)
            if sha not in expected and str(self._run / name) not in mentioned and not may_be_missing:
                by = f" (according to {self._run / SUMS})" if name in final else ""
                lines.append(f"{damage_message(self._run / name, sha, expected[0])}{by}; writing it again")
        return lines

    def _delete_all_but(self, kept: Sequence[str]) -> None:
        """Delete the other checkpoints, each one's .json first, because a checkpoint without it does not count."""
        for path in sorted(self._folder.glob("*-*.*")):
            if path.stem not in kept:
                files.remove(path)


class EpochCheckpoint(Callback):
    """Saves a checkpoint after each epoch, and then the files that could be made from it."""

    def __init__(self, folder: RunFolder, spec: TrainingSpec, session: Session, board: TensorBoard | None) -> None:
        self._folder, self._spec, self._session, self._board = folder, spec, session, board
        self._store = CheckpointStore(folder)

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        self.save(state)
        if state.best and state.best.epoch == epoch.epoch:
            self._folder.write_model(state.best.weights)
        self._folder.write_history([row.to_dict() for row in state.history])

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint now."""
        with self._session.profile("checkpoint"):
            if self._board:
                self._board.flush()
            self._store.save(self._spec, state)


class StepCheckpoint(Callback):
    """Saves a checkpoint every so many steps and on Ctrl-C, which then ends the training.

    It comes last in the list of callbacks, so that the others have seen the step or epoch that is saved.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; a checkpoint is saved.
    """

    def __init__(self, checkpoint: EpochCheckpoint, session: Session, every_steps: int | None) -> None:
        self._checkpoint, self._sigint, self._every = checkpoint, session.sigint, every_steps

    def on_step_end(self, state: TrainingState) -> None:
        interrupted = self._sigint.requested  # read once: a later Ctrl-C counts after the next step
        if interrupted or (self._every and state.step % self._every == 0):
            self._checkpoint.save(state)
        if interrupted:
            raise KeyboardInterrupt

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        self._sigint.check()


def derived_files(spec: TrainingSpec, state: TrainingState) -> dict[str, bytes]:
    """The files of the run that can be made from a checkpoint."""
    found = {"recipe.toml": spec.recipe.to_toml().encode()}
    if state.best:
        found["model.safetensors"] = safetensors.torch.save(state.best.weights)
    if state.history:
        found["history.csv"] = as_csv([row.to_dict() for row in state.history]).encode()
    return found


def event_files(folder: Path) -> EventFiles:
    """TensorBoard's files in the folder, synced to disk."""
    found: EventFiles = {}
    for path in sorted(folder.glob("*/events.out.tfevents.*")):
        files.sync(path)
        size = path.stat().st_size
        found[str(path.relative_to(folder))] = size, files.sha256(path, size) or ""
    return found


def damaged_event_file(folder: Path, expected: EventFiles) -> str | None:
    """A message about the first of TensorBoard's files that does not begin as `expected` says; None if all do."""
    for name, (size, sha256) in expected.items():
        found = files.sha256(folder / name, size)
        if found != sha256:
            return damage_message(folder / name, found, sha256)
    return None


def cut_back_event_files(folder: Path, expected: EventFiles) -> None:
    """Cut TensorBoard's files back to `expected`, or delete them if one is damaged; the callback writes more.

    `SummaryWriter(purge_step=...)` would leave the figures of steps that are trained again in the files, where
    TensorBoard hides them but other readers do not.

    Raises:
        StorageError: the disk refuses.
    """
    is_damaged = damaged_event_file(folder, expected) is not None
    for path in folder.glob("*/events.out.tfevents.*"):
        name = str(path.relative_to(folder))
        if name in expected and not is_damaged:
            files.truncate(path, expected[name][0])
        else:
            files.remove(path)


def sealed(content: dict[str, Any]) -> bytes:
    """JSON that contains its own SHA-256, so that a single changed byte shows."""
    text = json.dumps(content, indent=1)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": content}, indent=1).encode()


def unsealed(path: Path) -> dict[str, Any]:
    """The content of a file that `sealed` made.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        raw = files.read_plain(path, MAX_TEXT_BYTES)
        document = json.loads(raw)
        content: dict[str, Any] = dict(document["content"])
        if raw == sealed(content):
            return content
        text = json.dumps(content, indent=1)
        raise RunError(damage_message(path, hashlib.sha256(text.encode()).hexdigest(), str(document["sha256"])))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        sha256 = (files.sha256(path) or "")[:12]
        raise RunError(f"{path}: damaged, its SHA-256 is {sha256}..., and it is not valid JSON") from error


def _parse(content: dict[str, Any], path: Path) -> tuple[TrainingSpec, _CheckpointFile]:
    """What is in the JSON file of a checkpoint.

    Raises:
        RunError: as `_spec`.
    """
    spec = _spec(content, path)
    try:
        return spec, _CheckpointFile.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: not a checkpoint of numerals ({place}: {first['msg']})") from error


def _spec(content: dict[str, Any], path: Path) -> TrainingSpec:
    """The TrainingSpec in an unsealed file.

    Raises:
        RunError: another version wrote it, or it is not a checkpoint.
    """
    if content.get("form") != FORMAT:
        raise RunError(f"{path}: has format {content.get('form')}, which another version of numerals writes")
    try:
        return TrainingSpec.model_validate(content["about"])
    except (KeyError, TypeError, ValidationError, RecipeError) as error:
        raise RunError(f"{path}: not a checkpoint of numerals ({str(error).splitlines()[0]})") from error
