"""Ctrl-C during a training: what it interrupts may finish its step first, and it is never lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class SigInt:
    """A context manager that handles SIGINT: Ctrl-C raises KeyboardInterrupt, at once or when `deferred` ends.

    `requested` stays True after the first Ctrl-C, even if the exception was swallowed, as some libraries do when they
    try an import and treat any error as its absence; code that polls it still stops.

    It only takes over where Python itself would raise: in the main thread, and if no other handler is installed.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._previous: Any = None
        self.requested = False
        self.repeated = False  # Ctrl-C came a second time

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within it the first Ctrl-C only sets `requested`, and raises at the end; the second raises at once."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.requested:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.repeated = True, self.requested
        if self.repeated or not self._deferred:
            raise KeyboardInterrupt
