"""Corruptions of digits, and the robustness of a model to them."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from numerals.errors import RunError
from numerals.report.corruptions import CORRUPTIONS
from numerals.report.robustness import FILE_NAME, cached_robustness, evenly_spaced, load_robustness, measure_robustness
from tests.helpers.pictures import some_digits

NAMES = ["noise", "blur", "rotation", "shear", "scale", "shift", "brightness", "contrast", "lines", "occlusion"]
Images = npt.NDArray[np.uint8]


def digits(count: int) -> tuple[Images, Images]:
    images, labels = some_digits()
    return images[:count], labels[:count]


def predict_by_ink(images: Images) -> npt.NDArray[np.float64]:
    """A simple model: the more ink, the higher the digit."""
    level = np.clip(images.mean(axis=(1, 2)) / 10, 0, 9).astype(int)
    return np.asarray(np.eye(10)[level])


def test_there_are_ten_corruptions_with_five_severities() -> None:
    assert list(CORRUPTIONS) == NAMES
    assert all(len(each.amounts) == 5 for each in CORRUPTIONS.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_reproducible_and_grows_with_severity(name: str) -> None:
    images, _ = digits(100)
    before = images.copy()
    corrupted = [CORRUPTIONS[name].apply(images, severity) for severity in range(1, 6)]
    assert np.array_equal(images, before), "the input does not change"
    for severity, result in enumerate(corrupted, 1):
        assert result.shape == images.shape and result.dtype == np.uint8
        assert np.array_equal(result, CORRUPTIONS[name].apply(images, severity))
        assert (result != images).any(axis=(1, 2)).mean() > 0.7, "the square may miss the ink"
    changes = [np.abs(result.astype(int) - images).mean() for result in corrupted]
    assert changes == sorted(changes) and changes[0] < 0.8 * changes[-1]


def test_each_corruption_does_what_its_description_says() -> None:
    square = np.zeros((50, 28, 28), np.uint8)
    square[:, 9:19, 9:19] = 200
    halved = CORRUPTIONS["scale"].apply(square, 5)
    inked = halved.astype(bool).sum(axis=(1, 2)).tolist()
    assert inked == pytest.approx([36] * 50, abs=12), "a quarter of 100 pixels, and soft edges"
    moved = CORRUPTIONS["shift"].apply(square, 2)
    ys = (moved.sum(axis=2) * np.arange(28)).sum(axis=1) / moved.sum(axis=(1, 2))
    assert set(np.abs(ys - 13.5).round(1)) == {3.0} and len(set(ys.round(1))) == 2, "three pixels, up or down"
    turned = CORRUPTIONS["rotation"].apply(square, 5)
    assert np.allclose(turned.mean(axis=(1, 2)), square.mean(), rtol=0.03), "rotation keeps the ink"
    assert CORRUPTIONS["brightness"].apply(square, 5)[0, 0, 0] == 128
    low_contrast = CORRUPTIONS["contrast"].apply(square, 5)
    assert float(np.ptp(low_contrast)) == pytest.approx(20, abs=1)
    assert low_contrast.mean() == pytest.approx(square.mean(), abs=0.5)
    noisy = CORRUPTIONS["noise"].apply(square, 5)
    assert (noisy == 255).mean() == pytest.approx(0.15, abs=0.01)
    assert (CORRUPTIONS["lines"].apply(square, 1) >= square).all(), "lines are white"
    assert (CORRUPTIONS["occlusion"].apply(np.full_like(square, 255), 3) == 0).sum(axis=(1, 2)).tolist() == [64] * 50


def test_robustness_measures_any_predict_function() -> None:
    sample = digits(200)
    robustness = measure_robustness(predict_by_ink, sample, 100)
    assert robustness.count == 100 and [each.name for each in robustness.corruptions] == NAMES
    images, labels = evenly_spaced(sample, 100)
    assert np.array_equal(images, sample[0][::2])
    assert robustness.clean == pytest.approx((predict_by_ink(images).argmax(1) == labels).mean())
    corrupted = CORRUPTIONS["blur"].apply(images, 3)
    blurred_accuracy = (predict_by_ink(corrupted).argmax(1) == labels).mean()
    assert robustness.corruptions[1].accuracies[2] == pytest.approx(blurred_accuracy)
    assert robustness.mean == pytest.approx(np.mean([each.accuracies for each in robustness.corruptions]))


def test_robustness_is_measured_once_for_the_same_weights_and_digits(tmp_path: Path) -> None:
    sample, calls = digits(60), []

    def predict(images: Images) -> npt.NDArray[np.float64]:
        calls.append(len(images))
        return predict_by_ink(images)

    first = cached_robustness(predict, sample, 30, "weights", tmp_path)
    passes = len(calls)
    assert passes == 51, "clean digits, and ten corruptions at five severities"
    assert cached_robustness(predict, sample, 30, "weights", tmp_path) == first and len(calls) == passes
    assert load_robustness(tmp_path, "weights", sample) == first
    assert load_robustness(tmp_path, "other weights", sample) is None
    assert load_robustness(tmp_path, "weights", digits(59)) is None
    on_all = cached_robustness(predict, sample, None, "weights", tmp_path)
    assert on_all.count == 60 and len(calls) == 2 * passes
    assert cached_robustness(predict, sample, 30, "weights", tmp_path) == on_all, "60 digits include 30"


@pytest.mark.parametrize("damage", ["cut", "empty", "a list", "another corruption"])
def test_a_damaged_file_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    sample = digits(20)
    cached_robustness(predict_by_ink, sample, 20, "weights", tmp_path)
    text = (tmp_path / FILE_NAME).read_text()
    changed = {
        "cut": text[:-200],
        "empty": "",
        "a list": json.dumps([text]),
        "another corruption": text.replace("blur", "fog"),
    }
    (tmp_path / FILE_NAME).write_text(changed[damage])
    with pytest.raises(RunError, match=FILE_NAME) as caught:
        load_robustness(tmp_path, "weights", sample)
    assert "\n" not in str(caught.value)
