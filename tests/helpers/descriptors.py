"""Uses up the file descriptors of a process, by the system's own limit."""

import itertools
import os

import pytest


def leave_descriptors(pid: int, count: int) -> None:
    """Let a process open at most `count` more files and connections, as if all others were in use."""
    resource = pytest.importorskip("resource")
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    limit = next(limit for limit in itertools.count() if len(set(range(limit)) - used) == count)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
