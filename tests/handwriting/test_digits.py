"""The samples of the reader's model: the same for the same index, digits that can be read, and strangers."""

import numpy as np
import pytest

from numerals.handwriting import degradations, non_digits, variants
from numerals.handwriting.digits import NON_DIGIT, STRANGERS, Synthesis, written
from numerals.read.normalise import ink_bounds
from numerals.spec import SIDE
from tests.helpers.pictures import some_digits

Chance = np.random.default_rng


@pytest.fixture(scope="module")
def synthesis() -> Synthesis:
    return Synthesis(some_digits())


def test_a_sample_depends_on_seed_and_index_alone(synthesis: Synthesis) -> None:
    together, labels = synthesis.batch(3, np.arange(40))
    backwards, _ = synthesis.batch(3, np.arange(40)[::-1])
    assert np.array_equal(together, backwards[::-1])
    assert together.shape == (40, SIDE, SIDE) and together.dtype == np.uint8
    assert not np.array_equal(together, synthesis.batch(4, np.arange(40))[0])
    _, truth = some_digits()
    assert all(label in (NON_DIGIT, truth[i]) for i, label in enumerate(labels))


def test_the_share_of_strangers(synthesis: Synthesis) -> None:
    _, labels = synthesis.batch(0, np.arange(800))
    assert abs((labels == NON_DIGIT).mean() - STRANGERS) < 0.06


@pytest.mark.parametrize("mishap", degradations.MISHAPS)
def test_mishaps_keep_the_shape(mishap: degradations.Spoil) -> None:
    for seed in range(10):
        for shape in ((28, 28), (9, 14), (60, 33)):
            ink = np.zeros(shape, np.float32)
            ink[2:-2, shape[1] // 2] = 1
            found = mishap(ink, Chance(seed))
            assert found.shape == shape
            assert np.isfinite(found).all()


@pytest.mark.parametrize("maker", non_digits.MAKERS)
def test_strangers_have_ink(maker: "non_digits.Maker", synthesis: Synthesis) -> None:
    for seed in range(10):
        ink = maker(synthesis.another, Chance(seed))
        assert ink.ndim == 2 and ink.dtype == np.float32
        assert ink.min() >= 0 and ink.max() <= 1.01
    assert ink.max() > 0


def test_no_letter_that_passes_for_a_digit_is_a_stranger() -> None:
    assert set("OoIlSsZzBGgqb|/0123456789") <= non_digits.ALIKE | set("0123456789")
    assert len(non_digits.glyphs()) > 1000


def test_other_hands_only_add_ink() -> None:
    images, labels = some_digits()
    added = 0
    for i, label in enumerate(labels):
        ink = written(images[i], Chance(i), NON_DIGIT)
        found = variants.add_variant(ink, int(label), Chance(i))
        assert (found >= ink - 1e-6).all()
        added += not np.array_equal(found, ink)
    assert added > 10


def test_written_digits_stay_on_the_canvas() -> None:
    images, labels = some_digits()
    boxes = [ink_bounds(written(image, Chance(i), int(labels[i]))) for i, image in enumerate(images)]
    heights = [box[1] - box[0] for box in boxes if box]
    assert len(heights) == len(images)
    assert 30 < np.median(heights) < 60
