"""A training that was killed, stopped or has ended goes on, to the bit; what does not fit is said, damage is named.

`faults.py` does the killing, in a process of its own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from numerals.article import batches
from numerals.article.callbacks import Callback
from numerals.article.recipe import Recipe
from numerals.article.state import TrainingState
from numerals.errors import FailureError, InputError, RunError
from numerals.runs.checkpoint import CheckpointStore, sealed, unsealed
from numerals.runs.folder import RunFolder
from numerals.runs.resume import resume
from numerals.runs.train import Run, train
from tests.conftest import NUMERALS, mounts, run_quietly
from tests.helpers.keras_peer import KERAS_WARNS, digits, small

pytestmark = pytest.mark.filterwarnings(KERAS_WARNS)

EPOCHS = 3
ROOT = Path(__file__).parents[2]
DATA = digits(300)  # 240 to train on: 8 steps an epoch


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder(Callback):
    """Records where a training begins, and its steps; may call `end` after one of them."""

    def __init__(self, epoch: int = 0, step: int = 0, end: Any = None) -> None:
        self.begins_at = (0, 0)
        self.steps: list[tuple[int, int]] = []
        self._end_at, self._end = (epoch, step), end

    def on_train_begin(self, state: TrainingState) -> None:
        self.begins_at = (state.epoch, state.step)

    def on_step_end(self, state: TrainingState) -> None:
        self.steps.append((state.epoch, state.step))
        if (state.epoch, state.step) == self._end_at:
            self._end()


class PulledPlugError(Exception):
    """Nobody catches it."""


def pull_the_plug() -> None:
    raise PulledPlugError


def stopped(out: Path, epoch: int, step: int, every: int | None = None, **tables: Any) -> Path:
    """A run that came to a sudden end after that step."""
    with pytest.raises(PulledPlugError):
        train(
            small(**{"epochs": EPOCHS, "curves": False} | tables),
            DATA,
            out=out,
            device="cpu",
            every_steps=every,
            callbacks=[Recorder(epoch, step, pull_the_plug)],
        )
    return out


def same(one: Run, other: Run) -> bool:
    """In all but time."""
    histories = [[replace(row, seconds=0.0) for row in run.history] for run in (one, other)]
    figures = [
        {name: run.metrics[name] for name in ("weights_sha256", "test", "best_epoch", "ended")} for run in (one, other)
    ]
    return histories[0] == histories[1] and figures[0] == figures[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What was never interrupted."""
    return train(small(epochs=EPOCHS, curves=False), DATA, out=tmp_path_factory.mktemp("whole") / "run", device="cpu")


# ---- to the bit


@pytest.mark.parametrize(
    ("epoch", "step", "every", "goes_on_at"),
    [(2, 1, None, (2, 0)), (3, 8, None, (3, 0)), (1, 4, 3, (1, 3)), (2, 8, 4, (2, 4)), (3, 2, 1, (3, 1))],
)
def test_it_goes_on_to_the_same_weights(
    whole: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    epoch: int,
    step: int,
    every: int | None,
    goes_on_at: tuple[int, int],
) -> None:
    run, watcher = stopped(tmp_path / "run", epoch, step, every), Recorder()
    resumed = resume(run, data=DATA, callbacks=[watcher])
    assert same(resumed, whole) and (watcher.begins_at, caplog.messages) == (goes_on_at, [])
    steps = [(epoch, step) for epoch in range(1, EPOCHS + 1) for step in range(1, 9)]
    assert watcher.steps == [each for each in steps if each > goes_on_at], "nothing is learnt twice or left out"
    assert (run / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "tables",
    [
        {"optimizer": {"learning_rate": 0.03}, "early_stopping": {"patience": 2}, "plateau": {"patience": 1}},
        {"schedule": {"kind": "one-cycle"}, "label_smoothing": 0.1},
        {"batch_size": 50, "training_share": 0.9, "model": {"dropout": 0.5}},
    ],
)
def test_rules_schedules_and_batches_of_every_kind_go_on(tmp_path: Path, tables: dict[str, Any]) -> None:
    tables = {"epochs": 5, "curves": False} | tables
    wanted = train(small(**tables), DATA, out=tmp_path / "whole", device="cpu")
    for epoch in (2, len(wanted.history)):
        run = stopped(tmp_path / str(epoch), epoch, 2, 2, **tables)
        assert same(resume(run, data=DATA), wanted)


