"""data.py: MNIST is loaded, verified, cached, prepared and split."""

import gzip
import hashlib
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.model_selection import train_test_split

from numerals.article import data
from numerals.errors import DataError
from tests.conftest import run_quietly
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
OFFICIAL = {  # SHA-256 of the four files as MNIST's authors published them, uncompressed
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LABELS = data.TEST_LABELS  # the smallest file, for tests that need only one


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "numerals" / "mnist"


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    """Encode an array as an IDX file, after the description of the format."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


# Load


def test_mnist_is_the_official_one() -> None:
    (x_train, y_train), (x_test, y_test) = data.load_mnist()
    assert (x_train.shape, x_train.dtype) == ((60000, 28, 28), np.dtype(np.uint8))
    assert (x_test.shape, x_test.dtype) == ((10000, 28, 28), np.dtype(np.uint8))
    assert (y_train.shape, y_train.dtype) == ((60000,), np.dtype(np.uint8))
    assert (y_test.shape, y_test.dtype) == ((10000,), np.dtype(np.uint8))
    assert (y_train[0], y_test[0]) == (5, 7)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (x_train.min(), x_train.max()) == (0, 255)
    assert round(float(x_train.mean()) / 255, 4) == 0.1307  # the mean that MNIST examples normalise with


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_packaged_files_are_the_official_ones(name: str) -> None:
    assert hashlib.sha256(data.unpack(name)).hexdigest() == OFFICIAL[name] == data.SHA256[name]


def test_a_second_start_does_not_unpack_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.load_mnist()
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.iterdir()}
    assert set(before) == set(OFFICIAL)

    def forbidden(content: bytes) -> bytes:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(gzip, "decompress", forbidden)
    data.load_mnist()
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.iterdir()} == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "longer", "link to nowhere"])
def test_a_damaged_cache_is_replaced(cache: Path, damage: str) -> None:
    valid = data.mnist_file(LABELS)
    cached = cache / LABELS
    if damage == "flipped":
        cached.write_bytes(valid[:5000] + bytes([valid[5000] ^ 1]) + valid[5001:])
    elif damage == "link to nowhere":
        cached.unlink()
        cached.symlink_to(cache / "absent")
    else:
        cached.write_bytes({"cut": valid[:-1], "empty": b"", "longer": valid + b"\0"}[damage])
    assert data.mnist_file(LABELS) == valid
    assert cached.read_bytes() == valid
    assert [path.name for path in cache.iterdir()] == [LABELS]


@pytest.mark.parametrize("obstacle", ["/dev/null/x", "a file", "a folder in the file's place"])
def test_a_cache_that_cannot_be_written_is_no_error(
    cache: Path, obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if obstacle == "/dev/null/x":
        monkeypatch.setenv("XDG_CACHE_HOME", obstacle)
    elif obstacle == "a file":
        (tmp_path / "cache").write_bytes(b"")
    else:
        (cache / LABELS / "inside").mkdir(parents=True)
    for _ in range(2):
        assert hashlib.sha256(data.mnist_file(LABELS)).hexdigest() == OFFICIAL[LABELS]
    assert not list(tmp_path.rglob(".*"))


def test_several_processes_at_once_fill_one_cache(cache: Path) -> None:
    program = "from numerals import load_mnist; (_, y), (x, _) = load_mnist(); print(len(y), int(x.sum()))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert set(outputs) == {(f"60000 {int(data.load_mnist()[1][0].sum())}\n", "")}
    assert {path.name for path in cache.iterdir()} == set(OFFICIAL)


@pytest.mark.parametrize("damage", ["head", "middle", "checksum", "cut", "empty", "missing", "another file"])
def test_a_damaged_packaged_file_is_named(
    cache: Path, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = data.packaged_file(LABELS).read_bytes()
    packaged = tmp_path / f"{LABELS}.gz"
    at = {"head": 0, "middle": len(valid) // 2, "checksum": len(valid) - 8}.get(damage)
    if at is not None:
        packaged.write_bytes(valid[:at] + bytes([valid[at] ^ 4]) + valid[at + 1 :])
    elif damage != "missing":
        contents = {"cut": valid[: len(valid) // 2], "empty": b"", "another file": gzip.compress(b"another")}
        packaged.write_bytes(contents[damage])
    monkeypatch.setattr(data, "packaged_file", lambda name: packaged)
    with pytest.raises(DataError) as caught:
        data.mnist_file(LABELS)
    assert str(caught.value).startswith(f"{packaged}: damaged")
    assert "\n" not in str(caught.value)
    assert not cache.exists(), "a damaged file was cached"


@given(at=st.integers(0, 4516), flip=st.integers(1, 255))
def test_any_flipped_byte_in_a_packaged_file_is_detected_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    content = bytearray(data.packaged_file(LABELS).read_bytes())
    content[at] ^= flip
    packaged = tmp_path_factory.mktemp("flip") / "file.gz"
    packaged.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "packaged_file", lambda name: packaged)
        try:
            content_read = data.unpack(LABELS)  # some bytes of gzip's header have no meaning
        except DataError as error:
            assert str(packaged) in str(error)
        else:
            assert hashlib.sha256(content_read).hexdigest() == OFFICIAL[LABELS]


# IDX


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)))
def test_parse_idx_reads_what_was_encoded(array: npt.NDArray[np.uint8]) -> None:
    read = data.parse_idx(idx(array), "file")
    assert (read.shape, read.dtype) == (array.shape, np.dtype(np.uint8))
    assert np.array_equal(read, array)


def headers() -> st.SearchStrategy[bytes]:
    """Headers that state anything: many dimensions, none, sizes beyond any memory."""
    size = st.sampled_from([0, 1, 2, 28, 2**31, 2**32 - 1]).map(lambda n: n.to_bytes(4, "big"))
    sizes = st.lists(size, max_size=255)
    return sizes.flatmap(
        lambda s: st.builds(
            lambda count, rest: b"\0\0\x08" + bytes([count]) + b"".join(s) + rest,
            st.just(len(s)) | st.integers(0, 255),
            st.binary(max_size=8),
        )
    )


@given(st.binary(max_size=100) | headers())
@example(b"")
@example(b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"7")  # more dimensions than NumPy has
@example(b"\0\0\x08\x03" + b"\0\0\0\0" + b"\xff" * 8)  # no data, of a shape beyond any memory
def test_any_bytes_are_idx_or_a_data_error(content: bytes) -> None:
    try:
        read = data.parse_idx(content, "some/file")
    except DataError as error:
        assert str(error).startswith("some/file: ")
        assert "\n" not in str(error)
    else:
        assert idx(read) == content


@given(array=arrays.arrays(np.uint8, (3, 28, 28)), at=st.integers(0, 3 * 784 + 15))
def test_a_truncated_idx_file_is_an_error(array: npt.NDArray[np.uint8], at: int) -> None:
    with pytest.raises(DataError, match=r"^file: "):
        data.parse_idx(idx(array)[:at], "file")


# Prepare


def test_prepare_returns_what_the_articles_code_returns() -> None:
    (images, labels), _ = data.load_mnist()
    x, y = data.prepare(images[:500], labels[:500])
    assert (x.shape, x.dtype) == ((500, 28, 28, 1), np.dtype(np.float32))
    assert (y.shape, y.dtype) == ((500, 10), np.dtype(np.float32))
    assert (x.min(), x.max()) == (0, 1)
    assert np.array_equal(x[..., 0], images[:500].astype("float32") / 255)  # the article's own line
    assert np.array_equal(y.argmax(1), labels[:500])
    assert np.array_equal(np.sort(y, 1), np.tile(np.array([0] * 9 + [1]), (500, 1)))


def test_prepare_accepts_whole_numbers_of_any_type() -> None:
    images, labels = np.full((2, 28, 28), 255.0), [3, 9]
    x, y = data.prepare(images, labels)
    assert np.array_equal(x, np.ones((2, 28, 28, 1)))
    assert np.array_equal(y.argmax(1), labels)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((2, 27, 28), np.uint8), np.zeros(2, np.uint8), "shape"),
        (np.zeros((2, 28, 28, 3), np.uint8), np.zeros(2, np.uint8), "shape"),
        (np.zeros((28, 28), np.uint8), np.zeros(28, np.uint8), "one label per image"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8), "one label per image"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros((2, 10), np.uint8), "one label per image"),
        (np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8), "no images"),
        (np.zeros((2, 28, 28), np.uint8), np.array([0, 10]), "label 10 of image 1"),
        (np.zeros((2, 28, 28), np.uint8), np.array([-1, 0]), "label -1 of image 0"),
        (np.zeros((2, 28, 28), np.uint8), np.array([0, 1.5]), "label 1.5 of image 1"),
        (np.zeros((2, 28, 28), np.uint8), np.array(["0", "1"]), "of type"),
        (np.full((2, 28, 28), 256), np.zeros(2), "pixel 256 of image 0"),
        (np.full((2, 28, 28), -1), np.zeros(2), "pixel -1 of image 0"),
        (np.full((2, 28, 28), 1), np.zeros(2), "0 and 1 only"),
        (np.linspace(-1, 1, 2 * 784).reshape(2, 28, 28), np.zeros(2), "pixel -1.0"),
        (np.full((2, 28, 28), 100.5), np.zeros(2), "pixel 100.5"),
        (np.full((2, 28, 28), np.nan), np.zeros(2), "pixel nan"),
        (np.full((2, 28, 28), np.inf), np.zeros(2), "pixel inf"),
        (np.full((2, 28, 28), True), np.zeros(2), "of type bool"),
        (np.full((2, 28, 28), 1j), np.zeros(2), "of type complex"),
        (np.array(5), np.array(5), "shape"),
    ],
)
def test_prepare_rejects_anything_but_digits(images: npt.NDArray[Any], labels: npt.NDArray[Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        data.prepare(images, labels)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


IMAGES = data.load_mnist()[1][0][:5]
SCALED = (IMAGES / 255).astype(np.float32)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.astype(np.float64),
        IMAGES.astype(np.int64),
        IMAGES.tolist(),
        list(IMAGES),
        IMAGES[..., None],
        IMAGES[:, None],
        IMAGES.reshape(5, 784),
        IMAGES / 255,
        SCALED,
        SCALED[..., None],
        SCALED.reshape(5, 784),
        SCALED.astype(np.float16),
    ],
)
def test_images_in_any_usual_form_are_the_same_digits(images: Any) -> None:
    assert np.array_equal(data.as_digits(images, "x"), IMAGES)


@pytest.mark.parametrize("image", [IMAGES[0], IMAGES[0][..., None], IMAGES[0].ravel(), SCALED[0], SCALED[0][..., None]])
def test_a_single_image_is_one_digit(image: npt.NDArray[Any]) -> None:
    assert np.array_equal(data.as_digits(image, "x"), IMAGES[:1])


def test_one_hot_labels_are_labels() -> None:
    labels = np.array([3, 0, 9], np.uint8)
    for form in (labels, np.eye(10)[labels], np.eye(10, dtype=bool)[labels], labels.tolist()):
        assert np.array_equal(data.as_labels(form, "y"), labels)


# Split


def assert_as_scikit_learn(count: int, fraction: float, seed: int) -> None:
    """Both fail, or both return the same indices in the same order."""
    try:
        expected = train_test_split(np.arange(count), test_size=fraction, random_state=seed)
    except ValueError:
        with pytest.raises(DataError):
            data.split_indices(count, fraction, seed)
        return
    for actual, indices in zip(data.split_indices(count, fraction, seed), expected, strict=True):
        assert np.array_equal(actual, indices)


@given(
    count=st.integers(0, 5000),
    fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
)
@example(count=1, fraction=0.2, seed=42)
@example(count=2, fraction=0.2, seed=42)
@example(count=5, fraction=0.2, seed=0)
@example(count=10, fraction=0.95, seed=42)
@example(count=100, fraction=0.07, seed=42)  # 100 * 0.07 is a little over 7, so eight are held out
def test_the_split_is_scikit_learns(count: int, fraction: float, seed: int) -> None:
    assert_as_scikit_learn(count, fraction, seed)


def test_the_articles_split_is_scikit_learns() -> None:
    assert_as_scikit_learn(60000, 0.2, 42)
    training, validation = data.split_indices(60000, 0.2, 42)
    assert (len(training), len(validation)) == (48000, 12000)
    assert np.array_equal(np.sort(np.concatenate([training, validation])), np.arange(60000))


# Package


def test_the_packaged_files_stay_under_twelve_megabytes() -> None:
    assert sum(data.packaged_file(name).stat().st_size for name in OFFICIAL) <= 12_000_000


def test_a_wheel_contains_the_digits_their_notice_and_the_recipes(tmp_path: Path) -> None:
    expected = {f"numerals/mnist/{name}.gz" for name in OFFICIAL}
    expected |= {"numerals/mnist/NOTICE", "numerals/recipes/article.toml", "numerals/py.typed"}
    if int(metadata.version("setuptools").split(".")[0]) < 77:  # too old to build a wheel: look at its settings
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
        package = ROOT / "src" / "numerals"
        included = {
            f"numerals/{path.relative_to(package)}" for glob in settings["numerals"] for path in package.glob(glob)
        }
        assert expected <= included
        return
    shutil.copytree(ROOT / "src" / "numerals", tmp_path / "src" / "numerals")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").write_text("numerals")
    done = run_quietly(
        (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "."),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "dist").glob("numerals-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert expected <= names
        assert any(name.endswith("licenses/src/numerals/mnist/NOTICE") for name in names)
        assert "CC BY-SA 3.0" in file.read("numerals/mnist/NOTICE").decode()
