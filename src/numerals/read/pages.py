"""A file of one or several pages -> its pictures, one after the other. Knows nothing about digits.

PDF needs pypdfium2 (`pip install 'numerals[pdf]'`); pages of a TIFF and everything else are Pillow's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numerals.errors import MissingError, PictureError
from numerals.read.picture import Loaded, count_frames, load_sized

PDF = b"%PDF-"
DOTS = 200  # an inch: a page of A4 becomes 1654 x 2339 pixels
MOST_PAGES = 1000


def pages(source: str | Path | bytes) -> Iterator[Loaded]:
    """Each page as an upright picture.

    Args:
        source: a path, or the bytes of a file.

    Raises:
        PictureError: no picture, damaged, behind a password, or too large.
        MissingError: a PDF, and pypdfium2 is not installed.
    """
    name = str(source) if isinstance(source, str | Path) else f"{len(source)} bytes"
    content = _content(source)
    if content[:1024].lstrip().startswith(PDF):
        yield from _pdf(content, name)
    elif content[:4] in (b"II*\0", b"MM\0*"):
        count = count_frames(content)
        _check_count(count, name)
        yield from (load_sized(content, name=name, frame=frame) for frame in range(count))
    else:
        yield load_sized(content, name=name)


def _content(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise PictureError(f"{source}: cannot be read ({error.strerror or error})") from error


def _pdf(content: bytes, name: str) -> Iterator[Loaded]:
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise MissingError(f"{name}: reading PDF needs pypdfium2; pip install 'numerals[pdf]'") from error
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        why = "it needs a password" if "password" in str(error).lower() else f"damaged ({error})"
        raise PictureError(f"{name}: {why}") from error
    try:
        _check_count(len(document), name)
        for page in document:
            yield load_sized(_drawn(page, name))
    finally:
        document.close()


def _check_count(count: int, name: str) -> None:
    if count > MOST_PAGES:
        raise PictureError(f"{name}: {count} pages; at most {MOST_PAGES} are read")


def _drawn(page: Any, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A page as RGB uint8 (h, w, 3), finer than DOTS an inch only as far as its size stays bounded."""
    width, height = page.get_size()  # points, 72 an inch
    scale = min(DOTS / 72, 4000 / max(width, height, 1))
    try:
        return np.asarray(page.render(scale=scale).to_numpy()[..., :3][..., ::-1])
    except Exception as error:  # pdfium's own errors, of several kinds
        raise PictureError(f"{name}: a page of it cannot be drawn ({error})") from error
