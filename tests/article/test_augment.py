"""Augmentation against Keras's own `ImageDataGenerator`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from numerals.article import augment
from numerals.article.recipe import AugmentSettings
from tests.helpers.keras_peer import ARTICLE, keras, mnist

# Keras imports affine_transform from a namespace that SciPy has renamed
pytestmark = pytest.mark.filterwarnings("ignore:Please import `affine_transform` from:DeprecationWarning")

NONE = AugmentSettings(rotation=0.0, zoom=0.0, width_shift=0.0, height_shift=0.0)
UNEQUAL = AugmentSettings(rotation=30.0, zoom=0.4, width_shift=0.3, height_shift=0.1)


def keras_generator(recipe: AugmentSettings) -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    assert keras().config.image_data_format() == "channels_last"
    return ImageDataGenerator(
        rotation_range=recipe.rotation,
        zoom_range=recipe.zoom,
        width_shift_range=recipe.height_shift,  # Keras 3 swaps them: its width_shift_range moves digits down
        height_shift_range=recipe.width_shift,
    )


def real_digits(count: int) -> npt.NDArray[np.float32]:
    return mnist().train[0][:count].astype(np.float32) / np.float32(255)


def transform(images: npt.NDArray[np.float32], transforms: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Apply transforms to images float32 (n, 28, 28)."""
    transformed = augment.apply_transforms(torch.from_numpy(images[:, None]), np.asarray(transforms, np.float32))
    return np.asarray(transformed[:, 0])


def keras_transform(
    image: npt.NDArray[np.float32], parameters: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    named = dict(zip(("theta", "tx", "ty", "zx", "zy"), map(float, parameters), strict=True))
    return np.asarray(keras_generator(ARTICLE.augment).apply_transform(image[..., None], named)[..., 0])


def keras_transforms(recipe: AugmentSettings, count: int) -> npt.NDArray[np.float64]:
    """Draw float64 (count, 5) with Keras, in the order of `augment.Transforms`; NumPy's global state is restored."""
    before = np.random.get_state()
    try:
        np.random.seed(5)
        drawn = [keras_generator(recipe).get_random_transform((28, 28, 1)) for _ in range(count)]
    finally:
        np.random.set_state(before)
    return np.array([[each[name] for name in ("theta", "tx", "ty", "zx", "zy")] for each in drawn])


@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, 999),
    theta=st.floats(-45, 45),
    tx=st.floats(-0.3 * 28, 0.3 * 28),
    ty=st.floats(-0.3 * 28, 0.3 * 28),
    zx=st.floats(0.5, 1.5),
    zy=st.floats(0.5, 1.5),
)
def test_pixels_are_those_of_keras_for_the_same_parameters(
    which: int, theta: float, tx: float, ty: float, zx: float, zy: float
) -> None:
    digit = real_digits(1000)[which]
    parameters = np.array([theta, tx, ty, zx, zy])
    actual, expected = transform(digit[None], parameters[None])[0], keras_transform(digit, parameters)
    assert np.abs(actual - expected).max() <= 1 / 255


def test_pixels_are_those_of_keras_for_the_articles_augmentation() -> None:
    digits, transforms = real_digits(200), augment.random_transforms(200, ARTICLE.augment, np.random.default_rng(3))
    expected = np.stack([keras_transform(digit, row) for digit, row in zip(digits, transforms, strict=True)])
    assert np.abs(transform(digits, transforms) - expected).max() <= 1 / 255


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_outside_of_the_image_is_its_nearest_pixel(fill: float) -> None:
    picture = np.full((28, 28), fill, np.float32)
    picture[:, 0] = 0.5  # the edge that a shift to the right pulls in
    parameters = np.array([0.0, -5.0, 0.0, 1.0, 1.0])
    result = transform(picture[None], parameters[None])[0]
    assert np.allclose(result[:, :6], 0.5, atol=1e-4) and np.allclose(result[:, 6:], fill, atol=1e-4)
    assert np.allclose(result, keras_transform(picture, parameters), atol=1e-4)


@pytest.mark.parametrize("recipe", [ARTICLE.augment, UNEQUAL], ids=["article", "unequal"])
def test_transforms_are_distributed_as_in_keras(recipe: AugmentSettings) -> None:
    drawn = augment.random_transforms(20_000, recipe, np.random.default_rng(1))
    expected = keras_transforms(recipe, 5_000)
    for column in range(5):
        assert stats.ks_2samp(drawn[:, column], expected[:, column]).pvalue > 1e-3, column


