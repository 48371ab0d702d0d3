"""Training from Python: `train`, `resume` and `load` return a Run, with what a training left and what to do with it."""

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
from rich.console import Console
from torch import nn

from numerals.article import datasets, model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset
from numerals.article.fit import Callback
from numerals.article.metrics import Metrics
from numerals.article.metrics import evaluate as evaluate_predictions
from numerals.article.recipe import Recipe
from numerals.errors import InputError, RunError
from numerals.runs import resume as runs_resume
from numerals.runs import train as runs_train
from numerals.runs.folder import RunFolder
from numerals.runs.load import load_finished
from numerals.runs.progress import TrainingProgress
from numerals.runs.train import FinishedRun

Data = str | Path | Dataset | Sequence[Any]  # what `train` is given to train on


class History(dict[str, list[float]]):
    """Figures of every epoch: a list for each name, as Keras's `History.history` has them.

    The names are epoch, loss, accuracy, val_loss, val_accuracy, learning_rate and seconds.
    """

    def __init__(self, rows: Sequence[Epoch]) -> None:
        super().__init__({field.name: [getattr(row, field.name) for row in rows] for field in fields(Epoch)})
        self.rows = tuple(rows)  # the same by epoch


class Run:
    """A trained network, how it was trained, and its run folder. `train`, `resume` and `load` return one.

    Attributes:
        folder: the run folder.
        recipe: every number of the training.
        history: figures by epoch, `run.history["val_loss"]`; `run.history.rows` has them epoch by epoch.
        best_epoch: from 1; the network has the weights of this epoch.
        metrics: the content of metrics.json.
        network: the PyTorch module, from float32 (n, 1, 28, 28) in [0, 1], white ink on black, to logits (n, 10).
    """

    def __init__(self, finished: FinishedRun, data: Dataset | None = None) -> None:
        self.folder: Path = finished.folder
        self.recipe: Recipe = finished.recipe
        self.history = History(finished.history)
        self.best_epoch: int = finished.best_epoch
        self.metrics: dict[str, Any] = finished.metrics
        self.network: nn.Sequential = finished.network
        self._test = finished.test
        self._data = data  # None: what the run folder names

    @property
    def test(self) -> Metrics:
        """The metrics on the test digits: `run.test.accuracy`, `run.test.loss` and more.

        Raises:
            RunError: the training was interrupted or stopped, and the test digits are for finished trainings.
        """
        if self._test is None:
            raise RunError(f"{self.folder}: {self.metrics['ended']} before its test; numerals.resume continues it")
        return self._test

    def predict(self, images: npt.ArrayLike) -> model.Probabilities:
        """Return the probabilities of the ten digits, float32 (n, 10), a row for each image.

        Args:
            images: white ink on black, one (28, 28) or several (n, 28, 28), with or without a channel axis, or
                flattened; whole numbers from 0 to 255 or floats from 0 to 1, as `prepare` returns them.

        Raises:
            DataError: other shapes or values.
        """
        return model.predictor(self.network)(images)

    def evaluate(self, images: npt.ArrayLike, labels: npt.ArrayLike) -> Metrics:
        """Evaluate the network on images, as `predict` takes them, and their labels (n,) or one-hot (n, 10).

        Raises:
            DataError: wrong shapes or values.
        """
        return evaluate_predictions(self.predict, images, labels)

    def summary(self) -> None:
        """Print the layers as a table."""
        print(model.summarise(self.network))

    def report(self, out: str | Path | None = None, robustness: bool = False) -> Path:
        """Write an HTML file that shows what the network learned, and return its path.

        Args:
            out: the file; by default report.html in the run folder.
            robustness: also evaluate under ten kinds of corruption, which takes half a minute.

        Raises:
            RunError, DataError, InputError: the run, its digits or `out` cannot be used; nothing is written.
        """
        from numerals.report.build import report

        return report([self.folder], Path(out) if out is not None else None, robustness, self._data)

    def export(self, file_format: str = "onnx", out: str | Path | None = None) -> Path:
        """Write the network as a file, and return its path.

        Args:
            file_format: "onnx", which `Reader(model=...)` reads with, or "keras", for `keras.models.load_model`.
            out: the file; by default model.onnx or model.keras in the run folder. An ONNX file has its card in it, and
                next to it as .json.

        Raises:
            RunError, DataError, InputError: the run, its digits or `out` cannot be used; nothing is written.
            MissingError: Keras is not installed.
            FailureError: the file's answers are not PyTorch's; nothing is written.
        """
        if file_format == "keras":
            from numerals.export.keras_model import export_keras

            return export_keras(self.folder, out, self._data)
        if file_format != "onnx":
            raise InputError(f"format {file_format!r}: must be onnx or keras")
        from numerals.export.export import export

        return export(self.folder, out, self._data)[0]

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {', '.join(f'{name} {value}' for name, value in self._facts().items())}>"

    def _repr_html_(self) -> str:
        """The run as notebooks show it: what it is, and its curves."""
        facts = ((name, html.escape(value)) for name, value in self._facts().items())
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts)
        page = f"<b>Run {html.escape(str(self.folder))}</b><table>{rows}</table>"
        curves = self.folder / "curves.svg"
        if curves.is_file():
            content = base64.b64encode(curves.read_bytes()).decode()
            page += f'<img alt="Curves" src="data:image/svg+xml;base64,{content}">'
        return page

    def _facts(self) -> dict[str, str]:
        tested = self._test and {"Test Accuracy:": f"{self._test.accuracy:.4f}", "Test Loss:": f"{self._test.loss:.4f}"}
        return {
            "recipe": self.recipe.name,
            "epochs": f"{len(self.history.rows)} (best: {self.best_epoch})",
            **(tested or {"ended": str(self.metrics["ended"])}),
        }


