"""Load MNIST, prepare it and split it into training and validation (the article's sections 1 and 2).

The official IDX files are part of the package, gzipped. They are unpacked once into the platform's cache folder and
checked against their SHA-256 at every load. `datasets` loads other digits.
"""

import contextlib
import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from numerals.errors import DataError, StorageError
from numerals.files import read_plain, write_atomically
from numerals.spec import CLASSES, PIXELS, SIDE, WHITE

Images = npt.NDArray[np.uint8]  # (n, 28, 28), white ink on black
Labels = npt.NDArray[np.uint8]  # (n,), 0 to 9
LabelledImages = tuple[Images, Labels]
Indices = npt.NDArray[np.int64]

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
LAYOUTS = ((SIDE, SIDE), (SIDE, SIDE, 1), (1, SIDE, SIDE), (PIXELS,))  # of one image
MAX_MNIST_BYTES = 2**26  # of one uncompressed file

SHA256 = {  # of the uncompressed files
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Dataset:
    """Digits for training and validation, and digits for the final test."""

    name: str
    train: LabelledImages
    test: LabelledImages
    source: str | None = None  # the value of --data that loads it again; None if it was not loaded from there

    def split(self, validation: float, random_state: int) -> tuple[LabelledImages, LabelledImages]:
        """Split the training digits into a training and a validation part.

        Args:
            validation: fraction of the digits for validation.
            random_state: seed of the shuffle, as in scikit-learn.

        Raises:
            DataError: one of the parts would be empty.
        """
        images, labels = self.train
        training, held_out = split_indices(len(images), validation, random_state)
        return (images[training], labels[training]), (images[held_out], labels[held_out])

    def metadata(self) -> dict[str, str | int | None]:
        """Name, source, hash and sizes, as metrics.json records them."""
        counts = {"train": len(self.train[0]), "test": len(self.test[0])}
        return {"name": self.name, "source": self.source, "sha256": self.sha256(), **counts}

    def sha256(self) -> str:
        """One hash over all pixels and labels; equal hashes mean equal data."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_mnist() -> tuple[LabelledImages, LabelledImages]:
    """Load MNIST as published: `(x_train, y_train), (x_test, y_test)`. Needs no internet.

    Returns:
        Images uint8 (60000, 28, 28) and (10000, 28, 28) in [0, 255], white ink on black; labels uint8 (60000,) and
        (10000,) from 0 to 9.

    Raises:
        DataError: the packaged files are damaged.
    """
    train = parse_idx(mnist_file(TRAIN_IMAGES), TRAIN_IMAGES), parse_idx(mnist_file(TRAIN_LABELS), TRAIN_LABELS)
    test = parse_idx(mnist_file(TEST_IMAGES), TEST_IMAGES), parse_idx(mnist_file(TEST_LABELS), TEST_LABELS)
    return train, test


def mnist_file(name: str) -> bytes:
    """Read one official file, uncompressed and verified, from the cache; unpack it into the cache if needed.

    A damaged cache is replaced. A cache that cannot be written only costs time.

    Raises:
        DataError: the packaged file does not have its SHA-256.
    """
    cached = cache_folder() / name
    with contextlib.suppress(OSError):
        content = read_plain(cached, MAX_MNIST_BYTES)
        if hashlib.sha256(content).hexdigest() == SHA256[name]:
            return content
    content = unpack(name)
    with contextlib.suppress(OSError, StorageError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, content)
    return content


def cache_folder() -> Path:
    """Where MNIST is unpacked: in the platform's cache folder (on Linux, XDG_CACHE_HOME sets it)."""
    return Path(platformdirs.user_cache_dir("numerals")) / "mnist"


def packaged_file(name: str) -> Path:
    """The path of a gzipped official file in the installed package."""
    return Path(str(resources.files("numerals"))) / "mnist" / f"{name}.gz"


def unpack(name: str) -> bytes:
    """Unpack one official file from the package and verify it.

    Raises:
        DataError: the packaged file is damaged.
    """
    path = packaged_file(name)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); reinstall numerals") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256[name]:
        raise DataError(
            f"{path}: damaged, its SHA-256 is {sha256[:12]}..., not {SHA256[name][:12]}...; reinstall numerals"
        )
    return content


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Parse an IDX file of unsigned bytes into an array (MNIST's own page describes the format).

    Args:
        content: the uncompressed file.
        name: the file's name for error messages.

    Raises:
        DataError: not IDX, not of unsigned bytes, or not of the length that its header states.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{name}: not an IDX file of unsigned bytes (it starts with {content[:4].hex() or 'nothing'})")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) < start or len(content) - start != math.prod(shape):
        size, expected = max(0, len(content) - start), "x".join(map(str, shape))
        raise DataError(f"{name}: truncated or damaged, {size} bytes of data where the header states {expected}")
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or a size 0 next to sizes beyond any memory
        raise DataError(f"{name}: damaged; the header states an impossible shape ({error})") from error


def as_digits(images: npt.ArrayLike, name: str) -> Images:
    """Convert images in any usual form to uint8 (n, 28, 28) in [0, 255].

    Args:
        images: one image or several, (28, 28) or (n, 28, 28), perhaps with a channel axis, or flattened to 784 pixels;
            whole numbers from 0 to 255, or floats from 0 to 1, which are rounded to whole 255ths.
        name: where they come from, for error messages.

    Raises:
        DataError: other shapes or values.
    """
    pixels = _as_array(images, name)
    layout = next((layout for layout in LAYOUTS if pixels.shape in (layout, (len(pixels), *layout))), None)
    if layout is None:
        raise DataError(f"{name}: images of shape {pixels.shape}; they must be (n, {SIDE}, {SIDE})")
    pixels = pixels.reshape(-1, SIDE, SIDE)
    brightest = pixels.max(initial=0) if pixels.dtype.kind in "uif" else 0
    if brightest == 1 and pixels.dtype.kind in "ui":
        raise DataError(f"{name}: pixels of 0 and 1 only; multiply them by {WHITE}, or pass them as floats")
    if pixels.dtype.kind == "f" and 0 < brightest <= 1 and pixels.min() >= 0:
        pixels = np.rint(pixels * pixels.dtype.type(WHITE))
    return _bytes(pixels, WHITE, f"{name}: pixel", f"whole numbers from 0 to {WHITE}, or all from 0 to 1")


def as_labels(labels: npt.ArrayLike, name: str) -> Labels:
    """Convert labels to uint8 (n,).

    Args:
        labels: whole numbers from 0 to 9, (n,), or one-hot rows (n, 10).
        name: where they come from, for error messages.

    Raises:
        DataError: other shapes or values.
    """
    classes = _as_array(labels, name)
    if classes.ndim == 2 and classes.shape[1] == len(CLASSES) and classes.dtype.kind in "buif":
        if not ((classes == 0) | (classes == 1)).all() or not (classes.sum(axis=1) == 1).all():
            raise DataError(f"{name}: labels of shape {classes.shape} that are not one-hot; give one label per image")
        classes = classes.argmax(axis=1)
    if classes.ndim != 1:
        raise DataError(f"{name}: labels of shape {classes.shape}; there must be one label per image")
    return _bytes(classes, len(CLASSES) - 1, f"{name}: label", f"whole numbers from 0 to {len(CLASSES) - 1}")


def check_digits(images: npt.ArrayLike, labels: npt.ArrayLike, name: str) -> LabelledImages:
    """Check images and their labels and convert them, as `as_digits` and `as_labels` do.

    Raises:
        DataError: wrong shapes or values, another number of labels than of images, or no images.
    """
    digits, classes = as_digits(images, name), as_labels(labels, name)
    if len(digits) != len(classes):
        raise DataError(f"{name}: {len(digits)} images but {len(classes)} labels; there must be one label per image")
    if len(digits) == 0:
        raise DataError(f"{name}: contains no images")
    return digits, classes


def _as_array(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    try:
        return np.atleast_1d(np.asarray(values))
    except ValueError as error:  # lists of different lengths
        raise DataError(f"{name}: not an array; its parts have different shapes") from error


def _bytes(values: npt.NDArray[Any], high: int, name: str, allowed: str) -> npt.NDArray[np.uint8]:
    """Convert whole numbers from 0 to `high` to uint8; the DataError names the first wrong value and its image."""
    if values.dtype.kind not in "uif":
        raise DataError(f"{name}s are of type {values.dtype}; they must be {allowed}")
    wrong = (values < 0) | (values > high)
    if values.dtype.kind == "f":
        wrong |= values != np.floor(values)  # true for NaN too
    if wrong.any():
        first = int(np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))[0])
        raise DataError(f"{name} {values[wrong].flat[0]} of image {first}; they must be {allowed}")
    return np.ascontiguousarray(values, np.uint8)


