"""Damaged files of a run are reported with their hash, and repaired from what is left."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from numerals.errors import InputError, RunError
from numerals.runs.folder import RunFolder
from numerals.runs.load import load_run
from numerals.runs.resume import resume
from numerals.runs.train import FinishedRun, train
from tests.conftest import NUMERALS, make_huge, mounts, run_quietly
from tests.helpers.commands import call
from tests.helpers.keras_peer import KERAS_WARNS, small
from tests.helpers.trainings import DATA, Recorder, equal_runs, flip_byte, sha256_sums, stopped_run

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]


FILES = ["recipe.toml", "model.safetensors", "history.csv", "checkpoint/start.json"]


FILES += ["checkpoint/00002-000000.json", "checkpoint/00002-000000.safetensors"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.6])
def test_a_flipped_byte_is_reported_with_its_hash_and_repaired(
    uninterrupted: FinishedRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    stopped_late: Path,
    name: str,
    at: float,
) -> None:
    run, recorder = tmp_path / "run", Recorder()
    shutil.copytree(stopped_late, run)
    flip_byte(run / name, at)
    assert equal_runs(resume(run, data=DATA, callbacks=[recorder]), uninterrupted)
    (said,) = caplog.messages
    assert str(run / name) in said and re.search(r"its SHA-256 is [0-9a-f]{12}...", said)
    before = name.startswith("checkpoint/0")
    assert recorder.begins_at == ((2, 0) if before else (3, 0)) and ("checkpoint before" in said) is before


@pytest.fixture(scope="module")
def stopped_late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped_run(tmp_path_factory.mktemp("late") / "run", 3, 5)


def test_with_both_checkpoints_damaged_it_starts_over(
    uninterrupted: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, stopped_late: Path
) -> None:
    run, recorder = tmp_path / "run", Recorder()
    shutil.copytree(stopped_late, run)
    for path in run.glob("checkpoint/*.safetensors"):
        flip_byte(path)
    assert equal_runs(resume(run, data=DATA, callbacks=[recorder]), uninterrupted)
    assert recorder.begins_at == (1, 0) and len(caplog.messages) == 2


def test_with_everything_damaged_it_is_refused_in_one_line(tmp_path: Path, stopped_late: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped_late, run)
    for path in run.glob("checkpoint/*.json"):
        flip_byte(path)
    with pytest.raises(RunError, match="no checkpoint is left, so train again in a new folder") as caught:
        resume(run, data=DATA)
    assert "\n" not in str(caught.value) and str(caught.value).count(": damaged, ") == 3


@pytest.mark.slow
def test_a_flipped_byte_in_any_file_of_a_finished_run_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(small(epochs=2, tensorboard={"enabled": True}), DATA, out=tmp_path / "run", device="cpu")
    written = sha256_sums(run.folder)
    assert RunFolder.open(run.folder).sums() == written and len(written) == 14
    for name in [*written, "SHA256SUMS"]:
        copy, recorder = tmp_path / "copy", Recorder()
        caplog.clear()
        shutil.copytree(run.folder, copy)
        flip_byte(copy / name)
        assert equal_runs(resume(copy, data=DATA, callbacks=[recorder]), run), name
        assert any(str(copy / name) in said and "SHA-256" in said for said in caplog.messages), name
        assert RunFolder.open(copy).sums() == sha256_sums(copy)
        shutil.rmtree(copy)


def test_a_damaged_model_of_a_finished_run_is_not_evaluated(tmp_path: Path) -> None:
    run = train(small(epochs=1), DATA, out=tmp_path / "run", device="cpu")
    flip_byte(run.folder / "model.safetensors")
    with pytest.raises(RunError, match=r"model.safetensors: damaged, its SHA-256 is \w{12}..., not \w{12}..."):
        RunFolder.open(run.folder).network()


def test_a_read_only_folder_is_a_failure_and_stays_unchanged(
    uninterrupted: FinishedRun, tmp_path: Path, stopped_late: Path, small_npz: Path
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
    assert equal_runs(resume(run, data=DATA), uninterrupted)


@pytest.fixture(scope="module")
def stopped_with_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped_run(tmp_path_factory.mktemp("events") / "run", 2, 5, tensorboard={"enabled": True})


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["tensorboard", "tensorboard/train", "tensorboard/train/events.out.*", "checkpoint", "history.csv", "notes"]
)
def test_a_run_with_a_symbolic_link_is_not_resumed(tmp_path: Path, stopped_with_events: Path, name: str) -> None:
    """What the link points to has names that a resumed training would cut, overwrite or delete."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(stopped_with_events, run)
    (run / "notes").write_bytes(b"")
    (linked,) = run.glob(name)
    linked.rename(outside)
    linked.symlink_to(outside)
    for folder in [path for path in (outside, *outside.rglob("*")) if path.is_dir()]:
        (folder / "events.out.tfevents.1").write_bytes(b"kept")
    before = contents(tmp_path)
    with pytest.raises(RunError) as caught:
        resume(run, data=DATA)
    assert str(caught.value).startswith(f"{linked}: a symbolic link") and "\n" not in str(caught.value)
    assert contents(tmp_path) == before and linked.is_symlink()