def test_a_run_may_be_stopped_again_and_again(whole: Run, tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 1, 3, 2)
    for at in ((1, 7), (2, 4), (3, 3)):
        with pytest.raises(PulledPlugError):
            resume(run, data=DATA, every_steps=2, callbacks=[Recorder(*at, pull_the_plug)])
    assert same(resume(run, data=DATA), whole)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3, 7, 3)
    assert CheckpointStore(RunFolder(run)).names() == ["00002-000003", "00002-000006"]
    kept = sorted(path.name for path in (run / "checkpoint").iterdir())
    assert kept == [f"00002-00000{step}.{kind}" for step in (3, 6) for kind in ("json", "safetensors")] + ["start.json"]


def test_before_the_first_checkpoint_it_begins_anew(whole: Run, tmp_path: Path) -> None:
    """A sudden end that leaves no time to tidy up: what a kill leaves."""
    run, watcher = tmp_path / "run", Recorder()
    shutil.copytree(stopped(tmp_path / "other", 2, 1), run)
    for path in [*run.glob("checkpoint/0*"), run / "history.csv", run / "model.safetensors"]:
        path.unlink()
    assert same(resume(run, data=DATA, callbacks=[watcher]), whole) and watcher.begins_at == (1, 0)


# ---- more epochs


def test_more_epochs_extend_a_run_as_if_it_had_had_them_from_the_beginning(whole: Run, tmp_path: Path) -> None:
    short = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    longer = resume(short.folder, data=DATA, epochs=EPOCHS)
    assert same(longer, whole) and Recipe.load(short.folder / "recipe.toml").epochs == EPOCHS
    assert RunFolder.open(short.folder).sums() == sums(short.folder)


def test_a_run_that_has_ended_is_given_back_as_it_is(tmp_path: Path) -> None:
    run = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = resume(run.folder, data=DATA)
    assert same(again, run) and again.metrics == run.metrics and again.test == run.test
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert np.array_equal(again.predict(DATA.test[0]), run.predict(DATA.test[0]))


def test_fewer_epochs_than_were_begun_are_refused(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 2, 4, 2)
    with pytest.raises(InputError, match="--epochs 1: the run is already in epoch 2; give 2 or more"):
        resume(run, data=DATA, epochs=1)
    assert len(resume(run, data=DATA, epochs=2).history) == 2


def test_after_early_stopping_more_epochs_need_anyway(tmp_path: Path) -> None:
    """As with so many from the beginning it would have stopped there as well."""
    rules = {"optimizer": {"learning_rate": 0.03}, "early_stopping": {"patience": 1}}
    run = train(small(epochs=12, **rules), DATA, out=tmp_path / "run", device="cpu")
    done = len(run.history)
    assert run.metrics["ended"] == "early" and done < 12
    with pytest.raises(InputError, match=f"early stopping ended the run after epoch {done}"):
        resume(run.folder, data=DATA, epochs=20)
    assert same(resume(run.folder, data=DATA), run), "as it is"
    assert len(resume(run.folder, data=DATA, epochs=20, force=True).history) > done


def test_a_cycle_is_not_made_longer_unasked(tmp_path: Path) -> None:
    run = train(small(epochs=1, schedule={"kind": "one-cycle"}), DATA, out=tmp_path / "run", device="cpu")
    with pytest.raises(RunError, match="recipe epochs was 1 and is 2; pass --force to continue"):
        resume(run.folder, data=DATA, epochs=2)
    assert len(resume(run.folder, data=DATA, epochs=2, force=True).history) == 2


