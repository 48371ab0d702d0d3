"""The two networks that read, trained for a moment by the command line; kept, evaluated, exported, read with."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import numerals
from numerals.article.state import snapshot
from numerals.cli.main import main
from numerals.export import digit_model, row_model
from numerals.readers import evaluate, train_digits
from numerals.runs.folder import RunFolder, weights_sha256
from tests.helpers.pictures import some_digits

READER = """
network = "reader"
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


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "TEST_ROWS", 8)
    monkeypatch.setattr(train_digits, "PROGRESS_STEPS", 2)
    monkeypatch.setattr(digit_model, "SYNTHETIC_SAMPLES", 60)
    monkeypatch.setattr(row_model, "VALIDATION_ROWS", 12)
    monkeypatch.setattr(row_model, "NON_DIGIT_ROWS", 3)


def run(capfd: pytest.CaptureFixture[str], *command: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr("sys.argv", ["numerals", *map(str, command)])
        main()
    said = capfd.readouterr()
    return int(caught.value.code or 0), said.out, said.err


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text", "unit"), [("reader", READER, "step"), ("rows", ROWS, "round")])
def test_a_training_is_kept_evaluated_exported_and_read_with(
    name: str, text: str, unit: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, out = written(tmp_path, name, text), tmp_path / "run"
    code, line, progress = run(capfd, "train-reader", recipe, "--data", small_npz, "--out", out, "--seed", 3)
    assert code == 0 and line.startswith("Test Accuracy: 0.")
    assert f"{unit} 2/" in progress and "min left" in progress and "numerals export" in progress
    assert {path.name for path in out.iterdir()} == {"recipe.toml", "model.safetensors", "history.csv", "metrics.json"}
    metrics = json.loads((out / "metrics.json").read_text())
    folder = RunFolder.open(out)
    assert (metrics["seed"], folder.seed()) == (3, 3)
    assert metrics["weights_sha256"] == weights_sha256(snapshot(folder.network()))
    assert len((out / "history.csv").read_text().splitlines()) == 3
    assert run(capfd, "evaluate", out)[1] == line

    code, path, told = run(capfd, "export", out)
    assert (code, path.strip()) == (0, str(out / "model.onnx"))
    assert "agrees with PyTorch" in told
    code, again, _ = run(capfd, "evaluate", out / "model.onnx", "--data", small_npz)
    assert code == 0 and again.startswith("Test Accuracy: ")
    picture = tmp_path / "one.png"
    Image.fromarray(np.kron(255 - some_digits(1)[0][0], np.ones((4, 4), np.uint8))).save(picture)
    assert run(capfd, "read", picture, "--model", out / "model.onnx")[0] == 0
    assert len(numerals.Reader(out / "model.onnx").recognise([picture])) == 1


def test_the_same_seed_gives_the_same_weights(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("reader", READER), ("rows", ROWS)):
        recipe, hashes = written(tmp_path, name, text), []
        for seed, out in ((1, "a"), (1, "b"), (2, "c")):
            folder = tmp_path / f"{name}-{out}"
            assert (
                run(capfd, "train-reader", recipe, "--data", small_npz, "--out", folder, "--seed", seed, "--quiet")[2]
                == ""
            )
            hashes.append(json.loads((folder / "metrics.json").read_text())["weights_sha256"])
        assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (READER, ("--epochs", "3"), "train-reader has no option --epochs; set steps or rounds in a recipe file"),
        (ROWS, ("--device", "cuda"), "train-reader has no option --device"),
        (READER.replace("fresh", "frsh"), (), "did you mean fresh?"),
        (ROWS.replace('"rows"', '"cows"', 1), (), "network = 'cows'"),
        (ROWS.replace("rows = 24", "rows = 0"), (), "rows = 0"),
    ],
)
def test_a_mistake_is_one_line(
    text: str, options: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, out = written(tmp_path, "mine", text), tmp_path / "run"
    code, printed, told = run(capfd, "train-reader", recipe, "--out", out, *options)
    assert (code, printed) == (2, "")
    assert said in told and told.count("\n") == 1
    assert not out.exists()


def test_interrupted_it_keeps_the_weights_so_far(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out = RunFolder.write_history, tmp_path / "run"

    def interrupted(self: RunFolder, history: list[dict[str, float]]) -> None:
        write(self, history)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_history", interrupted)
    recipe = written(tmp_path, "mine", READER)
    code, _, told = run(capfd, "train-reader", recipe, "--data", small_npz, "--out", out)
    assert code == 130 and f"the weights so far are saved in {out}" in told
    monkeypatch.undo()
    RunFolder.open(out).network()


def test_a_swallowed_ctrl_c_ends_it_all_the_same(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out, written_down = RunFolder.write_history, tmp_path / "run", []

    def swallowing(self: RunFolder, history: list[dict[str, float]]) -> None:
        write(self, history)
        written_down.append(len(history))
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "write_history", swallowing)
    recipe = written(tmp_path, "mine", READER)
    code, _, told = run(capfd, "train-reader", recipe, "--data", small_npz, "--out", out)
    assert code == 130 and f"the weights so far are saved in {out}" in told and written_down == [1]


def test_a_class_that_is_missing_is_named(small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with np.load(small_npz) as file:
        arrays = dict(file)
    few = tmp_path / "few.npz"
    arrays["x_test"], arrays["y_test"] = (arrays[name][arrays["y_test"] != 4] for name in ("x_test", "y_test"))
    np.savez(few, **arrays)
    out = tmp_path / "run"
    code, _, told = run(capfd, "train-reader", written(tmp_path, "m", ROWS), "--data", few, "--out", out)
    assert code == 2 and "its test part has no digit 4" in told
    assert not out.exists()


def test_another_runs_weights_are_where_it_starts(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = written(tmp_path, "slow", READER + "learning_rate = 1e-12\nweight_decay = 0.0\naveraging = 0.0\n")
    common = ("train-reader", "--data", small_npz, "--quiet")
    assert run(capfd, *common, recipe, "--out", tmp_path / "a")[0] == 0
    assert run(capfd, *common, recipe, "--seed", 9, "--init", tmp_path / "a", "--out", tmp_path / "b")[0] == 0
    first, second = (RunFolder.open(tmp_path / name).network().state_dict() for name in "ab")
    assert np.allclose(first["classes.weight"], second["classes.weight"], atol=1e-6)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab"]
    assert metrics[0]["init_sha256"] is None
    assert metrics[1]["init_sha256"] == metrics[0]["weights_sha256"]
    for wrong, said in (
        (written(tmp_path, "rows", ROWS), "another network"),
        ("article", "use numerals train --recipe article"),
    ):
        code, _, told = run(capfd, *common, wrong, "--init", tmp_path / "a", "--out", tmp_path / "c")
        assert code == 2 and said in told and not (tmp_path / "c").exists()


@pytest.mark.parametrize(("name", "text"), [("reader", READER), ("rows", ROWS)])
@pytest.mark.parametrize("after", [0.0, 2.0])  # seconds since there is a run folder
def test_ctrl_c_at_the_start_is_one_line(name: str, text: str, after: float, small_npz: Path, tmp_path: Path) -> None:
    recipe = written(tmp_path, name, text.replace("steps = 4", "steps = 4000").replace("rounds = 2", "rounds = 2000"))
    command = ["-m", "numerals", "train-reader", recipe, "--data", small_npz, "--out", tmp_path / "run", "--quiet"]
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "import runpy; sys.argv = ['numerals', *sys.argv[1:]]; runpy.run_module('numerals', run_name='__main__')"
    whole = [sys.executable, "-c", start, *map(str, command[2:])]
    process = subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.startswith("numerals: interrupted; ") and told.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@pytest.mark.parametrize(("name", "text"), [("reader", READER), ("rows", ROWS)])
def test_a_killed_training_leaves_no_process(name: str, text: str, small_npz: Path, tmp_path: Path) -> None:
    recipe = written(tmp_path, name, text.replace("steps = 4", "steps = 40000").replace("rounds = 2", "rounds = 2000"))
    command = [sys.executable, "-m", "numerals", "train-reader", recipe, "--data", small_npz]
    command += ["--out", tmp_path / "run", "--quiet"]
    process = subprocess.Popen(list(map(str, command)), start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "history.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, 0)  # there is somebody in its group
    process.kill()
    process.wait()
    with pytest.raises(ProcessLookupError):  # and then nobody
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_recipes_of_the_readers_are_not_the_articles() -> None:
    with pytest.raises(numerals.errors.RecipeError, match="another network"):
        numerals.train("reader")
