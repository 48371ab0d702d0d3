"""datasets.py: the data that `--data` accepts, and how everything else is refused."""

import gzip
import io
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from numerals.article import datasets
from numerals.article.data import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Dataset,
    LabelledImages,
    load_mnist,
    split_indices,
)
from numerals.errors import DataError
from tests.article.test_data import idx

FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
HEADER = "label," + ",".join(f"pixel{pixel}" for pixel in range(784)) + "\n"
Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    """70 digits of MNIST, seven of each class."""
    (images, labels), _ = load_mnist()
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:7] for label in range(10)]))
    return images[chosen], labels[chosen]


def write_idx(folder: Path, train: LabelledImages, test: LabelledImages, packed: bool = False) -> None:
    folder.mkdir()
    files = zip((TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS), (*train, *test), strict=True)
    for name, array in files:
        content = idx(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)


def write_csv(path: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any], header: str = HEADER) -> None:
    rows = (",".join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels, strict=True))
    path.write_text(header + "".join(f"{row}\n" for row in rows))


def write_pictures(folder: Path, images: Bytes, labels: Bytes, suffix: str = ".png") -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        class_folder = folder / str(label)
        class_folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(class_folder / f"{number:04d}{suffix}")


def assert_same(actual: LabelledImages, expected: LabelledImages) -> None:
    for array, expected_array in zip(actual, expected, strict=True):
        assert array.dtype == np.uint8
        assert np.array_equal(array, expected_array)


def assert_test_part_held_out(dataset: Dataset, images: Bytes, labels: Bytes) -> None:
    """One in seven digits, always the same ones, is the test part; the others are the training part."""
    train, test = split_indices(len(images), 1 / 7, 42)
    assert len(test) == -(-len(images) // 7)
    assert_same(dataset.train, (images[train], labels[train]))
    assert_same(dataset.test, (images[test], labels[test]))


def load_error(source: Path, named: Path | None = None) -> str:
    """Load a source that is wrong; return the error message, which is one line and names the file."""
    with pytest.raises(DataError) as caught:
        datasets.load(str(source))
    message = str(caught.value)
    assert str(named or source) in message
    assert "\n" not in message
    return message


# Accepted data


@pytest.mark.parametrize("source", [None, "mnist"])
def test_mnist_is_the_default(source: str | None) -> None:
    dataset = datasets.load(source)
    assert dataset.name == "mnist"
    assert (len(dataset.train[0]), len(dataset.test[0])) == (60000, 10000)


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, digits: LabelledImages, packed: bool) -> None:
    images, labels = digits
    train, test = (images[:60], labels[:60]), (images[60:], labels[60:])
    write_idx(tmp_path / "fashion-mnist", train, test, packed)
    dataset = datasets.load(str(tmp_path / "fashion-mnist"))
    assert dataset.name == "fashion-mnist"
    assert_same(dataset.train, train)
    assert_same(dataset.test, test)


def test_debians_fashion_mnist() -> None:
    if not FASHION.is_dir() and "CI" not in os.environ:  # `.ci/run` installs it
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    dataset = datasets.load(str(FASHION))
    assert dataset.train[0].shape == (60000, 28, 28)
    assert np.bincount(dataset.train[1]).tolist() == [6000] * 10
    assert np.bincount(dataset.test[1]).tolist() == [1000] * 10


def test_idx_files_with_a_dot_and_without_a_test_part(tmp_path: Path, digits: LabelledImages) -> None:
    images, labels = digits
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    assert_test_part_held_out(datasets.load(str(tmp_path)), images, labels)


def test_a_csv_as_excel_saves_it(tmp_path: Path, digits: LabelledImages) -> None:
    write_csv(tmp_path / "plain.csv", *digits)
    (tmp_path / "TRAIN.CSV").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "plain.csv").read_bytes())
    assert_test_part_held_out(datasets.load(str(tmp_path / "TRAIN.CSV")), *digits)


def test_a_csv_from_kaggle(tmp_path: Path, digits: LabelledImages) -> None:
    write_csv(tmp_path / "train.csv", *digits)
    dataset = datasets.load(str(tmp_path / "train.csv"))
    assert_test_part_held_out(dataset, *digits)
    assert dataset.sha256() == datasets.load(str(tmp_path / "train.csv")).sha256()


