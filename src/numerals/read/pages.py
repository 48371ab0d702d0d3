"""Load a file of one or several pages: PDF, TIFF, or any other picture format.

PDF needs pypdfium2 (`pip install 'numerals[pdf]'`). Of an animation, the first picture is read. This decodes in the
calling process; `sandbox.Sandbox.pages` does the same for files that nobody vouches for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from numerals.errors import MissingError, PictureError
from numerals.read.picture import (
    MAX_FILE_BYTES,
    MAX_PAGES,
    PDF,
    Picture,
    count_pages,
    load_file,
    load_picture,
    open_source,
)
from numerals.read.pixels import MAX_PIXELS, Pixels

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jfif", ".mpo", ".bmp", ".gif"),
    *(".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pdf"),
}
PDF_DPI = 200  # a page of A4 becomes 1654 x 2339 pixels
MAX_PDF_SIDE = 4000  # pixels; larger pages are rendered at a lower resolution
MAX_FORM_DEPTH = 15  # forms within forms in which a PDF's pictures are searched for


def pages(source: str | Path | bytes) -> Iterator[Picture]:
    """Load the pages of a file, one after the other.

    This process decodes them. For files from strangers, use `Sandbox.pages`, which has limits on memory and time.

    Args:
        source: a path, or the bytes of a file.

    Yields:
        Each page as an upright picture.

    Raises:
        PictureError: not a picture, damaged, protected by a password, or too large.
        MissingError: the file is a PDF, and pypdfium2 is not installed.
    """
    with open_source(source) as (file, name):
        yield from load_pages(file, name)


def load_pages(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[Picture]:
    """Load the pages of an open file as `pages` does.

    Args:
        file: in binary mode, at its beginning.
        name: what error messages call it.
        max_pixels: larger pictures are refused before they are decoded.
    """
    if file.read(1024).lstrip().startswith(PDF):
        yield from _pdf_pages(file, name, max_pixels)
        return
    for page in range(min(count_pages(file), MAX_PAGES)):
        yield load_file(file, name, page=page, max_pixels=max_pixels)


def _pdf_pages(file: BinaryIO, name: str, max_pixels: int) -> Iterator[Picture]:
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise MissingError(f"{name}: reading PDF needs pypdfium2; pip install 'numerals[pdf]'") from error
    file.seek(0)
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        file.seek(0)
        encrypted = b"/Encrypt" in file.read(MAX_FILE_BYTES)  # pdfium may report the error of an earlier document
        reason = "it needs a password; save it without one" if encrypted else "damaged, or without a page"
        raise PictureError(f"{name}: {reason}") from error
    try:
        if not 0 < len(document) <= MAX_PAGES:
            raise PictureError(f"{name}: {len(document)} pages; 1 to {MAX_PAGES} are read")
        for index in range(len(document)):
            yield load_picture(_rendered(document, index, name, max_pixels))
    finally:
        document.close()


def _rendered(document: Any, index: int, name: str, max_pixels: int) -> Pixels:
    """Render a page as RGB, at PDF_DPI unless it is very large."""
    try:
        page = document[index]
        _check_embedded_pictures(page, max_pixels)
        width, height = page.get_size()  # points, 72 per inch
        scale = min(PDF_DPI / 72, MAX_PDF_SIDE / max(width, height, 1))
        return np.asarray(page.render(scale=scale).to_numpy()[..., :3][..., ::-1])
    except PictureError as error:
        raise PictureError(f"{name}: page {index + 1}: {error}") from error
    except Exception as error:  # pdfium raises errors of several kinds
        raise PictureError(f"{name}: page {index + 1} cannot be rendered ({error})") from error


def _check_embedded_pictures(page: Any, max_pixels: int) -> None:
    """Refuse pictures that are too large: pdfium decodes them at full size, however small they are on the page.

    Raises:
        PictureError: a picture has more than `max_pixels` pixels.
    """
    import pypdfium2.raw

    for picture in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=MAX_FORM_DEPTH):
        width, height = picture.get_px_size()
        if width * height > max_pixels:
            raise PictureError(f"a picture of {width}x{height} pixels; at most {max_pixels:,} are read")
