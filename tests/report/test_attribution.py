"""What the network looked at: the properties that make an explanation one."""

import numpy as np
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.model import as_input
from numerals.article.recipe import Recipe
from numerals.ops.layers import Flatten
from numerals.report import attribution
from tests.helpers.pictures import some_digits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return model.build(Recipe.load("article").model).eval()


@pytest.fixture(scope="module")
def linear() -> nn.Sequential:
    """Of which all is known: Dense 1 to features, then Dense 10."""
    torch.manual_seed(1)
    return nn.Sequential(Flatten(), nn.Linear(784, 10)).eval()


def test_an_attribution_adds_up_to_the_rise_of_the_logit(network: nn.Sequential) -> None:
    image = some_digits()[0][3]
    with torch.no_grad():
        logits, black = network(as_input(image[None], CPU))[0], network(torch.zeros(1, 1, 28, 28))[0]
    for digit in (0, 4, 9):
        spoke = attribution.attribution(network, image, digit)
        assert spoke.shape == (28, 28) and not spoke[image == 0].any(), "where no ink is nothing speaks"
        assert float(spoke.sum()) == pytest.approx(float(logits[digit] - black[digit]), abs=0.02)


def test_the_smallest_change_of_a_linear_network_is_the_distance_to_its_nearest_boundary(linear: nn.Sequential) -> None:
    image = np.full((28, 28), 128, np.uint8)  # far from black and white, so that nothing is clipped
    logits = linear(as_input(image[None], CPU))[0].detach()
    last = linear[1]
    assert isinstance(last, nn.Linear)
    weights = last.weight.detach()
    answer = int(logits.argmax())
    far = [
        float((logits[answer] - logits[k]) / (weights[answer] - weights[k]).norm()) if k != answer else np.inf
        for k in range(10)
    ]
    flip = attribution.smallest_change(linear, image)
    assert flip and flip.answer == int(np.argmin(far)) != answer
    assert flip.distance == pytest.approx(min(far), rel=0.03, abs=1e-3)


def test_a_small_change_flips_the_answer_within_black_and_white(network: nn.Sequential) -> None:
    image = some_digits()[0][5]
    flip = attribution.smallest_change(network, image)
    assert flip and flip.answer != int(network(as_input(image[None], CPU)).argmax())
    assert 0 < flip.largest <= 1 and flip.largest <= flip.distance
    moved = np.abs(flip.image.astype(int) - image).max() / 255
    assert moved == pytest.approx(flip.largest, abs=1 / 255)


def test_filters_maps_and_neighbours(network: nn.Sequential) -> None:
    images, _ = some_digits()
    assert attribution.filters(network).shape == (32, 3, 3)
    maps = attribution.feature_maps(network, images[0])
    assert [name for name, _ in maps][:2] == ["Conv 32, 3x3", "ReLU"] and len(maps) == 13
    assert maps[0][1].shape == (32, 26, 26) and maps[-1][1].shape == (10,)
    assert np.allclose(maps[-1][1], network(as_input(images[:1], CPU))[0].detach(), atol=1e-5)
    vectors = attribution.hidden(network, images[:50])
    assert vectors.shape == (50, 128)
    assert np.array_equal(attribution.nearest(vectors[:9], vectors, 3)[:, 0], np.arange(9)), (
        "nobody is nearer than itself"
    )
