"""Child processes: which signals they get, how they end with their parent, and folders that do not outlive it."""

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

NEW_SECONDS = 60.0  # in which a process locks its new folder


@contextmanager
def blocked_signals(*numbers: int) -> Iterator[None]:
    """Start child processes in this context to keep signals from them, such as Ctrl-C, which a terminal sends to all.

    The children never get these signals; this process gets them when the context ends. Does nothing on Windows, where
    signals cannot be blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise it starts inside the context, and unblocks Ctrl-C when it does
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_with_parent(stop: Callable[[], object] = lambda: None) -> None:
    """Call in a child process of `multiprocessing`: it ends as soon as its parent has ended, even by SIGKILL.

    Args:
        stop: is called then, in a thread of its own; when it returns, the process exits at once with code 1.
    """
    threading.Thread(target=_wait_and_exit, args=(parent_process(), stop), daemon=True).start()


def _wait_and_exit(parent: BaseProcess | None, stop: Callable[[], object]) -> None:
    if parent is not None:
        parent.join()
        stop()
        os._exit(1)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder of this process. First removes those that killed processes of the same user left.

    A folder is locked while its process lives, so that only an abandoned one is removed.

    Args:
        prefix: of the folder's name, and of those to remove.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, another user's, or a system without locks
            _remove_abandoned(path)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as stack,
    ):
        with contextlib.suppress(OSError):
            stack.callback(os.close, _lock(Path(folder)))
        yield Path(folder)


def _remove_abandoned(folder: Path) -> None:
    descriptor = _lock(folder)
    try:
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > NEW_SECONDS:
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Lock a folder until the process ends or closes the file descriptor that this returns.

    Raises:
        OSError: another process has locked it, or it cannot be locked.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError(errno.ENOSYS, "folders cannot be locked here") from error
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
