"""The run folder: what a training keeps, and how it is read back. Knows nothing about how to train.

    runs/article-1/
      recipe.toml               the recipe, every number of it
      model.safetensors         the best epoch's weights
      history.csv, curves.svg   a row an epoch, and the same drawn
      metrics.json              accuracy and loss, seconds and memory by stage, versions
      test_probabilities.npz    what the network answered on the test digits
      tensorboard/              where the recipe says so

Each file is written whole or not at all, and no pickle is among them.
"""

import contextlib
import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import nn

from numerals.errors import RunError
from numerals.files import write_atomically
from numerals.learn import model
from numerals.learn import recipe as recipes
from numerals.learn.reader_network import ReaderNetwork
from numerals.learn.rownet import RowNet

Weights = dict[str, torch.Tensor]


class RunFolder:
    """One training's folder. `create` makes a new one, `open` takes one that is there."""

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path = path
        self._made = made  # the folders above it that were not there before, the innermost first

    @classmethod
    def create(cls, out: str | Path | None, recipe_name: str) -> "RunFolder":
        """A new, empty folder: `out`, or else the first free of runs/NAME-1, runs/NAME-2, ...

        Raises:
            RunError: `out` exists, or cannot be made.
        """
        number = 0
        while True:
            number += 1
            path = Path(out) if out is not None else Path("runs") / f"{recipe_name}-{number}"
            try:
                made = [parent for parent in path.parents if not parent.exists()]
                path.mkdir(parents=True)
                return cls(path, made)
            except FileExistsError as error:
                if out is not None or not path.is_dir():
                    raise RunError(f"{path}: exists already; choose another --out") from error
            except OSError as error:
                raise RunError(f"{path}: cannot be made ({error.strerror or error}); choose another --out") from error

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

    def has_model(self) -> bool:
        return (self.path / "model.safetensors").exists()

    def write(self, name: str, content: str | bytes) -> None:
        """Raises StorageError when the disk is full or refuses."""
        write_atomically(self.path / name, content.encode() if isinstance(content, str) else content)

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """One line for each, of the columns that the first has."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self.write("history.csv", text.getvalue())

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        self.write("metrics.json", json.dumps(metrics, indent=2) + "\n")

    def write_probabilities(self, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probabilities=probabilities, labels=labels)
        self.write("test_probabilities.npz", buffer.getvalue())

    def write_model(self, weights: Weights) -> None:
        self.write("model.safetensors", safetensors.torch.save(weights))

    def data_source(self) -> str | None:
        """What the run was trained on, as `sources.load` takes it; None for MNIST, or where that is not known."""
        source = self._metrics().get("data", {}).get("source")
        return source if isinstance(source, str) else None

    def seed(self) -> int | None:
        """What the run's chance came from; None where that is not known."""
        seed = self._metrics().get("seed")
        return seed if isinstance(seed, int) else None

    def _metrics(self) -> dict[str, Any]:
        """metrics.json, empty where it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
            if isinstance(found, dict) and isinstance(found.get("data", {}), dict):
                return found
        return {}

    def recipe(self) -> recipes.AnyRecipe:
        """Raises RecipeError when recipe.toml is damaged."""
        return recipes.load(self.path / "recipe.toml")

    def network(self) -> nn.Module:
        """The kept network, on the CPU, ready to answer: the article's, a `ReaderNetwork` or a `RowNet`.

        Raises:
            RunError: the weights are damaged, or are another network's.
        """
        path = self.path / "model.safetensors"
        network = _build(self.recipe())
        try:
            network.load_state_dict(safetensors.torch.load(path.read_bytes()))
        except (OSError, RuntimeError, safetensors.SafetensorError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{path}: damaged, or not the weights of its recipe.toml ({reason})") from error
        return network.eval()


def _build(recipe: recipes.AnyRecipe) -> nn.Module:
    match recipe:
        case recipes.Recipe():
            return model.build(recipe.model)
        case recipes.ReaderRecipe() | recipes.AdaptRecipe():
            return ReaderNetwork()
        case recipes.RowRecipe():
            return RowNet()


def snapshot(network: nn.Module) -> Weights:
    """A copy of all weights and running statistics, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}


def weights_sha256(weights: Weights) -> str:
    """One hash over all tensors: equal for equal networks, bit for bit."""
    return hashlib.sha256(safetensors.torch.save(weights)).hexdigest()