@pytest.mark.parametrize(
    "header", [HEADER.replace("\n", "\r\n"), ",".join(f'"{n}"' for n in HEADER.split(","))[:-2] + '"\n']
)
def test_a_csv_that_a_spreadsheet_saved(tmp_path: Path, digits: LabelledImages, header: str) -> None:
    write_csv(tmp_path / "train.csv", *digits, header=header.replace('\n"', '"'))
    assert_test_part_held_out(datasets.load(str(tmp_path / "train.csv")), *digits)


def test_an_npz_of_four_arrays(tmp_path: Path, digits: LabelledImages) -> None:
    images, labels = digits
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:])
    dataset = datasets.load(str(path))
    assert_same(dataset.train, (images[:60], labels[:60]))
    assert_same(dataset.test, (images[60:], labels[60:]))


@pytest.mark.parametrize("names", [("x_train", "y_train"), ("x", "y")])
@pytest.mark.parametrize("shape", [(70, 28, 28), (70, 784)])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_an_npz_of_two_arrays(
    tmp_path: Path, digits: LabelledImages, names: tuple[str, str], shape: tuple[int, ...], kind: type
) -> None:
    path = tmp_path / "some.npz"
    arrays: dict[str, Any] = {names[0]: digits[0].reshape(shape).astype(kind), names[1]: digits[1].astype(kind)}
    np.savez(path, **arrays)
    assert_test_part_held_out(datasets.load(str(path)), *digits)


def sorted_by_class(digits: LabelledImages) -> LabelledImages:
    order = np.argsort(digits[1], kind="stable")
    return digits[0][order], digits[1][order]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif", ".PNG"])
def test_a_folder_per_class(tmp_path: Path, digits: LabelledImages, suffix: str) -> None:
    write_pictures(tmp_path / "some", *digits, suffix=suffix)
    (tmp_path / "some" / "README.txt").write_text("not a picture")
    (tmp_path / "some" / "3" / "Thumbs.db").write_bytes(b"not a picture")
    assert_test_part_held_out(datasets.load(str(tmp_path / "some")), *sorted_by_class(digits))


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_folders_per_class_of_both_parts(tmp_path: Path, digits: LabelledImages, train: str, test: str) -> None:
    images, labels = digits
    write_pictures(tmp_path / train, images[:60], labels[:60])
    write_pictures(tmp_path / test, images[60:], labels[60:])
    dataset = datasets.load(str(tmp_path))
    assert_same(dataset.train, sorted_by_class((images[:60], labels[:60])))
    assert_same(dataset.test, sorted_by_class((images[60:], labels[60:])))


def test_colour_palette_and_transparency_become_grey(tmp_path: Path, digits: LabelledImages) -> None:
    """The same digit in four modes; transparent pixels become black, the background."""
    (tmp_path / "5").mkdir()
    picture = Image.fromarray(digits[0][0])
    ink = Image.new("RGBA", picture.size, "white")
    ink.putalpha(picture)
    for number, each in enumerate((picture, picture.convert("RGB"), picture.convert("P"), ink)):
        each.save(tmp_path / "5" / f"{number}.png")
    dataset = datasets.load(str(tmp_path))
    for image in (*dataset.train[0], *dataset.test[0]):
        assert np.abs(image.astype(int) - digits[0][0]).max() <= 1


# Errors


