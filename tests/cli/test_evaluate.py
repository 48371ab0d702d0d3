"""numerals evaluate and report, on a run that numerals train saved, and mistakes in the data or the run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Trained
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import RESULT, assert_one_line, call


def test_evaluate_prints_the_same_line_as_train(trained: Trained, small_npz: Path) -> None:
    folder, training = trained
    done = run_quietly((*NUMERALS, "evaluate", folder, "--data", small_npz))
    assert (done.returncode, done.stdout) == (0, training.stdout)
    errors = json.loads((folder / "metrics.json").read_text())["test"]["errors"]
    assert f"{errors} mistakes in 100 digits; 95 % interval" in done.stderr
    assert re.search(r"^digit +count +precision +recall +F1$", done.stderr, re.MULTILINE)


def test_evaluate_with_json_and_robustness(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(trained[0], tmp_path / "run"))
    code, stdout, stderr = call(capfd, "evaluate", folder, "--robustness", "--json")
    printed, saved = json.loads(stdout), json.loads((folder / "robustness.json").read_text())
    assert code == 0 and RESULT.fullmatch(stderr)
    robustness = printed.pop("robustness")
    test = json.loads((folder / "metrics.json").read_text())["test"]
    assert printed.keys() == test.keys() and printed["confusion"] == test["confusion"]
    assert printed["loss"] == pytest.approx(test["loss"], abs=1e-6)  # equal bits need equal numbers of threads
    assert saved.items() >= robustness.items() and len(robustness["corruptions"]) == 10
    code, stdout, stderr = call(capfd, "evaluate", folder, "--robustness")
    assert code == 0 and RESULT.fullmatch(stdout)
    assert re.search(r"^occlusion +0\.\d{3}", stderr, re.MULTILINE)
    code, stdout, stderr = call(capfd, "evaluate", folder, "--all")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "--robustness")


def test_evaluate_uses_the_data_of_the_run(
    trained: Trained, small_npz: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, done = trained
    assert call(capfd, "evaluate", folder, "--device", "cpu")[:2] == (0, done.stdout)


def test_report_prints_the_path_of_the_page(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    code, stdout, stderr = call(capfd, "report", trained[0], "--out", page)
    assert (code, stdout) == (0, f"{page}\n") and "MB" in stderr
    assert "225,418 parameters" in page.read_text()


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("mistake", ["absent", "cut", "flipped", "label 10", "27x27", "fewer labels", "empty folder"])
def test_a_mistake_in_the_data(
    command: str,
    mistake: str,
    small_npz: Path,
    trained: Trained,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "some.npz"
    content = small_npz.read_bytes()
    if mistake == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif mistake == "flipped":
        path.write_bytes(content[:9999] + bytes([content[9999] ^ 1]) + content[10000:])
    elif mistake == "empty folder":
        path.mkdir()
    elif mistake != "absent":
        side, count = 27 if mistake == "27x27" else 28, 9 if mistake == "fewer labels" else 10
        np.savez(path, x=np.zeros((10, side, side), np.uint8), y=np.arange(count) + (mistake == "label 10"))
    out = tmp_path / "run"
    arguments = ["train", "--out", out] if command == "train" else ["evaluate", trained[0]]
    code, stdout, stderr = call(capfd, *arguments, "--data", path)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, path)
    assert not out.exists()


def test_a_folder_that_is_no_run(tmp_path: Path, small_npz: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "evaluate", tmp_path, "--data", small_npz)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, tmp_path, "not a run folder")


@pytest.mark.parametrize("damage", ["cut", "flipped head", "empty"])
def test_a_damaged_model(
    damage: str,
    trained: Trained,
    tmp_path: Path,
    small_npz: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "flipped head": b"\xff" + content[1:], "empty": b""}[damage])
    code, stdout, stderr = call(capfd, "evaluate", tmp_path / "run", "--data", small_npz)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, path)
