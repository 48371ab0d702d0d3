"""Which model reads, where it is, and whether it is the one that its card names. Knows nothing about running it."""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from numerals.errors import ModelError
from numerals.read import model_check

DIGIT_MODEL, ROW_MODEL = "reader.onnx", "rows.onnx"  # the models that ship: one digit a picture, and whole rows


@dataclass(frozen=True)
class ModelFile:
    """An exported model, checked against its card."""

    content: bytes  # ONNX
    card: dict[str, Any]
    name: str  # what an error calls it

    @property
    def reads_rows(self) -> bool:
        """Whether it reads rows, else one digit a picture."""
        return bool(self.card["reads"] == "rows")

    @property
    def threshold(self) -> float:
        """is_digit under which a picture is rejected."""
        return float(self.card["threshold"])


def shipped_path(name: str = DIGIT_MODEL) -> Path:
    """A model that comes with the package."""
    return Path(str(resources.files("numerals"))) / "weights" / name


def load(path: str | Path | None = None, name: str = DIGIT_MODEL) -> ModelFile:
    """The model at `path`, or the one of that name that ships, with its card: the .json of the same name beside it.

    One from elsewhere is looked into before anybody opens it: `inspection`.

    Raises:
        ModelError: there is none, its card is missing or no card of ours, it is not the file that its card names, or
            it has what none of ours has.
        MissingError: it is from elsewhere, and onnx, to look into it, is not installed.
    """
    given, path = path is not None, Path(path) if path is not None else shipped_path(name)
    if given:
        model_check.check_file(path)
    try:
        content = path.read_bytes()
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected, threshold, reads = str(card["sha256"]), float(card["threshold"]), card["reads"]
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot be read ({error.strerror}); a model is an .onnx and its .json, "
            "as numerals export writes them"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.with_suffix('.json')}: not a model's card of ours ({error})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ModelError(f"{path}: not the file that its card names (SHA-256 differs); export it or install it again")
    if given and not any(content == shipped_path(ours).read_bytes() for ours in (DIGIT_MODEL, ROW_MODEL)):
        model_check.check_content(content, str(path))
    if not 0 <= threshold <= 1:
        raise ModelError(f"{path.with_suffix('.json')}: threshold {threshold}; it must be from 0 to 1")
    if reads not in ("digits", "rows"):
        raise ModelError(f"{path.with_suffix('.json')}: reads {reads!r}; it must be digits or rows")
    return ModelFile(content, card, str(path))
