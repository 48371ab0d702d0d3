"""Reader: pictures in, digits out. Combines loading, detection and recognition."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.read import model_files
from numerals.read.detector_reader import DetectorReader, DetectorReaderSettings
from numerals.read.model_files import ModelFile
from numerals.read.normalise import normalise, nudged, other_views
from numerals.read.occlusion import DigitExplanation, explain
from numerals.read.page_reader import read_page
from numerals.read.picture import is_one_picture, load_picture, load_pixels
from numerals.read.pixels import DigitImage, DigitImages
from numerals.read.recognise import THREADS, DigitPredictions, PageDetector, Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.results import Page, Recognition

CLEAR_CERTAINTY = 0.8  # pictures whose first view is less certain are recognised again in other views
OVERRULING_CERTAINTY = 0.9  # above it, another view may call a picture a digit that the first view rejected
CERTAINTY_POWER = 3  # views are weighted by certainty to this power: 2 costs striped pictures 1.5 points, 5 MNIST 0.06
BATCH_OF_VIEWS = 512  # uncertain pictures recognised again at a time: their views are a few megabytes
MIN_WEIGHT = 1e-9  # so that the views of a picture of which none is certain at all still have an average

Pictures = Sequence[Any] | npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


class Reader:
    """Reads handwritten digits with the models that come with numerals, or with one of your own.

    A Reader is thread-safe.

    Args:
        model: an exported model, as a path or as `model_files.load` returns it. One that reads rows replaces the row
            model. One that reads single digits replaces the digit model, and alone names the digits that `read` finds.
            A detector finds the digits of a page, in place of the rules that find rows; both models then name them.
        threads: how many threads compute at the same time. Use 1 if you run one Reader per core.

    Raises:
        ModelError: the model does not exist, or is not a model that `numerals export` wrote.
    """

    def __init__(self, model: str | Path | ModelFile | None = None, threads: int = THREADS) -> None:
        own = model if model is None or isinstance(model, ModelFile) else model_files.load(model)
        own_digit_model = own if own and own.reads == "digits" else None
        self._row_recogniser = RowRecogniser(own if own and own.reads == "rows" else None, threads)
        self._recogniser = Recogniser(own_digit_model, threads)
        self._strip_reader = StripReader(
            self._row_recogniser,
            self._recogniser,
            StripReaderSettings.from_card(self._row_recogniser.model.card),
            labels_from_digit_model=own_digit_model is not None,
        )
        self._detector_reader: DetectorReader | None = None
        if own and own.reads == "pages":
            settings = DetectorReaderSettings.from_card(own.card)
            detector = PageDetector(own, threads)
            self._detector_reader = DetectorReader(detector, self._recogniser, self._strip_reader, settings)

    def read(self, picture: Any, drawn: bool = False, timeout: float = math.inf) -> Page:
        """Read all rows of digits in one picture.

        This process decodes the file, without the limits on memory and time of the command line and the server. For
        files from strangers, decode in a process of its own, and give the result: see `Sandbox` in
        `numerals.read.sandbox`, and SECURITY.md.

        Args:
            picture: a path, the bytes of a picture file, an array, or a loaded `Picture`, as `pages` yields them; of
                a file with several pages, the first. See `load_pixels` for the shapes and types of arrays.
            drawn: the picture was drawn on an empty pad, the right way up: a straight stroke is a 1, not a printed
                line.
            timeout: seconds after which to give up, counted from when the picture is loaded.

        Returns:
            The rows in reading order; no rows if there are no digits.

        Raises:
            PictureError: not a picture, damaged, too large, or not read within `timeout` seconds.
        """
        loaded = load_picture(picture)
        if self._detector_reader is not None:
            return replace(self._detector_reader, drawn=drawn, deadline=time.monotonic() + timeout)(loaded)
        return read_page(loaded, replace(self._strip_reader, drawn=drawn, deadline=time.monotonic() + timeout))

    def recognise(self, pictures: Any) -> Recognition:
        """Recognise pictures that show one digit each. For files from strangers, see `read`.

        Args:
            pictures: one picture, or several in a sequence or iterator: paths, bytes, Pillow's images or arrays, as
                `load_pixels` takes them; or one array of several, (n, h, w) or (n, h, w, 3). Any size, grey or colour,
                white ink on black or dark ink on light.

        Returns:
            The predictions, in the order of the pictures.

        Raises:
            PictureError: one of them is not a picture.
        """
        if is_one_picture(pictures):
            pictures = [pictures]
        if not (isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8 and pictures.ndim == 3):
            pictures = [load_pixels(picture) for picture in pictures]
        digits = normalise(pictures)
        probabilities, is_digit = self._reconsider(pictures, digits, self._recogniser(digits))
        return Recognition(
            digits=probabilities.argmax(axis=1),
            confidence=probabilities.max(axis=1).astype(np.float64),
            rejected=is_digit < self._recogniser.model.threshold,
            probabilities=probabilities,
            is_digit=is_digit,
        )

    def explain(self, digit: DigitImage, label: int) -> DigitExplanation:
        """Explain the digit model's prediction for one digit.

        Args:
            digit: uint8 (28, 28), white ink on black, such as `Digit.seen`.
            label: the class to explain, 0 to 9.
        """
        return explain(self._recogniser, digit, label)

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """The cards of the two models: of "digits" and of "rows"."""
        return {"digits": self._recogniser.model.card, "rows": self._row_recogniser.model.card}

    def _reconsider(self, pictures: Pictures, digits: DigitImages, first: DigitPredictions) -> DigitPredictions:
        """Average over several views where the first is uncertain, each weighted by its certainty.

        A rejected picture becomes a digit only if another view is nearly certain, since non-digits have many views too.
        """
        probabilities, is_digit = first
        uncertain = np.flatnonzero(certainty(*first) < CLEAR_CERTAINTY)
        batches = np.array_split(uncertain, -(-len(uncertain) // BATCH_OF_VIEWS)) if len(uncertain) else ()
        for batch in batches:
            views = [np.vstack([nudged(digits[i]), other_views(pictures[int(i)])]) for i in batch]
            ends = np.cumsum([len(each) for each in views])[:-1]
            outputs = (np.split(output, ends) for output in self._recogniser(np.concatenate(views)))
            for i, other_probabilities, other_is_digit in zip(batch, *outputs, strict=True):
                probabilities[i], is_digit[i] = _combined(
                    np.vstack([probabilities[i], other_probabilities]), np.append(is_digit[i], other_is_digit)
                )
        return DigitPredictions(probabilities, is_digit)


def _combined(probabilities: FloatArray, is_digit: FloatArray) -> tuple[FloatArray, np.float32]:
    """Combine the predictions for several views of one picture, the first view first, to one prediction."""
    certainties = certainty(probabilities, is_digit)
    best = int(certainties.argmax())
    average = np.average(probabilities, axis=0, weights=certainties**CERTAINTY_POWER + MIN_WEIGHT)
    return average, is_digit[best] if certainties[best] > OVERRULING_CERTAINTY else is_digit[0]


def certainty(probabilities: FloatArray, is_digit: FloatArray) -> FloatArray:
    """Return, float32 (n,) in [0, 1], how certain predictions are that a picture is a digit, and of its class."""
    return probabilities.max(axis=1) * is_digit  # type: ignore[no-any-return]
