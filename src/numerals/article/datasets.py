"""Load digits other than MNIST (instead of the article's section 1): the values that `--data` accepts.

    a folder of IDX files, gzipped or not       train-images-idx3-ubyte[.gz], train-labels-..., t10k-...
    a CSV of Kaggle's digit-recognizer          label,pixel0,...,pixel783
    an .npz                                     x_train, y_train, and x_test, y_test if present
    a folder of 28x28 pictures for each class   0/ ... 9/, or train/0/ ... and test/0/ ...

All must have MNIST's shape: 28x28 pixels, white ink on black, ten classes. Without a test part, one in seven digits,
as in MNIST, becomes the test part; it is always the same one. Pipes and devices are refused, and so is a file over
MAX_BYTES, unpacked too.
"""

import csv
import gzip
import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.article.data import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Dataset,
    LabelledImages,
    check_digits,
    load_mnist,
    parse_idx,
    split_indices,
)
from numerals.errors import DataError
from numerals.files import open_plain, readable_size, url_message
from numerals.spec import CLASSES, PIXELS, SIDE, WHITE

TrainTest = tuple[LabelledImages, LabelledImages]
RawArrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # images and labels before `check_digits`

MAX_BYTES = 2**30  # of a file, unpacked: 1.3 million images
MAX_PICTURE_BYTES = 2**20  # of the file of a 28x28 picture
MAX_LINE = 2**16  # characters in a line of a CSV
MAX_LINES = MAX_BYTES // (2 * PIXELS)  # of a CSV: a pixel takes two characters or more
BYTE_ORDER_MARK = "\xef\xbb\xbf"  # spreadsheets start a file with it; here as latin-1 reads it
TEST_FRACTION, TEST_RANDOM_STATE = 1 / 7, 42  # for data without a test part
PICTURE_FORMATS = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
ACCEPTED = (
    "a folder of IDX files, a Kaggle digit-recognizer .csv, an .npz, or a folder with one folder of pictures per class"
)


