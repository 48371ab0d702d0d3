"""Evaluation of a saved model of any kind (article, digits, rows, detector, adapted, exported) on test digits."""

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
from numerals.article.state import snapshot
from numerals.errors import InputError
from numerals.handwriting.glyphs import prepare_glyphs
from numerals.handwriting.pages import synthesise_page
from numerals.read import model_files
from numerals.read.detect import DetectorFunction, decode, without_overlaps
from numerals.read.page_contrast import contrast_planes
from numerals.read.recognise import PageDetector, Recogniser, RowRecogniser
from numerals.readers import recipes
from numerals.readers.detector_network import DetectorNetwork
from numerals.readers.digit_network import DigitNetwork, predict_logits
from numerals.readers.recipes import AnyRecipe
from numerals.readers.row_network import RowNetwork
from numerals.readers.train_detector import FIRST_TEST_PAGE, count_right, detector_loss, make_targets
from numerals.readers.train_rows import FIRST_TEST_ROW, ctc_loss, greedy_decode, synthesise_rows
from numerals.runs.folder import RunFolder, weights_sha256

MIN_PROBABILITY = 1e-12  # smaller ones are raised to it before the logarithm
TEST_PAGES = 300  # pages written with the test digits to evaluate a detector on; the same ones every time
TEST_ROWS = 1000  # rows written with the test digits to evaluate a row network on; the same ones every time

StripLogits = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]  # (n, 1, 40, w) -> (n, ceil(w / 2), 11)


@dataclass(frozen=True)
class LoadedModel:
    """A trained model together with the test digits to evaluate it on.

    Attributes:
        evaluate: computes the metrics on `test_digits`.
        predict: uint8 (n, 28, 28) -> probabilities float32 (n, 10); None for a model that reads rows.
        test_digits: uint8 (n, 28, 28), white ink on black, and labels (n,).
        weights_sha256: of a run, the hash of its weights; of an exported model, the hash of its file.
        folder: the run folder; None for an exported model.
    """

    evaluate: Callable[[], Metrics]
    predict: model.Predict | None
    test_digits: LabelledImages
    weights_sha256: str
    folder: Path | None


def load_model(path: Path, data: str | None, device: str = "auto") -> LoadedModel:
    """Load a trained model and the test digits to evaluate it on.

    Args:
        path: a run folder, or an exported model (.onnx).
        data: a dataset as `datasets.load` accepts it; None for the one the run was trained on, or MNIST for an
            exported model.
        device: a torch device or "auto"; an exported model runs on the CPU only.

    Raises:
        RunError, ModelError, DataError, InputError: an argument is wrong.
    """
    if path.suffix == ".onnx" or path.is_file():
        if device not in ("auto", "cpu"):
            raise InputError(f"--device {device}: exported models are evaluated on the CPU; leave --device out")
        return _load_exported(model_files.load(path), datasets.load(data).test)
    folder = RunFolder.open(path)
    network = open_run(folder)[1].to(choose_device(device))
    digits = datasets.load(data or folder.data_source()).test
    predict = None if isinstance(network, RowNetwork | DetectorNetwork) else predictor(network)
    sha256 = weights_sha256(snapshot(network))
    return LoadedModel(lambda: evaluate_network(network, digits), predict, digits, sha256, path)


def open_run(folder: RunFolder) -> tuple[AnyRecipe, nn.Module]:
    """Load the recipe and the trained network of a run of any kind.

    Returns:
        The recipe, and the network on the CPU in evaluation mode.

    Raises:
        RecipeError: recipe.toml is damaged.
        RunError: the weights are damaged, or do not fit the recipe.
    """
    recipe = recipes.load(folder.path / "recipe.toml")
    if isinstance(recipe, recipes.Recipe):
        return recipe, folder.network()
    network: nn.Module
    if isinstance(recipe, recipes.RowRecipe):
        network = RowNetwork()
    elif isinstance(recipe, recipes.DetectorRecipe):
        network = DetectorNetwork()
    else:
        network = DigitNetwork()
    folder.load_weights(network)
    return recipe, network.eval()


