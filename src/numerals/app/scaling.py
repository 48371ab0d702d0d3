"""What `numerals sweep` and `train` with --seeds or --workers do: Ray started, trainings run, what came of it said.

Knows nothing about how the options are parsed.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.app import cluster
from numerals.app.show import Show, last_line, say
from numerals.app.trials import Plan, Trial, as_csv, check_folder, tested
from numerals.errors import InputError, RunError, StorageError
from numerals.learn import recipe as recipes
from numerals.learn import sources, space
from numerals.learn.checkpoint import RunFolder
from numerals.learn.recipe import Recipe


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
    initial: Path | None
    anyway: bool


@dataclass(frozen=True)
class Result:
    """The last line of a command, and the JSON of --json."""

    line: str
    found: dict[str, Any]

    def print(self, as_json: bool) -> None:
        last_line(self.line, self.found if as_json else None)


def train_on_ray(asked: Asked, seeds: int | None, workers: int | None, address: str | None, quiet: bool) -> Result:
    """`train` with --seeds or --workers.

    Raises:
        InputError: options that do not go together.
        KeyboardInterrupt: it says what goes on.
    """
    odd = {"--init": asked.initial, "--anyway": asked.anyway}
    if seeds is not None:
        alone = {"--workers": workers, "--every-steps": asked.every_steps, "--resume": asked.resumed}
        _check_alone("--seeds", odd | alone)
        return _train_seeds(asked, seeds, address, quiet)
    assert workers is not None
    _check_alone("--workers", odd | {"--out with --resume": asked.resumed and asked.out})
    return _train_workers(asked, workers, address, quiet)


def search(file: Path, out: Path, device: str, data: str | None, address: str | None, quiet: bool) -> Result:
    """The sweep of a file; the best trial, and the figures of all."""
    found = space.load(file)
    plan = Plan(found.recipe, _checked(data), device, found.trials, found.seed, found, out.absolute())
    figures = _trained(plan, address, quiet)
    best = figures["best"]
    return Result(f"Test Accuracy: {best['test_accuracy']:.4f}, Test Loss: {best['test_loss']:.4f}", figures)


def _train_seeds(asked: Asked, seeds: int, address: str | None, quiet: bool) -> Result:
    """The same recipe with several seeds: mean and deviation, and the figures of all."""
    recipe = _recipe(asked)
    folder = (asked.out or _free(f"{recipe.name}-seeds")).absolute()
    plan = Plan(recipe, _checked(asked.data), asked.device, seeds, asked.seed or 0, None, folder)
    figures = _trained(plan, address, quiet)
    test = figures["test"]
    accuracy = f"{test['accuracy']:.4f} ± {test['accuracy_deviation']:.4f}"
    return Result(f"Test Accuracy: {accuracy}, Test Loss: {test['loss']:.4f} ± {test['loss_deviation']:.4f}", figures)


def _train_workers(asked: Asked, workers: int, address: str | None, quiet: bool) -> Result:
    """One training on several processes."""
    recipe = _recipe(asked) if asked.resumed is None else None
    folder = (asked.resumed or asked.out or _free(recipe.name if recipe else "")).absolute()
    if recipe is not None and folder.exists():
        raise RunError(f"{folder}: exists already; choose another --out")
    if recipe is None and not (folder / "checkpoint").is_dir():
        raise RunError(f"{folder}: no training to resume")
    data = _checked(asked.data or (RunFolder(folder).data_source() if recipe is None else None))
    options: dict[str, Any] = {"device": asked.device, "data": data, "every_steps": asked.every_steps}
    if recipe is None:
        options |= {"epochs": asked.epochs, "recipe": asked.recipe, "seed": asked.seed}
    else:
        options |= {"recipe": recipe, "seed": asked.seed or 0}
    _check_shares(recipe or RunFolder(folder).recipe(), workers)
    with cluster.connected(address, workers) as cores:
        from numerals.learn import distributed

        try:
            with Show(quiet) as show:
                distributed.train_together(workers, cores, folder, options, show, resumed=recipe is None)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"numerals train --resume {shlex.quote(str(folder))} goes on") from error
    metrics = _kept(folder)
    say(quiet)(f"The weights of epoch {metrics['best_epoch']} are kept in {folder}")
    test = metrics["test"]
    return Result(f"Test Accuracy: {test['accuracy']:.4f}, Test Loss: {test['loss']:.4f}", metrics)


def _trained(plan: Plan, address: str | None, quiet: bool) -> dict[str, Any]:
    """All trainings of a plan, each to its end; and what is said of them."""
    cluster.check(address)
    check_folder(plan)
    with cluster.connected(address) as cores:
        from numerals.app import sweep

        try:
            found = sweep.run_all(plan, cores, quiet)
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
    from numerals.learn.report import report

    return report([folder / trial.name for trial in found if trial.metrics["test"]], folder / "report.html", False)


def _recipe(asked: Asked) -> Recipe:
    """Raises InputError where it is not of the article's kind."""
    found = recipes.load(asked.recipe or "article")
    if not isinstance(found, Recipe):
        raise InputError(f"recipe {found.name}: is trained once, by one process; no --seeds, no --workers")
    return found if asked.epochs is None else found.change(epochs=asked.epochs)


def _checked(data: str | None) -> str:
    """The data's name as other processes find it; what is wrong with it is said before any is started."""
    sources.load(data)
    return str(Path(data).absolute()) if data and Path(data).exists() else data or "mnist"


def _check_alone(option: str, given: dict[str, Any]) -> None:
    """Raises InputError where an option is given that this one does not go with."""
    for name, value in given.items():
        if value:
            raise InputError(f"{option}: does not go with {name}")


def _check_shares(recipe: recipes.AnyRecipe, workers: int) -> None:
    """Raises InputError where the recipe is not of the article's kind, or a batch cannot be shared evenly."""
    if not isinstance(recipe, Recipe):
        raise InputError(f"recipe {recipe.name}: is trained by one process; no --workers")
    if recipe.batch_size % workers:
        raise InputError(f"--workers {workers}: the recipe's batch_size, {recipe.batch_size}, must be a multiple of it")


def _kept(run: Path) -> dict[str, Any]:
    """The metrics of a run that processes elsewhere have written.

    Raises:
        StorageError: this machine does not see the run folder.
    """
    metrics = RunFolder(run).metrics()
    if not metrics.get("test"):
        raise StorageError(f"{run}: the run is not seen from here; with --address, --out must be on a shared disk")
    return metrics


def _free(name: str) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path
