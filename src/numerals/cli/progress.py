"""Progress in the terminal: of a training (layers, a bar, one line per epoch), and bars for reading.

Everything goes to stderr. The bars appear only on a terminal; `quiet` turns everything off.
"""

import shlex
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from numerals.cli.terminal import plain_console, status_printer

if TYPE_CHECKING:
    from numerals.article.callbacks import Epoch
    from numerals.article.model import LayerSummary
    from numerals.article.recipe import Recipe
    from numerals.runs.train import Run


class Show:
    """Shows a training as it runs. Use it as a context, so that the bar disappears when the training ends."""

    def __init__(self, quiet: bool) -> None:
        self._console = plain_console(quiet)
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
        for line in facts["said"]:  # about damaged files, so print it even with --quiet
            status_printer(quiet=False)(line)
        self._print(_table(layers))
        untrained = sum(layer.parameters - layer.trained for layer in layers)
        self._print(
            f"{sum(layer.parameters for layer in layers):,} parameters ({untrained} of them BatchNorm's running means "
            "and variances, not trained); softmax is in the loss"
        )
        precision = "bfloat16" if facts["bfloat16"] else "float32"
        self._print(
            f"Recipe {recipe.name}: {facts['digits']:,} training digits, {facts['validation']:,} validation digits; "
            f"{precision} on {facts['device']}, batches of {recipe.batch_size}"
        )
        if facts["resumed"]:
            epoch, step = facts["resumed"]
            self._print(f"Resumes from the checkpoint in epoch {epoch}, after {step} of its steps")
        self._bar.start()

    def _print(self, content: "str | Table") -> None:
        """Print, and stay quiet from then on if stderr was closed: the training goes on."""
        try:
            self._console.print(content)
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
            f"{'  best so far, saved' if best else ''}"
        )

    def ended(self, run: "Run") -> None:
        self._bar.stop()
        epochs = _epochs(len(run.history))
        reason = {
            "early": f"Stopped early after epoch {len(run.history)}: val_loss no longer improves.",
            "all epochs": f"Finished {epochs}.",
            "interrupted": f"Interrupted after {epochs}, before the evaluation on the test digits; "
            f"to evaluate: numerals evaluate {shlex.quote(str(run.folder))}.",
        }
        self._print(f"{reason[run.metrics['ended']]} The weights are those of epoch {run.best_epoch}.")
        self._print(f"Saved in {run.folder}: {', '.join(sorted(path.name for path in run.folder.iterdir()))}")
        if (run.folder / "tensorboard").is_dir():
            logs = shlex.quote(str(run.folder / "tensorboard"))
            self._print(f"To see the curves: open curves.svg there, or run tensorboard --logdir {logs}")


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


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _table(layers: "Sequence[LayerSummary]") -> Table:
    table = Table("layer", "output", box=None, pad_edge=False, header_style="bold")
    table.add_column("parameters", justify="right")
    for layer in layers:
        table.add_row(layer.name, " x ".join(map(str, layer.output)), f"{layer.parameters:,}")
    return table
