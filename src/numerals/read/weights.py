"""Which model reads, where it is, and whether it is the one that its card names. Knows nothing about running it."""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from numerals.errors import ModelError

DIGITS, ROWS = "reader.onnx", "rows.onnx"  # the models that ship: one digit a picture, and whole rows


@dataclass(frozen=True)
class Weights:
    """An exported model, checked against its card."""

    content: bytes  # ONNX
    card: dict[str, Any]

    @property
    def threshold(self) -> float:
        """is_digit under which a picture is rejected."""
        return float(self.card["threshold"])


def shipped(name: str = DIGITS) -> Path:
    """A model that comes with the package."""
    return Path(str(resources.files("numerals"))) / "weights" / name


def read(path: Path) -> bytes:
    """A model's file, without a card.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); install numerals again") from error


def load(path: str | Path | None = None) -> Weights:
    """The model at `path`, or the one that ships, with its card: the .json of the same name beside it.

    Raises:
        ModelError: there is none, its card is missing or no card of ours, or it is not the file that its card names.
    """
    path = Path(path) if path is not None else shipped()
    try:
        content = path.read_bytes()
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected, threshold = str(card["sha256"]), float(card["threshold"])
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot be read ({error.strerror}); a model is an .onnx and its .json"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.with_suffix('.json')}: not a model's card of ours ({error})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ModelError(f"{path}: not the file that its card names (SHA-256 differs); export it or install it again")
    if not 0 <= threshold <= 1:
        raise ModelError(f"{path.with_suffix('.json')}: threshold {threshold}; it must be from 0 to 1")
    return Weights(content, card)
