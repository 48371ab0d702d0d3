"""Waits for what a process does, however busy the machine is."""

import time
from collections.abc import Callable

PATIENCE = 240  # seconds; below the timeout of a test, so that the failure says what did not happen


def wait_until(condition: Callable[[], object], event: str) -> None:
    """Wait until the condition holds.

    Args:
        condition: is called every few hundredths of a second.
        event: what is waited for, for the message.

    Raises:
        AssertionError: it did not happen for minutes.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s in vain until {event}"
        time.sleep(0.02)
