"""The output folder of `numerals sweep` and `train --seeds`, and the trials in it.

DIR/
  sweep.json           the plan; another one cannot use the folder
  trial-.../           the run folder of a trial; seed-0/, seed-1/, ... for several seeds
  trial-....json       the settings of that trial
  results.csv          one line per trial, when all have ended
"""

import csv
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.recipe import Recipe
from numerals.errors import FailureError
from numerals.runs.folder import RunFolder
from numerals.scale.folder import RequestFolder
from numerals.scale.search_space import Range, SearchSpace


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


def load_trials(out: Path, reports: Iterable[Progress]) -> list[Trial]:
    """Load the trials that these reports are about: the best by val_loss first, those that were stopped last."""
    trials = [_load(out, report) for report in sorted(reports, key=lambda report: report.trial)]
    return sorted(trials, key=lambda trial: (trial.test is None, trial.validation.loss))


def _load(out: Path, report: Progress) -> Trial:
    settings = json.loads((out / f"{report.trial}.json").read_text())
    metrics = RunFolder(out / report.trial).metrics()
    if "ended" not in metrics:  # it was stopped before it could write its metrics
        return Trial(report.trial, settings, "stopped", report.epoch, Score(report.val_loss, report.val_accuracy), None)
    test = _score(metrics["test"]) if metrics["test"] else None
    return Trial(report.trial, settings, metrics["ended"], metrics["epochs"], _score(metrics["validation"]), test)


def _score(metrics: dict[str, Any]) -> Score:
    return Score(metrics["loss"], metrics["accuracy"])


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
