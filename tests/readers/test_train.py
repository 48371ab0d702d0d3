"""Short trainings of both reading networks by the command line: saved, evaluated, exported, and used for reading."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import numerals
from numerals.article import datasets
from numerals.article.state import snapshot
from numerals.errors import RecipeError
from numerals.export import digit_model, row_model
from numerals.readers import evaluate, recipes, train_digits, train_rows
from numerals.readers.common import Progress
from numerals.readers.digit_network import DigitNetwork
from numerals.runs.folder import RunFolder, weights_sha256
from tests.helpers.commands import call
from tests.helpers.pictures import some_digits
from tests.helpers.waiting import PATIENCE, wait_until

DIGITS = """
network = "digits"
steps = 4
fresh = 16
memory = 32
"""
ROWS = """
network = "rows"
rounds = 2
rows = 24
batch_size = 8
validation_rows = 6
"""
OFTEN_REPORTED = """
from numerals.cli.main import main
from numerals.readers import train_digits
train_digits.PROGRESS_STEPS = 2
main()
"""
BOTH = pytest.mark.parametrize(("name", "text"), [("digits", DIGITS), ("rows", ROWS)])


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate and calibrate on fewer samples, report progress more often, and start one worker: it imports PyTorch."""
    monkeypatch.setattr(evaluate, "TEST_ROWS", 8)
    monkeypatch.setattr(train_digits, "PROGRESS_STEPS", 2)
    monkeypatch.setattr(train_digits, "WORKERS", 1)
    monkeypatch.setattr(digit_model, "SYNTHETIC_SAMPLES", 60)
    monkeypatch.setattr(row_model, "VALIDATION_ROWS", 12)
    monkeypatch.setattr(row_model, "NON_DIGIT_ROWS", 3)


CHANGED = ("--set", "averaging=0.25")


def write_recipe(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text", "unit"), [("digits", DIGITS, "step"), ("rows", ROWS, "round")])
def test_a_training_is_saved_evaluated_exported_and_read_with(
    name: str, text: str, unit: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_recipe(tmp_path, name, text), tmp_path / "run"
    code, line, progress = call(capfd, "train-reader", recipe, "--data", small_npz, "--out", out, "--seed", 3, *CHANGED)
    assert recipes.load(out / "recipe.toml").averaging == 0.25  # type: ignore[union-attr]
    assert code == 0 and line.startswith("Test Accuracy: 0.")
    assert f"{unit} 2/" in progress and "min left" in progress and "numerals export" in progress
    assert {path.name for path in out.iterdir()} == {"recipe.toml", "model.safetensors", "history.csv", "metrics.json"}
    metrics = json.loads((out / "metrics.json").read_text())
    folder = RunFolder.open(out)
    assert (metrics["seed"], folder.seed()) == (3, 3)
    assert metrics["weights_sha256"] == weights_sha256(snapshot(evaluate.open_run(folder)[1]))
    assert len((out / "history.csv").read_text().splitlines()) == 3
    assert call(capfd, "evaluate", out)[1] == line

    code, path, messages = call(capfd, "export", out)
    assert (code, path.strip()) == (0, str(out / "model.onnx"))
    assert "agrees with PyTorch" in messages
    code, exported_line, _ = call(capfd, "evaluate", out / "model.onnx", "--data", small_npz)
    assert code == 0 and exported_line.startswith("Test Accuracy: ")
    picture = tmp_path / "one.png"
    Image.fromarray(np.kron(255 - some_digits(1)[0][0], np.ones((4, 4), np.uint8))).save(picture)
    assert call(capfd, "read", picture, "--model", out / "model.onnx")[0] == 0
    assert len(numerals.Reader(out / "model.onnx").recognise([picture])) == 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (DIGITS, ["step", "steps", "loss", "samples_per_second"]),
        (ROWS, ["round", "rounds", "loss", "validation_exact", "seconds"]),
    ],
)
def test_progress_gives_the_columns_of_history_csv(
    text: str, columns: list[str], small_npz: Path, tmp_path: Path
) -> None:
    recipe, dataset = recipes.load(write_recipe(tmp_path, "mine", text)), datasets.load(str(small_npz))
    reports: list[Progress] = []

    def collect(network: nn.Module, progress: Progress) -> None:
        reports.append(progress)

    if isinstance(recipe, recipes.DigitRecipe):
        train_digits.train_digits(recipe, dataset, 0, collect)
    else:
        assert isinstance(recipe, recipes.RowRecipe)
        train_rows.train_rows(recipe, dataset, 0, collect)
    assert [list(progress.history_row()) for progress in reports] == [columns, columns]
    assert reports[-1].done == reports[-1].total
    assert all(progress.history_row()[columns[0]] == progress.done for progress in reports)


