"""A training as a terminal shows it: the layers, a progress bar, a line an epoch. Knows nothing about how to train.

Where there is no terminal the bar is left out; with `quiet` everything is. All of it goes to stderr.
"""

import logging
import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from numerals.files import readable_json

if TYPE_CHECKING:
    from numerals.article.callbacks import Epoch
    from numerals.article.model import LayerSummary
    from numerals.article.recipe import Recipe
    from numerals.runs.train import Run

Item = TypeVar("Item")


class Show:
    """An Observer for `train`; use it as a context, so that the bar goes when the training does."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left at most"),
            BarColumn(20),
            TextColumn("{task.fields[figures]}"),
        )
        hidden = quiet or not self._console.is_terminal
        self._bar = Progress(*columns, console=self._console, transient=True, disable=hidden, redirect_stdout=False)
        self._task = self._bar.add_task("", total=None, figures="", start=False)
        self._epochs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def started(self, recipe: "Recipe", layers: "Sequence[LayerSummary]", facts: dict[str, Any]) -> None:
        self._epochs = recipe.epochs
        for line in facts["said"]:  # damage; whoever wants it quiet wants to know that too
            say(False)(line)
        self._print(_table(layers))
        still = sum(layer.parameters - layer.trained for layer in layers)
        self._print(
            f"{sum(layer.parameters for layer in layers):,} parameters ({still} of them BatchNorm's running means and "
            "variances, not trained); softmax is in the loss"
        )
        precision = "bfloat16" if facts["bfloat16"] else "float32"
        self._print(
            f"Recipe {recipe.name}: {facts['digits']:,} digits to learn from, "
            f"{facts['validation']:,} to validate with; "
            f"{precision} on {facts['device']}, batches of {recipe.batch_size}"
        )
        if facts["resumed"]:
            epoch, step = facts["resumed"]
            self._print(f"Goes on from its checkpoint: epoch {epoch}, {step} steps done in it")
        self._bar.start()

    def _print(self, what: "str | Table") -> None:
        """Whoever watched may have gone; that is no reason to end a training."""
        try:
            self._console.print(what)
        except OSError:
            self._console.quiet = True

    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float) -> None:
        if self._bar.disable:
            return
        self._bar.start_task(self._task)
        figures = f"{step}/{steps}  loss {loss:.4f}  accuracy {accuracy:.4f} "
        done, total = (epoch - 1) * steps + step, self._epochs * steps
        self._bar.update(
            self._task, description=f"epoch {epoch}/{self._epochs}", completed=done, total=total, figures=figures
        )

    def epoch(self, row: "Epoch", best: bool) -> None:
        self._print(
            f"epoch {row.epoch:>{len(str(self._epochs))}}/{self._epochs}  loss {row.loss:.4f}  "
            f"accuracy {row.accuracy:.4f}  val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}  "
            f"rate {row.learning_rate:.0e}  {row.seconds:.1f} s"
            f"{'  best so far, kept' if best else ''}"
        )

    def ended(self, run: "Run") -> None:
        self._bar.stop()
        how = {
            "early": f"Stopped early after epoch {len(run.history)}, since val_loss had ceased to fall.",
            "all epochs": f"{_epochs(len(run.history))} done.",
            "interrupted": f"Interrupted after {_epochs(len(run.history))}, so the test digits were not used; "
            f"to use them: numerals evaluate {shlex.quote(str(run.folder))}.",
        }
        self._print(f"{how[run.metrics['ended']]} The weights of epoch {run.best_epoch} are kept.")
        self._print(f"Kept in {run.folder}: {', '.join(sorted(path.name for path in run.folder.iterdir()))}")
        if (run.folder / "tensorboard").is_dir():
            self._print(
                f"To look: curves.svg there, and tensorboard --logdir {shlex.quote(str(run.folder / 'tensorboard'))}"
            )


def track(items: Iterable[Item], total: int) -> Generator[Item, None, None]:
    """The items, with a progress bar on stderr where it is a terminal and there are several of them.

    Where the results appear on a terminal too, they are progress enough, and a bar would run into them.
    """
    console = Console(stderr=True, soft_wrap=True)
    hidden = total < 2 or not console.is_terminal or sys.stdout is None or sys.stdout.isatty()
    with Progress(console=console, transient=True, disable=hidden, redirect_stdout=False) as bar:
        yield from bar.track(items, total, description="reading")


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more are done; a progress bar on stderr where it is a terminal."""
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
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


def say(quiet: bool) -> Callable[[str], None]:
    """Lines to stderr, or into nothing."""
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)
    return console.print


def log_to_stderr(quiet: bool) -> None:
    """Print what numerals logs as plain lines on stderr, unless `quiet`."""
    logger = logging.getLogger("numerals")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


def last_line(line: str, found: dict[str, Any] | None) -> None:
    """A command's result on stdout; with figures, these there as JSON, and the line on stderr."""
    if found is None:
        print(line)
    else:
        print(readable_json(found), end="")
        print(line, file=sys.stderr)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _table(layers: "Sequence[LayerSummary]") -> Table:
    table = Table("layer", "output", box=None, pad_edge=False, header_style="bold")
    table.add_column("parameters", justify="right")
    for layer in layers:
        table.add_row(layer.name, " x ".join(map(str, layer.output)), f"{layer.parameters:,}")
    return table
