"""Temporary folders of this process and of killed ones."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from numerals.processes import NEW_SECONDS, scratch_folder

HOLD = """
import sys
from numerals.processes import scratch_folder
with scratch_folder("numerals-test-") as folder:
    (folder / "file").write_text("something")
    print(folder, flush=True)
    sys.stdin.read()
"""


def age(path: Path) -> None:
    """Make a folder look as if it were not new."""
    moment = path.stat().st_mtime - 2 * NEW_SECONDS
    os.utime(path, (moment, moment))


@pytest.mark.skipif(os.name != "posix", reason="needs locks on folders")
def test_the_folder_of_a_killed_process_is_removed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    other, elsewhere = tmp_path / "numerals-other-1", tmp_path / "elsewhere"
    for folder in (other, elsewhere):
        folder.mkdir()
        (folder / "file").write_text("something")
        age(folder)
    (tmp_path / "numerals-test-link").symlink_to(elsewhere)
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        age(held)
        with scratch_folder("numerals-test-"):
            assert (held / "file").exists()
        holder.send_signal(signal.SIGKILL)
    assert held.exists()
    with scratch_folder("numerals-test-") as folder:
        assert not held.exists() and folder.exists()
    assert not folder.exists()
    assert (other / "file").exists() and (elsewhere / "file").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs locks on folders")
def test_a_new_folder_that_is_not_locked_yet_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    new = tmp_path / "numerals-test-new"
    new.mkdir()
    with scratch_folder("numerals-test-"):
        assert new.exists()
    age(new)
    with scratch_folder("numerals-test-"):
        assert not new.exists()
