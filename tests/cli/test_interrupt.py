"""Ctrl-C during numerals train."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import safetensors.numpy

from tests.cli.conftest import RUN_FILES
from tests.conftest import NUMERALS
from tests.helpers.commands import assert_one_line
from tests.helpers.waiting import PATIENCE, wait_until


def interrupted(arguments: tuple[object, ...], when: str) -> tuple[int, str, str]:
    """Run the command and press Ctrl-C when it prints `when`: exit code, stdout, and what stderr has after that.

    SIGINT goes to the command's process group, as from a terminal.
    """
    process = subprocess.Popen(
        [*NUMERALS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert process.stderr
    try:
        before = ""
        while when not in before:
            line = process.stderr.readline()
            assert line, before
            before += line
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        stdout, after = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, stdout, after


def test_ctrl_c_keeps_the_best_model_so_far(small_npz: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--data", small_npz, "--recipe", plain, "--epochs", 500, "--out", out)
    code, stdout, stderr = interrupted(arguments, "epoch   1/500")
    assert (code, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert f"numerals evaluate {out}" in stderr
    assert f"Saved in {out}" in stderr
    assert {path.name for path in out.iterdir()} == RUN_FILES - {"test_probabilities.npz"}
    assert sum(array.size for array in safetensors.numpy.load_file(out / "model.safetensors").values()) >= 225_418
    with open(out / "history.csv", newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert epochs == [str(epoch) for epoch in range(1, len(epochs) + 1)]
    assert epochs
    assert f"Interrupted after {len(epochs)} epoch" in stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["ended"], metrics["test"], metrics["epochs"]) == ("interrupted", None, len(epochs))


def test_ctrl_c_says_where_the_model_is_even_with_quiet(small_npz: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--quiet", "--data", small_npz, "--recipe", plain, "--epochs", 500, "--out", out)
    command = [*NUMERALS, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (out / "history.csv").exists() or process.poll() is not None, "the first epoch ends")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (130, "")
    assert_one_line(stderr, "interrupted; the best model so far, of epoch", out)


def test_ctrl_c_in_the_first_epoch_keeps_a_checkpoint(small_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text("batch_size = 1\n[tensorboard]\nenabled = false\n")  # some seconds an epoch
    out = tmp_path / "run"
    arguments = ("train", "--data", small_npz, "--recipe", tmp_path / "long.toml", "--out", out)
    code, stdout, stderr = interrupted(arguments, "Recipe long")
    assert (code, stdout) == (130, "")
    assert_one_line(stderr, "interrupted; a checkpoint is saved in", f"continue with numerals train --resume {out}")
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint", "recipe.toml"]
