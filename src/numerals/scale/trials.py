"""A sweep's folder: what it is to try, and what came of it. Knows nothing about Ray, nor about how to train.

DIR/
  sweep.json           what was asked for: another sweep does not go on here
  trial-.../           an ordinary run folder each, or seed-0/, seed-1/, ...
  trial-....json       what was chosen for it
  results.csv          a row each, when all have ended
"""

import csv
import hashlib
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.recipe import Recipe
from numerals.errors import FailureError, InputError
from numerals.files import storage_error, write_atomically
from numerals.runs.folder import RunFolder
from numerals.scale.search_space import Range, Space

SWEEP = "sweep.json"
COLUMNS = ("run", "ended", "epochs", "val_loss", "val_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class Plan:
    """What is tried, with what in common."""

    recipe: Recipe
    data: str
    device: str
    trials: int
    seed: int
    space: Space | None  # None: the same recipe with `trials` seeds from `seed` on
    out: Path  # absolute

    def asked(self) -> dict[str, Any]:
        keys = {key: vars(each) if isinstance(each, Range) else each for key, each in self._keys().items()}
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": self.data,
            "trials": self.trials,
            "seed": self.seed,
            "space": keys,
        }

    def _keys(self) -> dict[str, Any]:
        return dict(self.space.keys) if self.space else {}


@dataclass(frozen=True)
class Trial:
    """A run of a sweep: its folder's name, what was chosen for it, its metrics.json."""

    name: str
    chosen: dict[str, Any]
    metrics: dict[str, Any]

    def row(self) -> dict[str, Any]:
        validation, test = self.metrics["validation"], self.metrics["test"] or {}
        figures = (validation["loss"], validation["accuracy"], test.get("loss"), test.get("accuracy"))
        return (
            dict(zip(COLUMNS, (self.name, self.metrics["ended"], self.metrics["epochs"], *figures), strict=True))
            | self.chosen
        )


def check_folder(plan: Plan) -> bool:
    """Whether the folder has this very sweep, begun.

    Raises:
        InputError: it belongs to another sweep, or to nobody of ours.
    """
    path = plan.out / SWEEP
    if path.is_file():
        try:
            found = json.loads(path.read_text()).get("sha256")
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged; choose another --out") from error
        if found != _asked(plan)["sha256"]:
            raise InputError(f"{plan.out}: belongs to another sweep; choose another --out")
        return True
    if plan.out.exists() and not (plan.out.is_dir() and not any(plan.out.iterdir())):
        raise InputError(f"{plan.out}: there are files in it, and no sweep; choose another --out")
    return False


def claim(plan: Plan) -> bool:
    """As `check_folder`; where the sweep is not begun, its folder is made."""
    if check_folder(plan):
        return True
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, plan.out) from error
    write_atomically(plan.out / SWEEP, json.dumps(_asked(plan), indent=2).encode())
    return False


def _asked(plan: Plan) -> dict[str, Any]:
    asked = plan.asked()
    return {"sha256": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(), **asked}


def trials(out: Path, reports: Iterable[Mapping[str, Any]]) -> list[Trial]:
    """The runs of a sweep's folder that these last reports are of, the best by val_loss first, stopped ones last."""
    found = []
    for report in sorted(reports, key=lambda report: str(report["run"])):
        name = report["run"]
        chosen = json.loads((out / f"{name}.json").read_text())
        metrics = RunFolder(out / name).metrics()
        found.append(Trial(name, chosen, metrics if "ended" in metrics else _stopped(report)))
    return sorted(found, key=lambda trial: (trial.metrics["test"] is None, trial.metrics["validation"]["loss"]))


def _stopped(report: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a trial that was not given the time to write its own."""
    validation = {"loss": report["val_loss"], "accuracy": report["val_accuracy"]}
    return {"ended": "stopped", "epochs": report["epoch"], "validation": validation, "test": None}


def tested(found: Sequence[Trial], what: str) -> tuple[float, float, int]:
    """Mean and standard deviation of a test figure over the runs that were not stopped, and how many these are.

    Raises:
        FailureError: there is none.
    """
    values = [trial.metrics["test"][what] for trial in found if trial.metrics["test"]]
    if not values:
        raise FailureError("every trial was stopped before its end; give the space more trials")
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values)


def as_csv(found: Sequence[Trial]) -> str:
    text = io.StringIO()
    rows = [trial.row() for trial in found]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
