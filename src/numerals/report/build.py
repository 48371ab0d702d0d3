"""A run, or several, -> one HTML file that needs nothing else. Its pages are in templates/.

Knows nothing about how anything was trained; every figure on a page is one of the run folder's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numerals.article.device import keep_freed_memory
from numerals.article.metrics import CALIBRATION_BINS, ReliabilityBin, disputed_indices
from numerals.errors import InputError
from numerals.files import storage_error, write_atomically
from numerals.plots import figures, training_curves
from numerals.report import explained, prose
from numerals.report.prose import percent
from numerals.report.robustness import DEFAULT_COUNT, cached_robustness, load_robustness
from numerals.report.sections import augmented, layers, mistakes, one_digit, samples, trials
from numerals.report.significance import Difference, compare, verdict
from numerals.runs.load import KeptRun, read_run
from numerals.spec import CLASSES

MOST_MISTAKES = 2000  # that are shown, the surest first: more would make the file heavier than 5 MB
MOST_PARTED = 60  # digits shown of those that only one of two runs gets wrong


def report(runs: Sequence[Path], out: Path | None = None, robustness: bool = False) -> Path:
    """Write the page of one run, or of several side by side.

    Args:
        runs: run folders, as `train` keeps them.
        out: the file; by default report.html in the run's folder, or comparison.html in the first one's.
        robustness: reckon it where the run has none yet; else it is shown only where it is kept.

    Raises:
        RunError, RecipeError, DataError, InputError: a mistake in what was passed; nothing was written.
        StorageError: the disk is full or refuses.
    """
    keep_freed_memory()
    read = [read_run(run) for run in runs]
    if len({run.folder.resolve() for run in read}) < len(read):
        raise InputError("the same run is named twice; a comparison needs different ones")
    path = out or read[0].folder / ("report.html" if len(read) == 1 else "comparison.html")
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--out {path}: a report's file ends in .html")
    page = (
        _render("report.html", _one(read[0], robustness)) if len(read) == 1 else _render("comparison.html", _many(read))
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path.parent) from error
    write_atomically(path, page.encode())
    return path


def _render(template: str, facts: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("numerals.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment.get_template(template).render(facts)


def _one(run: KeptRun, robustness: bool) -> dict[str, Any]:
    """All that the page of one run shows."""
    tried = load_robustness(run.folder, run.metrics["weights_sha256"], run.dataset.test)
    if tried is None and robustness:
        tried = cached_robustness(
            run.predict, run.dataset.test, DEFAULT_COUNT, run.metrics["weights_sha256"], run.folder
        )
    training = run.training()
    shown = layers(run)
    doubtful = disputed_indices(run.dataset.test[1])
    return {
        "run": run,
        "test": run.test,
        "recipe": prose.recipe_in_words(
            run.recipe, len(training[0]), run.held_out, sum(each["parameters"] for each in shown)
        ),
        "ending": prose.ending_in_words(run.metrics["ended"], run.history, run.metrics["best_epoch"], run.recipe),
        "gap": training_curves.explain_gap(run.recipe).replace("\n", " "),
        "samples": samples(run),
        "augmented": augmented(run, training),
        "layers": shown,
        "curves": _curves(run),
        "figures": _figures(run),
        "mistakes": mistakes(run, run.mistakes)[:MOST_MISTAKES],
        "disputed": [one_digit(run, place) for place in doubtful],
        "robustness": tried,
        "trials": trials(run, tried) if tried else [],
        "explained": explained.explained(run, training),
        "classes": CLASSES,
    }


def _curves(run: KeptRun) -> list[str]:
    rows, best = run.history, run.metrics["best_epoch"]
    kept, fallen = rows[best - 1], figures.learning_rate_drops(rows)
    fell = f"; the rate fell before epoch {', '.join(map(str, fallen))}" if fallen else ""
    alts = [
        f"Loss by epoch, training and validation. Validation loss ends at {rows[-1].val_loss:.4f}; epoch {best}, with "
        f"{kept.val_loss:.4f}, is kept{fell}.",
        f"Accuracy by epoch, training and validation. Epoch {best} has {kept.val_accuracy:.4f} in validation{fell}.",
        f"Learning rate by epoch, from {rows[0].learning_rate:.2g} to {rows[-1].learning_rate:.2g}{fell}.",
    ]
    stopped = run.metrics["ended"] == "early"
    return [
        figures.history_curve(rows, "loss", best, alts[0]),
        figures.history_curve(rows, "accuracy", best, alts[1]),
        figures.learning_rate_curve(rows, stopped, alts[2]),
    ]


def _figures(run: KeptRun) -> dict[str, str]:
    test = run.test
    bins = [ReliabilityBin(**each) for each in test["reliability"]]
    risks = test["risk_at_coverage"]
    return {
        "reliability": figures.reliability_diagram(
            bins,
            1 / CALIBRATION_BINS,
            f"Share of right answers by confidence, in {len(bins)} bins, beside the diagonal.",
        ),
        "risk": figures.risk_coverage_curve(
            risks,
            f"Mistakes among the surest 95 % of the answers: {percent(risks[94])}; among all: {percent(risks[-1])}.",
        ),
    }


def _many(runs: Sequence[KeptRun]) -> dict[str, Any]:
    """All that a comparison shows."""
    found = compare(runs)
    histories = {f"{number}. {run.name}": run.history for number, run in enumerate(runs, 1)}
    named = {"loss": "Training loss", "val_loss": "Validation loss", "val_accuracy": "Validation accuracy",
             "learning_rate": "Learning rate"}  # fmt: skip
    return {
        "runs": runs,
        "differences": prose.differences([run.recipe for run in runs]),
        "curves": [
            (title, figures.comparison_curves(histories, figure, f"{title} by epoch of {', '.join(histories)}."))
            for figure, title in named.items()
        ],
        "verdicts": [
            {
                "other": other,
                "says": verdict(runs[0], other, difference),
                "noise": difference.is_noise,
                "p": difference.p,
                "counts": (len(difference.only_first), len(difference.only_other), difference.both),
                "parted": _parted(runs[0], other, difference),
            }
            for other, difference in zip(runs[1:], found, strict=True)
        ],
    }


def _parted(first: KeptRun, other: KeptRun, difference: Difference) -> list[tuple[KeptRun, list[dict[str, Any]]]]:
    """The digits that only one of two runs gets wrong, each under the run that does."""
    places = ((first, difference.only_first), (other, difference.only_other))
    return [(run, mistakes(run, np.asarray(mine))[:MOST_PARTED]) for run, mine in places]