def train(
    recipe: str | Path | Recipe = "article",
    data: Data | None = None,
    *,
    epochs: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    every_steps: int | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Run:
    """Train with a recipe, keep the run in a folder, and evaluate it once on the test digits.

        run = numerals.train("article", epochs=3, augment={"rotation": 15})

    The same seed on the same processor, with the same number of threads, gives the same weights bit for bit. Ctrl-C
    (KeyboardInterrupt) ends the training cleanly: the best model so far stays in the folder, without a test. However it
    ends, `resume` continues from the last checkpoint.

    Args:
        recipe: a built-in recipe's name ("article"), a TOML file, or a Recipe.
        data: None or "mnist" for MNIST; a path, as `numerals train --data` takes it; arrays (images, labels), of which
            one in seven is kept for the test, or ((images, labels), (images, labels)) for training and test; or a
            Dataset.
        epochs: how many at most, instead of the recipe's.
        out: the run folder, which must not exist; by default runs/NAME-1, runs/NAME-2, ...
        seed: 0 or more.
        device: "auto" (CUDA if available), "cpu" or "cuda".
        callbacks: your own, called after those that write the run folder.
        every_steps: save a checkpoint every so many steps too, not only after each epoch.
        progress: show it on stderr; by default in terminals and notebooks.
        **changes: other values for keys of the recipe, such as `batch_size=64` or `optimizer={"learning_rate": 3e-4}`.

    Raises:
        DataError, RecipeError, RunError, InputError: an argument cannot be used; nothing was written.
        StorageError: the disk is full; models and checkpoints saved before stay.
        FailureError: the loss is NaN or infinite, or there is not enough memory.
        KeyboardInterrupt: interrupted before the first epoch ended, or twice; the message says what is saved.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    if epochs is not None:
        changes["epochs"] = epochs
    if changes:
        recipe = recipe.change(**changes)
    dataset = _dataset(data)
    return _with_progress(
        progress,
        lambda callback: runs_train.train(
            recipe,
            dataset,
            out=out,
            seed=seed,
            device=device,
            callbacks=[callback, *callbacks],
            every_steps=every_steps,
        ),
        dataset,
    )


def resume(
    run: str | Path | Run,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    data: Data | None = None,
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    every_steps: int | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Run:
    """Continue a training from its last undamaged checkpoint, to exactly the weights of one never interrupted.

    A run that has ended and needs nothing more is returned unchanged.

    Args:
        run: a Run, or the folder of one, ended or not.
        epochs: a higher number extends the run, as if it had been given from the start.
        recipe, data, seed, device: must be what the run has, which is also the default; arrays must be given again.
        force: continue although something differs, although the run had more threads than there are cores, or although
            early stopping had ended it.
        every_steps, callbacks, progress: as for `train`.

    Raises:
        RunError: the folder is not such a run, contains a link, is in use by another training, or something differs.
        DataError, RecipeError, InputError: an argument cannot be used.
        FailureError, StorageError, KeyboardInterrupt: as `train`; the checkpoints stay.
    """
    digits = _dataset(data) if data is not None else run._data if isinstance(run, Run) else None
    return _with_progress(
        progress,
        lambda callback: runs_resume.resume(
            run.folder if isinstance(run, Run) else run,
            epochs=epochs,
            recipe=recipe,
            data=digits,
            seed=seed,
            device=device,
            force=force,
            every_steps=every_steps,
            callbacks=[callback, *callbacks],
        ),
        digits,
    )


def load(run: str | Path, data: Data | None = None) -> Run:
    """Load a run of the article's network that has ended: `numerals.load("runs/article-1")`.

    Args:
        run: the run folder.
        data: the arrays that it was trained on, if it was trained on arrays and you want a report or an export.

    Raises:
        RunError, RecipeError: not a run folder, or a file in it is missing, damaged or does not fit the others.
    """
    return Run(load_finished(RunFolder.open(run)), None if data is None else _dataset(data))


def _dataset(data: Data | None) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if data is None or isinstance(data, str | Path):
        return datasets.load(None if data is None else str(data))
    return datasets.from_arrays(data)


def _with_progress(
    shown: bool | None, training: Callable[[TrainingProgress], FinishedRun], data: Dataset | None
) -> Run:
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.quiet = not (shown or (shown is None and (console.is_terminal or console.is_jupyter)))
    with TrainingProgress(console) as progress:
        finished = training(progress)
        progress.finished(finished)
    return Run(finished, data)