# ---- what is not as it was


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": digits(301)}, r"SHA-256 of the data was \w{12} and is \w{12}"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"recipe": small(epochs=EPOCHS, batch_size=16)}, "recipe batch_size was 32 and is 16"),
        ({"recipe": small(epochs=EPOCHS, augment={"zoom": 0.2})}, r"recipe augment.zoom was 0.1 and is 0.2"),
    ],
)
def test_what_differs_is_said_and_stops_it_unless_anyway(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    run = stopped(tmp_path / "run", 2, 1)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=f"{says}; pass --force to continue, or train in a new folder"):
        resume(run, **{"data": DATA} | given)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert len(resume(run, **{"data": DATA} | given, force=True).history) == EPOCHS


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"versions": {"numerals": "0.0.9", "torch": torch.__version__}}, "version of numerals was 0.0.9 and is"),
        ({"versions": {}}, "version of numba was None and is"),  # until 0.1.0 had it
        ({"processor": "ABACUS"}, "processor was ABACUS and is"),
        ({"precision": "bfloat16"}, "precision was bfloat16 and is float32"),
    ],
)
def test_another_version_or_machine_is_said(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    run = stopped(tmp_path / "run", 2, 1)
    (path,) = run.glob("checkpoint/0*.json")
    content = unsealed(path)
    path.write_bytes(sealed(content | {"about": content["about"] | changes}))
    with pytest.raises(RunError, match=says):
        resume(run, data=DATA)


def test_another_network_is_refused_even_anyway(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 2, 1)
    other = small(epochs=EPOCHS, model={"dense": 24})
    with pytest.raises(RunError, match="its checkpoint does not fit this recipe"):
        resume(run, data=DATA, recipe=other, force=True)
    assert resume(run, data=DATA)


def test_it_takes_as_many_threads_as_before_and_gives_them_back(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 2, 1)
    torch.set_num_threads(2)
    try:
        resumed = resume(run, data=DATA)
        assert resumed.metrics["threads"] == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_a_training_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="nothing to resume"):
        resume(tmp_path / name, data=DATA)
    assert list((tmp_path / "empty").iterdir()) == []


# ---- damage


def sums(run: Path) -> dict[str, str]:
    """What sha256sum says of the run's files."""
    names = sorted(
        str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    )
    said = subprocess.run(["sha256sum", *names], cwd=run, capture_output=True, text=True, check=True).stdout
    return dict(line.split("  ", 1)[::-1] for line in said.splitlines())


def flip(path: Path, at: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


FILES = ["recipe.toml", "model.safetensors", "history.csv", "checkpoint/start.json"]
FILES += ["checkpoint/00002-000000.json", "checkpoint/00002-000000.safetensors"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.6])
def test_a_flipped_byte_is_named_with_the_hash_and_lost_nothing(
    whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, stopped_late: Path, name: str, at: float
) -> None:
    run, watcher = tmp_path / "run", Recorder()
    shutil.copytree(stopped_late, run)
    flip(run / name, at)
    assert same(resume(run, data=DATA, callbacks=[watcher]), whole)
    (said,) = caplog.messages
    assert str(run / name) in said and re.search(r"its SHA-256 is [0-9a-f]{12}...", said)
    before = name.startswith("checkpoint/0")
    assert watcher.begins_at == ((2, 0) if before else (3, 0)) and ("checkpoint before" in said) is before


@pytest.fixture(scope="module")
def stopped_late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped(tmp_path_factory.mktemp("late") / "run", 3, 5)


def test_both_checkpoints_damaged_begin_anew(
    whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, stopped_late: Path
) -> None:
    run, watcher = tmp_path / "run", Recorder()
    shutil.copytree(stopped_late, run)
    for path in run.glob("checkpoint/*.safetensors"):
        flip(path)
    assert same(resume(run, data=DATA, callbacks=[watcher]), whole)
    assert watcher.begins_at == (1, 0) and len(caplog.messages) == 2


