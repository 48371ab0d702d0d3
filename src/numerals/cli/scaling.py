"""What `numerals sweep` and `train` with --seeds or --workers do: Ray started, trainings run, what came of it said.

Knows nothing about how the options are parsed.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article import datasets
from numerals.article.recipe import Recipe
from numerals.cli.progress import last_line, log_to_stderr, say
from numerals.errors import InputError
from numerals.scale import cluster, search_space
from numerals.scale.trials import Plan, Trial, as_csv, check_folder, tested


@dataclass(frozen=True)
class Asked:
    """The options of `train`."""

    recipe: str | None
    epochs: int | None
    seed: int | None
    device: str
    data: str | None
    out: Path | None
    resumed: Path | None
    every_steps: int | None
    anyway: bool


@dataclass(frozen=True)
class Result:
    """The last line of a command, and the JSON of --json."""

    line: str
    found: dict[str, Any]

    def print(self, as_json: bool) -> None:
        last_line(self.line, self.found if as_json else None)


def train_seeds(asked: Asked, seeds: int, address: str | None, quiet: bool) -> Result:
    """`train --seeds`: the same recipe with several seeds: mean and deviation, and the figures of all.

    Raises:
        InputError: options that do not go together.
        KeyboardInterrupt: it says what goes on.
    """
    given = {"--anyway": asked.anyway, "--every-steps": asked.every_steps, "--resume": asked.resumed}
    for name, value in given.items():
        if value:
            raise InputError(f"--seeds: does not go with {name}")
    recipe = Recipe.load(asked.recipe or "article")
    if asked.epochs is not None:
        recipe = recipe.change(epochs=asked.epochs)
    folder = (asked.out or _free(f"{recipe.name}-seeds")).absolute()
    plan = Plan(recipe, _checked(asked.data), asked.device, seeds, asked.seed or 0, None, folder)
    figures = _trained(plan, address, quiet)
    test = figures["test"]
    accuracy = f"{test['accuracy']:.4f} ± {test['accuracy_deviation']:.4f}"
    return Result(f"Test Accuracy: {accuracy}, Test Loss: {test['loss']:.4f} ± {test['loss_deviation']:.4f}", figures)


def search(file: Path, out: Path, device: str, data: str | None, address: str | None, quiet: bool) -> Result:
    """The sweep of a file; the best trial, and the figures of all."""
    found = search_space.load(file)
    plan = Plan(found.recipe, _checked(data), device, found.trials, found.seed, found, out.absolute())
    figures = _trained(plan, address, quiet)
    best = figures["best"]
    return Result(f"Test Accuracy: {best['test_accuracy']:.4f}, Test Loss: {best['test_loss']:.4f}", figures)


def _trained(plan: Plan, address: str | None, quiet: bool) -> dict[str, Any]:
    """All trainings of a plan, each to its end; and what is said of them."""
    cluster.check(address)
    check_folder(plan)
    with cluster.connected(address) as cores:
        from numerals.scale import sweep

        try:
            log_to_stderr(quiet)
            found = sweep.run_all(plan, cores)
        except KeyboardInterrupt as error:
            what = f"{error}; " if str(error) else ""
            raise KeyboardInterrupt(
                f"{what}with --out {shlex.quote(str(plan.out))} the same command goes on"
            ) from error
    accuracy, deviation, count = tested(found, "accuracy")
    loss, loss_deviation, _ = tested(found, "loss")
    say(quiet)(as_csv(found).rstrip())
    say(quiet)(
        f"The best by val_loss: {plan.out / found[0].name}; {count} of {len(found)} were trained to their end, and are "
        f"set side by side in {_report(plan.out, found)}"
    )
    return {
        "folder": str(plan.out),
        "best": found[0].row(),
        "trials": [trial.row() for trial in found],
        "test": {
            "runs": count,
            "accuracy": accuracy,
            "accuracy_deviation": deviation,
            "loss": loss,
            "loss_deviation": loss_deviation,
        },
    }


def _report(folder: Path, found: Sequence[Trial]) -> Path:
    """One page about all runs that were tested, the best of them first."""
    from numerals.report.build import report

    return report([folder / trial.name for trial in found if trial.metrics["test"]], folder / "report.html", False)


def _checked(data: str | None) -> str:
    """The data's name as other processes find it; what is wrong with it is said before any is started."""
    datasets.load(data)
    return str(Path(data).absolute()) if data and Path(data).exists() else data or "mnist"


def _free(name: str) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path