def prepare(images: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Normalise images, add a channel axis and one-hot encode labels, as the article does in its section 1.

    Args:
        images: uint8 (n, 28, 28) in [0, 255], white ink on black; or in another form that `as_digits` converts.
        labels: whole numbers (n,) from 0 to 9, or one-hot.

    Returns:
        float32 (n, 28, 28, 1) in [0, 1] and float32 (n, 10).

    Raises:
        DataError: wrong shapes or values, or no images.
    """
    digits, classes = check_digits(images, labels, "prepare")
    return (digits.astype(np.float32) / np.float32(WHITE))[..., None], np.eye(len(CLASSES), dtype=np.float32)[classes]


def split_indices(count: int, fraction: float, random_state: int) -> tuple[Indices, Indices]:
    """Split `count` digits at random: the indices of the training part and of the held-out part.

    They are the indices that scikit-learn's `train_test_split(np.arange(count), test_size=fraction,
    random_state=random_state)` returns, in the same order (the article's section 2); a test compares them.

    Args:
        count: number of digits.
        fraction: of the digits to hold out.
        random_state: seed of the shuffle.

    Raises:
        DataError: one of the parts would be empty.
    """
    held_out = math.ceil(count * fraction)
    if not 0 < held_out < count:
        raise DataError(f"{count} digits cannot be split with {fraction:g} of them held out; provide more digits")
    order = np.random.RandomState(random_state).permutation(count)
    return order[held_out:], order[:held_out]
