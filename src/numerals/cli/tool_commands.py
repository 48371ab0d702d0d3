"""The commands benchmark and doctor. The work is in benchmark.py and doctor.py."""

from dataclasses import asdict
from typing import Annotated

import typer

from numerals.cli.options import OUTPUT, RECIPES
from numerals.files import readable_json


def benchmark(
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.toml",
            help=f"Time this recipe: {', '.join(RECIPES)} or your own file.",
            autocompletion=lambda: list(RECIPES),
        ),
    ] = "instant",
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of trainings per thread count, with seeds 0, 1, ...")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Measure this machine: whole trainings with one thread and with two, and recognition speed.

    Each training runs in a new process, from a cold start to a saved and evaluated model, one after the other; the
    runs are deleted afterwards. Other work on the machine distorts the figures.
    """
    from numerals.article.recipe import Recipe
    from numerals.cli import benchmark as measure
    from numerals.cli.terminal import status_printer

    Recipe.load(recipe)
    trainings = measure.time_trainings(recipe, seeds, status_printer(quiet=False))
    recognition = measure.time_recognition()
    if as_json:
        figures = {
            "trainings": [asdict(speed) for speed in trainings],
            "recognising": [asdict(speed) for speed in recognition],
        }
        print(readable_json(figures), end="")
    else:
        print("\n".join(measure.lines(trainings, recognition)))


def doctor() -> None:
    """Check the installation: packages, training device, training data and shipped models.

    Exits with 1 if something is wrong.
    """
    from numerals.cli.doctor import examine

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.subject:{width}s}  {finding.result}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
