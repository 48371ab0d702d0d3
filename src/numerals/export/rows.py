"""The row network -> ONNX, and what its card says of how to take its answers. Checks that both answer the same.

How much the digit model has a say, how confidences are calibrated and what is no row of digits: all chosen on rows that
are written with the validation digits, and on rows of things that are no digits.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import LabelledImages
from numerals.article.metrics import expected_calibration_error
from numerals.errors import FailureError
from numerals.export.calibration import fit_sureness
from numerals.export.onnx_graph import AGREEMENT, to_onnx
from numerals.handwriting.glyphs import glyphs_of
from numerals.handwriting.rows import strange_row
from numerals.read.model_files import ModelFile
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import Proposal, StripReader, StripReaderSettings, StripReading
from numerals.read.strips import STRIP_HEIGHT
from numerals.readers.row_network import RowNet
from numerals.readers.train_rows import VALIDATION, drawn
from numerals.spec import ROWS_INPUT, ROWS_OUTPUT

JUDGED = 1500  # rows drawn to choose by
STRANGE = 400  # rows of what is no digit
LOST = 0.01  # share of the rows that are read right that may be taken for none
EXPONENTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # that are tried for each of the digit model's two answers


def row_graph(network: RowNet) -> bytes:
    """The ONNX file.

    Raises:
        FailureError: torch and ONNX do not agree.
    """
    model = Probabilities(network).eval()
    example = torch.zeros((1, 1, STRIP_HEIGHT, 64), dtype=torch.uint8)
    axes = {ROWS_INPUT: {0: "n", 3: "w"}, ROWS_OUTPUT: {0: "n", 1: "steps"}}
    content = to_onnx(model, example, [ROWS_INPUT], [ROWS_OUTPUT], axes)
    apart = difference(model, content)
    if not apart <= AGREEMENT:
        raise FailureError(f"ONNX answers other than torch: {apart:.2g} apart in probability")
    return content


class Probabilities(nn.Module):
    """The network with its last step: what is exported."""

    def __init__(self, network: RowNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(strips)
        return logits.softmax(2)


def difference(model: nn.Module, content: bytes) -> float:
    """The largest difference in probability over strips of noise of many widths."""
    recogniser = RowRecogniser(ModelFile(content, {}, "the export"))
    chance, apart = np.random.default_rng(0), 0.0
    for width in (8, 33, 64, 150, 401):
        strips = chance.integers(0, 256, (2, 1, STRIP_HEIGHT, width), dtype=np.uint8)
        with torch.inference_mode():
            ours = model(torch.from_numpy(strips)).numpy()
        apart = max(apart, float(np.abs(ours - recogniser(strips)).max()))
    return apart


def row_card(content: bytes, validation: LabelledImages) -> dict[str, Any]:
    """What is chosen on drawn rows, and how good the model is on them, with the digit model that ships beside it."""
    glyphs = glyphs_of(*validation)
    rows = drawn(glyphs, 0, VALIDATION, JUDGED)
    read = StripReader(RowRecogniser(ModelFile(content, {}, "the export")), Recogniser(), StripReaderSettings())
    proposals, truths = [read.propose(strip) for strip, _ in rows], [digits for _, digits in rows]
    alone = _right([read.choose(each) for each in proposals], truths)
    opinion = choose_opinion(proposals, truths)
    settings = calibrate(replace(read.settings, named=opinion[0], being=opinion[1]), read, proposals, truths)
    read.settings = settings
    readings = [read.choose(each) for each in proposals]
    right = _right(readings, truths)
    evidence = np.array([reading.evidence for reading in readings])
    written = np.array([len(digits) > 0 for digits in truths])
    strange = [read(strange_row(0, index)).evidence for index in range(STRANGE)]
    threshold = float(np.quantile(evidence[right & written], LOST)) if (right & written).any() else 0.0
    confidence = np.array([reading.confidence for reading in readings])
    return {
        "reads": "rows",
        "input": f"{ROWS_INPUT}: uint8 (n, 1, {STRIP_HEIGHT}, w) in [0, 255], ink bright, as read/strips.py makes them",
        "outputs": f"{ROWS_OUTPUT}: float32 (n, ceil(w / 2), 11), blank first, then 0 to 9 (CTC)",
        "preprocessing": "inside the model: scaled and shifted",
        "opinion": {"named": opinion[0], "being": opinion[1]},
        "calibration": {"digit": settings.digit, "row": settings.row},
        "threshold": threshold,
        "accuracy": {
            "drawn rows, without the digit model": float(alone.mean()),
            "drawn rows": float(right.mean()),
            "strange rows, rejected": float((np.array(strange) < threshold).mean()),
        },
        "calibration_error": expected_calibration_error(confidence, right),
    }


def choose_opinion(proposals: list[list[Proposal]], truths: list[list[int]]) -> tuple[float, float]:
    """The exponents of the digit model's two answers that make the right readings most probable among the proposals.

    Rows whose right reading was not proposed have no say.
    """
    rows = [
        (each, right)
        for each, truth in zip(proposals, truths, strict=True)
        if any(right := [list(proposal.candidate.digits) == truth for proposal in each])
    ]
    pairs = [(named, being) for named in EXPONENTS for being in EXPONENTS]

    def likelihood(pair: tuple[float, float]) -> float:
        settings = StripReaderSettings(*pair)
        weights = [np.array([proposal.weight(settings) for proposal in each]) for each, _ in rows]
        return float(np.sum([np.log(w[right].sum() / w.sum()) for w, (_, right) in zip(weights, rows, strict=True)]))

    return max(pairs, key=likelihood)


def calibrate(
    settings: StripReaderSettings, read: StripReader, proposals: list[list[Proposal]], truths: list[list[int]]
) -> StripReaderSettings:
    """The settings with confidences that are the share of right answers: of rows, and of their digits.

    Digits are counted in rows that have as many as they should.
    """
    readings = [StripReader(read.rows, read.digits, settings).choose(each) for each in proposals]
    row = fit_sureness(np.array([reading.confidence for reading in readings]), _right(readings, truths))
    counted = [pair for pair in zip(readings, truths, strict=True) if len(pair[0].digits) == len(pair[1])]
    sure = np.array([confidence for reading, _ in counted for confidence in reading.confidences])
    true = np.array([d == t for reading, truth in counted for d, t in zip(reading.digits, truth, strict=True)])
    return replace(settings, digit=fit_sureness(sure, true), row=row)


def _right(readings: list[StripReading], truths: list[list[int]]) -> npt.NDArray[np.bool_]:
    """Which rows are read exactly."""
    return np.array([list(reading.digits) == truth for reading, truth in zip(readings, truths, strict=True)])
