"""The article's convolutional network (its section 4), as Keras would build and initialise it.

Digit images go in, logits come out. The softmax is part of the loss in training, and of `predictor` afterwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import Images, as_digits
from numerals.article.recipe import ModelSettings
from numerals.errors import RecipeError
from numerals.ops.layers import BatchNorm2d, Conv2d, Flatten, ReluBatchNormPool, sequential, unfused
from numerals.spec import CLASSES, SIDE, WHITE

Probabilities = npt.NDArray[np.float32]  # (n, 10)
Predict = Callable[[Images], Probabilities]
PREDICTION_BATCH_SIZE = 64  # as fast as a larger one, in memory that the training steps use too


@dataclass(frozen=True)
class LayerSummary:
    """A row of the table that `numerals train` prints, as in Keras's `model.summary()`."""

    name: str  # as the article calls it: "Conv 32, 3x3"
    output: tuple[int, ...]  # shape without the batch: height, width, channels, or units
    parameters: int  # includes the running mean and variance of BatchNorm
    trained: int  # parameters that the optimizer changes


def build(recipe: ModelSettings) -> nn.Sequential:
    """Build the network with Keras's initial weights, drawn from PyTorch's default generator.

    Keras draws Glorot-uniform weights and sets biases to zero.

    Returns:
        A network from float32 (n, 1, 28, 28) in [0, 1], white ink on black, to logits float32 (n, 10).

    Raises:
        RecipeError: too many convolutions; no pixel is left after them.
    """
    layers: list[nn.Module] = []
    channels, side = 1, SIDE
    for filters, kernel_side, pool_side in recipe.blocks():
        side = (side - kernel_side + 1) // pool_side
        if side < 1:
            raise RecipeError(
                f"model.convolutions = {list(recipe.convolutions)}: nothing is left of {SIDE} pixels; use fewer"
            )
        layers += [Conv2d(channels, filters, kernel_side), *_after_convolution(recipe, filters, pool_side)]
        channels = filters
    layers.append(Flatten())
    if recipe.dropout_before:
        layers.append(nn.Dropout(recipe.dropout_before))
    layers += [nn.Linear(side * side * channels, recipe.dense), nn.ReLU(), nn.Dropout(recipe.dropout)]
    layers.append(nn.Linear(recipe.dense, len(CLASSES)))
    network = sequential(layers)
    network.apply(_initialise)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _after_convolution(recipe: ModelSettings, filters: int, pool_side: int) -> list[nn.Module]:
    """ReLU, batch normalisation and pooling, in the recipe's order."""
    can_fuse = recipe.batch_norm and pool_side == 2 and not recipe.pool_first
    norm_type = ReluBatchNormPool if can_fuse else BatchNorm2d
    # momentum is the weight of the new value in PyTorch, of the old value in Keras
    norm = norm_type(filters, eps=recipe.batch_norm_epsilon, momentum=1 - recipe.batch_norm_momentum)
    if can_fuse:
        return [norm]
    norms = [norm] if recipe.batch_norm else []
    pools = [nn.MaxPool2d(pool_side)] if pool_side > 1 else []
    return [*pools, *norms, nn.ReLU()] if recipe.pool_first else [nn.ReLU(), *norms, *pools]


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def as_input(images: Images, device: torch.device) -> torch.Tensor:
    """Scale uint8 (n, 28, 28) in [0, 255] to float32 (n, 1, 28, 28) in [0, 1], channels_last, on the device."""
    pixels = torch.tensor(images, device=device)
    return (pixels.unsqueeze(1).float() / WHITE).contiguous(memory_format=torch.channels_last)


def predictor(network: nn.Module) -> Callable[[npt.ArrayLike], Probabilities]:
    """Wrap a network as a function from images to probabilities float32 (n, 10).

    The images are one or several, as bytes or as `data.prepare` returns them: see `data.as_digits`. It computes in
    float32 and in evaluation mode, and leaves the network in the mode it was in.
    """
    device = next(network.parameters()).device

    def predict(images: npt.ArrayLike) -> Probabilities:
        digits = as_digits(images, "predict")
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            batches = [
                network(as_input(digits[start : start + PREDICTION_BATCH_SIZE], device)).softmax(1).cpu()
                for start in range(0, len(digits), PREDICTION_BATCH_SIZE)
            ]
        network.train(was_training)
        return np.asarray(torch.cat(batches)) if batches else np.zeros((0, len(CLASSES)), np.float32)

    return predict


def describe(network: nn.Sequential) -> list[LayerSummary]:
    """Summarise each layer in order, fused layers as separate ones; the network is not changed."""
    summaries = []
    signal = torch.zeros(1, 1, SIDE, SIDE, device=next(network.parameters()).device)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        for layer in unfused(network):
            signal = layer(signal)
            shape = (*signal.shape[2:], signal.shape[1]) if signal.ndim == 4 else tuple(signal.shape[1:])
            trained = sum(math.prod(parameter.shape) for parameter in layer.parameters())
            running = sum(math.prod(buffer.shape) for buffer in layer.buffers() if buffer.is_floating_point())
            summaries.append(LayerSummary(_name(layer), shape, trained + running, trained))
    network.train(was_training)
    return summaries


def summarise(network: nn.Sequential) -> str:
    """Return the layers as a table in plain text, and a line about the parameters, as Keras's `model.summary()`."""
    layers = describe(network)
    rows = [("layer", "output", "parameters")]
    rows += [(layer.name, " x ".join(map(str, layer.output)), f"{layer.parameters:,}") for layer in layers]
    names, outputs, parameters = (max(map(len, column)) for column in zip(*rows, strict=True))
    table = [f"{row[0]:<{names}}  {row[1]:<{outputs}}  {row[2]:>{parameters}}" for row in rows]
    total, trained = sum(layer.parameters for layer in layers), sum(layer.trained for layer in layers)
    table.append(
        f"{total:,} parameters, {total - trained} of them not trained (BatchNorm's running means and variances); "
        "softmax is part of the loss"
    )
    return "\n".join(table)


def _name(layer: nn.Module) -> str:
    """The layer's name in the article."""
    match layer:
        case nn.Conv2d():
            return f"Conv {layer.out_channels}, {layer.kernel_size[0]}x{layer.kernel_size[1]}"
        case nn.BatchNorm2d():
            return "BatchNorm"
        case nn.MaxPool2d():
            return f"MaxPool {layer.kernel_size}x{layer.kernel_size}"
        case nn.Linear():
            return f"Dense {layer.out_features}"
        case nn.Dropout():
            return f"Dropout {layer.p:g}"
    return type(layer).__name__