def test_transforms_are_uniform_within_their_ranges_and_independent() -> None:
    drawn = augment.random_transforms(50_000, ARTICLE.augment, np.random.default_rng(2))
    assert drawn.shape == (50_000, 5) and drawn.dtype == np.float32
    ranges = [(-10, 20), (-2.8, 5.6), (-2.8, 5.6), (0.9, 0.2), (0.9, 0.2)]  # lowest value, width of the range
    for column, (low, span) in enumerate(ranges):
        assert drawn[:, column].min() >= low - 1e-6 and drawn[:, column].max() <= low + span + 1e-6
        assert stats.kstest(drawn[:, column], "uniform", (low, span)).pvalue > 1e-3
    correlated = np.corrcoef(drawn.T) - np.eye(5)  # including zoom x and zoom y: each axis has its own
    assert np.abs(correlated).max() < 0.02


@pytest.mark.parametrize(("side", "axis"), [("height_shift", 0), ("width_shift", 1)])
def test_each_shift_moves_digits_along_its_own_axis(side: str, axis: int) -> None:
    recipe = NONE.model_copy(update={side: 0.3})
    dot = np.zeros((28, 28), np.float32)
    dot[12:16, 12:16] = 1
    moved = transform(np.repeat(dot[None], 300, 0), augment.random_transforms(300, recipe, np.random.default_rng(0)))
    centres = [(moved.sum(axis=other) @ np.arange(28)) / moved.sum(axis=(1, 2)) for other in (2, 1)]  # along y, along x
    spread = np.std(centres, axis=1)
    assert spread[axis] > 4 and spread[1 - axis] < 1e-3


def test_no_augmentation_changes_nothing() -> None:
    transforms = augment.random_transforms(50, NONE, np.random.default_rng(0))
    assert (transforms == np.array(augment.IDENTITY, np.float32)).all()
    assert np.allclose(transform(real_digits(50), transforms), real_digits(50), atol=1e-5)


def likeness(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The highest correlation over all shifts: 1 for the same shape at any position."""
    spectrum = np.fft.rfft2(one) * np.conj(np.fft.rfft2(other))
    return float(np.fft.irfft2(spectrum).max() / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_digits_are_never_mirrored() -> None:
    labels = mnist().train[1][:1000]
    digits = list(real_digits(1000)[labels != 1])  # a slanted 1, slightly rotated, is its own mirror image
    digits = [
        digit for digit in digits if likeness(digit, digit[:, ::-1]) < 0.55 and likeness(digit, digit[::-1]) < 0.55
    ]
    assert len(digits) > 50
    pictures = np.repeat(np.stack(digits), 5, 0)
    for before, after in zip(
        pictures,
        transform(pictures, augment.random_transforms(len(pictures), ARTICLE.augment, np.random.default_rng(4))),
        strict=True,
    ):
        assert likeness(after, before) > max(likeness(after, before[:, ::-1]), likeness(after, before[::-1]))


@pytest.mark.parametrize(("key", "axis"), [("flip_horizontal", 1), ("flip_vertical", 0)])
def test_flips_mirror_half_of_the_digits_along_their_axis(key: str, axis: int) -> None:
    digits = real_digits(400)
    transforms = augment.random_transforms(400, NONE.model_copy(update={key: True}), np.random.default_rng(0))
    changed = transform(digits, transforms)
    mirrored = np.array(
        [np.allclose(after, np.flip(before, axis), atol=1e-4) for before, after in zip(digits, changed, strict=True)]
    )
    same = np.array([np.allclose(after, before, atol=1e-4) for before, after in zip(digits, changed, strict=True)])
    assert (mirrored | same).all() and 160 < mirrored.sum() < 240
    for each in (ARTICLE.augment, UNEQUAL):  # with other changes: as Keras, which mirrors last; no other numbers change
        before = augment.random_transforms(20, each, np.random.default_rng(1))
        after = augment.random_transforms(20, each.model_copy(update={key: True}), np.random.default_rng(1))
        expected = [
            np.flip(keras_transform(digit, row), axis) if (row != flipped).any() else keras_transform(digit, row)
            for digit, row, flipped in zip(digits[:20], before, after, strict=True)
        ]
        assert np.abs(transform(digits[:20], after) - np.stack(expected)).max() <= 1 / 255
        assert np.allclose(np.abs(after), np.abs(before))


def test_the_range_of_values_stays() -> None:
    wild = AugmentSettings(rotation=180.0, zoom=0.9, width_shift=0.9, height_shift=0.9)
    moved = transform(real_digits(1000), augment.random_transforms(1000, wild, np.random.default_rng(0)))
    assert moved.dtype == np.float32 and moved.shape == (1000, 28, 28)
    assert moved.min() >= 0 and moved.max() <= 1 + 1e-6
