"""Measure the accuracy of a model on corrupted digits, and keep the result in the run folder.

`robustness.json` names the hashes of the weights and of the digits that it was measured with; if either differs, the
robustness is measured again.
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
from numerals.files import read_plain, readable_json, write_atomically
from numerals.report.corruptions import CORRUPTIONS
from numerals.runs.folder import MAX_TEXT_BYTES

DEFAULT_COUNT = 1000  # test digits, unless all are asked for
FILE_NAME = "robustness.json"

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class CorruptionScore:
    """The accuracy under one corruption at each severity, mildest first."""

    name: str
    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]  # in [0, 1]


@dataclass(frozen=True)
class Robustness:
    """The accuracy on clean digits and under each corruption, in [0, 1]."""

    count: int  # digits
    clean: float
    mean: float  # over all corruptions and severities
    corruptions: tuple[CorruptionScore, ...]


def measure_robustness(predict: Predict, digits: LabelledImages, count: int | None = DEFAULT_COUNT) -> Robustness:
    """Measure the accuracy on clean digits and on every corruption of them at every severity.

    The same digits are always corrupted in the same way.

    Args:
        predict: uint8 (n, 28, 28) in [0, 255], white ink on black -> probabilities (n, 10).
        digits: images and labels.
        count: how many of the digits to use, evenly spaced; None for all.
    """
    images, labels = evenly_spaced(digits, count)

    def accuracy(corrupted: npt.NDArray[np.uint8]) -> float:
        return compute_metrics(predict(corrupted), labels).accuracy

    scores = tuple(
        CorruptionScore(
            corruption.name,
            corruption.amounts,
            tuple(accuracy(corruption.apply(images, severity)) for severity in corruption.severities),
        )
        for corruption in CORRUPTIONS.values()
    )
    mean = float(np.mean([each.accuracies for each in scores]))
    return Robustness(len(labels), accuracy(images), mean, scores)


def evenly_spaced(digits: LabelledImages, count: int | None) -> LabelledImages:
    """`count` of the digits at even distances; all of them for None or if there are not more."""
    images, labels = digits
    if count is None or count >= len(labels):
        return digits
    indices = np.arange(count) * len(labels) // count
    return images[indices], labels[indices]


def cached_robustness(
    predict: Predict, digits: LabelledImages, count: int | None, weights_sha256: str, folder: Path | None
) -> Robustness:
    """Load the robustness from the run folder, or measure and save it if there is none for these weights and digits.

    A saved result on more than `count` digits is used as well.

    Args:
        predict, digits, count: as in `measure_robustness`.
        weights_sha256: hash of the weights that `predict` uses.
        folder: the run folder; None for a model without one, whose robustness is always measured.

    Raises:
        RunError: robustness.json is damaged.
        StorageError: the disk is full or read-only.
    """
    if folder is None:
        return measure_robustness(predict, digits, count)
    robustness = load_robustness(folder, weights_sha256, digits)
    if robustness is None or robustness.count < len(evenly_spaced(digits, count)[1]):
        robustness = measure_robustness(predict, digits, count)
        content = {"weights_sha256": weights_sha256, "digits_sha256": _sha256(digits), **asdict(robustness)}
        write_atomically(folder / FILE_NAME, readable_json(content).encode())
    return robustness


def load_robustness(folder: Path, weights_sha256: str, digits: LabelledImages) -> Robustness | None:
    """Load the robustness of these weights on these digits from a run folder.

    Returns:
        None if the folder has none, or one of other weights or digits.

    Raises:
        RunError: robustness.json is damaged.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        content = json.loads(read_plain(path, MAX_TEXT_BYTES))
        if (content["weights_sha256"], content["digits_sha256"]) != (weights_sha256, _sha256(digits)):
            return None
        scores = tuple(_corruption_score(each) for each in content["corruptions"])
        return Robustness(int(content["count"]), float(content["clean"]), float(content["mean"]), scores)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{path}: cut or damaged ({error}); remove it and use --robustness again") from error


def _corruption_score(content: dict[str, Any]) -> CorruptionScore:
    amounts, accuracies = (tuple(map(float, content[key])) for key in ("amounts", "accuracies"))
    if len(amounts) != len(accuracies) or content["name"] not in CORRUPTIONS:
        raise ValueError(f"corruption {content['name']}")
    return CorruptionScore(content["name"], amounts, accuracies)


def _sha256(digits: LabelledImages) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in digits)).hexdigest()