def test_all_of_it_damaged_is_refused_in_a_line(tmp_path: Path, stopped_late: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped_late, run)
    for path in run.glob("checkpoint/*.json"):
        flip(path)
    with pytest.raises(RunError, match="no checkpoint is left, so train again in a new folder") as caught:
        resume(run, data=DATA)
    assert "\n" not in str(caught.value) and str(caught.value).count(": damaged, ") == 3


@pytest.mark.slow
def test_a_flipped_byte_in_any_file_of_a_run_that_has_ended_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(small(epochs=2, tensorboard={"enabled": True}), DATA, out=tmp_path / "run", device="cpu")
    written = sums(run.folder)
    assert RunFolder.open(run.folder).sums() == written and len(written) == 14
    for name in [*written, "SHA256SUMS"]:
        copy, watcher = tmp_path / "copy", Recorder()
        caplog.clear()
        shutil.copytree(run.folder, copy)
        flip(copy / name)
        assert same(resume(copy, data=DATA, callbacks=[watcher]), run), name
        assert any(str(copy / name) in said and "SHA-256" in said for said in caplog.messages), name
        assert RunFolder.open(copy).sums() == sums(copy)
        shutil.rmtree(copy)


def test_a_damaged_model_of_a_run_that_has_ended_is_not_evaluated(tmp_path: Path) -> None:
    run = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    flip(run.folder / "model.safetensors")
    with pytest.raises(RunError, match=r"model.safetensors: damaged, its SHA-256 is \w{12}..., not \w{12}..."):
        RunFolder.open(run.folder).network()


def test_an_evaluation_before_the_end_uses_the_data_of_the_training(small_npz: Path, tmp_path: Path) -> None:
    with pytest.raises(PulledPlugError):
        observer = Recorder(2, 1, pull_the_plug)
        train(small(), str(small_npz), out=tmp_path / "run", device="cpu", callbacks=[observer])
    assert RunFolder.open(tmp_path / "run").data_source() == str(small_npz)


# ---- the disk, the memory, the loss, the keyboard, a second training


def test_a_folder_that_may_only_be_read_is_a_failure_and_stays_as_it_is(
    whole: Run, tmp_path: Path, stopped_late: Path, small_npz: Path
) -> None:
    if not mounts():
        assert "CI" not in os.environ, "CI can mount"
        pytest.skip("needs a disk of its own")
    run = tmp_path / "run"
    shutil.copytree(stopped_late, run)
    (x_train, y_train), (x_test, y_test) = DATA.train, DATA.test
    np.savez(tmp_path / "few.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" "$1" || exit 125; run=$1; shift; exec "$@"'
    command = (*NUMERALS, "train", "--quiet", "--resume", run, "--data", tmp_path / "few.npz")
    done = run_quietly(("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", run, *command))
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1, done.stderr
    assert str(run) in done.stderr and "Read-only file system" in done.stderr
    assert same(resume(run, data=DATA), whole)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 2, 1)
    caught: list[BaseException] = []

    def another() -> None:
        try:
            resume(run, data=DATA)
        except RunError as error:
            caught.append(error)

    resume(run, data=DATA, callbacks=[Recorder(2, 2, another)])
    assert [str(error) for error in caught] == [f"{run} is in use by another training; wait until it ends"]


