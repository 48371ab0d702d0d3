"""The training of the detector: it learns, and continues where it stopped with the same result."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from numerals.article.state import snapshot
from numerals.errors import ModelError, RunError
from numerals.export import detector_model
from numerals.handwriting.glyphs import prepare_glyphs
from numerals.handwriting.pages import synthesise_page
from numerals.read.detect import decode, without_overlaps
from numerals.read.page_contrast import contrast_planes
from numerals.readers import evaluate, recipes, train, train_detector
from numerals.readers.detector_network import DetectorNetwork
from numerals.readers.train_detector import DetectorTraining, count_right, learning_rate, make_batch
from numerals.runs.folder import DETECTOR_CHECKPOINT, RunFolder, weights_sha256
from tests.helpers.commands import assert_one_line, call
from tests.helpers.pictures import some_digits

RECIPE = """
network = "detector"
steps = 4
batch_size = 2
precision = "float32"
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate on fewer pages, and report and save after each second step."""
    monkeypatch.setattr(evaluate, "TEST_PAGES", 3)
    monkeypatch.setattr(detector_model, "VALIDATION_PAGES", 3)
    monkeypatch.setattr(train_detector, "PROGRESS_STEPS", 2)
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def test_a_network_overfits_one_page() -> None:
    glyphs = prepare_glyphs(*some_digits(300))
    numbers = (number for number in range(100) if len(synthesise_page(glyphs, 0, number).digits) > 12)
    number = next(numbers)
    page, batch = synthesise_page(glyphs, 0, number), make_batch(glyphs, 0, range(number, number + 1))
    recipe = recipes.DetectorRecipe.load("detector").change(steps=400, averaging=0.9, smoothing=0)
    training = DetectorTraining(recipe, 0, torch.device("cpu"), None)
    training.network.train()
    first = training.train_step(batch)
    for _ in range(119):
        last = training.train_step(batch)
    assert last < 0.3 * first
    with torch.inference_mode():
        output = training.network(torch.from_numpy(contrast_planes(page.picture))[None])[0].numpy()
    right, written, extra = count_right(without_overlaps(decode(output)), page)
    assert right > 0.7 * written and extra < 0.3 * written


def test_the_learning_rate_rises_stays_and_falls_to_zero() -> None:
    recipe = recipes.DetectorRecipe.load("detector").change(steps=10_000)
    rates = [learning_rate(recipe, step) for step in range(10_000)]
    assert rates[0] < 0.01 * recipe.learning_rate
    assert rates[300:8000] == [recipe.learning_rate] * 7700
    assert rates[-1] < 0.001 * recipe.learning_rate
    assert rates[8001:] == sorted(rates[8001:], reverse=True)


def test_a_training_is_saved_evaluated_and_exported(
    recipe_file: Path, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, line, progress = call(capfd, "train-reader", recipe_file, "--data", small_npz, "--out", out, "--seed", 3)
    assert code == 0 and line.startswith("Test Accuracy: ")
    assert "step 2/4" in progress and "step 4/4" in progress
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["weights_sha256"] == weights_sha256(snapshot(evaluate.open_run(RunFolder.open(out))[1]))
    assert call(capfd, "evaluate", out)[1] == line
    code, path, _ = call(capfd, "export", out)
    assert (code, path.strip()) == (0, str(out / "model.onnx"))
    code, exported_line, _ = call(capfd, "evaluate", out / "model.onnx", "--data", small_npz)
    assert code == 0 and exported_line[:20] == line[:20]
    picture = tmp_path / "page.png"
    Image.fromarray(synthesise_page(prepare_glyphs(*some_digits(300)), 0, 0).picture).save(picture)
    assert call(capfd, "read", picture, "--model", out / "model.onnx")[0] == 0


def test_a_resumed_training_ends_with_the_same_weights(
    recipe_file: Path,
    small_npz: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--data", small_npz, "--seed", 1, "--quiet")
    assert call(capfd, "train-reader", recipe_file, "--out", tmp_path / "whole", *options)[0] == 0

    def stop(training: DetectorTraining, batch: train_detector.Batch) -> float:
        if training.step == 3:
            raise KeyboardInterrupt
        return train_step(training, batch)

    train_step = DetectorTraining.train_step
    monkeypatch.setattr(DetectorTraining, "train_step", stop)
    code, _, stderr = call(capfd, "train-reader", recipe_file, "--out", tmp_path / "cut", *options)
    assert code == 130 and "train-reader --resume" in stderr
    monkeypatch.setattr(DetectorTraining, "train_step", train_step)

    assert call(capfd, "train-reader", "--resume", tmp_path / "cut", "--quiet")[0] == 0
    whole, cut = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "cut"))
    assert whole["weights_sha256"] == cut["weights_sha256"]
    assert whole["test"] == cut["test"]
    steps = [line.split(",")[0] for line in (tmp_path / "cut" / "history.csv").read_text().splitlines()]
    assert steps == ["step", "2", "4"]

    code, _, stderr = call(capfd, "train-reader", "--resume", tmp_path / "cut")
    assert code == 2
    assert_one_line(stderr, "has ended")


def test_what_cannot_be_resumed_is_refused_in_one_line(
    recipe_file: Path, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(capfd, "train-reader", recipe_file, "--data", small_npz, "--out", tmp_path / "run", "--quiet")[0] == 0
    (tmp_path / "run" / "metrics.json").unlink()
    checkpoint = tmp_path / "run" / DETECTOR_CHECKPOINT
    good = checkpoint.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(good)
        for position in rng.integers(0, 3000, 5):
            damaged[position] ^= int(rng.integers(1, 256))
        checkpoint.write_bytes(bytes(damaged[: int(rng.integers(1, len(good)))]))
        with pytest.raises(RunError, match="damaged"):
            train.resume(tmp_path / "run")
    checkpoint.unlink()
    code, _, stderr = call(capfd, "train-reader", "--resume", tmp_path / "run")
    assert code == 2
    assert_one_line(stderr, "nothing to resume")
    code, _, stderr = call(capfd, "train-reader", "detector", "--resume", tmp_path / "run")
    assert code == 2
    assert_one_line(stderr, "leave out RECIPE")
    code, _, stderr = call(capfd, "train-reader")
    assert code == 2
    assert_one_line(stderr, "digits, rows, detector")


def test_a_detector_with_other_outputs_is_refused() -> None:
    network = DetectorNetwork().eval()
    network.head = torch.nn.Conv2d(48, 16, 1)
    with pytest.raises(ModelError, match="answers with shapes"):
        detector_model.detector_to_onnx(network)


def test_exported_outputs_agree_with_pytorch() -> None:
    torch.manual_seed(0)
    network = DetectorNetwork().eval()
    content = detector_model.detector_to_onnx(network)
    assert detector_model.max_difference(network, content) <= detector_model.MAX_LOGIT_DIFFERENCE
    assert len(content) < 6_000_000
