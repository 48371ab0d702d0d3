"""Ctrl-C remembered: what it interrupts may end its step first, or may swallow it. Knows nothing about training."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class CtrlC:
    """Use it as a context: after the first Ctrl-C `asked` is true; the second raises KeyboardInterrupt, and `twice` is.

    After `at_once` the first raises it as well; whoever looks at `asked` now and then ends even if it was swallowed, as
    libraries do that try to import something and take any error for its absence.

    Only where Python would raise it itself: in the main thread, and where nobody else listens.
    """

    def __init__(self) -> None:
        self._at_once = False
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

    def at_once(self) -> None:
        """From here on; one that came before raises KeyboardInterrupt here."""
        self._at_once = True
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked, self.twice = True, self.asked
        if self.twice or self._at_once:
            raise KeyboardInterrupt
