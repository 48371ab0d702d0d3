"""KerasAdam against Keras's Adam: on one tensor, and in five steps of the training loop."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.batches import batches
from numerals.article.fit import fit
from numerals.article.optimizer import KerasAdam
from tests.helpers.keras_peer import (
    ARTICLE,
    KERAS_WARNS,
    article_network,
    as_keras_weights,
    as_state_dict,
    keras,
    mnist,
)

pytestmark = pytest.mark.filterwarnings(KERAS_WARNS)

CPU = torch.device("cpu")
STEPS = 5


def gradients(size: float) -> npt.NDArray[np.float32]:
    """float32 (STEPS, 40), of both signs, of about this size."""
    generator = np.random.default_rng(0)
    values = size * generator.uniform(0.2, 2, (STEPS, 40)) * generator.choice([-1, 1], 40)
    return np.asarray(values, np.float32)


def take_steps(
    optimizer: KerasAdam | torch.optim.Optimizer, weight: nn.Parameter, slopes: npt.NDArray[np.float32]
) -> None:
    for slope in slopes:
        weight.grad = torch.from_numpy(slope.copy())
        optimizer.step()


class OneTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(40))


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-5, 1e-2, 10.0])
def test_epsilon_is_where_keras_has_it(size: float) -> None:
    slopes = gradients(size)
    network, plain = OneTensor(), OneTensor()
    take_steps(KerasAdam(network, ARTICLE.optimizer), network.weight, slopes)
    take_steps(torch.optim.Adam(plain.parameters(), lr=1e-3, eps=1e-7), plain.weight, slopes)
    variable, peer = keras().Variable(np.zeros(40, np.float32)), keras().optimizers.Adam()
    assert float(peer.learning_rate.value) == pytest.approx(1e-3) and peer.epsilon == 1e-7
    for slope in slopes:
        peer.apply([torch.from_numpy(slope)], [variable])
    expected = np.asarray(variable.value.detach())
    assert np.abs(network.weight.detach().numpy() - expected).max() <= 2e-5 * np.abs(expected).max()
    if size == 1e-7:
        difference = np.abs(plain.weight.detach().numpy() - expected)
        assert difference.max() > 1e-3, "torch.optim.Adam must differ here, or this test proves nothing"


def test_learning_rate_can_be_changed_between_steps() -> None:
    slopes = gradients(1e-6)
    network = OneTensor()
    optimizer = KerasAdam(network, ARTICLE.optimizer)
    variable, peer = keras().Variable(np.zeros(40, np.float32)), keras().optimizers.Adam()
    for step, slope in enumerate(slopes):
        rate = 1e-3 if step < 2 else 1e-4
        optimizer.learning_rate, peer.learning_rate = rate, rate
        assert optimizer.learning_rate == rate
        take_steps(optimizer, network.weight, slope[None])
        peer.apply([torch.from_numpy(slope)], [variable])
    expected = np.asarray(variable.value.detach())
    assert np.abs(network.weight.detach().numpy() - expected).max() <= 2e-5 * np.abs(expected).max()


def test_weight_decay_is_decoupled() -> None:
    """Without a gradient each step shrinks a weight by learning rate times weight decay."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = KerasAdam(network, ARTICLE.change(optimizer={"weight_decay": 0.1, "learning_rate": 0.01}).optimizer)
    for _ in range(3):
        network.weight.grad = torch.zeros(1, 1)
        optimizer.step()
    assert network.weight.item() == pytest.approx((1 - 0.001) ** 3)


def test_five_steps_of_the_loop_end_with_the_weights_of_keras() -> None:
    """Augmented digits, the last batch smaller than the others; all weights and BatchNorm's moving statistics."""
    recipe = ARTICLE.change(epochs=1, precision="float32", model={"dropout": 0.0}, tensorboard={"enabled": False})
    images, labels = mnist().train
    training, validation = (images[:144], labels[:144]), (images[144:200], labels[144:200])
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = model.build(recipe.model)
        peer = article_network(dropout=0.0)
        peer.set_weights(as_keras_weights(network))
        before = [value.copy() for value in as_keras_weights(network)]
        fit(network, training, validation, recipe, seed=3)
    peer.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    fed = list(batches(training, recipe, seed=3, epoch=1, device=CPU))
    assert [len(truth) for _, truth in fed] == [32, 32, 32, 32, 16]
    for digits, truth in fed:
        peer.train_on_batch(digits.permute(0, 2, 3, 1).numpy(), np.eye(10, dtype=np.float32)[truth.numpy()])
    ours = {name: value.numpy() for name, value in network.state_dict().items()}
    theirs = as_state_dict(peer.get_weights(), network)
    assert max(np.abs(one - two).max() for one, two in zip(as_keras_weights(network), before, strict=True)) > 1e-3
    for name, value in theirs.items():
        assert np.abs(ours[name] - value.numpy()).max() < 1e-4, name
