"""Find and load model files: an exported model (.onnx) and its card (.json with the same name).

The card names the SHA-256 of the model, so a model is never used with the settings of another one.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from numerals.errors import ModelError
from numerals.files import read_plain
from numerals.read import model_check

DIGIT_MODEL, ROW_MODEL = "reader.onnx", "rows.onnx"  # the models that come with numerals
MAX_CARD_BYTES = 2**20


@dataclass(frozen=True)
class ModelFile:
    """An exported model and its card."""

    content: bytes  # ONNX
    card: dict[str, Any]  # the JSON that `numerals export` wrote
    name: str  # what error messages call it

    @property
    def reads(self) -> str:
        """What it reads: "digits", one per picture, "rows" or "pages"."""
        return str(self.card["reads"])

    @property
    def threshold(self) -> float:
        """The is_digit below which a digit model rejects an image."""
        return float(self.card["threshold"])


def shipped_path(name: str = DIGIT_MODEL) -> Path:
    """Return the path of a model that comes with numerals."""
    return Path(str(resources.files("numerals"))) / "weights" / name


def load(path: str | Path | None = None, name: str = DIGIT_MODEL) -> ModelFile:
    """Load a model and its card.

    Args:
        path: of an exported model. It is inspected first; see `model_check`.
        name: the model that comes with numerals, if no path is given.

    Raises:
        ModelError: the model or its card is missing or invalid, or they do not belong together.
    """
    external, path = path is not None, Path(path) if path is not None else shipped_path(name)
    card_path = path.with_suffix(".json")
    if external:
        model_check.check_file(path)
    try:
        content = read_plain(path, model_check.MAX_FILE_BYTES)
        card = json.loads(read_plain(card_path, MAX_CARD_BYTES))
        sha256, threshold, reads = str(card["sha256"]), float(card["threshold"]), card["reads"]
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot be read ({error.strerror}); a model is an .onnx file and its .json card, "
            "as numerals export writes them"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{card_path}: not a model card ({error}); export the model again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: not the file that its card names (SHA-256 differs); export it or install it again")
    if external:
        model_check.check_content(content, str(path))
    if not 0 <= threshold <= 1:
        raise ModelError(f"{card_path}: threshold {threshold}; it must be from 0 to 1")
    if reads not in ("digits", "rows", "pages"):
        raise ModelError(f"{card_path}: reads {reads!r}; it must be digits, rows or pages")
    return ModelFile(content, card, str(path))
