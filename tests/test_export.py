"""The network as ONNX answers as torch does, or the export fails."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from numerals.errors import FailureError
from numerals.learn import export
from numerals.learn.reader_network import ReaderNetwork, ReaderRecipe, answers
from numerals.read import weights
from numerals.read.recognise import Answer, Recogniser
from numerals.spec import CLASSES
from tests.pictures import some_digits


@pytest.fixture
def network() -> Iterator[ReaderNetwork]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield ReaderNetwork().eval()
    torch.set_num_threads(threads)


def test_the_graph_answers_as_torch_does(
    network: ReaderNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MADE", 200)
    path = tmp_path / "r.onnx"
    card = export.export(network, ReaderRecipe.load(), path)
    onnx.checker.check_model(onnx.load(path))
    assert card == json.loads(path.with_suffix(".json").read_text())
    assert card["recipe"]["seed"] == 0 and card["classes"] == list(CLASSES)
    images, _ = some_digits()
    logits, being = answers(network, images)
    probabilities, is_digit = Recogniser(path)(images)
    scaled = np.exp(logits / card["temperature"])
    assert np.allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-4)
    assert np.allclose(is_digit, 1 / (1 + np.exp(-being)), atol=1e-4)


def test_disagreement_fails(network: ReaderNetwork) -> None:
    images, _ = some_digits()
    exported = export.Exported(network, 1.0)

    def other(digits: npt.NDArray[np.uint8]) -> Answer:
        with torch.inference_mode():
            probabilities, being = exported(torch.tensor(digits))
        return probabilities.numpy() + np.float32(0.001), being.numpy()

    with pytest.raises(FailureError, match="another class for 0 of 200"):
        export.check_agreement(exported, other, images)


def test_the_temperature_is_found() -> None:
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 2, (20000, 10)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > chance.random((20000, 1))).argmax(axis=1).astype(np.uint8)
    assert abs(export.fit_temperature(logits * 2, labels) - 2) < 0.1


def test_the_threshold_turns_few_digits_away() -> None:
    being = np.random.default_rng(0).normal(4, 2, 10_000).astype(np.float32)
    shares = 1 / (1 + np.exp(-being))
    assert abs((shares < export.choose_threshold(being)).mean() - export.REJECTED) < 0.001


def test_the_shipped_model_is_the_one_of_its_card_and_of_the_recipe() -> None:
    shipped = weights.load()
    recipe = ReaderRecipe.load()
    assert ReaderRecipe(**shipped.card["recipe"]) == replace(recipe)
    assert len(shipped.content) < 1.5e6
    assert shipped.card["accuracy"]["test"] >= 0.993  # what it has now; 99.6 % through `recognise` is the goal
