"""Attributions, adversarial examples and activations have the properties that define them."""

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
    """A linear classifier, for which the results can be computed by hand."""
    torch.manual_seed(1)
    return nn.Sequential(Flatten(), nn.Linear(784, 10)).eval()


def test_integrated_gradients_sum_to_the_rise_of_the_logit(network: nn.Sequential) -> None:
    image = some_digits()[0][3]
    with torch.no_grad():
        logits, black = network(as_input(image[None], CPU))[0], network(torch.zeros(1, 1, 28, 28))[0]
    for digit in (0, 4, 9):
        gradients = attribution.integrated_gradients(network, image, digit)
        assert gradients.shape == (28, 28) and not gradients[image == 0].any(), "black pixels have no attribution"
        assert float(gradients.sum()) == pytest.approx(float(logits[digit] - black[digit]), abs=0.02)


def test_deepfool_finds_the_nearest_boundary_of_a_linear_network(linear: nn.Sequential) -> None:
    image = np.full((28, 28), 128, np.uint8)  # far from black and white, so that nothing is clipped
    logits = linear(as_input(image[None], CPU))[0].detach()
    last = linear[1]
    assert isinstance(last, nn.Linear)
    weights = last.weight.detach()
    prediction = int(logits.argmax())
    distances = [
        float((logits[prediction] - logits[k]) / (weights[prediction] - weights[k]).norm())
        if k != prediction
        else np.inf
        for k in range(10)
    ]
    adversarial = attribution.deepfool(linear, image)
    assert adversarial and adversarial.prediction == int(np.argmin(distances)) != prediction
    assert adversarial.distance == pytest.approx(min(distances), rel=0.03, abs=1e-3)


def test_deepfool_changes_the_prediction_within_the_range_of_pixels(network: nn.Sequential) -> None:
    image = some_digits()[0][5]
    adversarial = attribution.deepfool(network, image)
    assert adversarial and adversarial.prediction != int(network(as_input(image[None], CPU)).argmax())
    assert 0 < adversarial.max_pixel_change <= 1 and adversarial.max_pixel_change <= adversarial.distance
    change = np.abs(adversarial.image.astype(int) - image).max() / 255
    assert change == pytest.approx(adversarial.max_pixel_change, abs=1 / 255)


def test_filters_feature_maps_and_neighbours(network: nn.Sequential) -> None:
    images, _ = some_digits()
    assert attribution.first_layer_filters(network).shape == (32, 3, 3)
    maps = attribution.feature_maps(network, images[0])
    assert [name for name, _ in maps][:2] == ["Conv 32, 3x3", "ReLU"] and len(maps) == 13
    assert maps[0][1].shape == (32, 26, 26) and maps[-1][1].shape == (10,)
    assert np.allclose(maps[-1][1], network(as_input(images[:1], CPU))[0].detach(), atol=1e-5)
    vectors = attribution.last_hidden_activations(network, images[:50])
    assert vectors.shape == (50, 128)
    assert np.array_equal(attribution.nearest_neighbours(vectors[:9], vectors, 3)[:, 0], np.arange(9)), (
        "every vector is its own nearest neighbour"
    )