def test_nan_in_the_loss_names_the_step_and_keeps_the_last_good_model(
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


@pytest.fixture
def heeded() -> Iterator[None]:
    """A shell starts what runs in its background with SIGINT ignored, the tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("epoch", [1, 2])
def test_ctrl_c_once_ends_it_after_its_step_and_nothing_is_lost(whole: Run, tmp_path: Path, epoch: int) -> None:
    out, watcher = tmp_path / "run", Recorder(epoch, 3, lambda: signal.raise_signal(signal.SIGINT))
    if epoch == 1:
        with pytest.raises(KeyboardInterrupt, match=r"a checkpoint is saved in .*; continue with numerals"):
            train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[watcher])
    else:
        run = train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[watcher])
        assert run.metrics["ended"] == "interrupted" and (out / "metrics.json").exists()
    assert watcher.steps[-1] == (epoch, 3)
    again = Recorder()
    assert same(resume(out, data=DATA, callbacks=[again]), whole)
    assert again.begins_at == (epoch, 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_twice_ends_it_at_once_and_it_goes_on(whole: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not at once")

    with pytest.raises(KeyboardInterrupt, match="the best model so far is saved in"):
        train(small(epochs=EPOCHS), DATA, out=out, device="cpu", callbacks=[Recorder(2, 3, twice)])
    assert not (out / "metrics.json").exists() and CheckpointStore(RunFolder(out)).names() == ["00001-000000"]
    assert same(resume(out, data=DATA), whole)


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


# ---- the command


def test_the_command_killed_and_resumed(small_npz: Path, tmp_path: Path) -> None:
    """SIGKILL from outside, TensorBoard on, another folder to start it in; a second training beside it is refused."""
    (tmp_path / "tiny.toml").write_text(
        "epochs = 12\n[model]\nconvolutions = [4, 4]\ndense = 8\n[early_stopping]\npatience = 12\n"
    )
    train_ = (*NUMERALS, "train", "--data", small_npz, "--recipe", tmp_path / "tiny.toml", "--out")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        list(map(str, (*train_, tmp_path / "run"))), stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr
        while "epoch  3/12" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGSTOP)
        second = run_quietly((*NUMERALS, "train", "--resume", tmp_path / "run", "--quiet"))
        process.kill()
    assert (second.returncode, second.stdout) == (2, "") and "is in use by another training" in second.stderr
    done = run_quietly((*NUMERALS, "train", "--resume", "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Resumes from the checkpoint in epoch" in done.stderr
    whole = run_quietly((*train_, tmp_path / "whole"))
    hashes = [json.loads((tmp_path / name / "metrics.json").read_text())["weights_sha256"] for name in ("run", "whole")]
    assert hashes[0] == hashes[1] and done.stdout == whole.stdout
    assert steps_of(tmp_path / "run") == steps_of(tmp_path / "whole")
    flip(tmp_path / "run" / "history.csv")
    quiet = run_quietly((*NUMERALS, "train", "--quiet", "--resume", tmp_path / "run"))
    assert (quiet.returncode, quiet.stdout) == (0, whole.stdout), "mended"
    assert quiet.stderr.count("\n") == 1 and "history.csv: damaged, its SHA-256 is" in quiet.stderr, quiet.stderr


def steps_of(run: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[str, list[int]] = {}
    for path in sorted(run.glob("tensorboard/*/events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps.setdefault(f"{path.parent.name} {value.tag}", []).append(event.step)
    return steps


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--resume", "absent"), "nothing to resume"),
        (("--resume", "absent", "--out", "there"), "--resume absent continues in its own folder"),
        (("--force",), "--force needs --resume RUN"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from tests.helpers.commands import call

    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, "train", *arguments)
    assert (code, stdout) == (2, "") and stderr.count("\n") == 1 and says in stderr


# ---- killed


def killed(tmp_path: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.helpers.faults", str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_killed_at_some_file_operations_it_goes_on_to_the_bit(tmp_path: Path) -> None:
    assert killed(tmp_path, "operations", "4") == "4 kills\n"


@pytest.mark.slow
def test_killed_at_every_file_operation_it_goes_on_to_the_bit(tmp_path: Path) -> None:
    assert int(killed(tmp_path, "operations").split()[0]) > 100


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_goes_on_to_the_bit(tmp_path: Path) -> None:
    """With TensorBoard, whose figures are there once each."""
    assert killed(tmp_path, "moments", "20") == "20 kills\n"


@pytest.mark.slow
def test_checkpoints_take_under_two_hundredths_of_the_articles_time(tmp_path: Path) -> None:
    run = train(Recipe.load("article").change(epochs=1), out=tmp_path / "run", device="cpu")
    stages = run.metrics["stages"]
    assert 0 < stages["checkpoint"]["seconds"] < 0.02 * stages["fit"]["seconds"]
