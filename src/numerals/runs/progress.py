"""A training as it goes: the layers, a progress bar, a line per epoch, and what was saved."""

import logging
import shlex
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from numerals.article import model
from numerals.article.callbacks import Epoch
from numerals.article.fit import Callback
from numerals.article.state import TrainingState
from numerals.runs.train import FinishedRun

LOG = logging.getLogger(__name__)


class TrainingProgress(Callback):
    """Prints the progress, and logs it too: also where nothing is printed.

    Use it as a context manager, so that the bar disappears when the training ends, however it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left at most"),
            BarColumn(20),
            TextColumn("{task.fields[figures]}"),
        )
        hidden = console.quiet or not console.is_terminal
        self._bar = Progress(*columns, console=self._console, transient=True, disable=hidden, redirect_stdout=False)
        self._task = self._bar.add_task("", total=None, figures="", start=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def on_train_begin(self, state: TrainingState) -> None:
        self._print(model.summarise(state.network))
        precision = "bfloat16" if state.uses_bfloat16 else "float32"
        self._print(
            f"Recipe {state.recipe.name}: {state.training_count:,} digits for training, "
            f"{state.validation_count:,} for validation; "
            f"{precision} on {state.device}, batches of {state.recipe.batch_size}"
        )
        if state.position != (0, 0):
            self._print(f"Resumes from the checkpoint in epoch {state.epoch}, after {state.step} of its steps")
        self._bar.start()

    def on_step_end(self, state: TrainingState) -> None:
        if self._bar.disable:
            return
        self._bar.start_task(self._task)
        steps, epochs = state.steps_per_epoch, state.recipe.epochs
        self._bar.update(
            self._task,
            description=f"epoch {state.epoch}/{epochs}",
            completed=(state.epoch - 1) * steps + state.step,
            total=epochs * steps,
            figures=f"{state.step}/{steps}  loss {state.loss:.4f}  accuracy {state.accuracy:.4f} ",
        )

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        epochs = state.recipe.epochs
        is_best = state.best is not None and state.best.epoch == epoch.epoch
        self._print(
            f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}  loss {epoch.loss:.4f}  "
            f"accuracy {epoch.accuracy:.4f}  val_loss {epoch.val_loss:.4f}  val_accuracy {epoch.val_accuracy:.4f}  "
            f"rate {epoch.learning_rate:.0e}  {epoch.seconds:.1f} s"
            f"{'  best so far, saved' if is_best else ''}"
        )

    def finished(self, run: FinishedRun) -> None:
        """Print how the training ended and where its run is."""
        self._bar.stop()
        epochs = "1 epoch" if len(run.history) == 1 else f"{len(run.history)} epochs"
        endings = {
            "early": f"Stopped early after {epochs}: val_loss no longer improves.",
            "all epochs": f"Finished {epochs}.",
            "interrupted": f"Interrupted after {epochs}, before the evaluation on the test digits; "
            f"to evaluate: numerals evaluate {shlex.quote(str(run.folder))}.",
            "stopped": f"Stopped by a callback after {epochs}, before the evaluation on the test digits.",
        }
        self._print(f"{endings[run.metrics['ended']]} The weights are those of epoch {run.best_epoch}.")
        self._print(f"Saved in {run.folder}: {', '.join(sorted(path.name for path in run.folder.iterdir()))}")
        if (run.folder / "tensorboard").is_dir():
            folder = shlex.quote(str(run.folder / "tensorboard"))
            self._print(f"To see the curves: open curves.svg there, or run tensorboard --logdir {folder}")

    def _print(self, line: str) -> None:
        LOG.info("%s", line)
        try:
            self._console.print(line)
        except OSError:  # stderr was closed, which is no reason to end a training
            self._console.quiet = True
