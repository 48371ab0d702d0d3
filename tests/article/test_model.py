"""model.py and ops/layers.py: the network against a Keras model of the article's layers."""

import copy
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import nn

import numerals
import numerals.ops
from numerals.article import model
from numerals.article.recipe import Recipe
from numerals.errors import DataError, RecipeError
from numerals.ops import fused, layers
from numerals.ops.layers import ReluBatchNormPool, unfused
from tests.helpers.keras_peer import ARTICLE, KERAS_WARNS, article_network, as_state_dict, keras, mnist

pytestmark = pytest.mark.filterwarnings(KERAS_WARNS)


def network_of(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.build(ARTICLE.model)


def test_layers_shapes_and_parameters() -> None:
    layers = model.describe(network_of())
    assert [(layer.name, layer.output, layer.parameters) for layer in layers] == [
        ("Conv 32, 3x3", (26, 26, 32), 320),
        ("ReLU", (26, 26, 32), 0),
        ("BatchNorm", (26, 26, 32), 128),
        ("MaxPool 2x2", (13, 13, 32), 0),
        ("Conv 64, 3x3", (11, 11, 64), 18_496),
        ("ReLU", (11, 11, 64), 0),
        ("BatchNorm", (11, 11, 64), 256),
        ("MaxPool 2x2", (5, 5, 64), 0),
        ("Flatten", (1600,), 0),
        ("Dense 128", (128,), 204_928),
        ("ReLU", (128,), 0),
        ("Dropout 0.2", (128,), 0),
        ("Dense 10", (10,), 1_290),
    ]
    peer = article_network()
    assert sum(layer.parameters for layer in layers) == peer.count_params() == 225_418
    assert sum(layer.trained for layer in layers) == sum(int(np.prod(w.shape)) for w in peer.trainable_weights)
    plain = [layer for layer in layers if layer.name != "ReLU"]  # in Keras ReLU is part of the layer before
    assert [(layer.output, layer.parameters) for layer in plain] == [
        (tuple(layer.output.shape[1:]), layer.count_params()) for layer in peer.layers
    ]


def test_keras_gives_the_same_probabilities_with_the_same_weights() -> None:
    keras().utils.set_random_seed(0)
    generator, peer = np.random.default_rng(0), article_network()
    weights = []
    for variable in peer.weights:
        value = variable.value.detach().numpy()
        if variable.name in ("moving_variance", "gamma"):
            value = generator.uniform(0.3, 2, value.shape)
        elif value.ndim == 1:  # biases, beta, moving means
            value = generator.normal(0, 0.2, value.shape)
        elif value.shape[-1] == 10:  # so that the answers depend on the digit
            value = value * 4
        weights.append(value.astype(np.float32))
    peer.set_weights(weights)
    network = network_of()
    network.load_state_dict(as_state_dict(peer.get_weights(), network), strict=False)
    images = mnist().test[0][:500]
    expected = peer.predict(images[..., None].astype(np.float32) / 255, verbose=0)
    assert expected.std(axis=0).max() > 0.02, "the probabilities do not depend on the digit"
    assert np.abs(model.predictor(network)(images) - expected).max() < 1e-5


def test_training_uses_the_fused_kernels_and_agrees_with_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits, gradients and running statistics of a step, against PyTorch's layers one after the other in float64."""
    images = torch.rand((32, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    called: list[str] = []
    for name in ("convolve_one_channel", "relu_batch_norm_pool", "batch_norm"):
        monkeypatch.setattr(fused, name, spy(name, getattr(fused, name), called))
    ours = step(network_of(), images)
    assert called == ["convolve_one_channel", "relu_batch_norm_pool", "relu_batch_norm_pool"]
    called.clear()

    with monkeypatch.context() as without_numba:
        without_numba.setitem(sys.modules, "numba", None)
        without_numba.delitem(sys.modules, "numerals.ops.numba_loops")
        without_numba.delattr(numerals.ops, "numba_loops")
        without_numba.setattr(fused, "_loops", functools.cache(fused._loops.__wrapped__))
        layer_by_layer = step(network_of(), images)
    assert called == ["convolve_one_channel", "batch_norm", "batch_norm"]

    for results in zip(ours, layer_by_layer, step(plain_copy(network_of()), images.double()), strict=True):
        expected = results[2]
        for actual in results[:2]:
            assert float((actual.double() - expected).abs().max()) <= 5e-5 * float(expected.abs().max())


def test_gradients_pass_through_a_convolution_of_one_filter() -> None:
    """A 3x3 convolution of one channel that is not the first one needs the gradient of its input."""
    images = torch.rand((32, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    network = model.build(ARTICLE.change(model={"convolutions": [1, 8]}).model)
    plain = plain_copy(copy.deepcopy(network))
    for actual, expected in zip(step(network, images), step(plain, images.double()), strict=True):
        assert float((actual.double() - expected).abs().max()) <= 5e-5 * float(expected.abs().max())


ORDERS: list[dict[str, object]] = [{"pool_first": True}, {"pool": 3}, {"pool": 1}, {"batch_norm": False}]
MIXED: dict[str, object] = {"convolutions": [8, 16, 24], "kernel": [5, 3, 3], "pool": [2, 1, 2]}


@pytest.mark.parametrize("changes", ORDERS)
def test_other_orders_are_built_from_plain_layers(changes: dict[str, object]) -> None:
    network = model.build(ARTICLE.change(model=changes).model)
    assert not any(isinstance(layer, ReluBatchNormPool) for layer in network)
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("changes", [{}, MIXED, *ORDERS])
def test_state_dict_keys_and_parameter_order_are_those_of_the_unfused_network(changes: dict[str, object]) -> None:
    """Checkpoints and run folders of earlier versions have these keys; the optimizer goes by the order."""
    network = model.build(ARTICLE.change(model=changes).model)
    separate = unfused(network)
    assert [type(layer) for layer in separate if isinstance(layer, ReluBatchNormPool)] == []
    assert list(network.state_dict()) == list(separate.state_dict())
    assert all(torch.equal(value, separate.state_dict()[name]) for name, value in network.state_dict().items())
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in separate.named_parameters()]
    assert list(map(id, network.parameters())) == list(map(id, separate.parameters()))


def test_the_articles_state_dict_has_the_keys_that_run_folders_have() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert list(network_of().state_dict()) == [
        *("0.weight", "0.bias", *(f"2.{name}" for name in norm)),
        *("4.weight", "4.bias", *(f"6.{name}" for name in norm)),
        *("9.weight", "9.bias", "12.weight", "12.bias"),
    ]


@pytest.mark.parametrize("training", [True, False])
def test_a_fused_layer_computes_what_the_separate_layers_do(training: bool) -> None:
    """In evaluation bit for bit; in training another order of sums makes a difference in the last bits."""
    generator = torch.Generator().manual_seed(0)
    layer = ReluBatchNormPool(4, eps=1e-3, momentum=0.01).train(training)
    nn.init.uniform_(layer.weight, -1, 1, generator=generator)
    separate = nn.Sequential(*copy.deepcopy(layer).unfused())
    for shape in ((3, 4, 6, 6), (2, 4, 7, 5)):
        maps = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
        result, expected = layer(maps), separate(maps)
        if training:
            torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(result, expected)
    torch.testing.assert_close(layer.running_mean, separate[1].running_mean)
    torch.testing.assert_close(layer.running_var, separate[1].running_var)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("changes", [{}, MIXED, {"pool_first": True}])
def test_forward_hooks_of_every_layer_are_called(changes: dict[str, object], training: bool) -> None:
    network = model.build(ARTICLE.change(model=changes).model).train(training)
    called: list[str] = []
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    network(torch.rand(2, 1, 28, 28))
    assert called == [name for name, _ in network.named_children()]


def test_evaluation_uses_no_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("convolve_one_channel", "relu_batch_norm_pool", "batch_norm"):
        monkeypatch.setattr(fused, name, None)
    assert model.predictor(network_of())(np.zeros((2, 28, 28), np.uint8)).shape == (2, 10)


def spy(name: str, function: Callable[..., Any], called: list[str]) -> Callable[..., Any]:
    def spying(*args: Any) -> Any:
        called.append(name)
        return function(*args)

    return spying


def step(network: nn.Sequential, images: torch.Tensor) -> list[torch.Tensor]:
    """In training, without dropout: the logits, and all gradients and running means and variances."""
    for layer in network:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    logits = network(images)
    nn.functional.cross_entropy(logits, torch.arange(32) % 10).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    return [logits.detach(), *gradients, *statistics]


def plain_copy(network: nn.Sequential) -> nn.Sequential:
    """The network of separate layers, with none of the fused kernels, in float64."""
    return nn.Sequential(*(as_torchs(layer) for layer in unfused(network))).double()


def as_torchs(layer: nn.Module) -> nn.Module:
    """The layer without the kernels of `ops`."""
    if isinstance(layer, layers.Conv2d):
        torchs: nn.Module = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)  # type: ignore[arg-type]
    elif isinstance(layer, layers.BatchNorm2d):
        torchs = PlainBatchNorm(layer.num_features, eps=layer.eps, momentum=layer.momentum)
    else:
        return layer
    torchs.load_state_dict(layer.state_dict())
    return torchs


class PlainBatchNorm(nn.BatchNorm2d):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        normalised, mean, variance = fused.batch_norm_plain(maps, self.weight, self.bias, self.eps)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        return normalised


def test_batch_norm_has_the_defaults_of_keras() -> None:
    peer = keras().layers.BatchNormalization()
    norms = [layer for layer in network_of() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2
    for norm in norms:
        assert norm.momentum == pytest.approx(1 - peer.momentum) and norm.eps == peer.epsilon


def test_initial_weights_are_distributed_as_in_keras() -> None:
    keras().utils.set_random_seed(0)
    network, peer = network_of(), article_network()
    peer_weights = as_state_dict(peer.get_weights(), network)
    for name, values in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        actual, expected = values.numpy().ravel(), peer_weights[name].numpy().ravel()
        assert actual.dtype == np.float32
        if values.ndim == 1:  # biases, beta, moving means: 0; gamma, moving variances: 1
            assert (actual == expected).all() and set(actual) <= {0, 1}, name
            continue
        receptive = int(np.prod(values.shape[2:]))
        bound = np.sqrt(6 / (receptive * (values.shape[0] + values.shape[1])))
        assert 0.97 * bound < np.abs(actual).max() <= bound * (1 + 1e-6)
        assert 0.97 * bound < np.abs(expected).max() <= bound * (1 + 1e-6)
        assert stats.kstest(actual, "uniform", (-bound, 2 * bound)).pvalue > 1e-3, name


def test_initial_weights_come_from_pytorchs_generator() -> None:
    first, same, other = (network_of(seed).state_dict()["0.weight"].numpy() for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_too_many_convolutions_are_an_error() -> None:
    too_many = ARTICLE.change(model={"convolutions": (8, 8, 8, 8)})
    with pytest.raises(RecipeError, match=r"convolutions = \[8, 8, 8, 8\].*28 pixels") as caught:
        model.build(too_many.model)
    assert "\n" not in str(caught.value)
    model.build(ARTICLE.change(model={"convolutions": (8, 8, 8)}).model)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x / 255, lambda x: numerals.prepare(x, [7] * len(x))[0]])
def test_predictor_takes_what_prepare_returns_and_one_image(form: Callable[[Any], Any]) -> None:
    predict, images = model.predictor(network_of()), mnist().train[0][:3]
    expected = predict(images)
    assert np.array_equal(predict(form(images)), expected)
    assert np.allclose(predict(form(images)[:1][0]), expected[:1], atol=1e-6)


@pytest.mark.parametrize("bad", [lambda x: x / 127.5 - 1, lambda x: (x > 0).astype(int), lambda x: "a.png"])
def test_predictor_refuses_what_it_cannot_tell(bad: Callable[[Any], Any]) -> None:
    with pytest.raises(DataError, match=r"^predict: \S[^\n]*$"):
        model.predictor(network_of())(bad(mnist().train[0][:3]))


@pytest.mark.parametrize("count", [0, 1, 1001])
@pytest.mark.parametrize("training", [True, False])
def test_predictor_takes_any_number_of_digits_and_keeps_the_mode(count: int, training: bool) -> None:
    network = network_of().train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = mnist().test[0][:count]
    probabilities = model.predictor(network)(images)
    assert network.training is training and all(layer.training is training for layer in network)
    assert probabilities.shape == (count, 10) and probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    if count:
        alone = model.predictor(network)(images[-1:])
        assert np.allclose(probabilities[-1:], alone, atol=1e-6), "a digit depends on its neighbours"


def test_describe_does_not_change_the_network() -> None:
    network = network_of().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model.describe(network)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_input_is_scaled_and_has_its_channel() -> None:
    images: npt.NDArray[np.uint8] = np.arange(28 * 28, dtype=np.int64).reshape(1, 28, 28).astype(np.uint8)
    signal = model.as_input(images, torch.device("cpu"))
    assert signal.shape == (1, 1, 28, 28) and signal.dtype == torch.float32
    assert np.array_equal(signal[0, 0].numpy(), images[0].astype(np.float32) / np.float32(255))


def test_kernel_and_pool_can_differ_between_convolutions(tmp_path: Path) -> None:
    path = tmp_path / "custom.toml"
    path.write_text("[model]\nconvolutions = [8, 16, 24]\nkernel = [5, 3, 3]\npool = [2, 1, 2]\n")
    recipe = Recipe.load(path)
    layers = {layer.name: layer.output for layer in model.describe(model.build(recipe.model))}
    assert {name: layers[name] for name in layers if name.startswith(("Conv", "MaxPool"))} == {
        "Conv 8, 5x5": (24, 24, 8),
        "Conv 16, 3x3": (10, 10, 16),
        "Conv 24, 3x3": (8, 8, 24),
        "MaxPool 2x2": (4, 4, 24),
    }
    path.write_text(recipe.to_toml())
    assert Recipe.load(path) == recipe


def test_pool_first_computes_the_same_without_batch_norm() -> None:
    """The maximum of several values is the same before and after ReLU."""
    networks = []
    for pool_first in (False, True):
        torch.manual_seed(0)
        networks.append(model.build(ARTICLE.change(model={"pool_first": pool_first, "batch_norm": False}).model))
    signal = model.as_input(mnist().train[0][:50], torch.device("cpu"))
    relu_first, pool_first_logits = (network.eval()(signal) for network in networks)
    assert torch.allclose(relu_first, pool_first_logits, atol=1e-5)
    names = [layer.name for layer in model.describe(networks[1])]
    assert names[:3] == ["Conv 32, 3x3", "MaxPool 2x2", "ReLU"] and "BatchNorm" not in names
    with_norm = model.describe(model.build(ARTICLE.change(model={"pool_first": True}).model))
    assert [layer.name for layer in with_norm][:4] == ["Conv 32, 3x3", "MaxPool 2x2", "BatchNorm", "ReLU"]


def test_the_best_recipe_is_a_small_network_with_two_dropouts() -> None:
    layers = model.describe(model.build(Recipe.load("best").model))
    assert sum(layer.parameters for layer in layers) < 1_500_000
    names = [layer.name for layer in layers]
    assert names[-6:] == ["Flatten", "Dropout 0.3", "Dense 128", "ReLU", "Dropout 0.3", "Dense 10"]
    assert names.count("MaxPool 2x2") == 2 and [name for name in names if name.startswith("Conv")] == [
        "Conv 24, 5x5",
        "Conv 48, 3x3",
        "Conv 48, 3x3",
        "Conv 64, 3x3",
    ]
