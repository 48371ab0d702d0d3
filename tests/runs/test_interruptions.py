"""Ctrl-C, SIGKILL, NaN and lack of memory: what is saved, what is printed, and that the training resumes exactly."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from numerals.article import batches
from numerals.article.callbacks import EarlyStopping, ReduceLROnPlateau
from numerals.article.state import snapshot
from numerals.errors import FailureError
from numerals.runs.checkpoint import CheckpointStore
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.resume import resume
from numerals.runs.train import FinishedRun, train
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import call
from tests.helpers.keras_peer import KERAS_WARNS, digits, small
from tests.helpers.trainings import (
    DATA,
    EPOCHS,
    Recorder,
    equal_runs,
    flip_byte,
    interrupt,
    train_few,
)

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).parents[2]


def test_nan_in_the_loss_names_the_step_and_keeps_the_best_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels of one batch of the second epoch are no numbers; nothing else is changed."""
    real = batches.batches

    def poisoned(*arguments: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step, (images, truth) in enumerate(real(*arguments), 1):
            yield (images * float("nan") if (arguments[3], step) == (2, 5) else images), truth

    monkeypatch.setattr("numerals.article.fit.batches", poisoned)
    with pytest.raises(
        FailureError, match=r"the loss in epoch 2, step 5 is nan; .*the best model so far is saved in"
    ) as caught:
        train(small(epochs=EPOCHS), DATA, out=tmp_path / "run", device="cpu", every_steps=2)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    once = train(small(epochs=1), DATA, out=tmp_path / "once", device="cpu")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (once.folder / "model.safetensors").read_bytes()
    kept = torch.cat([each.flatten() for each in RunFolder.open(tmp_path / "run").network().parameters()])
    assert (
        bool(torch.isfinite(kept).all()) and CheckpointStore(RunFolder(tmp_path / "run")).names()[-1] == "00001-000004"
    )


def test_nan_in_the_validation_loss_stops_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of an epoch may be the one that breaks the weights."""

    from numerals.article.optimizer import KerasAdam

    real = KerasAdam.step

    def step(self: KerasAdam) -> None:
        real(self)
        if self.state()["done"] == 16:  # the last of the second epoch
            with torch.no_grad():
                self._weights[0].fill_(float("nan"))

    monkeypatch.setattr(KerasAdam, "step", step)
    with pytest.raises(FailureError, match="val_loss after epoch 2 is nan"):
        train(small(epochs=EPOCHS), DATA, out=tmp_path / "run", device="cpu")
    assert CheckpointStore(RunFolder(tmp_path / "run")).names() == ["00001-000000"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_ctrl_c_once_ends_it_after_the_step_and_saves_everything(
    uninterrupted: FinishedRun, tmp_path: Path, epoch: int
) -> None:
    out, recorder = tmp_path / "run", Recorder(epoch, 3, lambda: signal.raise_signal(signal.SIGINT))
    if epoch == 1:
        with pytest.raises(KeyboardInterrupt, match=r"a checkpoint is saved in .*; continue with numerals"):
            train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[recorder])
    else:
        run = train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[recorder])
        assert run.metrics["ended"] == "interrupted" and (out / "metrics.json").exists()
    assert recorder.steps[-1] == (epoch, 3)
    again = Recorder()
    assert equal_runs(resume(out, data=DATA, callbacks=[again]), uninterrupted)
    assert again.begins_at == (epoch, 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_it_at_once_and_it_can_resume(uninterrupted: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not at once")

    with pytest.raises(KeyboardInterrupt, match="the best model so far is saved in"):
        train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[Recorder(2, 3, twice)])
    assert not (out / "metrics.json").exists() and CheckpointStore(RunFolder(out)).names() == ["00001-000000"]
    assert equal_runs(resume(out, data=DATA), uninterrupted)


def test_out_of_memory_is_one_clear_line(small_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "huge.toml").write_text("[model]\ndense = 1000000\n[tensorboard]\nenabled = false\n")  # 6 GB of weights
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2);"
    limit += "os.execv(sys.argv[1], sys.argv[1:])"
    command = (
        *NUMERALS,
        "train",
        "--quiet",
        "--data",
        small_npz,
        "--recipe",
        tmp_path / "huge.toml",
        "--out",
        tmp_path / "run",
    )
    done = run_quietly((sys.executable, "-c", limit, *command))
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "numerals: out of memory; lower the recipe's batch_size or make its model smaller (nothing was saved)\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_command_killed_and_resumed(
    small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL from outside, TensorBoard on, another folder to start it in; a second training beside it is refused."""
    (tmp_path / "tiny.toml").write_text(
        "epochs = 12\n[model]\nconvolutions = [4, 4]\ndense = 8\n[early_stopping]\npatience = 12\n"
    )
    train_ = ("train", "--data", small_npz, "--recipe", tmp_path / "tiny.toml", "--out")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*NUMERALS, *map(str, train_), tmp_path / "run"], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr
        while "epoch  3/12" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGSTOP)
        code, stdout, stderr = call(capfd, "train", "--resume", tmp_path / "run", "--quiet")
        process.kill()
    assert (code, stdout) == (2, "") and "is in use by another training" in stderr
    monkeypatch.chdir(tmp_path)
    code, resumed, stderr = call(capfd, "train", "--resume", "run")
    assert code == 0, stderr
    assert "Resumes from the checkpoint in epoch" in stderr
    uninterrupted = call(capfd, *train_, tmp_path / "whole")[1]
    hashes = [json.loads((tmp_path / name / "metrics.json").read_text())["weights_sha256"] for name in ("run", "whole")]
    assert hashes[0] == hashes[1] and resumed == uninterrupted
    assert steps_of(tmp_path / "run") == steps_of(tmp_path / "whole")
    flip_byte(tmp_path / "run" / "history.csv")
    code, stdout, stderr = call(capfd, "train", "--quiet", "--resume", tmp_path / "run")
    assert (code, stdout) == (0, uninterrupted), "mended"
    assert stderr.count("\n") == 1 and "history.csv: damaged, its SHA-256 is" in stderr, stderr


