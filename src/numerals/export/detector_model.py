"""Export the network that finds digits on a page."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import LabelledImages
from numerals.export.calibration import fit_platt_scaling
from numerals.export.model_card import ExportedModel
from numerals.export.onnx_graph import check_difference, to_onnx
from numerals.handwriting.glyphs import prepare_glyphs
from numerals.handwriting.pages import SyntheticPage, synthesise_page
from numerals.read.cutouts import cut_out
from numerals.read.detect import Detections, decode, without_overlaps
from numerals.read.detector_reader import DetectorReader, DetectorReaderSettings, combine
from numerals.read.model_files import ModelFile
from numerals.read.page_contrast import contrast_planes
from numerals.read.picture import Picture
from numerals.read.pixels import DigitImages
from numerals.read.recognise import PageDetector, Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.read.text_rows import group_rows
from numerals.readers.detector_network import DetectorNetwork
from numerals.readers.train_detector import CUT_OFF, count_right, match
from numerals.spec import DETECTOR_INPUT, DETECTOR_OUTPUT

FIRST_VALIDATION_PAGE = 1 << 40  # page numbers, far from those of training
VALIDATION_PAGES = 300
EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)  # candidates for the weight of the digit model
MAX_LOGIT_DIFFERENCE = 1e-2  # between PyTorch and ONNX; logits go up to about 20
SIZES = ((64, 96), (256, 256), (320, 32))  # of the pages on which they are compared, in pixels


def export_detector(network: DetectorNetwork, validation: LabelledImages) -> ExportedModel:
    """Convert a detector to ONNX, check it against PyTorch, and calibrate it with the shipped digit and row models.

    Args:
        network: in evaluation mode.
        validation: digits uint8 (n, 28, 28), white ink on black, and labels; the pages are written with them.

    Raises:
        FailureError: ONNX and PyTorch disagree.
    """
    content = detector_to_onnx(network)
    detector = PageDetector(ModelFile(content, {}, "the export"))
    glyphs, found = prepare_glyphs(*validation), np.zeros(3, np.int64)
    pages = [synthesise_page(glyphs, 0, FIRST_VALIDATION_PAGE + number) for number in range(VALIDATION_PAGES)]
    digits = []
    for page in pages:
        detections = without_overlaps(decode(detector(contrast_planes(page.picture))))
        found += count_right(detections, page)
        digits.append(_Digits(detections, cut_out(page.picture, detections), match(detections, page)))
    reader = DetectorReader(detector, Recogniser(), _strip_reader())
    settings = fit_settings(reader, [each for each in digits if len(each.truth)])
    confidence, right = read_rows(replace(reader, settings=settings), pages)
    settings = replace(settings, row_calibration=fit_platt_scaling(confidence, right))
    right_digits, written, extra = found.tolist()
    return ExportedModel(
        content,
        reads="pages",
        input=f"{DETECTOR_INPUT}: uint8 (n, 2, h, w), multiples of 32 pixels, as read/page_contrast.py makes them",
        outputs=f"{DETECTOR_OUTPUT}: float32 (n, 15, h / 4, w / 4), as read/detect.py decodes them",
        preprocessing="inside the model: scaled and shifted",
        threshold=settings.threshold,
        accuracy={
            "written digits found and named": right_digits / max(written, 1),
            "found where none is written": extra / max(written, 1),
            "rows read": float(right.mean()) if len(right) else 0.0,
        },
        page_settings=settings,
    )


@dataclass(frozen=True)
class _Digits:
    """The detections of a page, their cut-outs, and what is written there."""

    detections: Detections
    images: DigitImages
    truth: npt.NDArray[np.int64]  # as `match` returns it


def _strip_reader() -> StripReader:
    row_recogniser = RowRecogniser()
    return StripReader(row_recogniser, Recogniser(), StripReaderSettings.from_card(row_recogniser.model.card))


def fit_settings(reader: DetectorReader, pages: list[_Digits]) -> DetectorReaderSettings:
    """Choose the weight of the digit model that makes the right digits most probable, and calibrate digits."""

    by_digit_model = [reader.digit_model(each.images)[0] for each in pages]

    def joint(exponent: float) -> list[npt.NDArray[np.float32]]:
        return [
            combine(each.detections.probabilities, probabilities, exponent)
            for each, probabilities in zip(pages, by_digit_model, strict=True)
        ]

    def log_likelihood(exponent: float) -> float:
        total = 0.0
        for each, probabilities in zip(pages, joint(exponent), strict=True):
            is_digit = each.truth >= 0
            total += float(np.log(probabilities[is_digit, each.truth[is_digit]] + 1e-6).sum())
        return total

    exponent = max(EXPONENTS, key=log_likelihood)
    confidence, right = [np.zeros(0, np.float32)], [np.zeros(0, bool)]  # an untrained detector finds nothing
    for each, probabilities in zip(pages, joint(exponent), strict=True):
        counts = each.truth != CUT_OFF
        confidence.append((probabilities.max(axis=1) * each.detections.score)[counts])
        right.append((probabilities.argmax(axis=1) == each.truth)[counts])
    return DetectorReaderSettings(exponent, fit_platt_scaling(np.concatenate(confidence), np.concatenate(right)))


def read_rows(
    reader: DetectorReader, pages: list[SyntheticPage]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Read pages; return the confidence of each row, and whether a row of the page reads so.

    Pages on which a digit is cut off are left out, since a row may go on there.
    """
    confidence, right = [], []
    for page in pages:
        if not all(digit.visible for digit in page.digits):
            continue
        height, width = page.picture.shape
        written = Counter(_written_rows(page))
        for row in reader(Picture(page.picture, width, height)).rows:
            confidence.append(row.confidence)
            right.append(written[row.text] > 0)
            written[row.text] -= 1
    return np.array(confidence), np.array(right, bool)


