"""numerals train: what it prints and saves, and mistakes in its options, recipe and output folder."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from numerals.article.recipe import Recipe
from tests.cli.conftest import RUN_FILES, Trained
from tests.helpers.commands import RESULT, assert_one_line, call


def test_train_prints_one_line_and_shows_the_layers(trained: Trained) -> None:
    _, done = trained
    assert done.returncode == 0, done.stderr
    assert RESULT.fullmatch(done.stdout)
    for layer, parameters in [
        ("Conv 32, 3x3", 320),
        ("Conv 64, 3x3", 18496),
        ("Dense 128", 204928),
        ("Dense 10", 1290),
    ]:
        assert re.search(rf"{layer} .* {parameters:,}\n", done.stderr)
    assert "225,418 parameters" in done.stderr
    assert re.search(r"epoch 1/1  loss \d\.\d{4}  accuracy 0\.\d{4}  val_loss", done.stderr)
    assert "Traceback" not in done.stderr


def test_the_run_folder_is_complete(trained: Trained) -> None:
    folder, done = trained
    assert {path.name for path in folder.iterdir()} == RUN_FILES | {"tensorboard"}
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    with open(folder / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    metrics = json.loads((folder / "metrics.json").read_text())
    test = metrics["test"]
    assert done.stdout == f"Test Accuracy: {test['accuracy']:.4f}, Test Loss: {test['loss']:.4f}\n"
    with np.load(folder / "test_probabilities.npz") as saved:
        assert saved["probabilities"].shape == (100, 10)
        assert np.mean(saved["probabilities"].argmax(1) == saved["labels"]) == pytest.approx(test["accuracy"])


def test_quiet_leaves_stderr_empty(
    small_npz: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, stdout, stderr = call(
        capfd, "train", "--data", small_npz, "--recipe", tiny, "--epochs", 1, "--quiet", "--out", out
    )
    assert (code, stderr) == (0, "")
    assert RESULT.fullmatch(stdout)
    assert {path.name for path in out.iterdir()} == RUN_FILES


def test_set_changes_single_keys_of_the_recipe(
    small_npz: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    settings = ("--set", "optimizer.learning_rate=3e-4", "--set", "augment.flip_horizontal=true", "--set", "epochs=9")
    arguments = ("train", "--data", small_npz, "--recipe", tiny, "--quiet", "--out", out)
    code, stdout, _ = call(capfd, *arguments, *settings, "--epochs", 1)
    assert code == 0 and RESULT.fullmatch(stdout)
    saved = Recipe.load(out / "recipe.toml")
    assert (saved.optimizer.learning_rate, saved.augment.flip_horizontal, saved.epochs) == (3e-4, True, 1)
    code, stdout, stderr = call(capfd, "train", "--resume", out, *settings)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "--set", "--resume")


@pytest.mark.parametrize("command", [("train",), ("train", "--seeds", 2), ("train-reader", "digits")])
def test_a_mistake_in_set_is_one_line(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, *command, "--set", "nonsense=1")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "unknown key nonsense; known keys: ")
    assert list(tmp_path.iterdir()) == []


def test_json_prints_the_metrics_of_the_run_folder(
    small_npz: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, stdout, stderr = call(
        capfd, "train", "--data", small_npz, "--recipe", tiny, "--epochs", 1, "--quiet", "--json", "--out", out
    )
    assert code == 0
    assert RESULT.fullmatch(stderr)
    assert json.loads(stdout) == json.loads((out / "metrics.json").read_text())


def test_odd_characters_in_a_path_are_printed_unchanged(
    small_npz: Path, plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "an [/1] odd :key: ü run"
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--recipe", plain, "--epochs", 1, "--out", out)
    assert code == 0 and RESULT.fullmatch(stdout)
    assert f"Saved in {out}: " in stderr


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_an_existing_out_is_refused_and_not_changed(
    kind: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    if kind == "folder":
        out.mkdir()
        (out / "file").write_text("content")
    elif kind == "file":
        out.write_text("content")
    else:
        out.symlink_to(tmp_path / "absent")
    before = sorted(map(str, tmp_path.rglob("*")))
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--epochs", 1, "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, out, "choose another --out")
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("out", ["/dev/null/run", "/proc/run", "file/run", "x" * 300])
def test_an_out_that_cannot_be_made(
    out: str, small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("content")
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--epochs", 1, "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "did you mean epochs?"),
        ("epochs = 0", "epochs = 0"),
        ("[augment]\nzoom = nan", "augment.zoom = nan"),
        ("[model]\nconvolutions = [8, 8, 8, 8, 8]", "nothing is left"),
        ("[split]\nvalidation = 0.9999", "cannot be split"),
        ("{}", "not TOML"),
    ],
)
def test_a_mistake_in_a_recipe(
    text: str, words: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.toml").write_text(text)
    out = tmp_path / "new" / "run"
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--recipe", tmp_path / "my.toml", "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, words)
    assert [path.name for path in tmp_path.iterdir()] == ["my.toml"]


def test_an_unknown_device(small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--device", "tpu", "--out", tmp_path / "run")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "auto, cpu or cuda")
    assert list(tmp_path.iterdir()) == []
