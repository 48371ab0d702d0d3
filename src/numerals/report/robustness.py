"""How far a model can be trusted when a digit is not as clean as those it learnt from. Scores any `predict`.

Knows nothing about networks. What was reckoned is kept in the run folder, with the hashes of the weights and the digits
that it holds for, and reckoned anew when either is another.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.article.data import LabelledImages
from numerals.article.metrics import compute_metrics
from numerals.errors import RunError
from numerals.files import readable_json, write_atomically
from numerals.report.corruptions import CORRUPTIONS

DIGITS = 1000  # of the test digits, evenly spread, where not all are asked for
FILE = "robustness.json"

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Tried:
    """One corruption: the accuracy at each of its amounts, from mild to severe."""

    name: str
    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Robustness:
    """The accuracy on digits as they are, on each corruption, and the mean over all of those."""

    count: int
    clean: float
    mean: float
    corruptions: tuple[Tried, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def robustness(predict: Predict, digits: LabelledImages, count: int | None = DIGITS) -> Robustness:
    """Score `predict` on `count` of the digits, None for all, corrupted in every way: always the same ones."""
    images, labels = chosen(digits, count)

    def accuracy(changed: npt.NDArray[np.uint8]) -> float:
        return compute_metrics(predict(changed), labels).accuracy

    tried = tuple(
        Tried(
            each.name,
            each.amounts,
            tuple(accuracy(each.apply(images, severity)) for severity in range(1, len(each.amounts) + 1)),
        )
        for each in CORRUPTIONS.values()
    )
    mean = float(np.mean([each.accuracies for each in tried]))
    return Robustness(len(labels), accuracy(images), mean, tried)


def chosen(digits: LabelledImages, count: int | None) -> LabelledImages:
    """That many of the digits, evenly spread over all of them."""
    images, labels = digits
    if count is None or count >= len(labels):
        return digits
    places = np.arange(count) * len(labels) // count
    return images[places], labels[places]


def robustness_of(
    predict: Predict, digits: LabelledImages, count: int | None, weights_sha256: str, folder: Path | None
) -> Robustness:
    """What the run folder keeps of these weights on at least so many of these digits; else reckoned, and kept there.

    Raises:
        RunError: the kept file is damaged.
        StorageError: the disk is full or refuses.
    """
    if folder is None:
        return robustness(predict, digits, count)
    found = kept_robustness(folder, weights_sha256, digits)
    if found is None or found.count < len(chosen(digits, count)[1]):
        found = robustness(predict, digits, count)
        content = {"weights_sha256": weights_sha256, "digits_sha256": _sha256(digits), **found.to_dict()}
        write_atomically(folder / FILE, readable_json(content).encode())
    return found


def kept_robustness(folder: Path, weights_sha256: str, digits: LabelledImages) -> Robustness | None:
    """What the folder has for these weights and digits; None where it has nothing, or something of other ones.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if (found["weights_sha256"], found["digits_sha256"]) != (weights_sha256, _sha256(digits)):
            return None
        tried = tuple(_tried(each) for each in found["corruptions"])
        return Robustness(int(found["count"]), float(found["clean"]), float(found["mean"]), tried)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: cut or damaged ({error}); remove it and use --robustness again") from error


def _tried(kept: dict[str, Any]) -> Tried:
    amounts, accuracies = (tuple(map(float, kept[key])) for key in ("amounts", "accuracies"))
    if len(amounts) != len(accuracies) or kept["name"] not in CORRUPTIONS:
        raise ValueError(f"corruption {kept['name']}")
    return Tried(kept["name"], amounts, accuracies)


def _sha256(digits: LabelledImages) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in digits)).hexdigest()
