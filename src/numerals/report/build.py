"""Write the HTML report of a run, or a comparison of several. The pages are in templates/ and need no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.data import Dataset
from numerals.article.device import keep_freed_memory
from numerals.article.metrics import CALIBRATION_BINS, ReliabilityBin, disputed_indices
from numerals.article.model import describe
from numerals.errors import InputError
from numerals.files import make_folder, write_atomically
from numerals.plots import figures, training_curves
from numerals.report import prose, sections
from numerals.report.robustness import DEFAULT_COUNT, cached_robustness, load_robustness
from numerals.report.sections import GalleryDigit
from numerals.report.significance import Difference, compare
from numerals.runs.load import SavedRun, load_run
from numerals.spec import CLASSES

MAX_MISTAKES = 2000  # shown in a report, most confident first: more would make the file larger than 5 MB
MAX_DIFFERING_DIGITS = 60  # shown for each run of a comparison that alone gets them wrong


@dataclass(frozen=True)
class Comparison:
    """A run compared with the first one."""

    other: SavedRun
    difference: Difference
    summary: str
    only_wrong_in: list[tuple[SavedRun, int, list[GalleryDigit]]]  # run, number of digits, and the first of them


def report(
    runs: Sequence[Path], out: Path | None = None, measure_robustness: bool = False, digits: Dataset | None = None
) -> Path:
    """Write the HTML report of one run, or compare several runs in one HTML file.

    Args:
        runs: run folders of the article's network.
        out: the file, ending in .html; by default report.html in the run folder, or comparison.html in the first one.
        measure_robustness: measure the robustness of a single run if the run folder does not have it yet. A saved
            one is always shown.
        digits: as for `load_dataset`.

    Returns:
        The path of the file.

    Raises:
        RunError, RecipeError, DataError, InputError: a run or `out` cannot be used; nothing is written.
        StorageError: the disk is full or read-only.
    """
    keep_freed_memory()
    loaded = [load_run(run, digits) for run in runs]
    if len({run.folder.resolve() for run in loaded}) < len(loaded):
        raise InputError("the same run is given twice; compare different runs")
    path = out or loaded[0].folder / ("report.html" if len(loaded) == 1 else "comparison.html")
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--out {path}: the name of a report must end in .html")
    html = _run_page(loaded[0], measure_robustness) if len(loaded) == 1 else _comparison_page(loaded)
    make_folder(path.parent)
    write_atomically(path, html.encode())
    return path


def _render(template: str, **variables: Any) -> str:
    """Fill in a template; a variable that it lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("numerals.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = prose.percent
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment.get_template(template).render(variables)


def _run_page(run: SavedRun, measure_robustness: bool) -> str:
    weights_sha256 = run.metrics["weights_sha256"]
    robustness = load_robustness(run.folder, weights_sha256, run.dataset.test)
    if robustness is None and measure_robustness:
        robustness = cached_robustness(run.predict, run.dataset.test, DEFAULT_COUNT, weights_sha256, run.folder)
    training = run.training()
    layers = describe(run.network)
    return _render(
        "report.html",
        run=run,
        test=run.test,
        recipe=prose.recipe_in_words(
            run.recipe, len(training[0]), run.validation_count, sum(layer.parameters for layer in layers)
        ),
        samples=sections.class_samples(run),
        augmented=sections.augmented_digits(run, training),
        layers=layers,
        ending=prose.ending_in_words(run.metrics["ended"], run.history, run.metrics["best_epoch"], run.recipe),
        curves=_training_curves(run),
        curves_note=training_curves.explain_gap(run.recipe).replace("\n", " "),
        classes=CLASSES,
        reliability_diagram=_reliability_diagram(run),
        risk_curve=_risk_curve(run),
        mistakes=sections.gallery(run, sections.most_confident(run, run.mistakes)[:MAX_MISTAKES]),
        disputed=sections.gallery(run, disputed_indices(run.dataset.test[1])),
        robustness=robustness,
        corruptions=sections.corruption_sections(run, robustness) if robustness else [],
        explanation=sections.explanation(run, training),
    )


def _training_curves(run: SavedRun) -> dict[str, str]:
    """The SVG of each figure by its title."""
    history, best_epoch = run.history, run.metrics["best_epoch"]
    best, drops = history[best_epoch - 1], figures.learning_rate_drops(history)
    dropped = f" The learning rate was reduced before epoch {', '.join(map(str, drops))}." if drops else ""
    loss = (
        f"Training and validation loss by epoch. The last validation loss is {history[-1].val_loss:.4f}; the saved "
        f"weights are those of epoch {best_epoch}, with {best.val_loss:.4f}.{dropped}"
    )
    accuracy = (
        f"Training and validation accuracy by epoch. Epoch {best_epoch} has a validation accuracy of "
        f"{best.val_accuracy:.4f}.{dropped}"
    )
    rate = f"Learning rate by epoch, from {history[0].learning_rate:.2g} to {history[-1].learning_rate:.2g}.{dropped}"
    return {
        "Loss": figures.history_curve(history, "loss", best_epoch, loss),
        "Accuracy": figures.history_curve(history, "accuracy", best_epoch, accuracy),
        "Learning rate": figures.learning_rate_curve(history, run.metrics["ended"] == "early", rate),
    }


def _reliability_diagram(run: SavedRun) -> str:
    bins = [ReliabilityBin(**values) for values in run.test["reliability"]]
    alt = f"Accuracy by confidence, in {len(bins)} bins, next to the diagonal."
    return figures.reliability_diagram(bins, 1 / CALIBRATION_BINS, alt)


def _risk_curve(run: SavedRun) -> str:
    risks = run.test["risk_at_coverage"]
    alt = (
        f"Share of mistakes among the most confident 95 % of the predictions: {prose.percent(risks[94])}; among all: "
        f"{prose.percent(risks[-1])}."
    )
    return figures.risk_coverage_curve(risks, alt)


def _comparison_page(runs: list[SavedRun]) -> str:
    histories = {f"{number}. {run.name}": run.history for number, run in enumerate(runs, 1)}
    titles = {
        "loss": "Training loss",
        "val_loss": "Validation loss",
        "val_accuracy": "Validation accuracy",
        "learning_rate": "Learning rate",
    }
    return _render(
        "comparison.html",
        runs=runs,
        recipe_differences=prose.recipe_differences([run.recipe for run in runs]),
        curves={
            title: figures.comparison_curves(histories, metric, f"{title} by epoch of {', '.join(histories)}.")
            for metric, title in titles.items()
        },
        comparisons=[
            _comparison(runs[0], other, difference) for other, difference in zip(runs[1:], compare(runs), strict=True)
        ],
    )


def _comparison(first: SavedRun, other: SavedRun, difference: Difference) -> Comparison:
    return Comparison(
        other=other,
        difference=difference,
        summary=prose.difference_in_words(first.name, other.name, difference),
        only_wrong_in=[
            (run, len(indices), sections.gallery(run, sections.most_confident(run, indices)[:MAX_DIFFERING_DIGITS]))
            for run, indices in ((first, difference.only_first), (other, difference.only_other))
        ],
    )
