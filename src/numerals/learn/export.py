"""The reader's network -> ONNX with its preprocessing inside, and its card. Checks that both answer the same.

Temperature and threshold are fitted on validation digits and samples made from them; the test digits are only counted.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.errors import FailureError
from numerals.files import write_atomically
from numerals.learn.data import load_mnist
from numerals.learn.reader_network import ReaderNetwork, ReaderRecipe, answers, parts
from numerals.learn.stages import versions
from numerals.learn.synthesis import NO_DIGIT, Synthesis
from numerals.read.normalise import normalise
from numerals.read.recognise import Answer, Recogniser
from numerals.spec import CLASSES, MODEL_INPUT, MODEL_OUTPUTS, SIDE

OPSET = 17
AGREEMENT = 1e-4  # of any probability, between torch and ONNX
REJECTED = 0.004  # share of the digits that the threshold may turn away
MADE = 12_000  # samples made to choose the threshold by


class Exported(nn.Module):
    """The network as it answers: uint8 (n, 28, 28) -> calibrated probabilities and is_digit."""

    def __init__(self, network: ReaderNetwork, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, being = self.network(digits)
        return (logits / self.temperature).softmax(1), being.sigmoid()


def export(network: ReaderNetwork, recipe: ReaderRecipe, path: Path) -> dict[str, Any]:
    """Write `path` (.onnx) and its card beside it (.json); the card is returned too.

    Raises:
        FailureError: ONNX answers other than torch on the test digits.
        StorageError: as `write_atomically`.
    """
    network.eval()
    (_, _), (images, labels) = load_mnist()
    (held_images, held_labels) = parts(recipe)[1]
    made, truth = Synthesis((held_images, held_labels)).batch(recipe.seed + 1, np.arange(MADE))
    logits, being = answers(network, normalise(held_images))
    temperature, threshold = fit_temperature(logits, held_labels), choose_threshold(being)
    exported = Exported(network, temperature).eval()
    content = to_onnx(exported)
    card = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": list(CLASSES),
        "input": f"{MODEL_INPUT}: uint8 (n, {SIDE}, {SIDE}) in [0, 255], white ink on black, in MNIST's form",
        "outputs": "probabilities: float32 (n, 10), calibrated; is_digit: float32 (n,) in [0, 1]",
        "preprocessing": "inside the model: divided by 255",
        "temperature": temperature,
        "threshold": threshold,
        "data": "MNIST's training digits, 48,000 to learn from and 12,000 to decide by; strangers made by strangers.py",
        "parameters": sum(p.numel() for p in network.parameters()),
        "recipe": asdict(recipe),
        "versions": versions(),
    }
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), _json(card))
    recogniser = Recogniser(path)
    check_agreement(exported, recogniser, images)
    card["accuracy"] = {
        "validation": accuracy(recogniser, held_images, held_labels),
        "test": accuracy(recogniser, images, labels),
        **_made_anew(recogniser, made, truth, threshold),
    }
    write_atomically(path.with_suffix(".json"), _json(card))
    return card


def to_onnx(exported: Exported) -> bytes:
    """The graph that torch traces; BatchNorm is folded into the convolutions on the way."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter needs no further package
        torch.onnx.export(
            exported,
            (torch.zeros(2, SIDE, SIDE, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # the older exporter takes a file
            dynamo=False,
            opset_version=OPSET,
            input_names=[MODEL_INPUT],
            output_names=list(MODEL_OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in (MODEL_INPUT, *MODEL_OUTPUTS)},
        )
    return buffer.getvalue()


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017)."""
    candidates = np.exp(np.linspace(np.log(0.2), np.log(3), 200))
    truth = np.arange(len(labels)), labels.astype(np.int64)

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        top = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0] - scaled[truth]).mean())

    return float(min(candidates, key=loss))


def choose_threshold(being: npt.NDArray[np.float32]) -> float:
    """is_digit under which the share REJECTED of validation digits lies."""
    logit = float(np.quantile(being, REJECTED))
    return 1 / (1 + float(np.exp(-logit)))


def check_agreement(
    exported: Exported, recogniser: Callable[[npt.NDArray[np.uint8]], Answer], images: npt.NDArray[np.uint8]
) -> None:
    """The same class for every one of the images, and every number within AGREEMENT.

    Raises:
        FailureError: they differ.
    """
    theirs, their_being = recogniser(images)
    with torch.inference_mode():
        found = [exported(torch.tensor(part)) for part in np.array_split(images, -(-len(images) // 1000))]
    ours, being = (np.concatenate([pair[i].numpy() for pair in found]) for i in (0, 1))
    others = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    apart = max(float(np.abs(ours - theirs).max()), float(np.abs(being - their_being).max()))
    if others or apart > AGREEMENT:
        raise FailureError(
            f"ONNX answers other than torch: another class for {others} of {len(images)} digits, {apart:.1e} apart"
        )


def accuracy(recogniser: Recogniser, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> float:
    """Share of right classes, normalisation included."""
    return float((recogniser(normalise(images))[0].argmax(axis=1) == labels).mean())


def _made_anew(
    recogniser: Recogniser, made: npt.NDArray[np.uint8], truth: npt.NDArray[np.int64], threshold: float
) -> dict[str, float]:
    probabilities, being = recogniser(made)
    real, rejected = truth != NO_DIGIT, being < threshold
    return {
        "written anew": float((probabilities.argmax(axis=1) == truth)[real].mean()),
        "written anew, rejected": float(rejected[real].mean()),
        "no digits, rejected": float(rejected[~real].mean()),
    }


def _json(card: dict[str, Any]) -> bytes:
    return (json.dumps(card, indent=1) + "\n").encode()
