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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.errors import FailureError, InputError
from numerals.files import write_atomically
from numerals.learn.recipe import Recipe
from numerals.learn.space import Range, Space

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


def claim(plan: Plan) -> bool:
    """Whether the folder has this very sweep, begun; it is made where it is not there."""
    text = json.dumps(plan.asked(), sort_keys=True)
    asked = {"sha256": hashlib.sha256(text.encode()).hexdigest(), **plan.asked()}
    path = plan.out / "sweep.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text()).get("sha256")
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged; choose another --out") from error
        if found != asked["sha256"]:
            raise InputError(f"{plan.out}: belongs to another sweep; choose another --out")
        return True
    if plan.out.exists() and any(plan.out.iterdir()):
        raise InputError(f"{plan.out}: there are files in it, and no sweep; choose another --out")
    plan.out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asked, indent=2).encode())
    return False


def trials(out: Path) -> list[Trial]:
    """The runs in a sweep's folder that have ended, the best by val_loss first, those that were stopped last."""
    found = []
    for path in sorted(out.glob("*/metrics.json")):
        chosen = json.loads((out / f"{path.parent.name}.json").read_text())
        found.append(Trial(path.parent.name, chosen, json.loads(path.read_text())))
    return sorted(found, key=lambda trial: (trial.metrics["test"] is None, trial.metrics["validation"]["loss"]))


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
