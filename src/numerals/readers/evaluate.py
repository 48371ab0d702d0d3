"""What a kept network scores on test digits, whichever of the three it is. Knows nothing about how it was trained."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article import datasets, model
from numerals.article.data import Images, LabelledImages
from numerals.article.device import choose_device
from numerals.article.metrics import Metrics, evaluate
from numerals.errors import InputError
from numerals.handwriting.glyphs import glyphs_of
from numerals.read import model_files
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.readers import recipes
from numerals.readers.digit_network import ReaderNetwork, answers
from numerals.readers.recipes import AnyRecipe
from numerals.readers.row_network import RowNet
from numerals.readers.train_rows import TEST, ctc, drawn, greedy
from numerals.runs.folder import RunFolder, snapshot, weights_sha256

TINY = 1e-12  # of a probability, before its logarithm
ROWS = 1000  # rows drawn with the test digits, always the same ones


def score_network(network: nn.Module, digits: LabelledImages) -> Metrics:
    """Of digits, uint8 (n, 28, 28) with labels (n,): the share of right classes and the mean cross-entropy.

    The network of rows is asked about ROWS rows written with those digits: the share that it reads without a mistake,
    at one look, and the mean CTC loss of a row over its digits.
    """
    if isinstance(network, RowNet):
        return _score_rows(_logits(network), digits)
    return evaluate(predictor(network), *digits)


@dataclass(frozen=True)
class Kept:
    """A kept model, opened, and the digits it is to be asked about."""

    score: Callable[[], Metrics]
    predict: model.Predict | None  # None for one that reads rows
    digits: LabelledImages
    weights_sha256: str
    folder: Path | None  # None for an exported model


def score_kept(kept: Path, data: str | None, device: str = "auto") -> Metrics:
    """What `open_kept` opens, scored."""
    return open_kept(kept, data, device).score()


def open_kept(kept: Path, data: str | None, device: str = "auto") -> Kept:
    """A run folder, or an exported model (.onnx), with the test digits of `data`.

    Args:
        data: as `sources.load` takes it; None for what the run was trained on, or MNIST for an exported model.

    Raises:
        RunError, ModelError, DataError, InputError: a mistake in what was passed.
    """
    if kept.suffix == ".onnx" or kept.is_file():
        if device not in ("auto", "cpu"):
            raise InputError(f"--device {device}: an exported model is evaluated on the CPU")
        return _open_exported(model_files.load(kept), datasets.load(data).test)
    folder = RunFolder.open(kept)
    network = open_run(folder)[1].to(choose_device(device))
    digits = datasets.load(data or folder.data_source()).test
    predict = None if isinstance(network, RowNet) else predictor(network)
    return Kept(lambda: score_network(network, digits), predict, digits, weights_sha256(snapshot(network)), kept)


def open_run(folder: RunFolder) -> tuple[AnyRecipe, nn.Module]:
    """The recipe and the trained network of a run of any kind, on the CPU, in evaluation mode.

    Raises:
        RecipeError: recipe.toml is damaged.
        RunError: the weights are damaged, or do not fit the recipe.
    """
    recipe = recipes.load(folder.path / "recipe.toml")
    if isinstance(recipe, recipes.Recipe):
        return recipe, folder.network()
    network = RowNet() if isinstance(recipe, recipes.RowRecipe) else ReaderNetwork()
    folder.load_weights(network)
    return recipe, network.eval()


def _open_exported(exported: model_files.ModelFile, digits: LabelledImages) -> Kept:
    sha256 = hashlib.sha256(exported.content).hexdigest()
    if exported.reads_rows:
        of_rows = RowRecogniser(exported)

        def answer(strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.log(np.maximum(of_rows(strips), TINY))

        return Kept(lambda: _score_rows(answer, digits), None, digits, sha256, None)
    recogniser = Recogniser(exported)

    def predict(images: Images) -> model.Probabilities:
        return recogniser(images)[0]

    return Kept(lambda: evaluate(predict, *digits), predict, digits, sha256, None)


def predictor(network: nn.Module) -> model.Predict:
    """The network as a function: uint8 (n, 28, 28) -> probabilities float32 (n, 10)."""
    if not isinstance(network, ReaderNetwork):
        return model.predictor(network)

    def predict(images: Images) -> model.Probabilities:
        logits, _ = answers(network, images)
        return np.asarray(torch.from_numpy(logits).softmax(1).numpy(), np.float32)

    return predict


def _score_rows(answer: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], digits: LabelledImages) -> Metrics:
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
