"""Runs what needs Ray: `numerals train --seeds`, `sweep` and `read-many`."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from numerals.cli.options import TrainOptions
from numerals.cli.terminal import Result, log_to_stderr, score_line, status_printer
from numerals.errors import InputError
from numerals.scale import cluster

if TYPE_CHECKING:  # needs torch, which read-many does not
    from numerals.scale.trials import Plan, Trial


def train_seeds(options: TrainOptions, seeds: int) -> Result:
    """Train the same recipe with several seeds; the result has mean and standard deviation, and every run.

    Raises:
        InputError: options that do not go together.
        KeyboardInterrupt: interrupted; the message says how to continue.
    """
    from numerals.scale.trials import Plan, summarize

    if options.resume is not None:
        raise InputError("--seeds does not go with --resume; to continue, repeat the command with the same --out")
    for name, value in {"--force": options.force, "--every-steps": options.every_steps}.items():
        if value:
            raise InputError(f"--seeds does not go with {name}")
    recipe = options.load_recipe()
    out = (options.out or _unused(f"{recipe.name}-seeds")).absolute()
    plan = Plan(recipe, _checked(options.data), options.device, seeds, options.seed or 0, None, out)
    trials = _run(plan, options.address, options.quiet)
    test = summarize(trials)
    accuracy = f"{test.accuracy:.4f} ± {test.accuracy_deviation:.4f}"
    line = f"Test Accuracy: {accuracy}, Test Loss: {test.loss:.4f} ± {test.loss_deviation:.4f}"
    return Result(line, _details(plan, trials))


def sweep(space: Path, out: Path, *, device: str, data: str | None, address: str | None, quiet: bool) -> Result:
    """Run the sweep that the TOML file `space` describes; the result has the best trial, and all others.

    Raises:
        InputError: a mistake in the file or in an option.
        KeyboardInterrupt: interrupted; the message says how to continue.
    """
    from numerals.scale import search_space
    from numerals.scale.trials import Plan

    loaded = search_space.load(space)
    plan = Plan(loaded.recipe, _checked(data), device, loaded.trials, loaded.seed, loaded, out.absolute())
    trials = _run(plan, address, quiet)
    best = trials[0].test
    assert best is not None  # `_run` fails if no trial was tested
    return Result(score_line(best.accuracy, best.loss), _details(plan, trials))


def _run(plan: "Plan", address: str | None, quiet: bool) -> "list[Trial]":
    """Run all trainings of a plan, print a table of them, and write a report; the best trial comes first."""
    from numerals.scale.trials import as_csv, summarize

    cluster.check(address)
    plan.folder().check()
    with cluster.connected(address) as cores:
        from numerals.scale.sweep import run_all

        try:
            log_to_stderr(quiet)
            trials = run_all(plan, cores)
        except KeyboardInterrupt as error:
            done = f"{error}; " if str(error) else ""
            raise KeyboardInterrupt(
                f"{done}to continue, repeat the command with --out {shlex.quote(str(plan.out))}"
            ) from error
    finished = summarize(trials).runs
    report = _report(plan.out, trials)
    print_status = status_printer(quiet)
    print_status(as_csv(trials).rstrip())
    print_status(f"Best by val_loss: {plan.out / trials[0].name}. {finished} of {len(trials)} trained to the end.")
    print_status(f"Report that compares them: {report}")
    return trials


def _details(plan: "Plan", trials: "Sequence[Trial]") -> dict[str, Any]:
    """What --json prints."""
    from numerals.scale.trials import summarize

    return {
        "folder": str(plan.out),
        "best": trials[0].row(),
        "trials": [trial.row() for trial in trials],
        "test": asdict(summarize(trials)),
    }


def _report(folder: Path, trials: "Sequence[Trial]") -> Path:
    """Write one report that compares all trials that were tested, the best one first."""
    from numerals.report.build import report

    return report([folder / trial.name for trial in trials if trial.test], folder / "report.html", False)


def _checked(data: str | None) -> str:
    """`data` as other processes find it. Raises DataError before any process starts."""
    from numerals.article import datasets

    datasets.load(data)
    return str(Path(data).absolute()) if data and Path(data).exists() else data or "mnist"


def _unused(name: str) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that does not exist."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def read_many(
    source: str, out: Path, *, model: Path | None, column: str, part: int, workers: int | None, address: str | None
) -> None:
    """Run `numerals read-many`: read an archive, print a summary on stderr and the folder on stdout.

    Raises:
        InputError: a mistake in an option.
        KeyboardInterrupt: interrupted; the message says how to continue.
    """
    cluster.check(address)
    from numerals.read import model_files
    from numerals.scale.read_many import ReadRequest, prepare, read_parts

    request = ReadRequest(source, column, part, model_files.load(model) if model else None)
    job, archive = prepare(request, out)
    read = unreadable = 0
    with cluster.connected(address, workers) as cores, _progress_bar(archive.pictures) as advance:
        try:
            advance(job.count_done(archive))
            for done in read_parts(job, archive, request, workers or cores):
                read, unreadable = read + done.pictures, unreadable + done.unreadable
                advance(done.pictures)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"what was read is in {out}; to continue, repeat the command") from error
    print(
        f"{read:,} pictures read, {unreadable:,} of them unreadable (column error); "
        f"{archive.pictures - read:,} were read before; {archive.skipped:,} files skipped (not pictures)",
        file=sys.stderr,
    )
    print(out)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr if that is a terminal; yields a function that takes the number of pictures just read."""
    console = Console(stderr=True, soft_wrap=True)
    columns = (
        TextColumn("reading"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden, redirect_stdout=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
