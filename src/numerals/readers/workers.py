"""Processes that make samples beside the one that learns. Knows nothing about samples."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.process import BaseProcess


@contextmanager
def deaf() -> Iterator[None]:
    """Processes started within it never hear Ctrl-C, which is for the one that learns: it ends them.

    Here Ctrl-C waits until the end. (Where signals cannot be blocked, on Windows, nothing is done.)
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else it is started below, and would hear Ctrl-C again afterwards
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """To be called in such a process: it ends when the one that learns has ended, however that came, by SIGKILL too."""
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)
