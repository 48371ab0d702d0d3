"""Shared by all tests: a small data set, the command line in a process of its own, and a full disk."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from numerals.article.data import load_mnist

settings.register_profile("numerals", deadline=None)  # a busy machine is no failure
settings.load_profile("numerals")

# A shell starts its background jobs with SIGINT ignored, and they pass that on to their children: in `make test &`, a
# command that a test interrupts would run on. With a handler here, children start with the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Output of the commands is buffered, as it is for users, whatever this shell has set.
os.environ.pop("PYTHONUNBUFFERED", None)

TIMEOUT = 300  # seconds for a command, on a busy machine too
SLOW_TIMEOUT = 3600  # seconds for a test that is marked slow

NUMERALS = (sys.executable, "-m", "numerals")

# Mounts a tmpfs of $1 KiB on $2 for this command alone, and copies what is on it at the end to $3.
ON_TMPFS = (
    'mount -t tmpfs -o size="$1"k none "$2" || exit 125; disk=$2 copy=$3; shift 3; '
    '"$@"; code=$?; cp -a "$disk/." "$copy"; exit $code'
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests more time than the timeout in pyproject.toml."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


@pytest.fixture(scope="session")
def small_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 training and 100 test digits of MNIST."""
    (x_train, y_train), (x_test, y_test) = load_mnist()
    path = tmp_path_factory.mktemp("small") / "small.npz"
    np.savez(path, x_train=x_train[:600], y_train=y_train[:600], x_test=x_test[:100], y_test=y_test[:100])
    return path


def make_huge(path: Path) -> None:
    """Write a file of 1 TiB that takes no space on the disk."""
    with open(path, "wb") as file:
        file.truncate(2**40)


def run_quietly(command: Iterable[object], cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end, on one thread and without colours."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200", **env}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=environment, timeout=TIMEOUT, check=False
    )


def run_on_full_disk(
    command: Iterable[object], disk: Path, copy: Path, kibibytes: int
) -> "subprocess.CompletedProcess[str]":
    """Run the command with a disk of `kibibytes` mounted at `disk`, and copy what it leaves there to `copy`.

    If mounting is not permitted, limit the size of files instead.
    """
    disk.mkdir()
    copy.mkdir()
    if mounts():
        script = ("unshare", "--map-root-user", "--mount", "sh", "-c", ON_TMPFS, "sh", kibibytes, disk, copy)
        return run_quietly((*script, *command))
    limit = (
        sys.executable,
        "-c",
        "import os, resource, sys; n = int(sys.argv[1]) * 1024; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])",
    )
    done = run_quietly((*limit, kibibytes, *command))
    shutil.copytree(disk, copy, dirs_exist_ok=True)
    return done


def mounts() -> bool:
    """Whether this process may mount a file system."""
    if shutil.which("unshare") is None:
        return False
    return (
        run_quietly(("unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")).returncode == 0
    )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: a small network gains nothing from more, and on a busy machine waits for them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
