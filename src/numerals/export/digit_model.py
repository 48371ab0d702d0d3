"""Export a network that names one digit per picture: the article's network, or the digit network that reads.

The article's network only has ten classes; `WithIsDigit` adds an estimate of whether the picture is a digit at all.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import Images, LabelledImages
from numerals.article.metrics import expected_calibration_error
from numerals.errors import FailureError
from numerals.export.calibration import choose_threshold, fit_temperature
from numerals.export.model_card import ExportedModel
from numerals.export.onnx_graph import MAX_DIFFERENCE, to_onnx
from numerals.handwriting.digits import NON_DIGIT, Synthesis
from numerals.read.model_files import ModelFile
from numerals.read.normalise import normalise
from numerals.read.recognise import Recogniser
from numerals.readers.digit_network import DigitNetwork, predict_logits
from numerals.spec import CLASSES, MODEL_INPUT, MODEL_OUTPUTS, SIDE, WHITE

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # probabilities (n, 10) and is_digit (n,)

REJECTION_RATE = 0.004  # share of the validation digits below the threshold
SYNTHETIC_SAMPLES = 12_000  # synthetic digits and non-digits on which the digit network is measured


class WithIsDigit(nn.Module):
    """A classifier with a second output: a logit of being a digit, log(p / (1 - p)) of its best probability p.

    The maximum softmax probability tells unusual pictures from usual ones (Hendrycks and Gimpel 2017).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (n, 28, 28) in [0, 255], white ink on black -> logits (n, 10) and is_digit logits (n,)."""
        logits = self.network(digits.unsqueeze(1).float() / WHITE)
        ranked = logits.topk(len(CLASSES), dim=1).values
        return logits, ranked[:, 0] - ranked[:, 1:].logsumexp(1)


class CalibratedDigitModel(nn.Module):
    """The exported graph: a network with two outputs, its logits divided by a temperature and made probabilities."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (n, 28, 28) in [0, 255], white ink on black -> probabilities (n, 10) and is_digit (n,) in [0, 1]."""
        logits, is_digit_logits = self.network(digits)
        return (logits / self.temperature).softmax(1), is_digit_logits.sigmoid()


def export_digit_model(network: nn.Module, validation: LabelledImages, test: LabelledImages) -> ExportedModel:
    """Convert a digit classifier to ONNX, check it against PyTorch, and calibrate it.

    Args:
        network: the article's network, or a `DigitNetwork`.
        validation: digits uint8 (n, 28, 28), white ink on black, and labels; temperature and threshold are fitted on
            them.
        test: digits and labels, to compare ONNX with PyTorch and to measure the accuracy.

    Raises:
        FailureError: ONNX and PyTorch disagree on the test digits.
    """
    is_reader = isinstance(network, DigitNetwork)
    classifier = network.eval() if is_reader else WithIsDigit(network).eval()
    prepare = normalise if is_reader else np.asarray  # pictures of other data sets would not survive `normalise`
    images, labels = validation
    logits, is_digit_logits = predict_logits(classifier, prepare(images))
    temperature, threshold = fit_temperature(logits, labels), choose_threshold(is_digit_logits, REJECTION_RATE)

    model = CalibratedDigitModel(classifier, temperature).eval()
    axes = {name: {0: "n"} for name in (MODEL_INPUT, *MODEL_OUTPUTS)}
    example = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    content = to_onnx(model, example, [MODEL_INPUT], MODEL_OUTPUTS, axes)
    recogniser = Recogniser(ModelFile(content, {}, "the export"))
    check_agreement(model, recogniser, test[0])

    probabilities, _ = recogniser(prepare(images))
    right = probabilities.argmax(axis=1) == labels
    accuracy = {
        "validation": float(right.mean()),
        "test": float((recogniser(prepare(test[0]))[0].argmax(axis=1) == test[1]).mean()),
    }
    if is_reader:
        accuracy |= _synthetic_accuracy(recogniser, validation, threshold)
    return ExportedModel(
        content,
        reads="digits",
        input=f"{MODEL_INPUT}: uint8 (n, 28, 28) in [0, 255], white ink on black, in MNIST's form",
        outputs="probabilities: float32 (n, 10), calibrated; is_digit: float32 (n,) in [0, 1]",
        preprocessing="inside the model: divided by 255",
        threshold=threshold,
        accuracy=accuracy,
        calibration_error=expected_calibration_error(probabilities.max(axis=1), right),
        temperature=temperature,
    )


def check_agreement(model: nn.Module, recogniser: Callable[[Images], Outputs], images: Images) -> None:
    """Check that ONNX gives the class of PyTorch for every image, and every output within MAX_DIFFERENCE.

    Raises:
        FailureError: they disagree.
    """
    onnx_probabilities, onnx_is_digit = recogniser(images)
    probabilities, is_digit = predict_logits(model, images)
    other_classes = int((probabilities.argmax(axis=1) != onnx_probabilities.argmax(axis=1)).sum())
    difference = max(
        float(np.abs(probabilities - onnx_probabilities).max()), float(np.abs(is_digit - onnx_is_digit).max())
    )
    if other_classes or not difference <= MAX_DIFFERENCE:  # `not` so that NaN fails too
        raise FailureError(
            f"ONNX and PyTorch disagree: another class for {other_classes} of {len(images)} digits, "
            f"outputs up to {difference:.1e} apart (at most {MAX_DIFFERENCE:.0e})"
        )


def _synthetic_accuracy(recogniser: Recogniser, validation: LabelledImages, threshold: float) -> dict[str, float]:
    """Accuracy and rejections on synthetic handwriting made from the validation digits, and on non-digits."""
    images, labels = Synthesis(validation).batch(1, np.arange(SYNTHETIC_SAMPLES))
    probabilities, is_digit = recogniser(images)
    digits, rejected = labels != NON_DIGIT, is_digit < threshold
    return {
        "written anew": float((probabilities.argmax(axis=1) == labels)[digits].mean()),
        "written anew, rejected": float(rejected[digits].mean()),
        "no digits, rejected": float(rejected[~digits].mean()),
    }
