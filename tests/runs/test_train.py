"""Whole trainings on a few hundred digits: repeatable, honest about the test digits, and saved completely."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.data import Dataset
from numerals.article.fit import Callback
from numerals.article.metrics import compute_metrics, evaluate
from numerals.article.recipe import Recipe
from numerals.article.state import TrainingState, snapshot
from numerals.errors import DataError, InputError, RunError
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.train import FinishedRun, train
from tests.helpers.keras_peer import KERAS_WARNS, digits, keras_callbacks, small
from tests.helpers.trainings import (
    COUNT,
    Recorder,
    history_without_seconds,
    split_data,
    train_few,
)

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]


def test_same_seed_same_weights_other_seed_other(tmp_path: Path) -> None:
    one, same, other = (train_few(tmp_path, name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.metrics["weights_sha256"] == same.metrics["weights_sha256"] != other.metrics["weights_sha256"]
    assert history_without_seconds(one) == history_without_seconds(same) != history_without_seconds(other)
    assert (one.folder / "model.safetensors").read_bytes() == (same.folder / "model.safetensors").read_bytes()
    assert one.test == same.test


def test_another_process_ends_with_the_same_weights(tmp_path: Path) -> None:
    here = train_few(tmp_path, "here", epochs=1)
    (tmp_path / "recipe.toml").write_text(small(epochs=1).to_toml())
    (x_train, y_train), (x_test, y_test) = digits(COUNT).train, digits(COUNT).test
    np.savez(tmp_path / "few.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    code = (
        "import sys, torch; torch.set_num_threads(1); from numerals.runs.train import train; torch.manual_seed(99);"
        "print(train(sys.argv[1], sys.argv[2], out=sys.argv[3], device='cpu').metrics['weights_sha256'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "recipe.toml", tmp_path / "few.npz", tmp_path / "there"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert answer.stdout.strip() == here.metrics["weights_sha256"]


def test_the_callers_randomness_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = train_few(tmp_path, "a", epochs=1)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert repr(np.random.get_state(legacy=False)) == repr(numpy_before)
    torch.manual_seed(6)
    np.random.seed(6)
    assert train_few(tmp_path, "b", epochs=1).metrics["weights_sha256"] == first.metrics["weights_sha256"]


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, Recorder]:
    """A learning rate so large that val_loss goes up and down; stopped early with a fallen rate."""
    recorder = Recorder()
    run = train_few(
        tmp_path_factory.mktemp("rising"),
        callbacks=[recorder],
        epochs=12,
        optimizer={"learning_rate": 0.03},
        early_stopping={"patience": 2},
        plateau={"patience": 1},
    )
    return run, recorder


def test_the_best_weights_are_restored_and_kept(rising: tuple[FinishedRun, Recorder]) -> None:
    run, recorder = rising
    losses = [row.val_loss for row in run.history]
    assert run.best_epoch == 1 + int(np.argmin(losses)) < len(run.history), "the case needs a last epoch that is worse"
    assert [best for _, best in recorder.rows] == [loss < min([9e9, *losses[:at]]) for at, loss in enumerate(losses)]
    network = RunFolder.open(run.folder).network()
    assert weights_sha256(snapshot(network)) == run.metrics["weights_sha256"]
    images, labels = split_data(digits(COUNT))[1]
    kept = compute_metrics(model.predictor(network)(images), labels)
    assert kept.loss == pytest.approx(min(losses), abs=1e-6)
    assert kept.accuracy == run.history[run.best_epoch - 1].val_accuracy == run.metrics["validation"]["accuracy"]
    assert np.array_equal(run.predict(images), model.predictor(network)(images))
    assert run.test == evaluate(run.predict, *digits(COUNT).test)


def test_learning_rate_and_end_match_the_callbacks_of_keras(rising: tuple[FinishedRun, Recorder]) -> None:
    run, _ = rising
    numbers = run.recipe
    losses = [row.val_loss for row in run.history]
    last, best, rates = keras_callbacks(
        losses, numbers.optimizer.learning_rate, numbers.early_stopping, numbers.plateau
    )
    assert (last, best) == (len(losses), run.best_epoch) and last < numbers.epochs and run.metrics["ended"] == "early"
    used = [np.float32(row.learning_rate) for row in run.history]
    assert used == [np.float32(numbers.optimizer.learning_rate), *rates[:-1]]
    assert used[-1] < used[0], "the case needs a fall"


def test_a_reduced_learning_rate_is_used(tmp_path: Path) -> None:
    """With min_delta out of reach the rate falls after each epoch, down to nothing: the weights then stand still."""
    run = train_few(
        tmp_path,
        epochs=4,
        plateau={"patience": 1, "factor": 1e-9, "minimum": 0.0, "min_delta": 100.0},
        early_stopping={"patience": 9},
        model={"batch_norm_momentum": 0.0},
    )
    assert [row.learning_rate for row in run.history] == pytest.approx([1e-3, 1e-3, 1e-12, 1e-21])
    third, fourth = (row.val_loss for row in run.history[2:])
    assert abs(third - run.history[1].val_loss) < 0.1 and abs(fourth - third) < 0.1


class Seen:
    """What the network was given: (training, images float32 (b, 28, 28)), in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.batches: list[tuple[bool, npt.NDArray[np.float32]]] = []
        build = model.build

        def spied(numbers: Any) -> nn.Sequential:
            network = build(numbers)
            network.register_forward_pre_hook(self._note)
            return network

        patch.setattr(model, "build", spied)

    def _note(self, network: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self.batches.append((network.training, arguments[0][:, 0].numpy(force=True).copy()))

    def in_mode(self, training: bool) -> npt.NDArray[np.float32]:
        return np.concatenate([images for was, images in self.batches if was is training])


def pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(255)


def test_only_training_digits_are_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    train_few(tmp_path)
    data = digits(COUNT)
    _, validation = split_data(data)
    looked_at = np.concatenate([pixels(each) for each in (validation[0], validation[0], data.test[0])])
    assert np.array_equal(seen.in_mode(False), looked_at), "raw, once an epoch, and the test digits once at the end"
    modes = [was for was, _ in seen.batches]
    tested = [False] * math.ceil(len(data.test[0]) / model.PREDICTION_BATCH_SIZE)
    assert modes == [*[True] * 8, False, *[True] * 8, False, *tested]
    fed = seen.in_mode(True)
    assert fed.shape == (2 * 240, 28, 28) and fed.min() >= 0 and fed.max() <= 1 + 1e-6
    raw = {image.tobytes() for image in pixels(data.train[0])}
    assert not any(image.tobytes() in raw for image in fed), "each was moved"
    assert len({image.tobytes() for image in fed}) == len(fed), "different in every epoch"


def test_without_augmentation_training_sees_the_training_part_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    train_few(tmp_path, epochs=1, augment={"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0})
    images = split_data(digits(COUNT))[0][0]
    fed = np.rint(seen.in_mode(True) * 255).astype(np.uint8)
    assert sorted(image.tobytes() for image in fed) == sorted(image.tobytes() for image in images)


def test_the_test_digits_reach_no_choice(tmp_path: Path) -> None:
    data, chance = digits(COUNT), np.random.default_rng(0)
    garbage = (
        chance.integers(0, 256, (7, 28, 28)).astype(np.uint8),
        chance.integers(0, 10, 7).astype(np.uint8),
    )
    recipe = small(epochs=3, early_stopping={"patience": 1}, plateau={"patience": 1})
    honest = train(recipe, data, out=tmp_path / "a", device="cpu")
    blind = train(recipe, Dataset("garbage", data.train, garbage), out=tmp_path / "b", device="cpu")
    assert blind.metrics["weights_sha256"] == honest.metrics["weights_sha256"]
    assert history_without_seconds(blind) == history_without_seconds(honest) and blind.best_epoch == honest.best_epoch
    assert blind.test is not None and blind.test.count == 7


@pytest.mark.parametrize(("size", "steps"), [(1000, 1), (50, 5), (239, 2)])
def test_batches_of_any_size_train(tmp_path: Path, size: int, steps: int) -> None:
    recorder = Recorder()
    run = train_few(tmp_path, callbacks=[recorder], epochs=1, batch_size=size)
    assert recorder.steps == [(1, step) for step in range(1, steps + 1)] and recorder.steps_per_epoch == steps
    assert run.test is not None and run.test.count == 100
    assert len(recorder.layers) == 13 and recorder.digits == (240, 60)


def test_training_loss_and_accuracy_are_means_over_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch of 40 counts as 40, not as 200; with a rate of nothing each digit's loss is what it is."""
    tables: dict[str, Any] = {
        "epochs": 1,
        "model": {"dropout": 0.0},
        "optimizer": {"learning_rate": 1e-30},
        "batch_size": 200,
    }
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = nn.functional.cross_entropy

    def spied(logits: torch.Tensor, truth: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        assert label_smoothing == 0  # the article's
        outputs.append((logits.detach(), truth))
        return real(logits, truth)

    monkeypatch.setattr("torch.nn.functional.cross_entropy", spied)
    run = train_few(tmp_path, **tables)
    logits, truth = (torch.cat(each) for each in zip(*outputs, strict=True))
    assert len(truth) == 240
    assert run.history[0].loss == pytest.approx(real(logits, truth).item(), rel=1e-5)
    assert run.history[0].accuracy == pytest.approx((logits.argmax(1) == truth).float().mean().item(), abs=1e-6)


def test_the_files_agree_with_each_other(rising: tuple[FinishedRun, Recorder]) -> None:
    run, _ = rising
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "SHA256SUMS",
        "checkpoint",
        "curves.svg",
        "history.csv",
        "metrics.json",
        "model.safetensors",
        "recipe.toml",
        "test_probabilities.npz",
    ]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics and Recipe.load(run.folder / "recipe.toml") == run.recipe
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == [
        row.to_dict() for row in run.history
    ]
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert (metrics["epochs"], metrics["best_epoch"]) == (len(rows), run.best_epoch)
    best = rows[run.best_epoch - 1]
    assert metrics["validation"] == {"accuracy": float(best["val_accuracy"]), "loss": float(best["val_loss"])}

    with np.load(run.folder / "test_probabilities.npz") as kept:
        probabilities, labels = kept["probabilities"], kept["labels"]
    assert probabilities.shape == (100, 10) and probabilities.dtype == np.float32
    assert np.array_equal(labels, digits(COUNT).test[1])
    assert run.test is not None and compute_metrics(probabilities, labels) == run.test
    assert metrics["test"] == run.test.to_dict()
    assert set(metrics["stages"]) == {"load", "fit", "checkpoint", "test", "draw"}
    assert metrics["data"]["sha256"] == digits(COUNT).sha256() and metrics["parameters"] > 1000

    svg = (run.folder / "curves.svg").read_text()
    assert svg.count("<svg") == 1 and svg.rstrip().endswith("</svg>")
    lines = [re.findall(r"[ML] [-\d.]+ [-\d.]+", path) for path in re.findall(r'<path d="(M [^"]*)"', svg)]
    drawn = [line for line in lines if len(line) == len(rows)]
    assert len(drawn) >= 4, "a point an epoch: loss and accuracy, training and validation"


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("keep me")
    with pytest.raises(RunError, match="already exists"):
        train_few(tmp_path, "taken")
    assert [path.name for path in taken.iterdir()] == ["mine"]
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match="seed"):
            train_few(tmp_path, "seed", seed)
    with pytest.raises(InputError, match="convolutions"):
        train_few(tmp_path, "many", model={"convolutions": (4, 4, 4, 4)})
    one = digits(1)
    with pytest.raises(DataError, match="1 digits"):
        train(small(), one, out=tmp_path / "one", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_folders_created_for_a_run_that_saved_nothing_are_deleted(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(small(), str(tmp_path / "absent.npz"), out=tmp_path / "deep" / "er" / "run")
    assert list(tmp_path.iterdir()) == []


def test_dropout_differs_by_step_and_repeats(tmp_path: Path) -> None:
    class Seeds(Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_step_end(self, state: TrainingState) -> None:
            self.seen.append(torch.initial_seed())

    watched = [Seeds(), Seeds()]
    for number, seeds in enumerate(watched):
        train(small(epochs=2), digits(300), out=tmp_path / str(number), callbacks=[seeds])
    assert len(set(watched[0].seen)) == len(watched[0].seen) == 2 * 8
    assert watched[0].seen == watched[1].seen