def _written_rows(page: SyntheticPage) -> list[str]:
    """The rows of a page, by the places of its digits."""
    sides = np.array([(each.left, each.top, each.right, each.bottom) for each in page.digits], np.float32)
    left, top, right, bottom = sides.reshape(-1, 4).T
    probabilities = np.eye(10, dtype=np.float32)[[each.digit for each in page.digits]].reshape(-1, 10)
    middle_x, middle_y = (np.asarray(each, np.float32) for each in ((left + right) / 2, (top + bottom) / 2))
    digits = Detections(middle_x, middle_y, right - left, bottom - top, np.ones(len(left), np.float32), probabilities)
    return ["".join(str(page.digits[index].digit) for index in row) for row in group_rows(digits)]


def detector_to_onnx(network: nn.Module) -> bytes:
    """Convert a detector to an ONNX file.

    Raises:
        FailureError: ONNX and PyTorch disagree.
    """
    axes = {DETECTOR_INPUT: {0: "n", 2: "h", 3: "w"}, DETECTOR_OUTPUT: {0: "n", 2: "rows", 3: "columns"}}
    example = torch.zeros((1, 2, 64, 96), dtype=torch.uint8)
    content = to_onnx(network.eval(), example, [DETECTOR_INPUT], [DETECTOR_OUTPUT], axes)
    check_difference(max_difference(network, content), MAX_LOGIT_DIFFERENCE)
    return content


def max_difference(network: nn.Module, content: bytes) -> float:
    """The largest difference between the outputs of PyTorch and ONNX, over pages of noise of several sizes."""
    detector = PageDetector(ModelFile(content, {}, "the export"))
    rng, difference = np.random.default_rng(0), 0.0
    for height, width in SIZES:
        planes = rng.integers(0, 256, (2, height, width), dtype=np.uint8)
        with torch.inference_mode():
            output = network(torch.from_numpy(planes[None]))[0].numpy()
        difference = max(difference, float(np.abs(output - detector(planes)).max()))
    return difference
