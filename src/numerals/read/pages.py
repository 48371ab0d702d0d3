"""A file of one or several pages -> its pictures, one after the other. Knows nothing about digits.

PDF needs pypdfium2 (`pip install 'numerals[pdf]'`); pages of a TIFF and everything else are Pillow's. Of an animation
the first picture counts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from numerals.errors import MissingError, PictureError
from numerals.read.picture import MAX_FILE_BYTES, PDF, Picture, load_file, load_picture, opened
from numerals.read.pixels import MAX_PIXELS
from numerals.read.tiff import MAX_PAGES, count_pages

DOTS = 200  # an inch: a page of A4 becomes 1654 x 2339 pixels
NESTED = 15  # forms within forms in which a PDF's pictures are looked for

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".mpo",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pdf",
}


def pages(source: str | Path | bytes) -> Iterator[Picture]:
    """Each page as an upright picture.

    Args:
        source: a path, or the bytes of a file.

    Raises:
        PictureError: no picture, damaged, behind a password, or too large.
        MissingError: a PDF, and pypdfium2 is not installed.
    """
    with opened(source) as (file, name):
        if file.read(1024).lstrip().startswith(PDF):
            yield from _pdf(file, name)
        else:
            yield from (load_file(file, name, frame=frame) for frame in range(min(count_pages(file), MAX_PAGES)))


def _pdf(file: BinaryIO, name: str) -> Iterator[Picture]:
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise MissingError(f"{name}: reading PDF needs pypdfium2; pip install 'numerals[pdf]'") from error
    file.seek(0)
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        file.seek(0)
        locked = b"/Encrypt" in file.read(MAX_FILE_BYTES)  # pdfium's own error may be that of the document before
        raise PictureError(f"{name}: {'it needs a password' if locked else 'damaged, or without a page'}") from error
    try:
        if not 0 < len(document) <= MAX_PAGES:
            raise PictureError(f"{name}: {len(document)} pages; 1 to {MAX_PAGES} are read")
        for number in range(len(document)):
            yield load_picture(_drawn(document, number, name))
    finally:
        document.close()


def _drawn(document: Any, number: int, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A page as RGB uint8 (h, w, 3), finer than DOTS an inch only as far as its size stays bounded."""
    try:
        page = document[number]
        _check_pictures(page)
        width, height = page.get_size()  # points, 72 an inch
        scale = min(DOTS / 72, 4000 / max(width, height, 1))
        return np.asarray(page.render(scale=scale).to_numpy()[..., :3][..., ::-1])
    except PictureError as error:
        raise PictureError(f"{name}: page {number + 1}: {error}") from error
    except Exception as error:  # pdfium's own errors, of several kinds
        raise PictureError(f"{name}: page {number + 1} cannot be drawn ({error})") from error


def _check_pictures(page: Any) -> None:
    """Pdfium unpacks every picture of a page whole, however small it is drawn."""
    import pypdfium2.raw

    for found in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=NESTED):
        width, height = found.get_px_size()
        if width * height > MAX_PIXELS:
            raise PictureError(f"a picture of {width}x{height} pixels; at most {MAX_PIXELS:,} are read")
