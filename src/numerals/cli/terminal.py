"""Lines in the terminal: results on stdout, status and errors on stderr."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from numerals.errors import printable
from numerals.files import readable_json


@dataclass(frozen=True)
class Result:
    """What a command prints at the end: one line, or with --json everything behind it."""

    line: str
    details: dict[str, Any]

    def print(self, as_json: bool) -> None:
        """Print the line on stdout; with `as_json`, the details there and the line on stderr."""
        if as_json:
            print(readable_json(self.details), end="")
        print(self.line, file=sys.stderr if as_json else sys.stdout)


def score_line(accuracy: float, loss: float) -> str:
    """The last line of the article's program."""
    return f"Test Accuracy: {accuracy:.4f}, Test Loss: {loss:.4f}"


def plain_console(quiet: bool = False) -> Console:
    """A console on stderr that prints text as it is: no markup, no wrapping."""
    return Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)


def status_printer(quiet: bool) -> Callable[[str], None]:
    """A function that prints a line on stderr; with `quiet` it prints nothing."""
    return plain_console(quiet).print


def print_error(message: str) -> None:
    """Print one line about a failure on stderr, without the control characters that a file's name may have."""
    print(f"numerals: {printable(message)}", file=sys.stderr)


def log_to_stderr(quiet: bool) -> None:
    """Print what numerals logs as plain lines on stderr; with `quiet`, only warnings and errors."""
    logger = logging.getLogger("numerals")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
