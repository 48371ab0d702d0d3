"""What an evaluation says, as a terminal shows it: on stderr. Knows nothing about how it was reckoned."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from numerals.article.metrics import Details, Metrics
    from numerals.report.robustness import Robustness


def show_metrics(metrics: "Metrics") -> None:
    """The score with its interval, by class, and what confidences are worth; nothing for rows of digits."""
    if metrics.details is None:
        return
    details, console = metrics.details, _console()
    low, high = details.interval
    console.print(f"{metrics.errors:,} mistakes in {metrics.count:,} digits; 95 % interval {low:.4f} to {high:.4f}")
    if details.undisputed:
        rest = details.undisputed
        console.print(
            f"Without the {len(rest.disputed)} digits whose label people do not agree with: {rest.accuracy:.4f}, "
            f"{rest.errors:,} mistakes"
        )
    console.print(_by_class(details))
    pairs = ", ".join(f"{pair.truth} as {pair.answer} ({pair.count})" for pair in details.top_confusions[:5])
    console.print(f"Confused most: {pairs or 'none'}")
    covered = ", ".join(
        f"{accuracy:.4f} at {100 * float(share):g} %" for share, accuracy in details.accuracy_at_coverage.items()
    )
    console.print(
        f"Calibration error {details.calibration_error:.4f}; accuracy of the surest answers: {covered} coverage"
    )


def show_robustness(robustness: "Robustness") -> None:
    """The accuracy under each corruption, from mild to severe."""
    console = _console()
    table = _plain("corruption", *(f"severity {n}" if n == 1 else str(n) for n in range(1, 6)))
    for tried in robustness.corruptions:
        table.add_row(tried.name, *(f"{accuracy:.3f}" for accuracy in tried.accuracies))
    console.print(table)
    console.print(
        f"On {robustness.count:,} test digits: {robustness.clean:.3f} untouched, {robustness.mean:.3f} spoilt, the mean"
    )


def _by_class(details: "Details") -> Table:
    table = _plain("digit", "count", "precision", "recall", "F1")
    for each in details.classes:
        figures = (f"{share:.4f}" for share in (each.precision, each.recall, each.f1))
        table.add_row(str(each.digit), f"{each.count:,}", *figures)
    return table


def _plain(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False, header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
