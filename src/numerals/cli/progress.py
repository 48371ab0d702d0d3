"""Progress bars on stderr for reading. They appear only on a terminal."""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def reading_progress(names: Sequence[str]) -> Generator[str, None, None]:
    """The names, with a progress bar on stderr.

    There is no bar for a single name, nor if stdout is a terminal too: the results show the progress there, and the bar
    would overwrite them.
    """
    console = Console(stderr=True, soft_wrap=True)
    hidden = len(names) < 2 or not console.is_terminal or sys.stdout is None or sys.stdout.isatty()
    with Progress(console=console, transient=True, disable=hidden, redirect_stdout=False) as bar:
        yield from bar.track(names, description="reading")


@contextmanager
def count_progress(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives a function to call with the number of items just finished."""
    console = Console(stderr=True, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden, redirect_stdout=False) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)
