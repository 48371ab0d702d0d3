"""Tables of `numerals evaluate`: metrics, figures per digit, robustness. Printed on stderr."""

from typing import TYPE_CHECKING

from rich.table import Table

from numerals.cli.terminal import plain_console

if TYPE_CHECKING:
    from numerals.article.metrics import Details, Metrics
    from numerals.report.robustness import Robustness


def print_metrics(metrics: "Metrics") -> None:
    """Print the accuracy with its interval, the figures per digit, and the calibration; nothing for rows of digits."""
    if metrics.details is None:
        return
    details, console = metrics.details, plain_console()
    low, high = details.interval
    console.print(f"{metrics.errors:,} mistakes in {metrics.count:,} digits; 95 % interval {low:.4f} to {high:.4f}")
    if details.undisputed:
        rest = details.undisputed
        console.print(
            f"Without the {len(rest.disputed)} digits whose label is disputed: {rest.accuracy:.4f}, "
            f"{rest.errors:,} mistakes"
        )
    console.print(_by_class(details))
    pairs = ", ".join(f"{pair.truth} as {pair.answer} ({pair.count})" for pair in details.top_confusions[:5])
    console.print(f"Most frequent confusions: {pairs or 'none'}")
    covered = ", ".join(
        f"{accuracy:.4f} at {100 * float(share):g} %" for share, accuracy in details.accuracy_at_coverage.items()
    )
    console.print(
        f"Calibration error {details.calibration_error:.4f}; accuracy of the most confident answers: {covered} coverage"
    )


def print_robustness(robustness: "Robustness") -> None:
    """Print the accuracy under each corruption, from mild to severe."""
    console = plain_console()
    table = _plain_table("corruption", *(f"severity {n}" if n == 1 else str(n) for n in range(1, 6)))
    for corruption in robustness.corruptions:
        table.add_row(corruption.name, *(f"{accuracy:.3f}" for accuracy in corruption.accuracies))
    console.print(table)
    console.print(
        f"On {robustness.count:,} test digits: accuracy {robustness.clean:.3f} uncorrupted, "
        f"{robustness.mean:.3f} corrupted (mean)"
    )


def _by_class(details: "Details") -> Table:
    table = _plain_table("digit", "count", "precision", "recall", "F1")
    for row in details.classes:
        figures = (f"{figure:.4f}" for figure in (row.precision, row.recall, row.f1))
        table.add_row(str(row.digit), f"{row.count:,}", *figures)
    return table


def _plain_table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False, header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table
