"""Reader: pictures in, digits out. Composes the rest of this room; the README's example."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.read import model_files
from numerals.read.model_files import ModelFile
from numerals.read.normalise import DigitImages, normalise, nudged, other_views
from numerals.read.occlusion import Explanation, explain
from numerals.read.page_reader import ReadRow, read_page
from numerals.read.picture import Picture, load_picture, load_pixels
from numerals.read.recognise import THREADS, DigitPredictions, Recogniser, RowRecogniser
from numerals.read.strip_reader import Frame, StripReader, StripReaderSettings
from numerals.results import Box, Digit, Page, Recognition, Row

SURE = 0.8  # how sure the first look must be to be the only one
CERTAIN = 0.9  # how sure another must be to call a digit what the first look did not
POWER = 3  # a look weighs its sureness to this power: 2 costs striped pictures 1.5 points, 5 costs MNIST 0.06
TOGETHER = 512  # doubtful pictures looked at again at a time: their views are a few megabytes
TINY = 1e-9  # so that views of which none is sure at all still have an average

Pictures = Sequence[Any] | npt.NDArray[Any]
Scores = npt.NDArray[np.float32]


class Reader:
    """Reads handwritten digits with the models that ship, or with an exported one in the place of one of them.

    A `model` that reads rows reads the rows. One that reads one digit a picture names the digits: in `recognise`, and
    in `read` those that the row model has located. Thread-safe.

    Args:
        model: a path, or what `weights.load` made of one.
        threads: how many compute at the same time; one where a Reader a core is at work.

    Raises:
        ModelError: no such model, or not one of ours.
    """

    def __init__(self, model: str | Path | ModelFile | None = None, threads: int = THREADS) -> None:
        own = model if model is None or isinstance(model, ModelFile) else model_files.load(model)
        rows = self._rows = RowRecogniser(own if own and own.reads_rows else None, threads)
        named = own if own and not own.reads_rows else None
        self._recogniser = Recogniser(named, threads)
        models = rows, self._recogniser, StripReaderSettings.from_card(rows.model.card), named is not None
        self._read_strip, self._read_drawn = StripReader(*models), StripReader(*models, drawn=True)

    def read(self, picture: Any, drawn: bool = False, timeout: float = math.inf) -> Page:
        """Read all rows of digits in one picture.

        Args:
            picture: a path, the bytes of a picture file, an array, or a loaded `Picture`, as `pages` yields them; of
                a file with several pages, the first. See `load_picture` for the shapes and types of arrays.
            drawn: the picture was drawn on an empty pad, the right way up: a straight stroke is a 1, not a printed
                line.
            timeout: seconds after which to give up.

        Returns:
            The rows in reading order; no rows if there are no digits.

        Raises:
            PictureError: not a picture, damaged, too large, or not read within `timeout` seconds.
        """
        loaded = load_picture(picture)
        read_strip = self._read_drawn if drawn else self._read_strip
        found = read_page(loaded.pixels, read_strip.giving_up(timeout))
        rows = tuple(_row(row, found.quarters, loaded) for row in found.rows)
        return Page(rows, loaded.width, loaded.height, 90 * found.quarters)

    def recognise(self, pictures: Pictures) -> Recognition:
        """One digit a picture.

        Args:
            pictures: arrays, paths or bytes as `load_pixels` takes them, or one array (n, h, w) or (n, h, w, 3); any
                size, grey or colour, either polarity.

        Raises:
            PictureError: one of them is no picture.
        """
        if not (isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8):
            pictures = [load_pixels(picture) for picture in pictures]
        digits = normalise(pictures)
        probabilities, is_digit = self._look_again(pictures, digits, *self._recogniser(digits))
        return Recognition(
            digits=probabilities.argmax(axis=1),
            confidence=probabilities.max(axis=1).astype(np.float64),
            rejected=is_digit < self._recogniser.model.threshold,
            probabilities=probabilities,
            is_digit=is_digit,
        )

    def explain(self, digit: npt.NDArray[np.uint8], named: int) -> Explanation:
        """What the digit model says of uint8 (28, 28), `Digit.seen`, and what in it spoke for the digit `named`."""
        return explain(self._recogniser, digit, named)

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """What the cards of both models say, of the one for `digits` and the one for `rows`."""
        return {"digits": self._recogniser.model.card, "rows": self._rows.model.card}

    def _look_again(
        self, pictures: Pictures, digits: DigitImages, probabilities: Scores, is_digit: Scores
    ) -> DigitPredictions:
        """Where the first look was doubtful, other views of the picture have a say too, each by how sure it is.

        It becomes a digit by another view only where that is nearly certain: what is no digit has many views as well.
        """
        doubtful = np.flatnonzero(_sureness(probabilities, is_digit) < SURE)
        for part in np.array_split(doubtful, -(-len(doubtful) // TOGETHER)) if len(doubtful) else ():
            looks = [np.vstack([nudged(digits[i]), other_views(pictures[int(i)])]) for i in part]
            ends = np.cumsum([len(each) for each in looks])[:-1]
            answers = (np.split(each, ends) for each in self._recogniser(np.concatenate(looks)))
            for i, theirs, they_are in zip(part, *answers, strict=True):
                views, are = np.vstack([probabilities[i], theirs]), np.append(is_digit[i], they_are)
                probabilities[i], is_digit[i] = _decided(views, are)
        return DigitPredictions(probabilities, is_digit)


def _decided(views: Scores, are: Scores) -> tuple[Scores, np.float32]:
    """One picture's probabilities (10,) and is_digit from several views of it, the first look first."""
    sureness = _sureness(views, are)
    best = int(sureness.argmax())
    probabilities = np.average(views, axis=0, weights=sureness**POWER + TINY)
    return probabilities, are[best] if sureness[best] > CERTAIN else are[0]


def _sureness(probabilities: Scores, is_digit: Scores) -> Scores:
    """(n,) in [0, 1]: that it is a digit, and which."""
    return probabilities.max(axis=1) * is_digit  # type: ignore[no-any-return]


def _row(row: ReadRow, quarters: int, loaded: Picture) -> Row:
    """The row with its boxes in the picture's own pixels."""
    digits = tuple(
        Digit(each.digit, each.confidence, _box([each.box], quarters, loaded), each.seen) for each in row.digits
    )
    return Row(digits, row.confidence, _box([each.box for each in row.digits], quarters, loaded), row.strip)


def _box(frames: Sequence[Frame], quarters: int, loaded: Picture) -> Box:
    """The box around frames of a picture that was turned by so many quarters against the clock, turned back."""
    height, width = loaded.pixels.shape[:2]
    left, top = min(frame[0] for frame in frames), min(frame[1] for frame in frames)
    right, bottom = max(frame[2] for frame in frames), max(frame[3] for frame in frames)
    if quarters == 1:
        left, top, right, bottom = width - bottom, left, width - top, right
    elif quarters == 2:
        left, top, right, bottom = width - right, height - bottom, width - left, height - top
    elif quarters == 3:
        left, top, right, bottom = top, height - right, bottom, height - left
    across, down = loaded.width / width, loaded.height / height
    x, y = max(round(left * across), 0), max(round(top * down), 0)
    return Box(x, y, min(round(right * across), loaded.width) - x, min(round(bottom * down), loaded.height) - y)
