"""What the network looked at, and how it sees. Plain torch. Knows nothing about files or reports.

All take the article's network, which is left as it was, and digits uint8 (28, 28) or (n, 28, 28), white ink on black.
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
STEPS = 32  # from black to the digit; the sum of an attribution is then exact to about a hundredth
MOST_STEPS = 50  # towards another answer, before it is given up
BEYOND = 1.02  # how much farther than the linear guess each of them goes, as in DeepFool


@dataclass(frozen=True)
class Flip:
    """A digit changed as little as was needed for another answer."""

    image: Images  # (28, 28)
    answer: int
    distance: float  # Euclidean; a pixel from black to white is 1
    largest: float  # share of white by which the most changed pixel was changed


def attribution(network: nn.Sequential, image: Images, digit: int) -> Floats:
    """Which pixels spoke for that digit (above 0) and which against: integrated gradients of its logit from black.

    Their sum is the logit's rise from an empty picture to this one (Sundararajan, Taly and Yan 2017).

    Returns:
        float32 (28, 28), in logits.
    """
    network.eval()
    whole = as_input(image[None], _device(network))
    shares = ((torch.arange(STEPS, device=whole.device) + 0.5) / STEPS).reshape(-1, 1, 1, 1)
    path = (shares * whole).requires_grad_()
    (slope,) = torch.autograd.grad(network(path)[:, digit].sum(), path)
    return np.asarray((whole[0, 0] * slope.mean(0)[0]).cpu())


def smallest_change(network: nn.Sequential, image: Images) -> Flip | None:
    """A small change that flips the answer: step by step across the nearest boundary, were the network linear.

    That is DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016), kept within black and white. None where it finds none.
    """
    network.eval()
    start = as_input(image[None], _device(network))
    changed = start.clone()
    with torch.no_grad():
        answer = int(network(start).argmax())
    for _ in range(MOST_STEPS):
        changed = (changed + _to_the_boundary(network, changed, answer)).clamp(0, 1)
        with torch.no_grad():
            other = int(network(changed).argmax())
        if other != answer:
            change = (changed - start).flatten()
            picture = (changed[0, 0] * WHITE).round().to(torch.uint8)
            return Flip(np.asarray(picture.cpu()), other, float(change.norm()), float(change.abs().max()))
    return None


def _to_the_boundary(network: nn.Sequential, digits: torch.Tensor, answer: int) -> torch.Tensor:
    """The step that would make the nearest other class as likely as the answer."""
    digits = digits.detach().requires_grad_()
    logits = network(digits)[0]
    slopes = torch.stack([torch.autograd.grad(logit, digits, retain_graph=True)[0] for logit in logits])
    gaps, ways = (logits[answer] - logits).detach(), slopes - slopes[answer]
    lengths = ways.flatten(1).norm(dim=1).clamp_min(1e-9)
    distances = gaps / lengths
    distances[answer] = torch.inf
    nearest = int(distances.argmin())
    far: torch.Tensor = BEYOND * (distances[nearest] + 1e-4) / lengths[nearest]
    return far * ways[nearest]


def filters(network: nn.Sequential) -> Floats:
    """What the first layer looks for: float32 (filters, height, width)."""
    first = next(layer for layer in network if isinstance(layer, nn.Conv2d))
    return np.asarray(first.weight.detach()[:, 0].cpu())


def feature_maps(network: nn.Sequential, image: Images) -> list[tuple[str, Floats]]:
    """What each layer makes of a digit, in order: its name, and float32 (channels, height, width) or (units,)."""
    network.eval()
    names, maps = [layer.name for layer in describe(network)], []
    signal = as_input(image[None], _device(network))
    with torch.inference_mode():
        for layer in unfused(network):
            signal = layer(signal)
            maps.append(np.asarray(signal[0].cpu()))
    return list(zip(names, maps, strict=True))


def hidden(network: nn.Sequential, images: Images) -> Floats:
    """What the last hidden layer makes of digits: float32 (n, units)."""
    network.eval()
    device = _device(network)
    with torch.inference_mode():
        parts = [
            network[:-1](as_input(images[at : at + PREDICTION_BATCH_SIZE], device)).cpu()
            for at in range(0, len(images), PREDICTION_BATCH_SIZE)
        ]
    return np.asarray(torch.cat(parts))


def nearest(vectors: Floats, among: Floats, count: int) -> npt.NDArray[np.int64]:
    """For each of the vectors (n, units) the places of the nearest of the others (m, units): int64 (n, count)."""
    distances = torch.cdist(torch.from_numpy(vectors), torch.from_numpy(among))
    return np.asarray(distances.topk(min(count, len(among)), largest=False).indices)


def _device(network: nn.Sequential) -> torch.device:
    return next(network.parameters()).device