@pytest.mark.parametrize("name", ["tensorboard/train/events.out.tfevents.1", "checkpoint/pipe", "metrics.json"])
def test_a_run_with_a_pipe_is_not_resumed(tmp_path: Path, stopped_with_events: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped_with_events, run)
    os.mkfifo(run / name)
    with pytest.raises(RunError, match="neither a file nor a folder") as caught:
        resume(run, data=DATA)
    assert str(run / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small(epochs=1), DATA, out=tmp_path_factory.mktemp("finished") / "run", device="cpu").folder


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), make_huge])
@pytest.mark.parametrize("name", ["SHA256SUMS", "metrics.json", "model.safetensors", "recipe.toml"])
def test_pipes_devices_and_huge_files_of_a_run_are_not_read(
    tmp_path: Path, finished: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Whatever is asked of the folder ends; what depends on the file is refused in one line."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).unlink()
    make(run / name)
    for ask in (lambda: load_run(run), lambda: RunFolder(run).network()):
        try:
            ask()
        except InputError as error:
            assert "\n" not in str(error) and str(run) in str(error)
    if name == "model.safetensors":
        (run / "SHA256SUMS").unlink()
        with pytest.raises(RunError, match=r"model\.safetensors: .*(not a plain file|larger than)"):
            RunFolder(run).network()


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("checkpoint")] + ["model.safetensors"])
def test_huge_files_of_a_run_are_repaired(
    uninterrupted: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, stopped_late: Path, name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped_late, run)
    make_huge(run / name)
    assert equal_runs(resume(run, data=DATA), uninterrupted)
    (message,) = caplog.messages
    assert str(run / name) in message


def alter_weights(run: Path) -> None:
    """Change one number; the file is intact."""
    weights = safetensors.torch.load((run / "model.safetensors").read_bytes())
    next(iter(weights.values())).view(-1)[0] += 1
    (run / "model.safetensors").write_bytes(safetensors.torch.save(weights))


@pytest.mark.parametrize("command", [("evaluate",), ("export", "--format", "onnx"), ("report",)])
def test_altered_weights_are_not_used_even_if_their_sums_are_deleted(
    tmp_path: Path, finished: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "SHA256SUMS").unlink()
    assert RunFolder.open(run).network()
    alter_weights(run)
    code, stdout, stderr = call(capfd, *command, run)
    assert (code, stdout) == (2, "") and stderr.count("\n") == 1, stderr
    assert "model.safetensors has other weights than metrics.json names" in stderr


def test_without_sums_damaged_metrics_are_named(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "SHA256SUMS").unlink()
    for content in (b"", b"[]", b"[" * 100_000, (finished / "metrics.json").read_bytes()[:-9]):
        (run / "metrics.json").write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.json: damaged"):
            RunFolder.open(run).network()


def test_a_flipped_bit_in_the_sums_never_blames_another_file(tmp_path: Path, finished: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished, run.path)
    whole = (run.path / "SHA256SUMS").read_bytes()
    for at in range(len(whole)):
        (run.path / "SHA256SUMS").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :])
        with pytest.raises(RunError) as caught:
            run.check("model.safetensors")
        assert str(caught.value).startswith(f"{run.path / 'SHA256SUMS'}: damaged, its SHA-256 is ")
        assert "\n" not in str(caught.value) and "--resume" in str(caught.value)


def test_the_sums_of_an_earlier_version_are_not_trusted_more_than_the_file(tmp_path: Path, finished: Path) -> None:
    """They had no hash of their own."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished, run.path)
    *lines, comment = (run.path / "SHA256SUMS").read_text().splitlines(keepends=True)
    assert comment.startswith("# SHA-256 of the lines above: ")
    (run.path / "SHA256SUMS").write_text("".join(lines))
    assert run.network()
    alter_weights(run.path)
    with pytest.raises(
        RunError, match=r"model\.safetensors: damaged, .* as in .*/SHA256SUMS; one of the two is damaged"
    ):
        run.network()


def test_the_sums_are_what_sha256sum_checks(finished: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=finished, check=True, timeout=60)
