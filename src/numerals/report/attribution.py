"""Explain single predictions of the article's network: pixel attributions, adversarial examples, activations.

All functions take a network that `article.model.build` made and put it into evaluation mode; its weights do not change.
Images are uint8 (28, 28) or (n, 28, 28) in [0, 255], white ink on black.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import Images
from numerals.article.model import PREDICTION_BATCH_SIZE, as_input, describe
from numerals.ops.layers import unfused
from numerals.spec import WHITE

Floats = npt.NDArray[np.float32]
INTEGRATION_STEPS = 32  # from black to the digit; the sum of an attribution is then exact to about 0.01
MAX_DEEPFOOL_STEPS = 50
OVERSHOOT = 1.02  # how far each step goes beyond the linear estimate of the boundary, as in DeepFool


@dataclass(frozen=True)
class AdversarialExample:
    """A digit changed as little as possible so that the network predicts another class."""

    image: Images  # (28, 28)
    prediction: int
    distance: float  # Euclidean; changing one pixel from black to white is 1
    max_pixel_change: float  # in [0, 1]; 1 is from black to white


def integrated_gradients(network: nn.Sequential, image: Images, digit: int) -> Floats:
    """Attribute the logit of a class to the pixels, by integrated gradients from a black image.

    Their sum is how much the logit rises from the black image to this one (Sundararajan, Taly and Yan 2017).

    Returns:
        float32 (28, 28), in logits: above 0 where a pixel is evidence for the digit, below 0 where it is against.
    """
    target = _network_input(network, image[None])
    fractions = ((torch.arange(INTEGRATION_STEPS, device=target.device) + 0.5) / INTEGRATION_STEPS).reshape(-1, 1, 1, 1)
    path = (fractions * target).requires_grad_()
    (gradients,) = torch.autograd.grad(network(path)[:, digit].sum(), path)
    return np.asarray((target[0, 0] * gradients.mean(0)[0]).cpu())


def deepfool(network: nn.Sequential, image: Images) -> AdversarialExample | None:
    """Find a small change that makes the network predict another class.

    DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016): step across the nearest decision boundary of the linearised
    network until the prediction changes. Pixels stay between black and white.

    Returns:
        None if no change is found within MAX_DEEPFOOL_STEPS.
    """
    original = _network_input(network, image[None])
    changed = original.clone()
    with torch.no_grad():
        original_prediction = int(network(original).argmax())
    for _ in range(MAX_DEEPFOOL_STEPS):
        changed = (changed + _step_to_boundary(network, changed, original_prediction)).clamp(0, 1)
        with torch.no_grad():
            prediction = int(network(changed).argmax())
        if prediction != original_prediction:
            change = (changed - original).flatten()
            pixels = (changed[0, 0] * WHITE).round().to(torch.uint8)
            return AdversarialExample(
                np.asarray(pixels.cpu()), prediction, float(change.norm()), float(change.abs().max())
            )
    return None


def _step_to_boundary(network: nn.Sequential, digit: torch.Tensor, prediction: int) -> torch.Tensor:
    """The step after which the linearised network finds the nearest other class as likely as the predicted one."""
    digit = digit.detach().requires_grad_()
    logits = network(digit)[0]
    gradients = torch.stack([torch.autograd.grad(logit, digit, retain_graph=True)[0] for logit in logits])
    margins, directions = (logits[prediction] - logits).detach(), gradients - gradients[prediction]
    norms = directions.flatten(1).norm(dim=1).clamp_min(1e-9)
    distances = margins / norms
    distances[prediction] = torch.inf
    nearest = int(distances.argmin())
    length: torch.Tensor = OVERSHOOT * (distances[nearest] + 1e-4) / norms[nearest]
    return length * directions[nearest]


def first_layer_filters(network: nn.Sequential) -> Floats:
    """The weights of the first convolution, float32 (filters, height, width)."""
    first = next(layer for layer in network if isinstance(layer, nn.Conv2d))
    return np.asarray(first.weight.detach()[:, 0].cpu())


def feature_maps(network: nn.Sequential, image: Images) -> list[tuple[str, Floats]]:
    """The name and output of each layer for one digit, in order: float32 (channels, height, width) or (units,)."""
    names, outputs = [layer.name for layer in describe(network)], []
    values = _network_input(network, image[None])
    with torch.inference_mode():
        for layer in unfused(network):
            values = layer(values)
            outputs.append(np.asarray(values[0].cpu()))
    return list(zip(names, outputs, strict=True))


def last_hidden_activations(network: nn.Sequential, images: Images) -> Floats:
    """The output of the last hidden layer for each digit, float32 (n, units)."""
    batches = _network_input(network, images).split(PREDICTION_BATCH_SIZE)
    with torch.inference_mode():
        return np.asarray(torch.cat([network[:-1](batch).cpu() for batch in batches]))


def nearest_neighbours(vectors: Floats, candidates: Floats, count: int) -> npt.NDArray[np.int64]:
    """For each of the vectors (n, units), the indices of the nearest candidates (m, units), nearest first.

    Returns:
        int64 (n, count), or (n, m) if there are fewer candidates.
    """
    distances = torch.cdist(torch.from_numpy(vectors), torch.from_numpy(candidates))
    return np.asarray(distances.topk(min(count, len(candidates)), largest=False).indices)


def _network_input(network: nn.Sequential, images: Images) -> torch.Tensor:
    """Put the network into evaluation mode, and return images as it takes them, on its device."""
    network.eval()
    return as_input(images, next(network.parameters()).device)
