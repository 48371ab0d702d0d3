"""Adaptation: a model learns one person's writing from corrections, forgets little of MNIST, and can be exported."""

import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from numerals.article.data import load_mnist
from numerals.read.normalise import normalise
from numerals.read.recognise import Recogniser
from numerals.readers.digit_network import DigitNetwork, predict_logits
from numerals.readers.pretrained import pretrained_weights
from numerals.server.corrections import CorrectionStore
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import call
from tests.helpers.pictures import some_digits
from tests.read.test_sandbox import HOSTILE_SITECUSTOMIZE


def test_the_pretrained_weights_answer_like_the_shipped_model() -> None:
    network = DigitNetwork()
    network.load_state_dict(pretrained_weights())
    recogniser = Recogniser()
    images, _ = some_digits()
    logits, is_digit_logits = predict_logits(network.eval(), images)
    scaled = np.exp(logits / recogniser.model.card["temperature"])
    probabilities, is_digit = recogniser(images)
    assert np.abs(scaled / scaled.sum(axis=1, keepdims=True) - probabilities).max() < 1e-4
    assert np.abs(1 / (1 + np.exp(-is_digit_logits)) - is_digit).max() < 1e-4


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corrections of forty digits, slanted to the left, that the model misreads."""
    path = tmp_path_factory.mktemp("corrections") / "corrections.sqlite"
    store, recogniser = CorrectionStore(path), Recogniser()
    (_, _), (images, labels) = load_mnist()
    slant = np.array([[1, -0.55, 7.5], [0, 1, 0]], np.float32)
    slanted = np.stack([cv2.warpAffine(image, slant, (28, 28)) for image in images[:4000]]).astype(np.uint8)
    normalised = normalise([cv2.resize(255 - image, (84, 84)) for image in slanted])
    predicted = recogniser(normalised)[0].argmax(axis=1)
    for index in np.flatnonzero(predicted != labels[:4000])[:40]:
        file = io.BytesIO()
        Image.fromarray(cv2.resize(255 - slanted[index], (84, 84))).save(file, "PNG")
        digit = normalised[index].tobytes() if index % 2 else None  # None: normalised from the picture when adapting
        store.add(int(labels[index]), int(predicted[index]), file.getvalue(), digit)
    assert store.count() == 40
    return path


@pytest.mark.slow
def test_adaptation_learns_a_hand_and_does_not_forget_mnist(corrections: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = run_quietly((*NUMERALS, "adapt", corrections, "--init", "shipped", "--out", run))
    assert process.returncode == 0, process.stderr
    assert "Test Accuracy: 0.99" in process.stdout
    assert "held-out corrections" in process.stderr and "MNIST's validation digits" in process.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    (own_before, mnist_before), (own_after, mnist_after) = metrics["before"].values(), metrics["after"].values()
    assert own_before == 0 and own_after > 0.2
    assert mnist_after > mnist_before - 0.001
    assert metrics["data"]["corrections"] + metrics["data"]["corrections held out"] == 40


@pytest.mark.slow
def test_an_adapted_model_can_be_exported(corrections: Path, tmp_path: Path) -> None:
    run, short = tmp_path / "run", tmp_path / "short.toml"
    short.write_text('network = "adapted"\nsteps = 3\nmade = 50\n')
    assert run_quietly((*NUMERALS, "adapt", corrections, "--recipe", short, "--out", run)).returncode == 0
    process = run_quietly((*NUMERALS, "export", run))
    assert process.returncode == 0, process.stderr
    card = json.loads((run / "model.json").read_text())
    assert card["recipe"]["network"] == "adapted" and card["accuracy"]["test"] > 0.99


def test_a_picture_that_crashes_its_decoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOSTILE_SITECUSTOMIZE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    file = tmp_path / "corrections.sqlite"
    CorrectionStore(file).add(1, None, b"", bytes(784))
    CorrectionStore(file).add(1, None, b"crash", None)
    code, stdout, stderr = call(capfd, "adapt", "--out", tmp_path / "run", file)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1), stderr
    assert "correction 2: 5 bytes: decoding crashed" in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere.sqlite",), "no such file"),
        ((), "CORRECTIONS"),
        (("FILE", "--recipe", "quick"), "use numerals train"),
        (("FILE", "--epochs", 2), "adapt has no option --epochs"),
        (("FILE", "--set", "epochs=2"), "unknown key epochs"),
        (("FILE", "--init", "nowhere"), "not a run folder"),
        (("FEW",), "3 corrections"),
    ],
)
def test_a_mistake_is_one_line(
    corrections: Path, tmp_path: Path, options: tuple[object, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.sqlite"
    for digit in range(3):
        CorrectionStore(few).add(digit, None, b"", bytes(784))
    arguments = [str(option).replace("FILE", str(corrections)).replace("FEW", str(few)) for option in options]
    code, stdout, stderr = call(capfd, "adapt", "--out", tmp_path / "run", *arguments)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1), stderr
    assert message in stderr
    assert not (tmp_path / "run").exists()
