"""Draw what was read over the picture: boxes, digits and confidences, and below it the strips that the model saw."""

from PIL import Image, ImageDraw, ImageFont

from numerals.read.pixels import Pixels
from numerals.results import Page, Row

CONFIDENT_COLOUR, DOUBTFUL_COLOUR = (11, 98, 214), (214, 101, 11)  # blue and orange, which colour-blind people can tell
MIN_CONFIDENCE = 0.8  # digits with less are marked as doubtful
MIN_SIDE = 640  # pixels of the longer side; smaller pictures are enlarged
STRIP_ZOOM = 2
GAP = 8  # pixels between the strips


def annotate(pixels: Pixels, page: Page) -> Image.Image:
    """Draw a page over its picture.

    Args:
        pixels: grey or RGB, upright; may be smaller than the original picture, in whose pixels the page's boxes are.
        page: as `Reader.read` returns it.

    Returns:
        An RGB picture: the boxes over the original, and below it one strip per row.
    """
    picture = Image.fromarray(pixels).convert("RGB")
    zoom = max(1, round(MIN_SIDE / max(picture.size)))
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    scale = picture.width / page.width
    draw = ImageDraw.Draw(picture)
    line_width = max(1, max(picture.size) // 500)
    for digit in (digit for row in page.rows for digit in row.digits):
        confident = digit.confidence >= MIN_CONFIDENCE
        colour = CONFIDENT_COLOUR if confident else DOUBTFUL_COLOUR
        box = digit.box
        left, top, right, bottom = (scale * side for side in (box.left, box.top, box.right, box.bottom))
        draw.rectangle((left, top, right, bottom), outline=colour, width=line_width)
        font = ImageFont.load_default(min(max(0.45 * (bottom - top), 11), 60))
        label = f"{digit.digit}" if confident else f"{digit.digit} {digit.confidence:.0%}"
        draw.text((left, top), label, colour, font, "ls", stroke_width=2, stroke_fill="white")
    return _stacked(picture, [_labelled_strip(row) for row in page.rows])


def _labelled_strip(row: Row) -> Image.Image:
    strip = Image.fromarray(row.strip).convert("RGB")
    strip = strip.resize((strip.width * STRIP_ZOOM, strip.height * STRIP_ZOOM), Image.Resampling.BICUBIC)
    font = ImageFont.load_default(20)
    label = f"{row.text}  {row.confidence:.0%}"
    canvas = Image.new("RGB", (strip.width + GAP + int(font.getlength(label)), strip.height), "white")
    canvas.paste(strip)
    ImageDraw.Draw(canvas).text((strip.width + GAP, strip.height // 2), label, "black", font, "lm")
    return canvas


def _stacked(picture: Image.Image, strips: list[Image.Image]) -> Image.Image:
    """Return the picture with the strips below it."""
    width = max([picture.width, *(strip.width for strip in strips)])
    height = picture.height + sum(strip.height + GAP for strip in strips)
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(picture)
    top = picture.height
    for strip in strips:
        canvas.paste(strip, (0, top + GAP))
        top += strip.height + GAP
    return canvas