def test_a_missing_path(tmp_path: Path) -> None:
    assert "no such file or folder" in load_error(tmp_path / "absent")
    assert "no such file or folder" in load_error(tmp_path / "absent.npz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    load_error(tmp_path / "loop")
    assert "too long" in load_error(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["data.txt", "data", "data.npy", "data.csv.zip"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    assert "--data accepts" in load_error(tmp_path / name)


@pytest.mark.parametrize("inside", [(), ("0", "1"), ("train", "test"), ("cats", "dogs")])
def test_a_folder_without_digits(tmp_path: Path, inside: tuple[str, ...]) -> None:
    for name in inside:
        (tmp_path / name).mkdir()
    assert "no pictures" in load_error(tmp_path)


def test_a_folder_with_the_name_of_a_file(tmp_path: Path) -> None:
    for name in ("folder.csv", "folder.npz"):
        (tmp_path / name).mkdir()
        assert "no pictures" in load_error(tmp_path / name)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: c[: len(c) // 2], lambda c: c[:3], lambda c: b"", lambda c: bytes([c[0] ^ 1]) + c[1:]],
    ids=["one byte short", "cut in half", "cut in the header", "empty", "flipped header"],
)
def test_a_damaged_idx_file(tmp_path: Path, digits: LabelledImages, damage: Damage, name: str, packed: bool) -> None:
    write_idx(tmp_path / "folder", digits, digits, packed)
    path = tmp_path / "folder" / (f"{name}.gz" if packed else name)
    path.write_bytes(damage(path.read_bytes()))
    load_error(tmp_path / "folder", path)


def test_a_flipped_byte_in_a_gzipped_idx_file_is_detected_or_harmless(tmp_path: Path, digits: LabelledImages) -> None:
    write_idx(tmp_path / "folder", digits, digits, packed=True)
    path = tmp_path / "folder" / f"{TRAIN_IMAGES}.gz"
    valid = path.read_bytes()
    for at in range(10, len(valid), 97):  # the gzip header has ten bytes
        path.write_bytes(valid[:at] + bytes([valid[at] ^ 16]) + valid[at + 1 :])
        try:
            dataset = datasets.load(str(tmp_path / "folder"))
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert_same(dataset.train, digits)  # a bit that deflate does not use


def test_a_missing_idx_file(tmp_path: Path, digits: LabelledImages) -> None:
    write_idx(tmp_path / "folder", digits, digits)
    (tmp_path / "folder" / TEST_LABELS).unlink()
    assert TEST_LABELS in load_error(tmp_path / "folder")


def blank(count: int, side: int = 28, value: float = 0) -> npt.NDArray[Any]:
    return np.full((count, side, side), value, np.uint8 if value == int(value) else np.float64)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (blank(3, side=27), np.zeros(3, np.uint8), "27, 27"),
        (blank(3), np.zeros(2, np.uint8), "one label per image"),
        (blank(3), np.array([0, 1, 10], np.uint8), "label 10 of image 2"),
        (blank(0), np.zeros(0, np.uint8), "no images"),
        (blank(1), np.zeros(1, np.uint8), ""),  # no digit is left for the test part
    ],
    ids=["27x27", "fewer labels", "label 10", "empty", "a single image"],
)
@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_arrays_that_are_not_digits(
    tmp_path: Path, kind: str, images: npt.NDArray[Any], labels: npt.NDArray[Any], words: str
) -> None:
    if kind == "npz":
        np.savez(tmp_path / "some.npz", x=images, y=labels)
        assert words in load_error(tmp_path / "some.npz")
    elif words:  # an IDX folder has its own test part, so a single digit is possible
        write_idx(tmp_path / "folder", (images, labels), (blank(3), np.zeros(3, np.uint8)))
        assert words in load_error(tmp_path / "folder", tmp_path / "folder" / TRAIN_IMAGES)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (blank(3, value=1), [0, 1, 2], "0 and 1 only"),
        (np.full((3, 28, 28), np.nan), [0, 1, 2], "pixel nan of image 0"),
        (np.full((3, 28, 28), -np.inf), [0, 1, 2], ""),
        (np.full((3, 28, 28), 300), [0, 1, 2], "pixel 300"),
        (np.full((3, 28, 28), -1), [0, 1, 2], "pixel -1"),
        (np.full((3, 28, 28), 3.5), [0, 1, 2], "pixel 3.5"),
        (blank(3), [0, 1, -1], "label -1 of image 2"),
        (blank(3), [0, np.nan, 1], "label nan of image 1"),
        (blank(3), ["a", "b", "c"], "of type <U1"),
        (blank(3), np.eye(10)[:3] / 2, "not one-hot"),
        (np.zeros((3, 28, 28), "M8[s]"), [0, 1, 2], "of type datetime"),
    ],
)
def test_values_that_are_not_digits(tmp_path: Path, images: npt.NDArray[Any], labels: Any, words: str) -> None:
    np.savez(tmp_path / "some.npz", x=images, y=np.asarray(labels))
    assert words in load_error(tmp_path / "some.npz")


