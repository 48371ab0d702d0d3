"""MNIST in memory: loaded, verified, prepared, split (the article's sections 1 and 2). Knows nothing about networks.

The official IDX files travel inside the package, gzipped. They are unpacked once into the platform's cache folder and
checked against their SHA-256 at every start. Digits in another file: `sources.py`.
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
from numerals.files import write_atomically
from numerals.spec import CLASSES, PIXELS, SIDE, WHITE

Images = npt.NDArray[np.uint8]  # (n, 28, 28), white ink on black
Labels = npt.NDArray[np.uint8]  # (n,), 0 to 9
LabelledImages = tuple[Images, Labels]

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

SHA256 = {  # of the uncompressed files
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Dataset:
    """Digits to learn from and digits to be tested on; the second are for the end only."""

    name: str
    train: LabelledImages
    test: LabelledImages
    source: str | None = None  # what --data called it, where it was loaded by that

    def split(self, validation: float, random_state: int) -> tuple[LabelledImages, LabelledImages]:
        """The training digits as `split_indices` parts them: those to learn from and those to decide by."""
        images, labels = self.train
        kept, held_out = split_indices(len(images), validation, random_state)
        return (images[kept], labels[kept]), (images[held_out], labels[held_out])

    def metadata(self) -> dict[str, str | int | None]:
        """What a run's metrics say of it."""
        counts = {"train": len(self.train[0]), "test": len(self.test[0])}
        return {"name": self.name, "source": self.source, "sha256": self.sha256(), **counts}

    def sha256(self) -> str:
        """One hash over all pixels and labels: two runs with the same saw the same digits."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_mnist() -> tuple[LabelledImages, LabelledImages]:
    """MNIST as published: `(x_train, y_train), (x_test, y_test)`. Needs no network.

    Returns:
        Images uint8 (60000, 28, 28) and (10000, 28, 28) in [0, 255], white ink on black; labels uint8 (60000,) and
        (10000,) in 0..9.

    Raises:
        DataError: the files that came with the package are damaged.
    """
    train = parse_idx(mnist_file(TRAIN_IMAGES), TRAIN_IMAGES), parse_idx(mnist_file(TRAIN_LABELS), TRAIN_LABELS)
    test = parse_idx(mnist_file(TEST_IMAGES), TEST_IMAGES), parse_idx(mnist_file(TEST_LABELS), TEST_LABELS)
    return train, test


def mnist_file(name: str) -> bytes:
    """One official file, uncompressed and verified: from the cache, else unpacked from the package into the cache.

    A cache that is damaged is written anew; one that cannot be written costs time, not the answer.

    Raises:
        DataError: the packaged file does not have its SHA-256.
    """
    cached = cache_folder() / name
    with contextlib.suppress(OSError):
        content = cached.read_bytes()
        if hashlib.sha256(content).hexdigest() == SHA256[name]:
            return content
    content = unpack(name)
    with contextlib.suppress(OSError, StorageError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, content)
    return content


def cache_folder() -> Path:
    """Where MNIST is unpacked: the platform's own kind of cache (XDG_CACHE_HOME counts on Linux)."""
    return Path(platformdirs.user_cache_dir("numerals")) / "mnist"


def packaged_file(name: str) -> Path:
    """The gzipped official file inside the installed package."""
    return Path(str(resources.files("numerals"))) / "mnist" / f"{name}.gz"


def unpack(name: str) -> bytes:
    """One official file out of the package, verified.

    Raises:
        DataError: damaged.
    """
    path = packaged_file(name)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); install numerals again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"{path}: damaged, its SHA-256 is {found[:12]}..., not {SHA256[name][:12]}...; install numerals again"
        )
    return content


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """An IDX file of unsigned bytes as an array (the format is described on MNIST's own page).

    Raises:
        DataError: not IDX, not of bytes, or cut short. `name` says which file in the message.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{name}: not an IDX file of unsigned bytes (it starts with {content[:4].hex() or 'nothing'})")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) < start or len(content) - start != math.prod(shape):
        wanted = "x".join(map(str, shape))
        raise DataError(f"{name}: cut or damaged: {max(0, len(content) - start)} bytes where {wanted} were announced")
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or none of the bytes in a shape beyond any memory
        raise DataError(f"{name}: damaged, it announces an impossible shape ({error})") from error


def check_digits(images: npt.NDArray[Any], labels: npt.NDArray[Any], name: str) -> LabelledImages:
    """The pair as uint8, when they are digits of ours.

    Raises:
        DataError: not (n, 28, 28), values outside 0..255, labels outside 0..9, another number of them, or none.
    """
    if images.ndim == 2 and images.shape[1] == PIXELS:
        images = images.reshape(-1, SIDE, SIDE)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{name}: images of shape {images.shape}; they must be (n, {SIDE}, {SIDE})")
    if labels.shape != (len(images),):
        raise DataError(
            f"{name}: {len(images)} images but labels of shape {labels.shape}; there must be one label an image"
        )
    if len(images) == 0:
        raise DataError(f"{name}: no images in it")
    if images.dtype.kind == "f" and np.max(images) <= 1:
        raise DataError(
            f"{name}: the pixels are scaled to 0..1 already; numerals takes them as they are stored, 0 to {WHITE}"
        )
    return _bytes(images, WHITE, f"{name}: pixel"), _bytes(labels, len(CLASSES) - 1, f"{name}: label")


def _bytes(values: npt.NDArray[Any], high: int, what: str) -> npt.NDArray[np.uint8]:
    """Whole numbers from 0 to `high` as uint8, else a DataError that names the first wrong one and its place."""
    if values.dtype.kind not in "uif":
        raise DataError(f"{what}s are of type {values.dtype}; they must be whole numbers from 0 to {high}")
    wrong = (values < 0) | (values > high)
    if values.dtype.kind == "f":
        wrong |= values != np.floor(values)  # true for NaN too
    if wrong.any():
        first = int(np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))[0])
        raise DataError(f"{what} {values[wrong].flat[0]} of image {first}; they must be whole numbers from 0 to {high}")
    return np.ascontiguousarray(values, np.uint8)


def prepare(
    images: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What the article feeds its network: normalised, with a channel, one-hot (its section 1).

    Args:
        images: uint8 (n, 28, 28) in [0, 255], white ink on black.
        labels: whole numbers (n,) in 0..9.

    Returns:
        float32 (n, 28, 28, 1) in [0, 1] and float32 (n, 10).

    Raises:
        DataError: as `check_digits`.
    """
    images, labels = check_digits(np.asarray(images), np.asarray(labels), "prepare")
    return (images.astype(np.float32) / np.float32(WHITE))[..., None], np.eye(len(CLASSES), dtype=np.float32)[labels]


def split_indices(count: int, fraction: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the training and of the validation part, each int64, shuffled.

    The very indices of scikit-learn's `train_test_split(np.arange(count), test_size=fraction, random_state=seed)`
    (the article's section 2); a test compares them.

    Raises:
        DataError: one of the parts would be empty.
    """
    held_out = math.ceil(count * fraction)
    if not 0 < held_out < count:
        raise DataError(f"{count} digits cannot be split with {fraction:g} of them held out; give more digits")
    order = np.random.RandomState(seed).permutation(count)
    return order[held_out:], order[:held_out]
