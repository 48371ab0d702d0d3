"""Find and load model files: an exported model (.onnx) with its card in it, and next to it (.json with the same name).

A card names the SHA-256 of the model, so a model is never used with the settings of another one: the card next to the
file that of the whole file, the card inside that of what precedes it.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from numerals.errors import ModelError
from numerals.files import read_plain, url_message
from numerals.read import model_check

DIGIT_MODEL, ROW_MODEL = "reader.onnx", "rows.onnx"  # the models that come with numerals
MAX_CARD_BYTES = 2**20
CARD_INSIDE = "numerals.card"  # the key of the card in the metadata of an ONNX file


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
        beside = read_plain(card_path, MAX_CARD_BYTES) if os.path.lexists(card_path) else None
    except OSError as error:
        raise ModelError(
            url_message(path)
            or f"{error.filename}: cannot be read ({error.strerror}); give an .onnx file that numerals export wrote"
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if beside is not None:
        card = _parse(beside, str(card_path))
        _check_hash(sha256, card, path)
    if external:
        model_check.check_content(content, str(path))
    if beside is None:
        card = _card_inside(content, path) | {"sha256": sha256}
    return ModelFile(content, card, str(path))


def with_card(content: bytes, card: str) -> bytes:
    """Return an ONNX file with a card in it.

    Args:
        content: of the file without a card.
        card: JSON.
    """
    import onnx  # here, because reading with the included models does not need it

    entry = onnx.StringStringEntryProto(key=CARD_INSIDE, value=card)
    # protobuf takes messages in a row for one
    return content + bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString())


def _card_inside(content: bytes, path: Path) -> dict[str, Any]:
    import onnx

    metadata = {each.key: each.value for each in onnx.ModelProto.FromString(content).metadata_props}
    if CARD_INSIDE not in metadata:
        raise ModelError(
            f"{path}: no card in it, and no {path.with_suffix('.json').name} next to it; export the model again"
        )
    text = metadata[CARD_INSIDE]
    if not isinstance(text, str) or len(text) > MAX_CARD_BYTES:  # protobuf gives bytes if it is not UTF-8
        raise ModelError(f"{path}: the card inside is not UTF-8, or too large; export the model again")
    card = _parse(text, f"{path}: the card inside")
    model = content.removesuffix(with_card(b"", text))
    _check_hash(hashlib.sha256(model).hexdigest(), card, path)
    return card


def _parse(text: str | bytes, name: str) -> dict[str, Any]:
    """Parse a card and check what every card has."""
    try:
        card: dict[str, Any] = json.loads(text)
        threshold, reads, _ = float(card["threshold"]), card["reads"], card["sha256"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{name}: not a model card ({error}); export the model again") from error
    if not 0 <= threshold <= 1:
        raise ModelError(f"{name}: threshold {threshold}; it must be from 0 to 1")
    if reads not in ("digits", "rows", "pages"):
        raise ModelError(f"{name}: reads {reads!r}; it must be digits, rows or pages")
    return card


def _check_hash(sha256: str, card: dict[str, Any], path: Path) -> None:
    if card["sha256"] != sha256:
        raise ModelError(f"{path}: not the file that its card names (SHA-256 differs); export it or install it again")
