"""The digit model that comes with numerals: its accuracy, its confidence, threads, and models that are refused."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import numerals
from numerals.errors import ModelError, PictureError
from numerals.read import model_files
from numerals.read.picture import load_picture
from numerals.read.pixels import Pixels
from numerals.read.recognise import Recogniser
from tests.helpers.pictures import encoded, on_paper, some_digits


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


def accuracy(reader: numerals.Reader, pictures: list[Pixels], labels: Pixels) -> float:
    return float((reader.recognise(pictures).digits == labels).mean())


def test_mnist_accuracy(reader: numerals.Reader) -> None:
    images, labels = some_digits(10_000)
    predictions = reader.recognise(images)
    assert (predictions.digits == labels).mean() >= 0.996
    assert predictions.rejected.mean() <= 0.007
    assert np.allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(predictions.confidence, predictions.probabilities.max(axis=1).astype(np.float64))


def test_confidence_is_calibrated(reader: numerals.Reader) -> None:
    images, labels = some_digits(10_000)
    predictions = reader.recognise(images)
    assert abs(predictions.confidence.mean() - (predictions.digits == labels).mean()) < 0.005


@pytest.mark.parametrize("side", [8, 12, 20, 28, 64, 300, 3000])
def test_pictures_of_any_size(reader: numerals.Reader, side: int) -> None:
    images, labels = some_digits(12 if side > 1000 else 100)
    minimum = 0.6 if side == 8 else 0.9 if side == 12 else 0.97
    assert accuracy(reader, [on_paper(image, side) for image in images], labels) >= minimum


@pytest.mark.parametrize(
    ("paper", "pen"),
    [
        ((0,), (255,)),
        ((255,), (0,)),
        ((120,), (90,)),
        ((255, 255, 255), (220, 40, 60)),
        ((30, 80, 60), (250, 250, 250)),
    ],
)
def test_pictures_of_any_colour(reader: numerals.Reader, paper: tuple[int, ...], pen: tuple[int, ...]) -> None:
    images, labels = some_digits()
    assert accuracy(reader, [on_paper(image, 56, paper, pen) for image in images], labels) >= 0.97


def test_both_polarities_give_the_same_digit(reader: numerals.Reader) -> None:
    pictures = [on_paper(image, 40) for image in some_digits()[0]]
    inverted = [255 - picture for picture in pictures]
    assert (reader.recognise(pictures).digits == reader.recognise(inverted).digits).mean() >= 0.99


def test_the_position_in_the_picture_does_not_matter(reader: numerals.Reader) -> None:
    images, labels = some_digits(60)
    pages = [np.full((120, 160), 240, np.uint8) for _ in images]
    for i, (page, image) in enumerate(zip(pages, images, strict=True)):
        top, left = i * 7 % 60, i * 13 % 100
        page[top : top + 60, left : left + 60] = on_paper(image, 60, (240,))
    assert accuracy(reader, pages, labels) >= 0.97


def test_paths_bytes_and_arrays_give_the_same_result(reader: numerals.Reader, tmp_path: Path) -> None:
    images, _ = some_digits(3)
    path = tmp_path / "one.png"
    path.write_bytes(encoded(images[0]))
    expected = reader.recognise(images)
    predictions = reader.recognise([path, encoded(images[1]), images[2] / 255])
    assert np.allclose(predictions.probabilities, expected.probabilities, atol=1e-5)


def test_one_picture_in_any_form_is_one_picture(
    reader: numerals.Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seven = on_paper(some_digits(1)[0][0], 60)
    coloured = np.repeat(seven[..., None], 3, axis=2)
    Path(tmp_path, "a.png").write_bytes(encoded(seven))
    monkeypatch.chdir(tmp_path)
    expected = reader.recognise([seven])
    opened, grey, palette = (Image.open("a.png"), Image.fromarray(seven), Image.fromarray(coloured).quantize(256))
    forms = ["a.png", Path("a.png"), encoded(seven), bytearray(encoded(seven)), seven, seven / 255, seven[..., None]]
    forms += [coloured, load_picture("a.png"), opened, grey, palette]
    for form in forms:
        for pictures in (form, [form], (form,), iter([form])):
            predictions = reader.recognise(pictures)
            assert len(predictions) == 1, form
            assert np.allclose(predictions.probabilities, expected.probabilities, atol=0.01), form
        assert reader.read(form).text == reader.read(seven).text
    opened.close()


def test_one_array_of_several_pictures_is_several(reader: numerals.Reader) -> None:
    images, _ = some_digits(4)
    expected = reader.recognise(list(images)).probabilities
    coloured = np.repeat(images[..., None], 3, axis=3)
    for several in (images, images / 255, images[..., None], coloured, coloured / 255, tuple(images)):
        assert np.allclose(reader.recognise(several).probabilities, expected, atol=1e-4)


def test_a_turned_image_of_pillow_is_read_upright(reader: numerals.Reader) -> None:
    upright = Image.fromarray(on_paper(some_digits(1)[0][0], 60))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright.rotate(90, expand=True).save(turned, "PNG", exif=exif)
    with Image.open(turned) as image:
        assert np.array_equal(load_picture(image).pixels, np.asarray(upright))
        assert reader.recognise(image).digits == reader.recognise(upright).digits
        assert image.size == (60, 60) and np.asarray(image).shape == (60, 60), "the image is still open"


@pytest.mark.parametrize("wrong", [5, None, [[1, 2], [3]], "missing.png", [["a.png"]]])
def test_what_is_no_picture_is_refused_in_a_line(reader: numerals.Reader, wrong: object) -> None:
    with pytest.raises(PictureError, match=r"^\S[^\n]*$"):
        reader.recognise(wrong)


def test_an_empty_list_gives_an_empty_result(reader: numerals.Reader) -> None:
    predictions = reader.recognise([])
    assert len(predictions) == 0
    assert predictions.probabilities.shape == (0, 10)


def test_blank_and_noisy_pictures_are_rejected(reader: numerals.Reader) -> None:
    chance = np.random.default_rng(0)
    blank = [np.full((28, 28), level, np.uint8) for level in (0, 128, 255)]
    noise = [chance.integers(0, 256, (side, side)).astype(np.uint8) for side in (28, 60, 100) for _ in range(10)]
    assert reader.recognise(blank).rejected.all()
    assert reader.recognise(noise).rejected.mean() > 0.9


def test_a_picture_that_cannot_be_read_is_refused(reader: numerals.Reader) -> None:
    with pytest.raises(PictureError):
        reader.recognise([np.zeros((28, 28), np.uint8), b"nothing"])


def test_many_threads_get_the_same_results(reader: numerals.Reader) -> None:
    images, _ = some_digits()
    expected = reader.recognise(images).probabilities
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: reader.recognise(images).probabilities, range(24)))
    assert all(np.allclose(probabilities, expected, atol=1e-5) for probabilities in results)


def test_the_batch_size_does_not_matter(reader: numerals.Reader) -> None:
    images, _ = some_digits(20)
    alone = np.concatenate([reader.recognise(image[None]).probabilities for image in images])
    assert np.allclose(alone, reader.recognise(images).probabilities, atol=1e-5)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(encoded(some_digits(1)[0][0]))
    code = "import sys, numerals; print(numerals.Reader().recognise([sys.argv[1]]).digits[0], 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["7", "False"]


def test_a_model_and_a_card_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"m\.onnx"):
        Recogniser(model_files.load(path))
    path.write_bytes(model_files.shipped_path().read_bytes())
    with pytest.raises(ModelError, match=r"m\.json"):
        Recogniser(model_files.load(path))
    card = json.loads(model_files.shipped_path().with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card))
    Recogniser(model_files.load(path))
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match="SHA-256"):
        Recogniser(model_files.load(path))
    for broken in ("{", "[]", json.dumps({**card, "threshold": 2})):
        path.with_suffix(".json").write_text(broken)
        with pytest.raises(ModelError):
            Recogniser(model_files.load(path))
