"""Export the network that reads rows of digits.

`StripReader` combines the answers of the row model with those of the digit model. How much weight the digit model has,
how confidences are calibrated, and below which evidence a row is rejected are fitted here, on synthetic rows written
with the validation digits and on rows of non-digits.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import LabelledImages
from numerals.article.metrics import expected_calibration_error
from numerals.export.calibration import fit_platt_scaling
from numerals.export.model_card import ExportedModel
from numerals.export.onnx_graph import MAX_DIFFERENCE, check_difference, to_onnx
from numerals.handwriting.glyphs import prepare_glyphs
from numerals.handwriting.rows import synthesise_non_digit_row
from numerals.read.model_files import ModelFile
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import Candidate, StripReader, StripReaderSettings
from numerals.read.strips import STRIP_HEIGHT
from numerals.readers.row_network import RowNetwork
from numerals.readers.train_rows import FIRST_VALIDATION_ROW, synthesise_rows
from numerals.results import Row
from numerals.spec import ROWS_INPUT, ROWS_OUTPUT

VALIDATION_ROWS = 1500  # synthetic rows to calibrate on
NON_DIGIT_ROWS = 400
REJECTION_RATE = 0.01  # share of the correctly read rows below the evidence threshold
EXPONENTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # candidates for each of the digit model's two outputs
WIDTHS = (8, 33, 64, 150, 401)  # of the strips on which ONNX is compared with PyTorch, in pixels


class RowModel(nn.Module):
    """The exported graph: the row network followed by softmax."""

    def __init__(self, network: RowNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        """uint8 (n, 1, 40, w) in [0, 255], bright ink -> probabilities (n, ceil(w / 2), 11), blank first."""
        logits: torch.Tensor = self.network(strips)
        return logits.softmax(2)


def export_row_model(network: RowNetwork, validation: LabelledImages) -> ExportedModel:
    """Convert the row network to ONNX, check it against PyTorch, and calibrate it with the shipped digit model.

    Args:
        network: in evaluation mode.
        validation: digits uint8 (n, 28, 28), white ink on black, and labels; the synthetic rows are written with them.

    Raises:
        FailureError: ONNX and PyTorch disagree.
    """
    content = row_network_to_onnx(network)
    rows = synthesise_rows(prepare_glyphs(*validation), 0, FIRST_VALIDATION_ROW, VALIDATION_ROWS)
    reader = StripReader(RowRecogniser(ModelFile(content, {}, "the export")), Recogniser(), StripReaderSettings())
    candidates, truths = [reader.propose(strip) for strip, _ in rows], [digits for _, digits in rows]
    right_alone = _right([reader.choose(row_candidates) for row_candidates in candidates], truths)

    exponents = StripReaderSettings(*fit_exponents(candidates, truths))
    reader = replace(reader, settings=fit_calibration(replace(reader, settings=exponents), candidates, truths))
    readings = [reader.choose(row_candidates) for row_candidates in candidates]
    right = _right(readings, truths)
    evidence = np.array([reading.evidence for reading in readings])
    has_digits = np.array([len(digits) > 0 for digits in truths])
    non_digits = [reader(synthesise_non_digit_row(0, index)).evidence for index in range(NON_DIGIT_ROWS)]
    threshold = float(np.quantile(evidence[right & has_digits], REJECTION_RATE)) if (right & has_digits).any() else 0.0
    confidence = np.array([reading.confidence for reading in readings])
    return ExportedModel(
        content,
        reads="rows",
        input=f"{ROWS_INPUT}: uint8 (n, 1, {STRIP_HEIGHT}, w) in [0, 255], ink bright, as read/strips.py makes them",
        outputs=f"{ROWS_OUTPUT}: float32 (n, ceil(w / 2), 11), blank first, then 0 to 9 (CTC)",
        preprocessing="inside the model: scaled and shifted",
        threshold=threshold,
        accuracy={
            "drawn rows, without the digit model": float(right_alone.mean()),
            "drawn rows": float(right.mean()),
            "strange rows, rejected": float((np.array(non_digits) < threshold).mean()),
        },
        calibration_error=expected_calibration_error(confidence, right),
        settings=reader.settings,
    )


def row_network_to_onnx(network: RowNetwork) -> bytes:
    """Convert the row network, with softmax, to an ONNX file.

    Raises:
        FailureError: ONNX and PyTorch disagree.
    """
    model = RowModel(network).eval()
    example = torch.zeros((1, 1, STRIP_HEIGHT, 64), dtype=torch.uint8)
    axes = {ROWS_INPUT: {0: "n", 3: "w"}, ROWS_OUTPUT: {0: "n", 1: "steps"}}
    content = to_onnx(model, example, [ROWS_INPUT], [ROWS_OUTPUT], axes)
    check_difference(max_difference(model, content), MAX_DIFFERENCE)
    return content


def max_difference(model: nn.Module, content: bytes) -> float:
    """The largest difference in probability between PyTorch and ONNX, over strips of noise of several widths."""
    recogniser = RowRecogniser(ModelFile(content, {}, "the export"))
    rng, difference = np.random.default_rng(0), 0.0
    for width in WIDTHS:
        strips = rng.integers(0, 256, (2, 1, STRIP_HEIGHT, width), dtype=np.uint8)
        with torch.inference_mode():
            probabilities = model(torch.from_numpy(strips)).numpy()
        difference = max(difference, float(np.abs(probabilities - recogniser(strips)).max()))
    return difference


def fit_exponents(candidates: list[list[Candidate]], truths: list[list[int]]) -> tuple[float, float]:
    """Choose how much weight the two outputs of the digit model have in the choice between candidate readings.

    The weights are exponents; of all pairs of EXPONENTS the one is chosen that makes the right readings most likely.
    Rows whose right reading is not among the candidates are ignored.

    Args:
        candidates: the candidate readings of each row.
        truths: the digits of each row.

    Returns:
        The exponents of the class probabilities and of is_digit: the first two fields of `StripReaderSettings`.
    """
    rows = [
        (row_candidates, is_right)
        for row_candidates, truth in zip(candidates, truths, strict=True)
        if any(is_right := [list(candidate.hypothesis.digits) == truth for candidate in row_candidates])
    ]

    def log_likelihood(exponents: tuple[float, float]) -> float:
        settings = StripReaderSettings(*exponents)
        scores = [np.array([candidate.score(settings) for candidate in row_candidates]) for row_candidates, _ in rows]
        return float(
            np.sum([np.log(s[is_right].sum() / s.sum()) for s, (_, is_right) in zip(scores, rows, strict=True)])
        )

    return max(product(EXPONENTS, EXPONENTS), key=log_likelihood)


def fit_calibration(
    reader: StripReader, candidates: list[list[Candidate]], truths: list[list[int]]
) -> StripReaderSettings:
    """Fit Platt scaling for the confidences of rows and of single digits.

    Digits are only counted in rows that have the right number of them.

    Returns:
        The settings of `reader` with both calibrations fitted.
    """
    readings = [reader.choose(row_candidates) for row_candidates in candidates]
    row = fit_platt_scaling(np.array([reading.confidence for reading in readings]), _right(readings, truths))
    digits = [
        (digit.confidence, digit.digit == label)
        for reading, truth in zip(readings, truths, strict=True)
        if len(reading.digits) == len(truth)
        for digit, label in zip(reading.digits, truth, strict=True)
    ]
    digit = fit_platt_scaling(
        np.array([confidence for confidence, _ in digits]), np.array([right for _, right in digits])
    )
    return replace(reader.settings, digit_calibration=digit, row_calibration=row)


def _right(readings: list[Row], truths: list[list[int]]) -> npt.NDArray[np.bool_]:
    """Whether each row is read without a mistake."""
    return np.array([row.text == "".join(map(str, truth)) for row, truth in zip(readings, truths, strict=True)])
