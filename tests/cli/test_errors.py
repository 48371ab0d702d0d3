"""Mistakes in the call, a full disk, missing packages: one line on stderr, and the exit code."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import safetensors.numpy

from numerals.read import model_files
from tests.conftest import NUMERALS, mounts, run_on_full_disk, run_quietly
from tests.helpers.commands import assert_one_line, call
from tests.helpers.serving import drawing_png


def test_a_mistake_is_one_line_in_a_real_process(tmp_path: Path) -> None:
    done = run_quietly((*NUMERALS, "train", "--data", "absent.npz"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "absent.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("train", "--epochs", 0), "--epochs"),
        (("train", "--seed", -1), "--seed"),
        (("train", "--seed", "x"), "(see numerals train --help)"),
        (("train", "--epoch", 3), "--epoch"),
        (("train", "extra"), "extra"),
        (("trian",), "Did you mean 'train'?"),
        (("evaluate",), "RUN"),
        (("train", "--epochs", 10**12), "epochs"),
        (("train", "--seed", 2**63), "seed"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    arguments: tuple[object, ...], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, stdout, stderr = call(capfd, *arguments)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, word)


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    done = run_quietly((*NUMERALS, "train"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "torch", "pip install 'numerals[train]'")
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["sitecustomize.py"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*NUMERALS, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert_one_line(done.stderr, "standard output: the disk is full")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-"])
def test_with_stderr_closed_an_error_goes_nowhere(closed: str, tmp_path: Path) -> None:
    done = run_quietly(("sh", "-c", f'"$@" {closed}', "sh", *NUMERALS, "read", tmp_path / "absent.png"))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("command", [("--help",), ("--version",)])
def test_a_closed_pipe_is_no_error_message(command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run([*NUMERALS, *command], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("kibibytes", [4, 64])  # too small for TensorBoard's first line, and for the model
def test_a_full_disk_leaves_no_partial_files(kibibytes: int, small_npz: Path, tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    if kibibytes == 4 and not mounts():
        assert "CI" not in os.environ, "CI can mount"
        pytest.skip("needs a disk of its own; the limit on a file's size does not reach so low")
    done = run_on_full_disk(
        (*NUMERALS, "train", "--quiet", "--data", small_npz, "--epochs", 1, "--out", disk / "run"),
        disk,
        copy,
        kibibytes,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, disk / "run", "the disk is full" if mounts() else "cannot be written")
    assert list(copy.iterdir()) == []


@pytest.mark.usefixtures("one_thread")
def test_a_disk_that_fills_up_later_keeps_whole_files_only(
    small_npz: Path, plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The disk has room for the first epoch's checkpoint and model, but not for a second checkpoint."""
    if not mounts():
        assert "CI" not in os.environ, "CI can mount"
        pytest.skip("needs a disk of its own")
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    arguments = ("--quiet", "--data", small_npz, "--recipe", plain, "--epochs", 9, "--out", disk / "run")
    done = run_on_full_disk((*NUMERALS, "train", *arguments), disk, copy, 5600)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, disk / "run" / "checkpoint" / "00002-000000.safetensors", "the disk is full")
    names = {"recipe.toml", "model.safetensors", "history.csv", "checkpoint"}
    assert {path.name for path in (copy / "run").iterdir()} == names
    assert len(safetensors.numpy.load_file(copy / "run" / "model.safetensors")) > 10
    resumed = call(capfd, "train", "--quiet", "--json", "--resume", copy / "run", "--epochs", 2)[1]
    whole = ("--quiet", "--json", "--data", small_npz, "--recipe", plain, "--epochs", 2, "--out", tmp_path / "whole")
    uninterrupted = call(capfd, "train", *whole)[1]
    assert json.loads(resumed)["weights_sha256"] == json.loads(uninterrupted)["weights_sha256"], (
        "it continues when there is room again"
    )


URL = "https://example.com/7.onnx"


@pytest.mark.parametrize(
    "arguments",
    [
        ("read", URL),
        ("predict", model_files.shipped_path(), URL),
        ("read", "--model", URL, "7.png"),
        ("train", "--data", URL),
        ("evaluate", URL),
        ("report", URL.removesuffix(".onnx")),
    ],
)
def test_a_url_is_refused_with_what_to_do(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, *arguments)
    url = next(str(each) for each in arguments if "://" in str(each))
    assert (code, stdout, stderr) == (2, "", f"numerals: {url}: URLs are not fetched; download it first\n")


def test_a_file_whose_name_looks_like_a_url_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("https:").mkdir()
    Path("https://7.png").write_bytes(drawing_png("7"))
    assert call(capfd, "read", "https://7.png") == (0, "7\n", "")
