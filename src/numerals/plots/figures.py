"""Draw the report's figures as inline SVG, and the confusion matrix for TensorBoard.

The SVG takes its colours from the page's style sheet, so it also works in dark mode: matplotlib draws in placeholder
colours, and `_svg` replaces them by CSS variables.
"""

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numerals.spec import CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from numerals.article.callbacks import Epoch
    from numerals.article.metrics import ReliabilityBin

SIZE = (4.0, 2.9)  # inches; a page shows one figure in a row on a phone, two on a wide screen
SMALL_SIZE = (2.5, 1.8)
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406")
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {c: f"--series-{n}" for n, c in enumerate(SERIES, 1)}
TRAINING, VALIDATION, BEST_EPOCH = SERIES[2], SERIES[0], SERIES[1]


def history_curve(history: "Sequence[Epoch]", metric: str, best_epoch: int, alt: str) -> str:
    """Draw "loss" or "accuracy" by epoch for training and validation.

    Marks the epochs whose learning rate was reduced, and the best epoch.

    Args:
        history: one row per epoch.
        metric: "loss" or "accuracy".
        best_epoch: from 1.
        alt: text alternative for screen readers, as in all these functions.
    """
    epochs = [row.epoch for row in history]
    figure, axes = _axes(SIZE)
    for column, label, colour in ((metric, "training", TRAINING), (f"val_{metric}", "validation", VALIDATION)):
        axes.plot(epochs, [getattr(row, column) for row in history], "o-", color=colour, markersize=3, label=label)
    for epoch in learning_rate_drops(history):
        axes.axvline(epoch - 0.5, color=MUTED, linewidth=0.8, linestyle="--")
        axes.annotate("rate falls", (epoch - 0.5, 0.5), xycoords=("data", "axes fraction"), rotation=90, fontsize=8,
                      color=MUTED, ha="right", va="center")  # fmt: skip
    best = getattr(history[best_epoch - 1], f"val_{metric}")
    axes.plot(
        [best_epoch], [best], "o", color=BEST_EPOCH, markersize=9, fillstyle="none", markeredgewidth=1.8, label="best"
    )
    _label_epochs(axes)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return _svg(figure, f"history-{metric}", alt)


def learning_rate_curve(history: "Sequence[Epoch]", stopped_early: bool, alt: str) -> str:
    """Draw the learning rate of each epoch, and mark where it was reduced and where training stopped early."""
    epochs, rates = [row.epoch for row in history], [row.learning_rate for row in history]
    figure, axes = _axes(SIZE)
    axes.step(epochs, rates, where="mid", color=VALIDATION)
    axes.plot(epochs, rates, "o", color=VALIDATION, markersize=3)
    axes.set_yscale("log")
    for epoch in learning_rate_drops(history):
        axes.annotate("falls", (epoch, rates[epoch - 1]), (0, 10), textcoords="offset points", color=INK, ha="center",
                      fontsize=8.5)  # fmt: skip
    if stopped_early:
        axes.annotate("stopped early", (epochs[-1], rates[-1]), (0, -16), textcoords="offset points", color=INK,
                      ha="right", fontsize=8.5)  # fmt: skip
    _label_epochs(axes)
    return _svg(figure, "rates", alt)


def learning_rate_drops(history: "Sequence[Epoch]") -> list[int]:
    """The epochs with a lower learning rate than the epoch before."""
    return [after.epoch for before, after in pairwise(history) if after.learning_rate < before.learning_rate]


def reliability_diagram(bins: "Sequence[ReliabilityBin]", width: float, alt: str) -> str:
    """Draw accuracy against confidence, in bins of `width`; on the diagonal the model is calibrated."""
    figure, axes = _axes(SIZE)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--")
    axes.bar(
        [b.low for b in bins], [b.accuracy for b in bins], width * 0.92, align="edge", color=VALIDATION, alpha=0.35
    )
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o", color=VALIDATION, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy")
    return _svg(figure, "reliability", alt)


def risk_coverage_curve(risks: Sequence[float], alt: str) -> str:
    """Draw the error rate of the most confident answers against the percentage of answers given.

    Args:
        risks: error rate of the most confident 1 %, 2 %, ... 100 %.
        alt: text alternative.
    """
    figure, axes = _axes(SIZE)
    coverage, percentages = np.arange(1, len(risks) + 1), 100 * np.asarray(risks)
    axes.plot(coverage, percentages, color=VALIDATION)
    axes.fill_between(coverage, percentages, color=VALIDATION, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 100), xlabel="answers given, %, most confident first", ylabel="errors among them, %")
    axes.set_ylim(bottom=0)
    return _svg(figure, "risk", alt)


def corruption_curve(corruption: str, accuracies: Sequence[float], clean: float, alt: str) -> str:
    """Draw accuracy against the severity of one corruption; severity 0 is the accuracy on `clean` digits."""
    figure, axes = _axes(SMALL_SIZE)
    percentages = [100 * accuracy for accuracy in (clean, *accuracies)]
    axes.plot(percentages, "o-", color=VALIDATION, markersize=3)
    axes.axhline(100 / len(CLASSES), color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 103), yticks=(0, 50, 100), xticks=range(len(percentages)))
    return _svg(figure, f"trial-{corruption}", alt)


def comparison_curves(histories: "Mapping[str, Sequence[Epoch]]", column: str, alt: str) -> str:
    """Draw one column of the history, such as "val_loss", of several runs by name."""
    figure, axes = _axes(SIZE)
    for number, (name, history) in enumerate(histories.items()):
        style = ("-", "--", ":")[number // len(SERIES) % 3]
        colour = SERIES[number % len(SERIES)]
        axes.plot([row.epoch for row in history], [getattr(row, column) for row in history], f"o{style}", color=colour,
                  markersize=3, label=name.replace("$", r"\$"))  # fmt: skip
    _label_epochs(axes)
    if column == "learning_rate":
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return _svg(figure, f"runs-{column}", alt)


def confusion_matrix_image(confusion: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Draw a confusion matrix for TensorBoard: errors shaded, every count written.

    Args:
        confusion: counts (10, 10), a row for each label, a column for each prediction.

    Returns:
        RGBA, uint8 (height, width, 4).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    axes.imshow(np.where(np.eye(len(confusion), dtype=bool), 0, confusion), cmap="Oranges")
    for (truth, answer), count in np.ndenumerate(confusion):
        axes.text(answer, truth, str(count), ha="center", va="center", color="black" if count else "lightgrey")
    axes.set(xlabel="answer", ylabel="truth", xticks=range(len(confusion)), yticks=range(len(confusion)))
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _axes(size: tuple[float, float]) -> "tuple[Any, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9.5)
    axes.yaxis.label.set(color=INK, size=9.5)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _label_epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")


def _svg(figure: Any, name: str, alt: str) -> str:
    """Render a figure as an <svg> element with the page's colours, and with ids that are unique on the page."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that matplotlib's font lacks, the reader's font may have
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'role="img" aria-label="{html.escape(alt)}"', text, count=1)
    text = re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", "var(--sans)", text)
    text = re.sub(r"\n\s*", "\n", text)
    return re.sub("|".join(VARIABLES), lambda match: f"var({VARIABLES[match[0]]})", text)
