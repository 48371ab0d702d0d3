"""A kept run -> ONNX with its preprocessing inside, and its card. Checks that both answer the same, or fails.

Temperature and threshold are fitted on the validation digits; the test digits are only counted.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article import datasets
from numerals.article.data import Dataset, LabelledImages
from numerals.article.metrics import expected_calibration_error
from numerals.article.model import Images
from numerals.errors import FailureError, InputError
from numerals.export.calibration import choose_threshold, fit_temperature
from numerals.export.onnx_graph import AGREEMENT, to_onnx
from numerals.export.rows import row_card, row_graph
from numerals.files import storage_error, write_atomically
from numerals.handwriting.digits import NO_DIGIT, Synthesis
from numerals.read.model_files import ModelFile
from numerals.read.normalise import normalise
from numerals.read.recognise import Recogniser
from numerals.readers.digit_network import ReaderNetwork, answers
from numerals.readers.evaluate import open_run
from numerals.readers.recipes import RowRecipe
from numerals.readers.row_network import RowNet
from numerals.runs.folder import RunFolder
from numerals.runs.profiling import versions
from numerals.spec import CLASSES, MODEL_INPUT, MODEL_OUTPUTS, SIDE, WHITE

REJECTED = 0.004  # share of the validation digits that the threshold may turn away
MADE = 12_000  # samples made anew, on which the reader's card says how good it is
Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # probabilities (n, 10), is_digit (n,)
LIKE_MNIST = "uint8 (n, 28, 28) in [0, 255], white ink on black, in MNIST's form"


class Doubting(nn.Module):
    """A network of classes alone, with a logit of being a digit: of its own best probability (Hendrycks 2017)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.network(digits.unsqueeze(1).float() / WHITE)
        ranked = logits.topk(len(CLASSES), dim=1).values
        return logits, ranked[:, 0] - ranked[:, 1:].logsumexp(1)


class Exported(nn.Module):
    """A network as it answers: uint8 (n, 28, 28) -> calibrated probabilities (n, 10) and is_digit (n,)."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, being = self.network(digits)
        return (logits / self.temperature).softmax(1), being.sigmoid()


def export(run: str | Path, out: str | Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Write the run's network as `out`, RUN/model.onnx by default, and its card beside it (.json).

    Returns:
        The path, and the card.

    Raises:
        RunError, RecipeError, DataError, InputError: a mistake in what was passed.
        FailureError: ONNX answers other than torch; nothing was written.
        StorageError: the disk is full.
    """
    folder = RunFolder.open(run)
    path = Path(out) if out is not None else folder.path / "model.onnx"
    if path.suffix != ".onnx":
        raise InputError(f"--out {path}: a model's file ends in .onnx")
    _check_place(path)
    (recipe, network), dataset = open_run(folder), datasets.load(folder.data_source())
    validation = dataset.split(recipe.split.validation, recipe.split.random_state)[1]
    if isinstance(network, RowNet) and isinstance(recipe, RowRecipe):
        content = row_graph(network)
        card = row_card(content, validation)
    else:
        content, card = _digit_model(network, dataset, validation)
    made = {"recipe": recipe.model_dump(mode="json"), "seed": folder.seed(), "versions": versions()}
    common = {"sha256": hashlib.sha256(content).hexdigest(), "classes": list(CLASSES), "data": dataset.name}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = {**common, **card, "parameters": parameters, **made}
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return path, card


def _check_place(path: Path) -> None:
    """Whether both files may be written, before minutes are spent on them."""
    card = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = not card.exists() or {"sha256", "reads"} <= set(json.loads(card.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        known = False
    except OSError as error:
        raise storage_error(error, path.parent) from error
    if not known:
        raise InputError(f"--out {path}: {card} is there and no model's card; choose another name")


def _digit_model(network: nn.Module, dataset: Dataset, validation: LabelledImages) -> tuple[bytes, dict[str, Any]]:
    """The graph of a network that reads one digit a picture, checked, and what its card says."""
    reads = isinstance(network, ReaderNetwork)
    answering = network.eval() if reads else Doubting(network).eval()
    in_form = normalise if reads else np.asarray  # another data set's pictures would not survive it
    images, labels = validation
    logits, being = answers(answering, in_form(images))
    temperature, threshold = fit_temperature(logits, labels), choose_threshold(being, REJECTED)
    exported = Exported(answering, temperature).eval()
    axes = {name: {0: "n"} for name in (MODEL_INPUT, *MODEL_OUTPUTS)}
    example = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    content = to_onnx(exported, example, [MODEL_INPUT], MODEL_OUTPUTS, axes)
    recogniser = Recogniser(ModelFile(content, {}, "the export"))
    check_agreement(exported, recogniser, dataset.test[0])
    probabilities, _ = recogniser(in_form(images))
    right = probabilities.argmax(axis=1) == labels
    accuracy = {
        "validation": float(right.mean()),
        "test": float((recogniser(in_form(dataset.test[0]))[0].argmax(axis=1) == dataset.test[1]).mean()),
    }
    if reads:
        accuracy |= _made_anew(recogniser, validation, threshold)
    return content, {
        "reads": "digits",
        "input": f"{MODEL_INPUT}: {LIKE_MNIST}",
        "outputs": "probabilities: float32 (n, 10), calibrated; is_digit: float32 (n,) in [0, 1]",
        "preprocessing": "inside the model: divided by 255",
        "temperature": temperature,
        "threshold": threshold,
        "accuracy": accuracy,
        "calibration_error": expected_calibration_error(probabilities.max(axis=1), right),
    }


def check_agreement(exported: nn.Module, recogniser: Callable[[Images], Outputs], images: Images) -> None:
    """The same class for every one of the images, and every number within AGREEMENT.

    Raises:
        FailureError: they differ.
    """
    theirs, their_being = recogniser(images)
    ours, being = answers(exported, images)
    others = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    apart = max(float(np.abs(ours - theirs).max()), float(np.abs(being - their_being).max()))
    if others or not apart <= AGREEMENT:
        raise FailureError(
            f"ONNX answers other than torch: another class for {others} of {len(images)} digits, {apart:.1e} apart"
        )


def _made_anew(recogniser: Recogniser, validation: LabelledImages, threshold: float) -> dict[str, float]:
    """How good the reader is on validation digits written anew, and on strangers."""
    made, truth = Synthesis(validation).batch(1, np.arange(MADE))
    probabilities, being = recogniser(made)
    real, rejected = truth != NO_DIGIT, being < threshold
    return {
        "written anew": float((probabilities.argmax(axis=1) == truth)[real].mean()),
        "written anew, rejected": float(rejected[real].mean()),
        "no digits, rejected": float(rejected[~real].mean()),
    }