def steps_of(run: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[str, list[int]] = {}
    for path in sorted(run.glob("tensorboard/*/events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps.setdefault(f"{path.parent.name} {value.tag}", []).append(event.step)
    return steps


def killed(tmp_path: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.helpers.faults", str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_killed_at_some_file_operations_it_resumes_exactly(tmp_path: Path) -> None:
    assert killed(tmp_path, "operations", "4") == "4 kills\n"


@pytest.mark.slow
def test_killed_at_every_file_operation_it_resumes_exactly(tmp_path: Path) -> None:
    assert int(killed(tmp_path, "operations").split()[0]) > 100


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_resumes_exactly(tmp_path: Path) -> None:
    """With TensorBoard, whose figures are there once each."""
    assert killed(tmp_path, "moments", "20") == "20 kills\n"


def test_interrupted_in_the_second_epoch_keeps_the_first(tmp_path: Path) -> None:
    run = train_few(tmp_path, callbacks=[Recorder(2, 3, interrupt)], epochs=3)
    once = train_few(tmp_path, "once", epochs=1)
    assert run.test is None and run.metrics["test"] is None and run.metrics["ended"] == "interrupted"
    assert (run.best_epoch, len(run.history)) == (1, 1)
    assert run.metrics["weights_sha256"] == once.metrics["weights_sha256"]
    assert weights_sha256(snapshot(RunFolder.open(run.folder).network())) == once.metrics["weights_sha256"]
    assert not (run.folder / "test_probabilities.npz").exists()
    assert len((run.folder / "history.csv").read_text().splitlines()) == 2


def test_interrupted_in_the_first_epoch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_few(tmp_path, callbacks=[Recorder(1, 3, interrupt)])
    assert list(tmp_path.iterdir()) == []


class Interrupts:
    """Presses Ctrl-C when the function of that name is called for the n-th time, before it does anything."""

    def __init__(self, owner: object, name: str, time: int, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.time, self.real = 0, time, getattr(owner, name)
        patch.setattr(owner, name, self)

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == self.time:
            raise KeyboardInterrupt
        return self.real(*arguments)

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else lambda *arguments: self(instance, *arguments)


@pytest.mark.parametrize(
    ("owner", "name", "time", "kept"),
    [
        (RunFolder, "write_model", 1, 1),
        (RunFolder, "write_model", 2, 2),
        (RunFolder, "write_history", 1, 1),
        (RunFolder, "write_history", 2, 2),
        (EarlyStopping, "update", 2, 1),
        (ReduceLROnPlateau, "update", 2, 1),
    ],
)
def test_ctrl_c_anywhere_leaves_a_consistent_run(
    owner: type, name: str, time: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch of this training is better than the one before, so the kept one is the last that was judged."""
    Interrupts(owner, name, time, monkeypatch)
    run = train(small(epochs=3), digits(600), out=tmp_path / "run")
    assert (run.test, run.metrics["ended"], run.best_epoch) == (None, "interrupted", kept)
    network = RunFolder.open(run.folder).network()
    assert weights_sha256(snapshot(network)) == run.metrics["weights_sha256"]
    assert len((run.folder / "history.csv").read_text().splitlines()) == 1 + len(run.history)


def test_ctrl_c_during_the_evaluation_says_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupts(RunFolder, "write_probabilities", 1, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=r"the best model so far is saved in .*run"):
        train(small(epochs=1), digits(300), out=tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").network()
