"""The run folder: what a training keeps, and how its files are read back.

    runs/article-1/
      recipe.toml               the recipe, every number of it
      model.safetensors         the best epoch's weights
      history.csv, curves.svg   one row per epoch, and the same as a plot
      metrics.json              accuracy and loss, seconds and memory by stage, versions
      test_probabilities.npz    the network's probabilities for the test digits, and their labels
      tensorboard/              if the recipe enables it
      checkpoint/               what a killed training continues from; see checkpoint.py
      SHA256SUMS                of every file; written when the training has ended

Every file is written whole or not at all, and none is a pickle.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import stat
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
from torch import nn

from numerals.article import model
from numerals.article.recipe import Recipe, network_of, parse
from numerals.article.state import StateDict, snapshot
from numerals.errors import RunError
from numerals.files import (
    MAX_HASHED_BYTES,
    read_plain,
    readable_json,
    readable_size,
    sha256,
    url_message,
    write_atomically,
    write_folder,
)

START = "checkpoint/start.json"  # the TrainingSpec, written with the folder
SUMS = "SHA256SUMS"  # in the format of `sha256sum -c`, which skips the comment
SUMS_COMMENT = b"# SHA-256 of the lines above: "  # in its last line, so that its own damage shows
MAX_TEXT_BYTES = 2**26  # of a file of JSON, CSV or lines
DETECTOR_CHECKPOINT = "checkpoint/training.safetensors"  # of a training of the detector
MAX_TENSOR_BYTES = 2**31  # of a file of tensors or arrays, unpacked


class RunFolder:
    """One training's folder: `RunFolder.create` makes a new one, `RunFolder.open` opens one with a trained model."""

    def __init__(self, path: Path, created_parents: Sequence[Path] = ()) -> None:
        self.path = path
        self._created_parents = created_parents  # innermost first

    @classmethod
    def create(cls, out: str | Path | None, recipe_name: str, files: Mapping[str, bytes] | None = None) -> "RunFolder":
        """Create `out`, or else the first free of runs/NAME-1, runs/NAME-2, ..., with `files` in it.

        Raises:
            RunError: `out` exists already, or cannot be created.
            StorageError: the disk is full.
        """
        number = 0
        while True:
            number += 1
            path = Path(out) if out is not None else Path("runs") / f"{recipe_name}-{number}"
            try:
                created_parents = [parent for parent in path.parents if not parent.exists()]
                if not os.path.lexists(path):
                    write_folder(path, files or {})
                    return cls(path, created_parents)
            except OSError as error:
                if not os.path.lexists(path):
                    reason = error.strerror or error
                    raise RunError(f"run folder {path} cannot be created ({reason}); choose another --out") from error
            if out is not None or not path.is_dir():
                raise RunError(f"run folder {path} already exists; choose another --out")

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open the folder of a training that saved a model.

        Raises:
            RunError: it contains no recipe or no model.
        """
        folder = cls(Path(path))
        for name in ("recipe.toml", "model.safetensors"):
            if not (folder.path / name).is_file():
                raise RunError(url_message(path) or f"{path}: not a run folder, {name} is missing")
        return folder

    def discard(self) -> None:
        """Delete the folder, and the parents that were created for it and are empty."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.path)
            for parent in self._created_parents:
                parent.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder. The lock ends with the process, however it ends.

        Raises:
            RunError: another training is using the folder.
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
                    raise RunError(f"{self.path} is in use by another training; wait until it ends") from error
            yield
        finally:
            os.close(descriptor)

    def refuse_links(self) -> None:
        """Raise RunError if anything in the folder is neither a file nor a folder.

        A training that continues deletes, cuts and overwrites files; through a link it would do so elsewhere.
        """
        for parent, folders, names in os.walk(self.path):
            for path in sorted(Path(parent, name) for name in (*folders, *names)):
                mode = os.lstat(path).st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                    raise RunError(f"{path}: {kind}, which a run does not contain; delete it, then resume again")

    def has_model(self) -> bool:
        return (self.path / "model.safetensors").exists()

    def has_checkpoint(self) -> bool:
        """Whether a training would resume from more than its beginning."""
        return any(self.path.glob("checkpoint/*.safetensors"))

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            StorageError: the disk is full or refuses.
        """
        write_atomically(self.path / name, content.encode() if isinstance(content, str) else content)

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write history.csv: a line per row, with the columns of the first."""
        self.write("history.csv", as_csv(history))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        self.write("metrics.json", readable_json(metrics))

    def write_probabilities(self, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probabilities=probabilities, labels=labels)
        self.write("test_probabilities.npz", buffer.getvalue())

    def write_model(self, weights: StateDict) -> None:
        self.write("model.safetensors", safetensors.torch.save(weights))

    def write_sums(self) -> None:
        """Write SHA256SUMS, which marks the training as ended."""
        names = sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())
        hashes = {name: hash_ for name in names if name != SUMS and (hash_ := sha256(self.path / name))}
        lines = "".join(f"{hash_}  {name}\n" for name, hash_ in hashes.items()).encode()
        self.write(SUMS, lines + SUMS_COMMENT + hashlib.sha256(lines).hexdigest().encode() + b"\n")

    def read_sums(self) -> tuple[dict[str, str], bool]:
        """Read SHA256SUMS.

        Returns:
            The SHA-256 of each file when the training ended, empty if it has not ended; and whether the list has a hash
            of its own, which earlier versions did not write.

        Raises:
            RunError: it is damaged.
        """
        path = self.path / SUMS
        try:
            content = read_plain(path, MAX_TEXT_BYTES)
        except FileNotFoundError:
            return {}, False
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
        lines, comment, own = content.partition(SUMS_COMMENT)
        found = hashlib.sha256(lines).hexdigest()
        entries = [re.fullmatch(rb"([0-9a-f]{64})  ([^\0-\x1f]+)", line) for line in lines.splitlines()]
        if not entries or not all(entries) or not re.fullmatch(rb"[0-9a-f]{64}\n" if comment else b"", own):
            raise RunError(f"{path}: damaged, its SHA-256 is {found[:12]}..., and it is not a list of hashes")
        if comment and own.decode().strip() != found:
            raise RunError(damage_message(path, found, own.decode()))
        return {entry[2].decode(errors="replace"): entry[1].decode() for entry in entries if entry}, bool(comment)

    def sums(self) -> dict[str, str]:
        """The SHA-256 of each file when the training ended; empty if it has not ended, or SHA256SUMS is damaged."""
        with contextlib.suppress(RunError):
            return self.read_sums()[0]
        return {}

    def check(self, name: str) -> None:
        """Raise RunError if a file, or SHA256SUMS itself, has changed since the training ended."""
        try:
            sums, has_own_hash = self.read_sums()
        except RunError as error:
            raise RunError(f"{error}; repair it with numerals train --resume, or delete it") from error
        expected, found = sums.get(name), sha256(self.path / name)
        if expected is not None and found != expected:
            damage = damage_message(self.path / name, found, expected)
            source = "" if has_own_hash else f" as in {self.path / SUMS}; one of the two is damaged"
            raise RunError(f"{damage}{source}; repair it with numerals train --resume, or train again")

    def data_source(self) -> str | None:
        """The data that the run was trained on, as `datasets.load` takes it; None for MNIST, or if unknown."""
        source = self.metrics().get("data", {}).get("source")
        return source if isinstance(source, str) else None

    def seed(self) -> int | None:
        """The run's seed; None if unknown."""
        seed = self.metrics().get("seed")
        return seed if isinstance(seed, int) else None

    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, else of the TrainingSpec; empty if both are missing or damaged."""
        for name, keys in (("metrics.json", ()), (START, ("content", "about"))):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                found = reduce(getitem, keys, json.loads(read_plain(self.path / name, MAX_TEXT_BYTES)))
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
            limit = sum(each.nbytes for each in network.state_dict().values()) + 2**20  # and the file's header
            network.load_state_dict(safetensors.torch.load(read_plain(path, limit)))
        except (OSError, RuntimeError, safetensors.SafetensorError, ValueError, KeyError) as error:
            reason = str(getattr(error, "strerror", None) or error).splitlines()[0][:150]
            raise RunError(f"{path}: damaged, or not the weights of its recipe.toml ({reason})") from error
        self._check_weights(network)

    def _check_weights(self, network: nn.Module) -> None:
        """Raise RunError unless the weights are those that metrics.json names."""
        path = self.path / "metrics.json"
        if not path.exists():  # the training has not ended
            return
        self.check("metrics.json")
        try:
            expected = json.loads(read_plain(path, MAX_TEXT_BYTES))["weights_sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"{path}: damaged, it does not name the SHA-256 of the weights; train again") from error
        if weights_sha256(snapshot(network)) != expected:
            raise RunError(f"{self.path}: model.safetensors has other weights than metrics.json names; train again")


def damage_message(path: Path, found: str | None, expected: str) -> str:
    """A message about a file whose SHA-256 is `found` (None: it has none) instead of `expected`."""
    if found is None:
        there = f"not a plain, readable file of at most {readable_size(MAX_HASHED_BYTES)}"
        return f"{path}: {there if os.path.lexists(path) else 'missing'}"
    return f"{path}: damaged, its SHA-256 is {found[:12]}..., not {expected[:12]}..."


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a line per row and the columns of the first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def weights_sha256(weights: StateDict) -> str:
    """One hash over all tensors: equal for networks that are equal bit for bit."""
    return hashlib.sha256(safetensors.torch.save(weights)).hexdigest()
