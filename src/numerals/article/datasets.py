"""Digits from elsewhere, in MNIST's shape: what `--data SPEC` may name. Knows nothing about training.

    a folder of IDX files, gzipped or not       train-images-idx3-ubyte[.gz] and its three fellows
    a CSV of Kaggle's digit-recognizer          label,pixel0,...,pixel783
    an .npz                                     x_train, y_train and, if there, x_test, y_test
    a folder per class of 28x28 pictures        0/ ... 9/, or train/0/ ... and test/0/ ...

Where a source names no test part, one in seven of its digits (MNIST's own share) is set aside as one, always the same.
"""

import csv
import gzip
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
from numerals.spec import CLASSES, PIXELS, SIDE, WHITE

Raw = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # images and labels before `check_digits`

BYTE_ORDER_MARK = "\xef\xbb\xbf"  # what spreadsheets begin a file with, as latin-1 reads it
TEST_SHARE, TEST_SEED = 1 / 7, 42  # where the source has no test part of its own
PICTURES = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
FORMS = (
    "a folder of IDX files, a Kaggle digit-recognizer .csv, an .npz, or a folder with a folder per class of pictures"
)


def load(spec: str | None) -> Dataset:
    """The digits that `spec` names; None or "mnist" is MNIST itself.

    Raises:
        DataError: nothing there, or not digits of ours; the message names the file.
    """
    if spec is None or spec == "mnist":
        return Dataset("mnist", *load_mnist(), source="mnist")
    path = Path(spec)
    try:
        with warnings.catch_warnings(action="ignore"):  # of numpy and Pillow about what is refused right after
            return Dataset(Path(os.path.abspath(path)).name, *_read(path), source=os.path.abspath(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(path: Path) -> tuple[LabelledImages, LabelledImages]:
    if not path.exists():
        raise DataError(f"{path}: there is nothing there; --data takes {FORMS}")
    suffix = path.suffix.lower()
    if suffix == ".csv" and path.is_file():
        return _set_aside(_read_csv(path), path)
    if suffix == ".npz" and path.is_file():
        return _read_npz(path)
    if path.is_dir() and any(path.glob("*[-.]idx3-ubyte*")):
        return _read_idx_folder(path)
    if path.is_dir():
        return _read_class_folders(path)
    raise DataError(f"{path}: not a kind of data that is known; --data takes {FORMS}")


def _set_aside(part: Raw, path: Path) -> tuple[LabelledImages, LabelledImages]:
    """A training and a test part from one; checked here, since both come from the same file."""
    images, labels = check_digits(*part, str(path))
    if len(images) < 2:
        raise DataError(f"{path}: a single image; at least two are needed, one of them to be tested on")
    kept, aside = split_indices(len(images), TEST_SHARE, TEST_SEED)
    return (images[kept], labels[kept]), (images[aside], labels[aside])


def _read_idx_folder(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    train = _read_idx(folder, TRAIN_IMAGES), _read_idx(folder, TRAIN_LABELS)
    if not _idx_file(folder, TEST_IMAGES).exists() and not _idx_file(folder, TEST_LABELS).exists():
        return _set_aside(train, folder)
    test = _read_idx(folder, TEST_IMAGES), _read_idx(folder, TEST_LABELS)
    return check_digits(*train, str(folder / TRAIN_IMAGES)), check_digits(*test, str(folder / TEST_IMAGES))


def _idx_file(folder: Path, name: str) -> Path:
    """The file of that name, plain or gzipped; some write train-images.idx3-ubyte."""
    dotted = name.replace("-idx", ".idx")
    choices = [folder / f"{each}{end}" for each in (name, dotted) for end in ("", ".gz")]
    return next((path for path in choices if path.exists()), choices[0])


def _read_idx(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    packed = _idx_file(folder, name)
    if not packed.exists():
        raise DataError(f"{folder}: no {name} in it, gzipped or not")
    if packed.suffix != ".gz":
        return parse_idx(packed.read_bytes(), str(packed))
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: cut or damaged ({error})") from error
    return parse_idx(content, str(packed))


def _read_csv(path: Path) -> Raw:
    with open(path, newline="", encoding="latin-1") as file:  # numpy's loadtxt may crash on characters beyond it
        header = _first_line(file)
        if header[:1] != ["label"] or len(header) != 1 + PIXELS:
            raise DataError(
                f"{path}: its first line must be label,pixel0,...,pixel{PIXELS - 1}, as in Kaggle's train.csv"
            )
        try:
            table = np.loadtxt(file, np.int64, delimiter=",", ndmin=2)
        except ValueError as error:
            raise DataError(f"{path}: {_line(error)}") from error
    if table.size == 0:
        raise DataError(f"{path}: no images in it")
    if table.shape[1] != len(header):
        raise DataError(f"{path}: {table.shape[1]} values in a line where {len(header)} were announced")
    return table[:, 1:], table[:, 0]


def _first_line(file: Iterable[str]) -> list[str]:
    try:
        header = next(csv.reader(file), [])
    except csv.Error:  # a line longer than any header
        return []
    return [header[0].removeprefix(BYTE_ORDER_MARK), *header[1:]] if header else []


def _read_npz(path: Path) -> tuple[LabelledImages, LabelledImages]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: cut, damaged, or not an .npz")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as npz:
            arrays = {name: array for name in npz.files if isinstance(array := npz[name], np.ndarray)}
    except Exception as error:  # numpy raises nearly anything on a damaged head
        raise DataError(f"{path}: damaged, or not of plain arrays ({_line(error)})") from error
    if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
        train, test = (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
        return check_digits(*train, f"{path} (train)"), check_digits(*test, f"{path} (test)")
    for images, labels in (("x_train", "y_train"), ("x", "y")):
        if images in arrays and labels in arrays:
            return _set_aside((arrays[images], arrays[labels]), path)
    raise DataError(
        f"{path}: has {', '.join(arrays) or 'nothing'}; it needs x_train and y_train, or all of MNIST's four"
    )


def _read_class_folders(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    for train, test in (("train", "test"), ("training", "testing")):
        if (folder / train).is_dir() and (folder / test).is_dir():
            return check_digits(*_read_pictures(folder / train), str(folder / train)), check_digits(
                *_read_pictures(folder / test), str(folder / test)
            )
    return _set_aside(_read_pictures(folder), folder)


def _read_pictures(folder: Path) -> Raw:
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(CLASSES):
        for path in _picture_files(folder / name):
            images.append(_read_picture(path))
            labels.append(label)
    if not images:
        raise DataError(f"{folder}: no pictures in folders 0 to {CLASSES[-1]}, and no IDX files; --data takes {FORMS}")
    pictures = np.stack(images)
    frame = np.concatenate([pictures[:, edge].ravel() for edge in (0, -1)])  # top and bottom rows
    if np.median(frame) > WHITE / 2:
        raise DataError(
            f"{folder}: the pictures look like dark ink on white; numerals learns from white ink on black: invert them"
        )
    return pictures, np.array(labels)


def _picture_files(folder: Path) -> Iterator[Path]:
    """Sorted, so that the same folder is the same data on every system."""
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """One picture as uint8 (28, 28); its size is looked at before it is decoded."""
    try:
        with Image.open(path, formats=sorted(set(PICTURES.values()))) as picture:
            if picture.size != (SIDE, SIDE):
                raise DataError(f"{path}: {picture.width}x{picture.height} pixels; it must be {SIDE}x{SIDE}")
            return _grey(picture, path)
    except DataError:
        raise
    except Exception as error:  # so does Pillow
        raise DataError(f"{path}: not a picture, cut or damaged ({_line(error)})") from error


def _grey(picture: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    """Eight bits of grey; what is transparent is paper, that is black."""
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{path}: pixels of kind {picture.mode}; save it with 8 bits of grey or colour")
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    return np.asarray(picture.convert("L"))


def _line(error: Exception) -> str:
    """What a library said, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
