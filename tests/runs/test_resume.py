"""A stopped training resumes exactly; anything that differs from before is listed and refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from numerals.article.recipe import Recipe
from numerals.errors import InputError, RunError
from numerals.runs.checkpoint import CheckpointStore, sealed, unsealed
from numerals.runs.folder import RunFolder
from numerals.runs.resume import resume
from numerals.runs.train import FinishedRun, train
from tests.helpers.keras_peer import KERAS_WARNS, digits, small
from tests.helpers.trainings import (
    DATA,
    EPOCHS,
    PulledPlugError,
    Recorder,
    equal_runs,
    pull_the_plug,
    sha256_sums,
    stopped_run,
)

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize(
    ("epoch", "step", "every", "goes_on_at"),
    [(2, 1, None, (2, 0)), (3, 8, None, (3, 0)), (1, 4, 3, (1, 3)), (2, 8, 4, (2, 4)), (3, 2, 1, (3, 1))],
)
def test_resuming_gives_the_same_weights(
    uninterrupted: FinishedRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    epoch: int,
    step: int,
    every: int | None,
    goes_on_at: tuple[int, int],
) -> None:
    run, recorder = stopped_run(tmp_path / "run", epoch, step, every), Recorder()
    resumed = resume(run, data=DATA, callbacks=[recorder])
    assert equal_runs(resumed, uninterrupted) and (recorder.begins_at, caplog.messages) == (goes_on_at, [])
    steps = [(epoch, step) for epoch in range(1, EPOCHS + 1) for step in range(1, 9)]
    assert recorder.steps == [each for each in steps if each > goes_on_at], "no step is repeated or left out"
    assert (run / "model.safetensors").read_bytes() == (uninterrupted.folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "tables",
    [
        {"optimizer": {"learning_rate": 0.03}, "early_stopping": {"patience": 2}, "plateau": {"patience": 1}},
        {"schedule": {"kind": "one-cycle"}, "label_smoothing": 0.1},
        {"batch_size": 50, "training_share": 0.9, "model": {"dropout": 0.5}},
    ],
)
def test_every_schedule_and_batch_size_resumes(tmp_path: Path, tables: dict[str, Any]) -> None:
    tables = {"epochs": 5, "curves": False} | tables
    wanted = train(small(**tables), DATA, out=tmp_path / "whole", device="cpu")
    for epoch in (2, len(wanted.history)):
        run = stopped_run(tmp_path / str(epoch), epoch, 2, 2, **tables)
        assert equal_runs(resume(run, data=DATA), wanted)


def test_a_run_may_be_stopped_again_and_again(uninterrupted: FinishedRun, tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 1, 3, 2)
    for at in ((1, 7), (2, 4), (3, 3)):
        with pytest.raises(PulledPlugError):
            resume(run, data=DATA, every_steps=2, callbacks=[Recorder(*at, pull_the_plug)])
    assert equal_runs(resume(run, data=DATA), uninterrupted)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 3, 7, 3)
    assert CheckpointStore(RunFolder(run)).names() == ["00002-000003", "00002-000006"]
    kept = sorted(path.name for path in (run / "checkpoint").iterdir())
    assert kept == [f"00002-00000{step}.{kind}" for step in (3, 6) for kind in ("json", "safetensors")] + ["start.json"]


def test_before_the_first_checkpoint_it_starts_over(uninterrupted: FinishedRun, tmp_path: Path) -> None:
    """A sudden end that leaves no time to tidy up: what a kill leaves."""
    run, recorder = tmp_path / "run", Recorder()
    shutil.copytree(stopped_run(tmp_path / "other", 2, 1), run)
    for path in [*run.glob("checkpoint/0*"), run / "history.csv", run / "model.safetensors"]:
        path.unlink()
    assert equal_runs(resume(run, data=DATA, callbacks=[recorder]), uninterrupted) and recorder.begins_at == (1, 0)


def test_more_epochs_extend_a_run_exactly(uninterrupted: FinishedRun, tmp_path: Path) -> None:
    short = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    longer = resume(short.folder, data=DATA, epochs=EPOCHS)
    assert equal_runs(longer, uninterrupted) and Recipe.load(short.folder / "recipe.toml").epochs == EPOCHS
    assert RunFolder.open(short.folder).sums() == sha256_sums(short.folder)


def test_a_finished_run_is_returned_unchanged(tmp_path: Path) -> None:
    run = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = resume(run.folder, data=DATA)
    assert equal_runs(again, run) and again.metrics == run.metrics and again.test == run.test
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert np.array_equal(again.predict(DATA.test[0]), run.predict(DATA.test[0]))


def test_fewer_epochs_than_were_begun_are_refused(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 2, 4, 2)
    with pytest.raises(InputError, match="--epochs 1: the run is already in epoch 2; give 2 or more"):
        resume(run, data=DATA, epochs=1)
    assert len(resume(run, data=DATA, epochs=2).history) == 2


def test_after_early_stopping_more_epochs_need_force(tmp_path: Path) -> None:
    """It would have stopped there with more epochs, too."""
    rules = {"optimizer": {"learning_rate": 0.03}, "early_stopping": {"patience": 1}}
    run = train(small(epochs=12, **rules), DATA, out=tmp_path / "run", device="cpu")
    done = len(run.history)
    assert run.metrics["ended"] == "early" and done < 12
    with pytest.raises(InputError, match=f"early stopping ended the run after epoch {done}"):
        resume(run.folder, data=DATA, epochs=20)
    assert equal_runs(resume(run.folder, data=DATA), run), "as it is"
    assert len(resume(run.folder, data=DATA, epochs=20, force=True).history) > done


def test_a_one_cycle_run_is_extended_only_with_force(tmp_path: Path) -> None:
    run = train(small(epochs=1, schedule={"kind": "one-cycle"}), DATA, out=tmp_path / "run", device="cpu")
    with pytest.raises(RunError, match="recipe epochs was 1 and is 2; pass --force to continue"):
        resume(run.folder, data=DATA, epochs=2)
    assert len(resume(run.folder, data=DATA, epochs=2, force=True).history) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": digits(301)}, r"SHA-256 of the data was \w{12} and is \w{12}"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"recipe": small(epochs=EPOCHS, batch_size=16)}, "recipe batch_size was 32 and is 16"),
        ({"recipe": small(epochs=EPOCHS, augment={"zoom": 0.2})}, r"recipe augment.zoom was 0.1 and is 0.2"),
    ],
)
def test_differences_are_listed_and_refused_without_force(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
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
def test_another_version_or_machine_is_listed(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
    (path,) = run.glob("checkpoint/0*.json")
    content = unsealed(path)
    path.write_bytes(sealed(content | {"about": content["about"] | changes}))
    with pytest.raises(RunError, match=says):
        resume(run, data=DATA)


def test_another_network_is_refused_even_with_force(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
    other = small(epochs=EPOCHS, model={"dense": 24})
    with pytest.raises(RunError, match="its checkpoint does not fit this recipe"):
        resume(run, data=DATA, recipe=other, force=True)
    assert resume(run, data=DATA)


def test_it_uses_as_many_threads_as_before(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
    torch.set_num_threads(2)
    try:
        resumed = resume(run, data=DATA)
        assert resumed.metrics["threads"] == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_it_uses_no_more_threads_than_the_machine_has(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
    (path,) = run.glob("checkpoint/0*.json")
    content = unsealed(path)
    path.write_bytes(sealed(content | {"about": content["about"] | {"threads": 4096}}))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"trained with 4096 threads, .*; pass --force to continue with \d+, ") as caught:
        resume(run, data=DATA)
    assert "\n" not in str(caught.value) and torch.get_num_threads() == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    used: list[int] = []
    watch = Recorder(2, 1, lambda: used.append(torch.get_num_threads()))
    resumed = resume(run, data=DATA, force=True, callbacks=[watch])
    most = max(len(os.sched_getaffinity(0)), 1)
    assert used == [most] and resumed.metrics["threads"] == most and torch.get_num_threads() == 1


def test_more_threads_than_cores_are_used_if_the_user_asks_for_them(tmp_path: Path) -> None:
    threads = len(os.sched_getaffinity(0)) + 1
    torch.set_num_threads(threads)  # as OMP_NUM_THREADS does
    try:
        run = stopped_run(tmp_path / "run", 2, 1)
        assert resume(run, data=DATA).metrics["threads"] == threads
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_a_training_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="nothing to resume"):
        resume(tmp_path / name, data=DATA)
    assert list((tmp_path / "empty").iterdir()) == []


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 2, 1)
    caught: list[BaseException] = []

    def another() -> None:
        try:
            resume(run, data=DATA)
        except RunError as error:
            caught.append(error)

    resume(run, data=DATA, callbacks=[Recorder(2, 2, another)])
    assert [str(error) for error in caught] == [f"{run} is in use by another training; wait until it ends"]


def test_an_evaluation_before_the_end_uses_the_data_of_the_training(small_npz: Path, tmp_path: Path) -> None:
    with pytest.raises(PulledPlugError):
        observer = Recorder(2, 1, pull_the_plug)
        train(small(), str(small_npz), out=tmp_path / "run", device="cpu", callbacks=[observer])
    assert RunFolder.open(tmp_path / "run").data_source() == str(small_npz)


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


@pytest.mark.slow
def test_checkpoints_take_under_two_percent_of_the_time(tmp_path: Path) -> None:
    run = train(Recipe.load("article").change(epochs=1), out=tmp_path / "run", device="cpu")
    stages = run.metrics["stages"]
    assert 0 < stages["checkpoint"]["seconds"] < 0.02 * stages["fit"]["seconds"]