def evaluate_network(network: nn.Module, digits: LabelledImages) -> Metrics:
    """Compute the accuracy and the mean cross-entropy of a network on digits.

    A `DetectorNetwork` is evaluated on TEST_PAGES pages written with these digits: accuracy is the share of digits
    found in their place and named correctly, among the digits on the pages and those found where there are none; loss
    is that of its training, with the weights of the built-in recipe. A `RowNetwork` is evaluated on TEST_ROWS rows
    written with these digits: accuracy is the share of rows read without a mistake by greedy decoding of the strip
    alone, loss the mean CTC loss of a row divided by its number of digits.

    Args:
        network: a network of any kind, on any device.
        digits: uint8 (n, 28, 28), white ink on black, and labels (n,).
    """
    if isinstance(network, RowNetwork):
        return _evaluate_rows(_strip_logits(network), digits)
    if isinstance(network, DetectorNetwork):
        return _evaluate_pages(_cells(network), digits)
    return evaluate(predictor(network), *digits)


def predictor(network: nn.Module) -> model.Predict:
    """Wrap a network that reads single digits as a function: uint8 (n, 28, 28) -> probabilities float32 (n, 10)."""
    if not isinstance(network, DigitNetwork):
        return model.predictor(network)

    def predict(images: Images) -> model.Probabilities:
        logits, _ = predict_logits(network, images)
        return np.asarray(torch.from_numpy(logits).softmax(1).numpy(), np.float32)

    return predict


def _load_exported(exported: model_files.ModelFile, digits: LabelledImages) -> LoadedModel:
    sha256 = hashlib.sha256(exported.content).hexdigest()
    if exported.reads == "pages":
        detector = PageDetector(exported)
        return LoadedModel(lambda: _evaluate_pages(detector, digits), None, digits, sha256, None)
    if exported.reads == "rows":
        row_recogniser = RowRecogniser(exported)

        def logits(strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.log(np.maximum(row_recogniser(strips), MIN_PROBABILITY))

        return LoadedModel(lambda: _evaluate_rows(logits, digits), None, digits, sha256, None)
    recogniser = Recogniser(exported)

    def predict(images: Images) -> model.Probabilities:
        return recogniser(images)[0]

    return LoadedModel(lambda: evaluate(predict, *digits), predict, digits, sha256, None)


def _evaluate_pages(detector: DetectorFunction, digits: LabelledImages) -> Metrics:
    glyphs, recipe = prepare_glyphs(*digits), recipes.DetectorRecipe.load("detector")
    total = wrong = 0
    losses = []
    for number in range(TEST_PAGES):
        page = synthesise_page(glyphs, 0, FIRST_TEST_PAGE + number)
        output = detector(contrast_planes(page.picture))
        right, written, extra = count_right(without_overlaps(decode(output)), page)
        total, wrong = total + written + extra, wrong + written + extra - right
        losses.append(float(detector_loss(torch.from_numpy(output[None]), make_targets([page]), recipe)))
    return Metrics(total, wrong, 1 - wrong / max(total, 1), float(np.mean(losses)))


def _cells(network: DetectorNetwork) -> DetectorFunction:
    """The network as a function: uint8 (2, h, w) -> float32 (15, h / 4, w / 4)."""
    device = next(network.parameters()).device
    network.eval()

    def cells(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(planes[None]).to(device))[0].cpu().numpy(), np.float32)

    return cells


def _evaluate_rows(strip_logits: StripLogits, digits: LabelledImages) -> Metrics:
    rows = synthesise_rows(prepare_glyphs(*digits), 0, FIRST_TEST_ROW, TEST_ROWS)
    errors, losses = 0, []
    for strip, label in rows:
        logits = torch.from_numpy(strip_logits(strip[None, None]))
        errors += greedy_decode(logits)[0] != label
        losses.append(float(ctc_loss(logits, [label])))
    return Metrics(TEST_ROWS, errors, 1 - errors / TEST_ROWS, float(np.mean(losses)))


def _strip_logits(network: RowNetwork) -> StripLogits:
    device = next(network.parameters()).device
    network.eval()

    def logits(strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(strips).to(device)).cpu().numpy(), np.float32)

    return logits
