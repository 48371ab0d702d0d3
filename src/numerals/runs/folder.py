"""The run folder: what a training keeps, and how it is read back. Knows nothing about how to train.

    runs/article-1/
      recipe.toml               the recipe, every number of it
      model.safetensors         the best epoch's weights
      history.csv, curves.svg   a row an epoch, and the same drawn
      metrics.json              accuracy and loss, seconds and memory by stage, versions
      test_probabilities.npz    what the network answered on the test digits
      tensorboard/              where the recipe says so
      checkpoint/               what a killed training goes on from: checkpoints.py
      SHA256SUMS                of every file, written when the training has ended

Each file is written whole or not at all, and no pickle is among them.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import nn

from numerals.article import model
from numerals.article.recipe import Recipe, network_of, parse
from numerals.errors import RunError
from numerals.files import readable_json, remove, sha256, write_atomically, write_folder

Weights = dict[str, torch.Tensor]

START = "checkpoint/start.json"  # written with the folder: what the training is
SUMS = "SHA256SUMS"  # as sha256sum writes and checks it


class RunFolder:
    """One training's folder. `create` makes a new one, `open` takes one that is there."""

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path = path
        self._made = made  # the folders above it that were not there before, the innermost first

    @classmethod
    def create(cls, out: str | Path | None, recipe_name: str, files: Mapping[str, bytes] | None = None) -> "RunFolder":
        """A new folder with those files: `out`, or else the first free of runs/NAME-1, runs/NAME-2, ...

        Raises:
            RunError: `out` exists, or cannot be made.
            StorageError: the disk is full.
        """
        number = 0
        while True:
            number += 1
            path = Path(out) if out is not None else Path("runs") / f"{recipe_name}-{number}"
            try:
                made = [parent for parent in path.parents if not parent.exists()]
                if not os.path.lexists(path):
                    write_folder(path, files or {})
                    return cls(path, made)
            except OSError as error:
                if not os.path.lexists(path):
                    why = error.strerror or error
                    raise RunError(f"{path}: cannot be made ({why}); choose another --out") from error
            if out is not None or not path.is_dir():
                raise RunError(f"{path}: exists already; choose another --out")

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """A folder that a training kept.

        Raises:
            RunError: there is no kept model in it.
        """
        folder = cls(Path(path))
        for name in ("recipe.toml", "model.safetensors"):
            if not (folder.path / name).is_file():
                raise RunError(f"{path}: not a run folder of ours, it has no {name}")
        return folder

    def discard(self) -> None:
        """Remove the folder and all in it, and those above it that were made for it and are empty."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.path)
            for parent in self._made:
                parent.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder; a process that is killed keeps nobody out any more.

        Raises:
            RunError: another training is in it.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(f"{self.path}: another training writes into it; wait until it has ended") from error
            yield
        finally:
            os.close(descriptor)

    def has_model(self) -> bool:
        return (self.path / "model.safetensors").exists()

    def has_checkpoint(self) -> bool:
        """Whether there is more to go on from than the beginning."""
        return any(self.path.glob("checkpoint/*.safetensors"))

    def write(self, name: str, content: str | bytes) -> None:
        """Raises StorageError when the disk is full or refuses."""
        write_atomically(self.path / name, content.encode() if isinstance(content, str) else content)

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """One line for each, of the columns that the first has."""
        self.write("history.csv", as_csv(history))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        self.write("metrics.json", readable_json(metrics))

    def write_probabilities(self, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probabilities=probabilities, labels=labels)
        self.write("test_probabilities.npz", buffer.getvalue())

    def write_model(self, weights: Weights) -> None:
        self.write("model.safetensors", safetensors.torch.save(weights))

    def write_sums(self) -> None:
        """The training has ended: what every file's SHA-256 is, as `sha256sum -c` checks it."""
        names = sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())
        lines = [f"{sha256(self.path / name)}  {name}\n" for name in names if name != SUMS]
        self.write(SUMS, "".join(lines))

    def remove_sums(self) -> None:
        """The training goes on."""
        remove(self.path / SUMS)

    def sums(self) -> dict[str, str]:
        """Each file's SHA-256 as it was when the training ended; empty where it has not."""
        with contextlib.suppress(OSError, ValueError):
            lines = (self.path / SUMS).read_text(encoding="utf-8").splitlines()
            return {name: hash_ for hash_, name in (line.split("  ", 1) for line in lines)}
        return {}

    def check(self, name: str) -> None:
        """Raises RunError where a file is not the one that was written when the training ended."""
        expected = self.sums().get(name)
        found = sha256(self.path / name)
        if expected is not None and found != expected:
            raise RunError(f"{damaged(self.path / name, found, expected)}; train again, or go on with --resume")

    def data_source(self) -> str | None:
        """What the run was trained on, as `sources.load` takes it; None for MNIST, or where that is not known."""
        source = self.metrics().get("data", {}).get("source")
        return source if isinstance(source, str) else None

    def seed(self) -> int | None:
        """What the run's chance came from; None where that is not known."""
        seed = self.metrics().get("seed")
        return seed if isinstance(seed, int) else None

    def metrics(self) -> dict[str, Any]:
        """metrics.json, or what the training began with; empty where both are missing or damaged."""
        for name, keys in (("metrics.json", ()), (START, ("content", "about"))):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = reduce(getitem, keys, json.loads((self.path / name).read_text(encoding="utf-8")))
                if isinstance(found, dict) and isinstance(found.get("data", {}), dict):
                    return found
        return {}

    def kind(self) -> str | None:
        """Which network the run trained: "digits", "rows" or "adapted"; None for the article's.

        Raises:
            RecipeError: recipe.toml is damaged.
        """
        return network_of(parse(self.path / "recipe.toml"))

    def recipe(self) -> Recipe:
        """The recipe of a run of the article's kind.

        Raises:
            RecipeError: recipe.toml is damaged, or another kind's.
        """
        return Recipe.load(self.path / "recipe.toml")

    def network(self) -> nn.Sequential:
        """The trained network of a run of the article's kind, on the CPU, in evaluation mode.

        Raises:
            RecipeError: recipe.toml is damaged, or another kind's.
            RunError: the weights are damaged, or do not fit the recipe.
        """
        self.check("recipe.toml")
        network = model.build(self.recipe().model)
        self.load_weights(network)
        return network.eval()

    def load_weights(self, network: nn.Module) -> None:
        """Load model.safetensors into `network`.

        Raises:
            RunError: the file is damaged, or the weights do not fit.
        """
        path = self.path / "model.safetensors"
        self.check("model.safetensors")
        self.check("recipe.toml")
        try:
            network.load_state_dict(safetensors.torch.load(path.read_bytes()))
        except (OSError, RuntimeError, safetensors.SafetensorError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0][:150]
            raise RunError(f"{path}: damaged, or not the weights of its recipe.toml ({reason})") from error


def damaged(path: Path, found: str | None, expected: str) -> str:
    """What is said of a file that is not what was written."""
    if found is None:
        return f"{path}: missing"
    return f"{path}: damaged, its SHA-256 is {found[:12]}..., not {expected[:12]}..."


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each, of the columns that the first has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def snapshot(network: nn.Module) -> Weights:
    """A copy of all weights and running statistics, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}


def weights_sha256(weights: Weights) -> str:
    """One hash over all tensors: equal for equal networks, bit for bit."""
    return hashlib.sha256(safetensors.torch.save(weights)).hexdigest()
