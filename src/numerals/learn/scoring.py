"""What a kept network scores on test digits, whichever of the three it is. Knows nothing about how it was trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.errors import InputError
from numerals.learn import model, sources
from numerals.learn.checkpoint import RunFolder
from numerals.learn.data import Part
from numerals.learn.device import choose_device
from numerals.learn.evaluate import Metrics, evaluate
from numerals.learn.glyphs import glyphs_of
from numerals.learn.reader_network import ReaderNetwork, answers
from numerals.learn.rownet import RowNet
from numerals.learn.train_rows import TEST, ctc, drawn, greedy
from numerals.read import weights
from numerals.read.recognise import Recogniser, RowRecogniser

TINY = 1e-12  # of a probability, before its logarithm
ROWS = 1000  # rows drawn with the test digits, always the same ones


def score_network(network: nn.Module, digits: Part) -> Metrics:
    """Of digits, uint8 (n, 28, 28) with labels (n,): the share of right classes and the mean cross-entropy.

    The network of rows is asked about ROWS rows written with those digits: the share that it reads without a mistake,
    at one look, and the mean CTC loss of a row over its digits.
    """
    if isinstance(network, RowNet):
        return _score_rows(_logits(network), digits)
    return evaluate(predictor(network), *digits)


def score_kept(kept: Path, data: str | None, device: str = "auto") -> Metrics:
    """Of a run folder, or of an exported model (.onnx), on the test digits of `data`.

    Args:
        data: as `sources.load` takes it; None for what the run was trained on, or MNIST for an exported model.

    Raises:
        RunError, ModelError, DataError, InputError: a mistake in what was passed.
    """
    if kept.suffix == ".onnx" or kept.is_file():
        if device not in ("auto", "cpu"):
            raise InputError(f"--device {device}: an exported model is evaluated on the CPU")
        return _score_exported(weights.load(kept), sources.load(data).test)
    folder = RunFolder.open(kept)
    network = folder.network().to(choose_device(device))
    return score_network(network, sources.load(data or folder.data_source()).test)


def _score_exported(model: weights.Weights, digits: Part) -> Metrics:
    if not model.reads_rows:
        recogniser = Recogniser(model)
        return evaluate(lambda images: recogniser(images)[0], *digits)
    recogniser_of_rows = RowRecogniser(model)
    return _score_rows(lambda strips: np.log(np.maximum(recogniser_of_rows(strips), TINY)), digits)


def predictor(network: nn.Module) -> model.Predict:
    """The network as a function: uint8 (n, 28, 28) -> probabilities float32 (n, 10)."""
    if not isinstance(network, ReaderNetwork):
        return model.predictor(network)

    def predict(images: model.Images) -> model.Probabilities:
        logits, _ = answers(network, images)
        return np.asarray(torch.from_numpy(logits).softmax(1).numpy(), np.float32)

    return predict


def _score_rows(answer: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], digits: Part) -> Metrics:
    """`answer` takes strips uint8 (n, 1, 40, w) and gives logits."""
    rows = drawn(glyphs_of(*digits), 0, TEST, ROWS)
    errors, losses = 0, []
    for strip, truth in rows:
        logits = torch.from_numpy(answer(strip[None, None]))
        errors += greedy(logits)[0] != truth
        losses.append(float(ctc(logits, [truth])))
    return Metrics(ROWS, errors, 1 - errors / ROWS, float(np.mean(losses)))


def _logits(network: RowNet) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    device = next(network.parameters()).device

    def answer(strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network.eval()(torch.from_numpy(strips).to(device)).cpu().numpy(), np.float32)

    return answer