def load(source: str | None) -> Dataset:
    """Load the digits that `source` names.

    Args:
        source: a path as described above; None or "mnist" means MNIST.

    Raises:
        DataError: no such path, or not digits in MNIST's shape; the message names the file.
    """
    if source is None or source == "mnist":
        return Dataset("mnist", *load_mnist(), source="mnist")
    path = Path(source)
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy and Pillow warn about files that raise an error next
            return Dataset(Path(os.path.abspath(path)).name, *_read(path), source=os.path.abspath(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def from_arrays(arrays: Sequence[Any]) -> Dataset:
    """Make a data set of arrays, in any form that `check_digits` converts.

    Args:
        arrays: (images, labels), of which one in seven becomes the test part, or ((images, labels), (images, labels))
            as `load_mnist` returns them: for training and for the test.

    Raises:
        DataError: other shapes or values.
    """
    if len(arrays) != 2:
        raise DataError(f"data of {len(arrays)} parts; give (images, labels), or ((images, labels), (images, labels))")
    train, test = arrays
    if isinstance(train, tuple) and isinstance(test, tuple) and len(train) == len(test) == 2:
        return Dataset("arrays", check_digits(*train, "data (train)"), check_digits(*test, "data (test)"))
    return Dataset("arrays", *_with_test_part((train, test), "data"))


def _read(path: Path) -> TrainTest:
    if not path.exists():
        raise DataError(url_message(path) or f"{path}: no such file or folder; --data accepts {ACCEPTED}")
    suffix = path.suffix.lower()
    if suffix == ".csv" and path.is_file():
        return _with_test_part(_read_csv(path), path)
    if suffix == ".npz" and path.is_file():
        return _read_npz(path)
    if path.is_dir() and any(path.glob("*[-.]idx3-ubyte*")):
        return _read_idx_folder(path)
    if path.is_dir():
        return _read_class_folders(path)
    raise DataError(f"{path}: unknown kind of data; --data accepts {ACCEPTED}")


def _with_test_part(arrays: tuple[npt.ArrayLike, npt.ArrayLike], name: object) -> TrainTest:
    """Check the digits of a source without a test part, and hold one out."""
    images, labels = check_digits(*arrays, str(name))
    if len(images) < 2:
        raise DataError(f"{name}: a single image; at least two are needed, since one is held out for the test")
    train, test = split_indices(len(images), TEST_FRACTION, TEST_RANDOM_STATE)
    return (images[train], labels[train]), (images[test], labels[test])


def _read_idx_folder(folder: Path) -> TrainTest:
    train = _read_idx(folder, TRAIN_IMAGES), _read_idx(folder, TRAIN_LABELS)
    if not _idx_file(folder, TEST_IMAGES).exists() and not _idx_file(folder, TEST_LABELS).exists():
        return _with_test_part(train, folder)
    test = _read_idx(folder, TEST_IMAGES), _read_idx(folder, TEST_LABELS)
    return check_digits(*train, str(folder / TRAIN_IMAGES)), check_digits(*test, str(folder / TEST_IMAGES))


def _idx_file(folder: Path, name: str) -> Path:
    """The path of an IDX file, plain or gzipped, also if it is spelt train-images.idx3-ubyte."""
    dotted = name.replace("-idx", ".idx")
    candidates = [folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz")]
    return next((path for path in candidates if path.exists()), candidates[0])


def _read_idx(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    path = _idx_file(folder, name)
    if not path.exists():
        raise DataError(f"{folder}: contains no {name}, gzipped or not")
    with _open(path) as file:
        try:
            content = _read_all(gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file, path)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: truncated or damaged ({error})") from error
    return parse_idx(content, str(path))


def _open(path: Path, limit: int = MAX_BYTES) -> BinaryIO:
    """Open a file of the data.

    Raises:
        DataError: it is not a plain file, is larger than `limit` bytes, or cannot be read.
    """
    try:
        return open_plain(path, limit)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_all(file: BinaryIO | gzip.GzipFile, path: Path) -> bytes:
    """The whole content of a file, which may be larger unpacked than it is on disk."""
    chunks, size = list[bytes](), 0
    while chunk := file.read(2**20):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise DataError(f"{path}: larger than {readable_size(MAX_BYTES)} when unpacked")
    return b"".join(chunks)


def _read_csv(path: Path) -> RawArrays:
    with io.TextIOWrapper(_open(path), "latin-1", newline="") as file:  # np.loadtxt may crash on other characters
        lines = _lines(file, path)
        header = _first_line(lines)
        if header[:1] != ["label"] or len(header) != 1 + PIXELS:
            raise DataError(
                f"{path}: the first line must be label,pixel0,...,pixel{PIXELS - 1}, as in Kaggle's train.csv"
            )
        try:
            table = np.loadtxt(lines, np.int16, delimiter=",", ndmin=2)
        except ValueError as error:
            raise DataError(f"{path}: {_one_line(error)}") from error
    if table.size == 0:
        raise DataError(f"{path}: contains no images")
    if table.shape[1] != len(header):
        raise DataError(f"{path}: {table.shape[1]} values in a line, but the first line names {len(header)}")
    return table[:, 1:], table[:, 0]


def _lines(file: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Yield the lines of a CSV; empty ones would otherwise take minutes."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), "")):
        if number > MAX_LINES:
            raise DataError(f"{path}: over {MAX_LINES:,} lines")
        yield line


def _first_line(lines: Iterator[str]) -> list[str]:
    try:
        header = next(csv.reader(lines), [])
    except csv.Error:  # a line longer than any header
        return []
    return [header[0].removeprefix(BYTE_ORDER_MARK), *header[1:]] if header else []


def _read_npz(path: Path) -> TrainTest:
    with _open(path) as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: truncated, damaged, or not an .npz")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as npz:
                if sum(each.file_size for each in npz.zip.infolist()) > MAX_BYTES:
                    raise DataError(f"{path}: larger than {readable_size(MAX_BYTES)} when unpacked")
                arrays = {name: array for name in npz.files if isinstance(array := npz[name], np.ndarray)}
        except DataError:
            raise
        except Exception as error:  # numpy raises nearly anything on a damaged header
            raise DataError(f"{path}: damaged, or not made of plain arrays ({_one_line(error)})") from error
    if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
        train, test = (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
        return check_digits(*train, f"{path} (train)"), check_digits(*test, f"{path} (test)")
    for images, labels in (("x_train", "y_train"), ("x", "y")):
        if images in arrays and labels in arrays:
            return _with_test_part((arrays[images], arrays[labels]), path)
    raise DataError(
        f"{path}: contains {', '.join(arrays) or 'nothing'}; it needs x_train and y_train, optionally x_test and y_test"
    )


def _read_class_folders(folder: Path) -> TrainTest:
    for train, test in (("train", "test"), ("training", "testing")):
        if (folder / train).is_dir() and (folder / test).is_dir():
            return check_digits(*_read_pictures(folder / train), str(folder / train)), check_digits(
                *_read_pictures(folder / test), str(folder / test)
            )
    return _with_test_part(_read_pictures(folder), folder)


def _read_pictures(folder: Path) -> RawArrays:
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(CLASSES):
        for path in _picture_files(folder / name):
            images.append(_read_picture(path))
            labels.append(label)
    if not images:
        raise DataError(
            f"{folder}: no pictures in folders 0 to {CLASSES[-1]}, and no IDX files; --data accepts {ACCEPTED}"
        )
    pictures = np.stack(images)
    top_and_bottom = np.concatenate([pictures[:, row].ravel() for row in (0, -1)])
    if np.median(top_and_bottom) > WHITE / 2:
        raise DataError(f"{folder}: the pictures look like dark ink on white; invert them to white ink on black")
    return pictures, np.array(labels)


def _picture_files(folder: Path) -> Iterator[Path]:
    """The picture files in a folder, sorted so that every system reads the same data."""
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_FORMATS)


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture as uint8 (28, 28); its size is checked before it is decoded."""
    try:
        formats = sorted(set(PICTURE_FORMATS.values()))
        with _open(path, MAX_PICTURE_BYTES) as file, Image.open(file, formats=formats) as picture:
            if picture.size != (SIDE, SIDE):
                raise DataError(f"{path}: {picture.width}x{picture.height} pixels; it must have {SIDE}x{SIDE}")
            return _grey(picture, path)
    except DataError:
        raise
    except Exception as error:  # Pillow too raises nearly anything
        raise DataError(f"{path}: not a picture, or truncated or damaged ({_one_line(error)})") from error


def _grey(picture: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    """Convert to 8 bits of grey; transparent pixels become black, the background."""
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{path}: pixels of mode {picture.mode}; save it with 8 bits of grey or colour")
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    return np.asarray(picture.convert("L"))


def _one_line(error: Exception) -> str:
    """A library's error message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