def test_the_same_seed_gives_the_same_weights(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any number of workers."""
    for name, text in (("digits", DIGITS), ("rows", ROWS)):
        recipe, hashes = write_recipe(tmp_path, name, text), []
        for seed, out, workers in ((1, "a", 1), (1, "b", 2), (2, "c", 1)):
            monkeypatch.setattr(train_digits, "WORKERS", workers)
            folder = tmp_path / f"{name}-{out}"
            options = ("--data", small_npz, "--out", folder, "--seed", seed, "--quiet")
            assert call(capfd, "train-reader", recipe, *options)[2] == ""
            hashes.append(json.loads((folder / "metrics.json").read_text())["weights_sha256"])
        assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (DIGITS, ("--epochs", "3"), "train-reader has no option --epochs; use --set steps=VALUE or --set rounds=VALUE"),
        (ROWS, ("--device", "cuda"), "train-reader has no option --device"),
        (DIGITS.replace("fresh", "frsh"), (), "did you mean fresh?"),
        (ROWS.replace('"rows"', '"cows"', 1), (), "network = 'cows'"),
        (ROWS.replace("rows = 24", "rows = 0"), (), "rows = 0"),
    ],
)
def test_a_mistake_is_one_line(
    text: str, options: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_recipe(tmp_path, "mine", text), tmp_path / "run"
    code, stdout, stderr = call(capfd, "train-reader", recipe, "--out", out, *options)
    assert (code, stdout) == (2, "")
    assert message in stderr and stderr.count("\n") == 1
    assert not out.exists()


def test_an_interrupted_training_keeps_the_weights_so_far(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out = RunFolder.write_history, tmp_path / "run"

    def interrupt(self: RunFolder, history: Sequence[Mapping[str, float]]) -> None:
        write(self, history)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_history", interrupt)
    recipe = write_recipe(tmp_path, "mine", DIGITS)
    code, _, stderr = call(capfd, "train-reader", recipe, "--data", small_npz, "--out", out)
    assert code == 130 and f"the weights so far are saved in {out}" in stderr
    monkeypatch.undo()
    assert isinstance(evaluate.open_run(RunFolder.open(out))[1], DigitNetwork)


def test_ctrl_c_ends_a_training_even_if_a_library_swallows_it(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out, rows_written = RunFolder.write_history, tmp_path / "run", []

    def swallow(self: RunFolder, history: Sequence[Mapping[str, float]]) -> None:
        write(self, history)
        rows_written.append(len(history))
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "write_history", swallow)
    recipe = write_recipe(tmp_path, "mine", DIGITS)
    code, _, stderr = call(capfd, "train-reader", recipe, "--data", small_npz, "--out", out)
    assert code == 130 and f"the weights so far are saved in {out}" in stderr and rows_written == [1]


def test_a_missing_class_is_named(small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with np.load(small_npz) as file:
        arrays = dict(file)
    few = tmp_path / "few.npz"
    arrays["x_test"], arrays["y_test"] = (arrays[name][arrays["y_test"] != 4] for name in ("x_test", "y_test"))
    np.savez(few, **arrays)
    out = tmp_path / "run"
    code, _, stderr = call(capfd, "train-reader", write_recipe(tmp_path, "m", ROWS), "--data", few, "--out", out)
    assert code == 2 and "its test part has no digit 4" in stderr
    assert not out.exists()


def test_a_training_starts_from_the_weights_of_another_run(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, "slow", DIGITS + "learning_rate = 1e-12\nweight_decay = 0.0\naveraging = 0.0\n")
    common = ("train-reader", "--data", small_npz, "--quiet")
    assert call(capfd, *common, recipe, "--out", tmp_path / "a")[0] == 0
    assert call(capfd, *common, recipe, "--seed", 9, "--init", tmp_path / "a", "--out", tmp_path / "b")[0] == 0
    networks = [evaluate.open_run(RunFolder.open(tmp_path / name))[1] for name in "ab"]
    first, second = (network.state_dict()["classes.weight"] for network in networks)
    assert np.allclose(first, second, atol=1e-6)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab"]
    assert metrics[0]["init_sha256"] is None
    assert metrics[1]["init_sha256"] == metrics[0]["weights_sha256"]
    for wrong, message in (
        (write_recipe(tmp_path, "rows", ROWS), "another network"),
        ("article", "use numerals train --recipe article"),
    ):
        code, _, stderr = call(capfd, *common, wrong, "--init", tmp_path / "a", "--out", tmp_path / "c")
        assert code == 2 and message in stderr and not (tmp_path / "c").exists()


@contextlib.contextmanager
def endless_training(name: str, text: str, small_npz: Path, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The command line in a process group of its own; it reports progress after every second step."""
    recipe = write_recipe(
        folder, name, text.replace("steps = 4", "steps = 40000").replace("rounds = 2", "rounds = 2000")
    )
    arguments = ("train-reader", recipe, "--data", small_npz, "--out", folder / "run", "--quiet")
    command = [sys.executable, "-c", OFTEN_REPORTED, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@BOTH
@pytest.mark.parametrize("made", ["run", "run/history.csv"])  # at the start, and after the first report
def test_ctrl_c_is_one_line(name: str, text: str, made: str, small_npz: Path, tmp_path: Path) -> None:
    with endless_training(name, text, small_npz, tmp_path) as process:
        wait_until(lambda: (tmp_path / made).exists() or process.poll() is not None, "the training starts")
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert stderr.startswith("numerals: interrupted; ") and stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@BOTH
def test_a_killed_training_leaves_no_process(name: str, text: str, small_npz: Path, tmp_path: Path) -> None:
    history = tmp_path / "run" / "history.csv"
    with endless_training(name, text, small_npz, tmp_path) as process:
        wait_until(lambda: history.exists() or process.poll() is not None, "the first report")
        os.killpg(process.pid, 0)  # its process group exists
    with pytest.raises(ProcessLookupError):  # killed, and then it is empty
        wait_until(lambda: os.killpg(process.pid, 0), "its process group is empty")


def test_the_articles_training_refuses_recipes_of_the_reading_networks() -> None:
    for name in ("digits", "rows", "adapt"):
        with pytest.raises(RecipeError, match="trains another network"):
            numerals.train(name)
