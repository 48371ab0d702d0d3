"""Synthetic samples of the digit network: reproducible by index, legible digits, and non-digits."""

import numpy as np
import pytest

from numerals.handwriting import degradations, non_digits, variants
from numerals.handwriting.digits import NON_DIGIT, NON_DIGIT_SHARE, Synthesis, write_digit
from numerals.read.normalise import ink_bounds
from numerals.spec import SIDE
from tests.helpers.pictures import some_digits

Rng = np.random.default_rng


@pytest.fixture(scope="module")
def synthesis() -> Synthesis:
    return Synthesis(some_digits())


def test_a_sample_depends_only_on_seed_and_index(synthesis: Synthesis) -> None:
    images, labels = synthesis.batch(3, np.arange(40))
    backwards, _ = synthesis.batch(3, np.arange(40)[::-1])
    assert np.array_equal(images, backwards[::-1])
    assert images.shape == (40, SIDE, SIDE) and images.dtype == np.uint8
    assert not np.array_equal(images, synthesis.batch(4, np.arange(40))[0])
    _, mnist_labels = some_digits()
    assert all(label in (NON_DIGIT, mnist_labels[index]) for index, label in enumerate(labels))


def test_the_share_of_non_digits(synthesis: Synthesis) -> None:
    _, labels = synthesis.batch(0, np.arange(800))
    assert abs((labels == NON_DIGIT).mean() - NON_DIGIT_SHARE) < 0.06


@pytest.mark.parametrize("degradation", degradations.DEGRADATIONS)
def test_degradations_keep_the_shape(degradation: degradations.Degradation) -> None:
    for seed in range(10):
        for shape in ((28, 28), (9, 14), (60, 33)):
            ink = np.zeros(shape, np.float32)
            ink[2:-2, shape[1] // 2] = 1
            result = degradation(ink, Rng(seed))
            assert result.shape == shape
            assert np.isfinite(result).all()


@pytest.mark.parametrize("maker", non_digits.MAKERS)
def test_non_digits_have_ink(maker: non_digits.Maker, synthesis: Synthesis) -> None:
    for seed in range(10):
        ink = maker(synthesis.random_digit, Rng(seed))
        assert ink.ndim == 2 and ink.dtype == np.float32
        assert ink.min() >= 0 and ink.max() <= 1.01
    assert ink.max() > 0


def test_letters_that_look_like_digits_are_left_out() -> None:
    assert set("OoIlSsZzBGgqb|/0123456789") <= non_digits.LOOKALIKES | set("0123456789")
    assert len(non_digits.letters()) > 1000


def test_variants_only_add_ink() -> None:
    images, labels = some_digits()
    changed = 0
    for index, label in enumerate(labels):
        ink = write_digit(images[index], Rng(index), NON_DIGIT)
        variant = variants.add_variant(ink, int(label), Rng(index))
        assert (variant >= ink - 1e-6).all()
        changed += not np.array_equal(variant, ink)
    assert changed > 10


def test_written_digits_stay_on_the_canvas() -> None:
    images, labels = some_digits()
    bounds = [ink_bounds(write_digit(image, Rng(index), int(labels[index]))) for index, image in enumerate(images)]
    heights = [box[1] - box[0] for box in bounds if box]
    assert len(heights) == len(images)
    assert 30 < np.median(heights) < 60
