"""A page drawn over its picture: boxes, digits, confidences, and under it what the network saw. Knows no networks."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from numerals.results import Box, Page

SURE, DOUBTFUL = (11, 98, 214), (214, 101, 11)  # blue and orange: apart for colour-blind eyes too
DOUBT = 0.8  # confidence under which a digit is marked as doubtful
SMALLEST = 640  # pixels of the longer side that a small picture is enlarged to
STRIP_ZOOM = 2
GAP = 8  # pixels between the strips


def annotate(pixels: npt.NDArray[np.uint8], page: Page) -> Image.Image:
    """The picture with what was read.

    Args:
        pixels: uint8 (h, w) or RGB (h, w, 3), upright; may be smaller than the picture that the page's boxes are of.
        page: as Reader.read gives it.

    Returns:
        An RGB picture: the boxes over it, and below, a strip for each row as the network saw it.
    """
    picture = Image.fromarray(pixels).convert("RGB")
    zoom = max(1, round(SMALLEST / max(picture.size)))
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    scale = picture.width / page.width
    draw = ImageDraw.Draw(picture)
    thick = max(1, max(picture.size) // 500)
    for row in page.rows:
        for digit in row.digits:
            colour = SURE if digit.confidence >= DOUBT else DOUBTFUL
            left, top, right, bottom = (scale * side for side in _sides(digit.box))
            draw.rectangle((left, top, right, bottom), outline=colour, width=thick)
            size = min(max(0.45 * (bottom - top), 11), 60)
            label = f"{digit.digit}" if digit.confidence >= DOUBT else f"{digit.digit} {digit.confidence:.0%}"
            draw.text(
                (left, top), label, colour, ImageFont.load_default(size), "ls", stroke_width=2, stroke_fill="white"
            )
    return _above(picture, [_strip(row.strip, row.text, row.confidence) for row in page.rows])


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.left + box.width, box.top + box.height


def _strip(strip: npt.NDArray[np.uint8], text: str, confidence: float) -> Image.Image:
    """What the network saw of a row, and how it read it."""
    seen = Image.fromarray(strip).convert("RGB")
    seen = seen.resize((seen.width * STRIP_ZOOM, seen.height * STRIP_ZOOM), Image.Resampling.BICUBIC)
    font = ImageFont.load_default(20)
    label = f"{text}  {confidence:.0%}"
    whole = Image.new("RGB", (seen.width + GAP + int(font.getlength(label)), seen.height), "white")
    whole.paste(seen)
    ImageDraw.Draw(whole).text((seen.width + GAP, seen.height // 2), label, "black", font, "lm")
    return whole


def _above(picture: Image.Image, strips: list[Image.Image]) -> Image.Image:
    """The picture, and the strips under it."""
    width = max([picture.width, *(strip.width for strip in strips)])
    whole = Image.new("RGB", (width, picture.height + sum(strip.height + GAP for strip in strips)), "white")
    whole.paste(picture)
    top = picture.height
    for strip in strips:
        whole.paste(strip, (0, top + GAP))
        top += strip.height + GAP
    return whole
