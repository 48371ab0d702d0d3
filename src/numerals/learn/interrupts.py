"""Ctrl-C once: the training ends after the step that it is at. Twice: at once. Knows nothing about training."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class CtrlC:
    """Use it as a context: after the first Ctrl-C `asked` is true; the second raises KeyboardInterrupt, and `twice` is.

    Only where Python would raise it itself: in the main thread, and where nobody else listens.
    """

    def __init__(self) -> None:
        self.asked = self.twice = False
        self._before: Any = None

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked, self.twice = True, self.asked
        if self.twice:
            raise KeyboardInterrupt
