"""What `numerals sweep` and `train` with --seeds or --workers do: Ray started, trainings run, what came of it said.

Knows nothing about how the options are parsed.
"""

import shlex
from pathlib import Path
from typing import Any

from numerals.app import cluster
from numerals.app.show import Show, say
from numerals.app.training import Ended
from numerals.app.trials import Plan, as_csv, tested
from numerals.errors import InputError, RunError
from numerals.learn import sources, space
from numerals.learn.checkpoint import RunFolder
from numerals.learn.evaluate import Metrics
from numerals.learn.recipe import Recipe


def train_seeds(
    recipe: Recipe,
    seeds: int,
    seed: int,
    device: str,
    data: str | None,
    out: Path | None,
    address: str | None,
    quiet: bool,
) -> dict[str, Any]:
    """The same recipe with several seeds; the figures of all of them.

    Raises:
        KeyboardInterrupt: it says what goes on.
    """
    folder = (out or _free(f"{recipe.name}-seeds")).absolute()
    return _trained(recipe, None, seeds, seed, device, data, folder, address, quiet)


def search(file: Path, out: Path, device: str, data: str | None, address: str | None, quiet: bool) -> dict[str, Any]:
    """The sweep of a file; the figures of all trials."""
    found = space.load(file)
    return _trained(found.recipe, found, found.trials, found.seed, device, data, out.absolute(), address, quiet)


def train_workers(
    workers: int, recipe: Recipe | None, run: Path | None, options: dict[str, Any], address: str | None, quiet: bool
) -> Ended:
    """One training on several processes; without a recipe, `run` is resumed."""
    folder = (run or _free(recipe.name if recipe else "")).absolute()
    if recipe is not None and folder.exists():
        raise RunError(f"{folder}: exists already; choose another --out")
    if recipe is None and not (folder / "checkpoint").is_dir():
        raise RunError(f"{folder}: no training to resume")
    data = options["data"] or (RunFolder(folder).data_source() if recipe is None else None)
    options = options | {"data": _checked(data)}
    with cluster.connected(address, workers) as cores:
        from numerals.learn import distributed

        distributed.check_shares(recipe or distributed.recipe_of_run(folder), workers)
        given = options if recipe is None else options | {"recipe": recipe}
        try:
            with Show(quiet) as show:
                distributed.train_together(workers, cores, folder, given, show, resumed=recipe is None)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"numerals train --resume {shlex.quote(str(folder))} goes on") from error
        metrics = distributed.kept(folder)
    say(quiet)(f"The weights of epoch {metrics['best_epoch']} are kept in {folder}")
    return Ended(Metrics(**metrics["test"]), metrics)


def _trained(
    recipe: Recipe,
    varied: space.Space | None,
    trials: int,
    seed: int,
    device: str,
    data: str | None,
    out: Path,
    address: str | None,
    quiet: bool,
) -> dict[str, Any]:
    source = _checked(data)
    with cluster.connected(address) as cores:
        from numerals.app import sweep

        plan = Plan(recipe, source, device, trials, seed, varied, out)
        try:
            found = sweep.run_all(plan, cores, quiet)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"what has ended is in {out}; with --out {out} the same command goes on") from error
        say(quiet)(as_csv(found).rstrip())
        best = found[0]
        accuracy, deviation, count = tested(found, "accuracy")
        loss, loss_deviation, _ = tested(found, "loss")
    say(quiet)(
        f"The best by val_loss: {out / best.name}; {count} of {len(found)} were trained to their end. "
        f"To compare: numerals report {shlex.quote(str(out))}/{best.name.partition('-')[0]}-*/"
    )
    return {
        "folder": str(out),
        "best": best.row(),
        "trials": [trial.row() for trial in found],
        "test": {
            "runs": count,
            "accuracy": accuracy,
            "accuracy_deviation": deviation,
            "loss": loss,
            "loss_deviation": loss_deviation,
        },
    }


def _checked(data: str | None) -> str:
    """The data's name as other processes find it; what is wrong with it is said before any is started."""
    sources.load(data)
    return str(Path(data).absolute()) if data and Path(data).exists() else data or "mnist"


def _free(name: str) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def check_alone(given: dict[str, Any], option: str) -> None:
    """Raises InputError where an option is given that this one does not go with."""
    for name, value in given.items():
        if value:
            raise InputError(f"{option}: does not go with {name}")
