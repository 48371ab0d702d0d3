"""Batches: every digit once per epoch, in another order and with other transforms each time."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from numerals.article.batches import batches
from tests.helpers.keras_peer import KERAS_WARNS, digits, small
from tests.helpers.trainings import COUNT, CPU, split_data

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]


def indexed(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images of uniform grey, which no transform changes; the grey value is the index."""
    grey = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(grey[:, None, None], (count, 28, 28)).copy(), grey % 10


def order(count: int, size: int, epoch: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """The indices in the epoch's batches, and the sizes of the batches."""
    indices, sizes = [], []
    training = indexed(count)
    for images, labels in batches(training, small(batch_size=size), seed, epoch, CPU):
        assert images.dtype == torch.float32 and images.shape[1:] == (1, 28, 28) and labels.dtype == torch.int64
        batch_indices = np.rint(images[:, 0, 14, 14].numpy() * 255).astype(int)
        assert np.array_equal(training[1][batch_indices], labels.numpy()), "a digit has another's label"
        indices += batch_indices.tolist()
        sizes.append(len(labels))
    return indices, sizes


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (96, 32, [32, 32, 32]),
        (100, 32, [32, 32, 32, 4]),
        (97, 32, [32, 32, 32, 1]),
        (20, 32, [20]),
        (20, 5000, [20]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_digit_is_seen_once_an_epoch(count: int, size: int, sizes: list[int]) -> None:
    indices, actual_sizes = order(count, size, epoch=1)
    assert sorted(indices) == list(range(count)) and actual_sizes == sizes


def test_batches_larger_than_a_chunk() -> None:
    labels = np.zeros(5000, np.uint8)
    images = np.zeros((5000, 28, 28), np.uint8)
    for size, sizes in ((3000, [3000, 2000]), (300, [300] * 16 + [200])):
        assert [len(truth) for _, truth in batches((images, labels), small(batch_size=size), 0, 1, CPU)] == sizes


def test_the_order_differs_by_epoch_and_seed() -> None:
    orders = [order(200, 32, epoch, seed)[0] for epoch, seed in ((1, 0), (2, 0), (1, 1), (2, 1))]
    assert len({tuple(indices) for indices in orders}) == 4 and list(range(200)) not in orders
    assert order(200, 32, 1)[0] == orders[0]


def test_the_transforms_differ_by_epoch() -> None:
    training = split_data(digits(COUNT))[0]
    sums = [
        sorted(float(image.sum()) for images, _ in batches(training, small(), 0, epoch, CPU) for image in images)
        for epoch in (1, 2, 1)
    ]
    assert sums[0] == sums[2] != sums[1]


def test_without_augmentation_the_digits_stay_unchanged() -> None:
    no_augmentation = {"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0}
    images, labels = digits(64).train
    ((pixels, truth),) = batches((images, labels), small(augment=no_augmentation, batch_size=64), 0, 1, CPU)
    yielded = {image.tobytes() for image in (pixels[:, 0].numpy() * 255).round().astype(np.uint8)}
    assert yielded == {image.tobytes() for image in images}
    assert sorted(truth.tolist()) == sorted(labels.tolist())
