"""The article's CNN (its section 4), as Keras would build it. Knows nothing about training or files.

Digits in, logits out; softmax belongs to the loss and to `predictor`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.recipe import ModelSettings
from numerals.errors import RecipeError
from numerals.ops.layers import BatchNorm2d, Conv2d, Flatten, Network
from numerals.spec import CLASSES, SIDE, WHITE

Images = npt.NDArray[np.uint8]  # (n, 28, 28) in [0, 255], white ink on black
Probabilities = npt.NDArray[np.float32]  # (n, 10)
Predict = Callable[[Images], Probabilities]
PREDICTION_BATCH_SIZE = 64  # digits at a time: as fast as more of them, in memory that the steps of a training use too


@dataclass(frozen=True)
class LayerSummary:
    """A row of the table that `train` shows."""

    name: str  # as the article calls it: "Conv 32, 3x3"
    output: tuple[int, ...]  # height, width, channels, or units
    parameters: int
    trained: int  # BatchNorm's running mean and variance are counted as parameters, and not trained


def build(recipe: ModelSettings) -> nn.Sequential:
    """The network with Keras's initial weights (Glorot uniform, biases zero), drawn from torch's generator.

    Takes float32 (n, 1, 28, 28) in [0, 1], white ink on black; gives logits float32 (n, 10).

    Raises:
        RecipeError: so many convolutions that no pixel is left.
    """
    layers: list[nn.Module] = []
    channels, side = 1, SIDE
    for filters, kernel_side, pool_side in recipe.blocks():
        side = (side - kernel_side + 1) // pool_side
        if side < 1:
            raise RecipeError(
                f"model.convolutions = {list(recipe.convolutions)}: nothing is left of {SIDE} pixels; use fewer"
            )
        # torch's momentum is the share that is new, Keras's the share that stays
        norm = BatchNorm2d(filters, eps=recipe.batch_norm_epsilon, momentum=1 - recipe.batch_norm_momentum)
        norms = [norm] if recipe.batch_norm else []
        pools = [nn.MaxPool2d(pool_side)] if pool_side > 1 else []
        after = [*pools, *norms, nn.ReLU()] if recipe.pool_first else [nn.ReLU(), *norms, *pools]
        layers += [Conv2d(channels, filters, kernel_side), *after]
        channels = filters
    before = [nn.Dropout(recipe.dropout_before)] if recipe.dropout_before else []
    layers += [
        Flatten(),
        *before,
        nn.Linear(side * side * channels, recipe.dense),
        nn.ReLU(),
        nn.Dropout(recipe.dropout),
    ]
    layers += [nn.Linear(recipe.dense, len(CLASSES))]
    network = Network(*layers)
    network.apply(_initialise)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def as_input(images: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """uint8 (n, 28, 28) in [0, 255] -> float32 (n, 1, 28, 28) in [0, 1], channels_last, on the device."""
    pixels = torch.tensor(images, device=device)
    return (pixels.unsqueeze(1).float() / WHITE).contiguous(memory_format=torch.channels_last)


def predictor(network: nn.Module) -> Predict:
    """The network as a plain function: uint8 (n, 28, 28) -> probabilities float32 (n, 10), always in float32."""
    device = next(network.parameters()).device

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            parts = [
                network(as_input(images[start : start + PREDICTION_BATCH_SIZE], device)).softmax(1).cpu()
                for start in range(0, len(images), PREDICTION_BATCH_SIZE)
            ]
        network.train(was_training)
        return np.asarray(torch.cat(parts)) if parts else np.zeros((0, len(CLASSES)), np.float32)

    return predict


def describe(network: nn.Sequential) -> list[LayerSummary]:
    """Each layer with its output's shape and its parameters, in order; leaves the network as it was."""
    layers = []
    signal = torch.zeros(1, 1, SIDE, SIDE, device=next(network.parameters()).device)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        for layer in network:
            signal = layer(signal)
            shape = (*signal.shape[2:], signal.shape[1]) if signal.ndim == 4 else tuple(signal.shape[1:])
            trained = sum(math.prod(parameter.shape) for parameter in layer.parameters())
            running = sum(math.prod(buffer.shape) for buffer in layer.buffers() if buffer.is_floating_point())
            layers.append(LayerSummary(_name(layer), shape, trained + running, trained))
    network.train(was_training)
    return layers


def _name(layer: nn.Module) -> str:
    """As the article calls it."""
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