def test_the_test_part_is_checked_as_well(tmp_path: Path) -> None:
    bad: dict[str, Any] = {"x_test": blank(2), "y_test": np.array([0, 11])}
    np.savez(tmp_path / "some.npz", x_train=blank(2), y_train=np.zeros(2), **bad)
    assert "(test): label 11 of image 1" in load_error(tmp_path / "some.npz")


class Explodes:
    """Ends the process when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (66,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", x=np.array([Explodes()] * 3, dtype=object), y=np.zeros(3))
    load_error(tmp_path / "some.npz")
    (tmp_path / "other.npz").write_bytes(pickle.dumps(Explodes()))
    load_error(tmp_path / "other.npz")


def test_an_npz_with_other_content(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    with open(path, "wb") as file:
        np.save(file, blank(3))
    assert "not an .npz" in load_error(path)
    np.savez(path, images=blank(3), labels=np.zeros(3))
    assert "contains images, labels" in load_error(path)
    np.savez(path, x_train=blank(3), y_test=np.zeros(3))
    assert "contains x_train, y_test" in load_error(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert "contains nothing" in load_error(path)
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("x", b"not an array")
        zipped.writestr("y", b"not an array")
    load_error(path)


def test_a_truncated_or_damaged_npz(tmp_path: Path, digits: LabelledImages) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, x=digits[0], y=digits[1])
    valid = path.read_bytes()
    for content in (
        valid[:-1],
        valid[: len(valid) // 2],
        b"",
        valid[:5000] + bytes([valid[5000] ^ 1]) + valid[5001:],
    ):
        path.write_bytes(content)
        load_error(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "first line"),
        (HEADER, "no images"),
        (HEADER + "\n\n", "no images"),
        (HEADER.removeprefix("label,"), "first line"),  # Kaggle's test.csv, which has no labels
        ("label,pixel0\n1,2\n", "first line"),
        (HEADER + "1" + ",0" * 783 + "\n", "784 values"),
        (HEADER + "1" + ",0" * 784 + "\n" + "1" + ",0" * 700 + "\n", ""),
        (HEADER + "ten" + ",0" * 784 + "\n", "ten"),
        (HEADER + "1" + ",0.5" * 784 + "\n", "0.5"),
        (HEADER + "1" + ",99999999999999999999" * 784 + "\n", ""),
        (HEADER + "1" + "," * 784 + "\n", ""),
        (HEADER + ("10" + ",0" * 784 + "\n") * 3, "label 10 of image 0"),
        (HEADER + ("1" + ",256" * 784 + "\n") * 3, "pixel 256 of image 0"),
        (HEADER + ("1" + ",0" * 784 + "\n"), ""),  # no digit is left for the test part
        ('"' + "x" * 200_000, ""),  # longer than the csv module accepts
        ("\0\0\0\0", "first line"),
    ],
)
def test_a_csv_of_another_form(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "train.csv").write_text(content)
    assert words in load_error(tmp_path / "train.csv")


def one_picture(folder: Path, picture: Image.Image, name: str = "bad.png") -> Path:
    (folder / "7").mkdir(exist_ok=True)
    picture.save(folder / "7" / name)
    return folder / "7" / name


@pytest.mark.parametrize("size", [(27, 28), (28, 29), (1, 1), (20000, 1)])
def test_a_picture_of_another_size(tmp_path: Path, digits: LabelledImages, size: tuple[int, int]) -> None:
    write_pictures(tmp_path, *digits)
    assert f"{size[0]}x{size[1]} pixels" in load_error(tmp_path, one_picture(tmp_path, Image.new("L", size)))


def test_a_picture_of_sixteen_bits(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((28, 28), 40000, np.uint16))
    assert "8 bits" in load_error(tmp_path, one_picture(tmp_path, picture))
    (tmp_path / "7" / "bad.png").unlink()
    picture = Image.fromarray(np.full((28, 28), 0.5, np.float32))
    assert "8 bits" in load_error(tmp_path, one_picture(tmp_path, picture, "bad.tif"))


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    """A header that states 60,000 x 60,000 pixels, which would take 3.6 GB."""
    path = one_picture(tmp_path, Image.new("L", (28, 28)))
    content = path.read_bytes()
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + content[24:29]
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    load_error(tmp_path, path)


def test_a_truncated_or_damaged_picture(tmp_path: Path, digits: LabelledImages) -> None:
    path = one_picture(tmp_path, Image.fromarray(digits[0][0]))
    valid = path.read_bytes()
    for content in (
        valid[:-40],
        valid[: len(valid) // 2],
        valid[:8],
        b"",
        b"text",
        valid[:60] + b"\xff" + valid[61:],
    ):
        path.write_bytes(content)
        load_error(tmp_path, path)


def test_a_folder_with_the_name_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "7" / "folder.png").mkdir(parents=True)
    load_error(tmp_path, tmp_path / "7" / "folder.png")


def test_dark_ink_on_white(tmp_path: Path, digits: LabelledImages) -> None:
    write_pictures(tmp_path, 255 - digits[0], digits[1])
    assert "invert them" in load_error(tmp_path)


# Files that never end, or are too large


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def link_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)  # takes no space on the disk


@pytest.mark.parametrize("make", [make_pipe, link_endless, make_huge])
@pytest.mark.parametrize(
    "name", [TRAIN_IMAGES, TRAIN_LABELS, f"{TEST_LABELS}.gz", "7/some.png", "some.csv", "some.npz"]
)
def test_pipes_devices_and_huge_files_are_refused(
    tmp_path: Path, digits: LabelledImages, name: str, make: Callable[[Path], None]
) -> None:
    folder = tmp_path / "folder"
    if name.startswith("7/"):
        write_pictures(folder, *digits)
    else:
        write_idx(folder, digits, digits)
    path = folder / name
    path.with_suffix("").unlink(missing_ok=True)
    make(path)
    wanted = {"not a plain file", "larger than 1 GiB", "larger than 1 MiB", "unknown kind of data"}
    message = load_error(path if name.startswith("some") else folder, path)
    assert any(words in message for words in wanted), message


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, digits: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "MAX_BYTES", 50_000)
    write_idx(tmp_path / "folder", digits, digits, packed=True)
    images = tmp_path / "folder" / f"{TRAIN_IMAGES}.gz"
    assert images.stat().st_size < 50_000
    assert "larger than 48.8 KiB when unpacked" in load_error(tmp_path / "folder", images)
    np.savez_compressed(tmp_path / "some.npz", x=digits[0], y=digits[1])
    assert "larger than 48.8 KiB when unpacked" in load_error(tmp_path / "some.npz")


def test_a_csv_with_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    row = "1" + ",0" * 784 + "\n"
    for content in ("1" * 200_000, HEADER + row + "1" * 200_000, HEADER + row + "1," * 200_000):
        path.write_text(content)
        load_error(path)


def test_a_csv_of_empty_lines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_LINES", 1000)
    path = tmp_path / "some.csv"
    path.write_text(HEADER + "1" + ",0" * 784 + "\n" + "\n" * 1000)
    assert "over 1,000 lines" in load_error(path)


# Arbitrary bytes


def assert_data_or_data_error(source: Path, named: Path) -> None:
    try:
        dataset = datasets.load(str(source))
    except DataError as error:
        assert str(named) in str(error)
        assert "\n" not in str(error)
    else:
        for images, labels in (dataset.train, dataset.test):
            assert images.shape == (len(labels), 28, 28)
            assert labels.max() <= 9


def _npz(header: str) -> bytes:
    """An .npz whose arrays have this header, any text."""
    line = header.encode("latin1", "replace")
    array = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + b"\0" * 64
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("x.npy", array)
        zipped.writestr("y.npy", array)
    return file.getvalue()


def _seeds() -> dict[str, list[bytes]]:
    """Small valid files of each kind, to be damaged."""
    images, labels = np.zeros((3, 28, 28), np.uint8), np.array([1, 2, 3], np.uint8)
    seeds: dict[str, list[bytes]] = {".csv": [(HEADER + ("1" + ",0" * 784 + "\n") * 3).encode()]}
    file = io.BytesIO()
    np.savez(file, x=images, y=labels)
    packed = io.BytesIO()
    np.savez_compressed(packed, x=images, y=labels)
    seeds[".npz"] = [file.getvalue(), packed.getvalue()]
    for suffix, kind in (".png", "PNG"), (".gif", "GIF"), (".bmp", "BMP"), (".tif", "TIFF"), (".jpg", "JPEG"):
        seeds[suffix] = []
        for mode in ("L", "RGB") if kind == "JPEG" else ("L", "P", "RGB"):
            saved = io.BytesIO()
            Image.fromarray(np.eye(28, dtype=np.uint8) * 255).convert(mode).save(saved, kind)
            seeds[suffix].append(saved.getvalue())
    seeds["idx"] = [idx(images)]
    seeds["idx.gz"] = [gzip.compress(idx(images))]
    return seeds


SEEDS = _seeds()


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid file with a few bytes changed, perhaps truncated, perhaps with bytes inserted."""
    content = bytearray(draw(st.sampled_from(seeds)))
    near_start = st.integers(0, min(200, len(content) - 1))
    for _ in range(draw(st.integers(0, 4))):
        content[draw(near_start | st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    at = draw(st.integers(0, len(content)))
    content[at:at] = draw(st.just(b"") | st.binary(max_size=8))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


many = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@many
@example((HEADER + "\U0010ffff" * 999).encode())  # crashes the interpreter in np.loadtxt of NumPy 2.4
@given(damaged(SEEDS[".csv"]) | st.binary(max_size=200) | st.text(max_size=200).map(lambda t: (HEADER + t).encode()))
def test_any_bytes_in_a_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.csv").write_bytes(content)
    assert_data_or_data_error(tmp_path / "some.csv", tmp_path / "some.csv")


@many
@given(damaged(SEEDS[".npz"]) | st.binary(max_size=200) | st.text(max_size=100).map(_npz))
@example(_npz("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}"))
@example(_npz("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,)}"))  # beyond any memory
@example(_npz("{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999999999999,)}"))
@example(_npz("{'descr': (), 'fortran_order': False, 'shape': (3,)}"))
@example(_npz("{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}"))  # written by Python 2; NumPy warns about it
@example(_npz("{'descr': '|u1', 'shape': ("))
@example(_npz("(" * 9000))
@example(_npz("{[]: 1}"))
def test_any_bytes_in_an_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.npz").write_bytes(content)
    assert_data_or_data_error(tmp_path / "some.npz", tmp_path / "some.npz")


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif", ".jpg"])
def test_any_bytes_in_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "0" / f"some{suffix}"
    path.parent.mkdir()
    Image.new("L", (28, 28)).save(path.parent / "whole.png")

    @many
    @given(damaged(SEEDS[suffix]) | st.binary(max_size=200))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            assert_data_or_data_error(tmp_path, path)
        except AssertionError:
            with pytest.raises(DataError, match="dark ink on white"):  # about the folder, not about one file
                datasets.load(str(tmp_path))

    check()


@pytest.mark.parametrize("kind", ["idx", "idx.gz"])
def test_any_bytes_in_an_idx_file(tmp_path: Path, kind: str) -> None:
    digits = np.zeros((3, 28, 28), np.uint8), np.array([1, 2, 3], np.uint8)
    write_idx(tmp_path / "folder", digits, digits)
    (tmp_path / "folder" / TRAIN_IMAGES).unlink()
    path = tmp_path / "folder" / (TRAIN_IMAGES + kind.removeprefix("idx"))

    @many
    @given(damaged(SEEDS[kind]) | st.binary(max_size=200))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert_data_or_data_error(tmp_path / "folder", tmp_path / "folder" / TRAIN_IMAGES)

    check()
