"""numerals predict: single digits in pictures, by a run or an exported model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numerals.read import model_files
from numerals.readers.evaluate import open_run, predictor
from numerals.runs.folder import RunFolder
from tests.cli.conftest import Trained
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import assert_one_line, call
from tests.helpers.installations import installed_with
from tests.helpers.pictures import on_paper, some_digits


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A digit in MNIST's form, and one on paper."""
    (first, second), _ = some_digits(2)
    paths = [tmp_path / "7.png", tmp_path / "2.png"]
    Image.fromarray(first).save(paths[0])
    Image.fromarray(on_paper(second, 140)).save(paths[1])
    return paths


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for suffix in (".onnx", ".json"):
        shutil.copy(model_files.shipped_path().with_suffix(suffix), tmp_path)
    return tmp_path / "reader.onnx"


def test_it_prints_each_digit_and_bars_of_its_probabilities(
    model: Path, pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    code, stdout, stderr = call(capfd, "predict", model, *pictures)
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert len(lines) == 22
    for path, digit, start in zip(pictures, (7, 2), (0, 11), strict=True):
        assert lines[start] == f"{path}: {digit}"
        bars = [line.split() for line in lines[start + 1 : start + 11]]
        assert [bar[0] for bar in bars] == list("0123456789")
        assert len(bars[digit][1]) >= 25 and set(bars[digit][1]) == {"█"} and float(bars[digit][-2]) > 85
        assert sum(float(bar[-2]) for bar in bars) == pytest.approx(100, abs=0.5)


def test_a_run_predicts_what_its_network_says_of_a_digit(
    trained: Trained, pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    code, stdout, stderr = call(capfd, "predict", trained[0], "--json", pictures[0])
    assert (code, stderr) == (0, "")
    [prediction] = json.loads(stdout)
    expected = predictor(open_run(RunFolder.open(trained[0]))[1])(some_digits(1)[0])[0]
    assert prediction["probabilities"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert (prediction["picture"], prediction["error"]) == (str(pictures[0]), None)
    assert prediction["digit"] == int(expected.argmax())
    assert prediction["confidence"] == max(prediction["probabilities"])


def test_pictures_without_a_prediction_are_reported_and_have_the_same_keys(
    model: Path, pictures: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((90, 90), 240, np.uint8)).save(tmp_path / "blank.png")
    (tmp_path / "bad.png").write_bytes(pictures[0].read_bytes()[:80])
    code, stdout, stderr = call(capfd, "predict", "--json", model, tmp_path)
    assert code == 1
    by_name = {Path(each["picture"]).name: each for each in json.loads(stdout)}
    assert [each["digit"] for name, each in sorted(by_name.items())] == [2, 7, None, None]
    assert len({tuple(each) for each in by_name.values()}) == 1
    assert "blank.png: no digit" in stderr and "bad.png: damaged" in stderr and stderr.count("\n") == 2
    code, stdout, stderr = call(capfd, "predict", model, tmp_path / "blank.png")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "blank.png: no digit")


def test_mistakes_are_one_line(pictures: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = Path(shutil.copy(model_files.shipped_path(model_files.ROW_MODEL), tmp_path))
    shutil.copy(model_files.shipped_path(model_files.ROW_MODEL).with_suffix(".json"), tmp_path)
    for arguments, words in (
        ((rows, pictures[0]), "reads rows; pass a model that recognises single digits"),
        ((tmp_path / "absent", pictures[0]), "not a run folder"),
        ((pictures[0], pictures[1]), "7.png"),
        ((rows,), "PICTURE"),
    ):
        code, stdout, stderr = call(capfd, "predict", *arguments)
        assert (code, stdout) == (2, "")
        assert_one_line(stderr, words)


def test_the_installation_for_reading_predicts_with_an_exported_model(
    model: Path, trained: Trained, pictures: list[Path], tmp_path: Path
) -> None:
    path = installed_with(tmp_path)
    done = run_quietly((*NUMERALS, "predict", model, pictures[0]), PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"{pictures[0]}: 7\n")
    done = run_quietly((*NUMERALS, "predict", trained[0], pictures[0]), PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, trained[0], "pip install 'numerals[train]'", "numerals export")
