"""The output folder of `numerals sweep` and `train --seeds`, and the trials in it.

DIR/
  sweep.json           the plan; another one cannot use the folder
  trial-.../           the run folder of a trial; seed-0/, seed-1/, ... for several seeds
  trial-....json       the settings of that trial, written before it begins
  stopped.json         the last epochs of the trials that ASHA stopped
  results.csv          one line per trial, when all have ended

An interrupted sweep continues from these files. What Ray Tune keeps on disk are pickles, so it keeps them elsewhere
and they are never read (sweep.py); the _tune/ that earlier versions left here is ignored.
"""

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.recipe import Recipe
from numerals.errors import FailureError, InputError
from numerals.files import write_atomically
from numerals.runs.folder import RunFolder
from numerals.scale.folder import RequestFolder, read_json
from numerals.scale.search_space import Range, SearchSpace

STOPPED = "stopped.json"


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep."""

    recipe: Recipe
    data: str
    device: str
    trials: int  # their number
    seed: int  # of the search and of each training; with several seeds, the first of them
    space: SearchSpace | None  # None: the same recipe with `trials` seeds
    out: Path  # absolute

    def folder(self) -> RequestFolder:
        """The output folder, which only this plan can use."""
        varied = self.space.varied if self.space else {}
        request = {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": self.data,
            "trials": self.trials,
            "seed": self.seed,
            "space": {key: vars(values) if isinstance(values, Range) else values for key, values in varied.items()},
        }
        return RequestFolder(self.out, "sweep.json", "sha256", "sweep", request)


@dataclass(frozen=True)
class Progress:
    """The last epoch that a trial reported."""

    trial: str  # the name of its run folder
    epoch: int
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Score:
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trial:
    """One training of a sweep."""

    name: str  # of its run folder
    settings: dict[str, Any]  # recipe keys and the values that were chosen for them, or the seed
    ended: str  # "all epochs", "early" or "stopped", as in metrics.json
    epochs: int
    validation: Score
    test: Score | None  # None if it was stopped: only finished trainings are tested

    def row(self) -> dict[str, Any]:
        """The line in results.csv."""
        return {
            "run": self.name,
            "ended": self.ended,
            "epochs": self.epochs,
            "val_loss": self.validation.loss,
            "val_accuracy": self.validation.accuracy,
            "test_loss": self.test.loss if self.test else None,
            "test_accuracy": self.test.accuracy if self.test else None,
            **self.settings,
        }


@dataclass(frozen=True)
class Summary:
    """Mean scores on the test digits and their sample standard deviations, which are 0 for a single run."""

    runs: int
    accuracy: float
    accuracy_deviation: float
    loss: float
    loss_deviation: float


def begun_settings(plan: Plan) -> dict[str, dict[str, Any]]:
    """The settings of the trials that this call or an earlier one began, by name; with several seeds, of all of them.

    Lists are JSON text in them, as Optuna takes them.

    Raises:
        InputError: a damaged file, or one that has settings of another sweep.
    """
    if plan.space is None:
        return {f"seed-{seed}": {"seed": seed} for seed in range(plan.seed, plan.seed + plan.trials)}
    settings = {}
    for path in sorted(plan.out.glob("trial-*.json")):
        repair = f"delete it, and the folder {path.stem} if there is one, to run another trial instead"
        settings[path.stem] = read_json(path, repair)
        if not plan.space.has(settings[path.stem]):
            raise InputError(f"{path}: damaged (not settings of this sweep); {repair}")
    return settings


def load_trials(plan: Plan) -> list[Trial]:
    """Load the trials that have ended: the best by val_loss first, those that were stopped last.

    A trial that was tested has ended, and so has one that ASHA stopped; others were interrupted.

    Raises:
        InputError: a damaged file.
    """
    stopped = load_stopped(plan.out)
    complete = (plan.out / "results.csv").is_file()  # an earlier version recorded only in _tune/ which were stopped
    trials = []
    for name, settings in begun_settings(plan).items():
        path = plan.out / name
        if path.is_symlink():
            raise InputError(f"{path}: a symbolic link, which no sweep makes; delete it to train this trial again")
        metrics = RunFolder(path).metrics()
        if path.is_dir() and (metrics.get("test") or name in stopped or (complete and "ended" in metrics)):
            trials.append(_trial(path, settings, metrics, stopped.get(name)))
    return sorted(trials, key=lambda trial: (trial.test is None, trial.validation.loss))


def _trial(path: Path, settings: dict[str, Any], metrics: dict[str, Any], progress: Progress | None) -> Trial:
    try:
        if "ended" not in metrics and progress:  # it was stopped before it could write its metrics
            validation = Score(progress.val_loss, progress.val_accuracy)
            return Trial(path.name, settings, "stopped", progress.epoch, validation, None)
        test = _score(metrics["test"]) if metrics["test"] else None
        return Trial(
            path.name, settings, str(metrics["ended"]), int(metrics["epochs"]), _score(metrics["validation"]), test
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path / 'metrics.json'}: damaged; delete the folder {path.name} to train it again"
        ) from error


def _score(metrics: dict[str, Any]) -> Score:
    return Score(_finite(metrics["loss"]), _finite(metrics["accuracy"]))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def load_stopped(out: Path) -> dict[str, Progress]:
    """Where ASHA stopped trials, by name.

    Raises:
        InputError: the file is damaged.
    """
    path, repair = out / STOPPED, "delete it, and the trials in it are trained on"
    if not path.exists() and not path.is_symlink():
        return {}
    content = read_json(path, repair)
    try:
        return {
            name: Progress(name, int(last["epoch"]), _finite(last["val_loss"]), _finite(last["val_accuracy"]))
            for name, last in content.items()
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: damaged (not the last epochs of trials); {repair}") from error


def write_stopped(out: Path, stopped: dict[str, Progress]) -> None:
    """Record where ASHA stopped trials.

    Raises:
        StorageError: the disk is full or refuses.
    """
    content = {
        name: {key: value for key, value in vars(last).items() if key != "trial"} for name, last in stopped.items()
    }
    write_atomically(out / STOPPED, json.dumps(content, indent=2).encode())


def summarize(trials: Sequence[Trial]) -> Summary:
    """Summarize the test scores of the trials that were trained to the end.

    Raises:
        FailureError: there are none.
    """
    scores = [trial.test for trial in trials if trial.test]
    if not scores:
        raise FailureError("every trial was stopped before its end; set more trials in the space file")
    accuracy = _mean_and_deviation([score.accuracy for score in scores])
    return Summary(len(scores), *accuracy, *_mean_and_deviation([score.loss for score in scores]))


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def as_csv(trials: Sequence[Trial]) -> str:
    """The content of results.csv."""
    text = io.StringIO()
    rows = [trial.row() for trial in trials]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
