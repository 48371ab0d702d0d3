"""The curves of a report as SVG to stand inside a page. Knows nothing about runs or pages.

Colours are the page's own: matplotlib draws in stand-ins, which become the style sheet's variables, so that a figure
follows the page into the dark.
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from numerals.article.callbacks import Epoch
    from numerals.article.metrics import ReliabilityBin

SIZE = (4.0, 2.9)  # inches: a figure stands alone on a phone, beside another on a desk
SMALL = (2.5, 1.8)
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406")  # lines that are told apart
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {c: f"--series-{n}" for n, c in enumerate(SERIES, 1)}
TRAINING, VALIDATION, MARK = SERIES[2], SERIES[0], SERIES[1]


def history_curve(rows: "Sequence[Epoch]", figure: str, best_epoch: int, alt: str) -> str:
    """Loss or accuracy by epoch, training beside validation; where the rate fell, and which epoch is kept."""
    epochs = [row.epoch for row in rows]
    drawing, axes = _axes(SIZE)
    axes.plot(epochs, [getattr(row, figure) for row in rows], "o-", color=TRAINING, markersize=3, label="training")
    axes.plot(
        epochs,
        [getattr(row, f"val_{figure}") for row in rows],
        "o-",
        color=VALIDATION,
        markersize=3,
        label="validation",
    )
    for epoch in learning_rate_drops(rows):
        axes.axvline(epoch - 0.5, color=MUTED, linewidth=0.8, linestyle="--")
        axes.annotate("rate falls", (epoch - 0.5, 0.5), xycoords=("data", "axes fraction"), rotation=90, fontsize=8,
                      color=MUTED, ha="right", va="center")  # fmt: skip
    kept = getattr(rows[best_epoch - 1], f"val_{figure}")
    axes.plot([best_epoch], [kept], "o", color=MARK, markersize=9, fillstyle="none", markeredgewidth=1.8, label="kept")
    _by_epoch(axes)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return _svg(drawing, f"history-{figure}", alt)


def learning_rate_curve(rows: "Sequence[Epoch]", stopped: bool, alt: str) -> str:
    """The learning rate of each epoch; where it fell, and where training stopped early."""
    drawing, axes = _axes(SIZE)
    axes.step([row.epoch for row in rows], [row.learning_rate for row in rows], where="mid", color=VALIDATION)
    axes.plot([row.epoch for row in rows], [row.learning_rate for row in rows], "o", color=VALIDATION, markersize=3)
    axes.set_yscale("log")
    for epoch in learning_rate_drops(rows):
        axes.annotate("falls", (epoch, rows[epoch - 1].learning_rate), (0, 10), textcoords="offset points", color=INK,
                      ha="center", fontsize=8.5)  # fmt: skip
    if stopped:
        axes.annotate("stopped early", (rows[-1].epoch, rows[-1].learning_rate), (0, -16), textcoords="offset points",
                      color=INK, ha="right", fontsize=8.5)  # fmt: skip
    _by_epoch(axes)
    return _svg(drawing, "rates", alt)


def learning_rate_drops(rows: "Sequence[Epoch]") -> list[int]:
    """The epochs that were trained with a lower learning rate than the one before."""
    return [after.epoch for before, after in pairwise(rows) if after.learning_rate < before.learning_rate]


def reliability_diagram(bins: "Sequence[ReliabilityBin]", width: float, alt: str) -> str:
    """The share that is right by confidence; on the diagonal a confidence means what it says."""
    drawing, axes = _axes(SIZE)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--")
    axes.bar(
        [b.low for b in bins], [b.accuracy for b in bins], width * 0.92, align="edge", color=VALIDATION, alpha=0.35
    )
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o", color=VALIDATION, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence", ylabel="share that is right")
    return _svg(drawing, "reliability", alt)


def risk_coverage_curve(risks: Sequence[float], alt: str) -> str:
    """The share of mistakes among the surest answers, by how many of them are given."""
    drawing, axes = _axes(SIZE)
    axes.plot(np.arange(1, len(risks) + 1), 100 * np.asarray(risks), color=VALIDATION)
    axes.fill_between(np.arange(1, len(risks) + 1), 100 * np.asarray(risks), color=VALIDATION, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 100), xlabel="answers given, %, the surest first", ylabel="mistakes among them, %")
    axes.set_ylim(bottom=0)
    return _svg(drawing, "risk", alt)


def corruption_curve(name: str, accuracies: Sequence[float], clean: float, alt: str) -> str:
    """The accuracy under one corruption, from untouched to severe."""
    drawing, axes = _axes(SMALL)
    axes.plot(
        range(len(accuracies) + 1),
        [100 * share for share in (clean, *accuracies)],
        "o-",
        color=VALIDATION,
        markersize=3,
    )
    axes.axhline(10, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 103), yticks=(0, 50, 100), xticks=range(len(accuracies) + 1))
    return _svg(drawing, f"trial-{name}", alt)


def comparison_curves(histories: "Mapping[str, Sequence[Epoch]]", figure: str, alt: str) -> str:
    """One figure of several runs by epoch."""
    drawing, axes = _axes(SIZE)
    for number, (name, rows) in enumerate(histories.items()):
        style = ("-", "--", ":")[number // len(SERIES) % 3]
        colour = SERIES[number % len(SERIES)]
        axes.plot([row.epoch for row in rows], [getattr(row, figure) for row in rows], f"o{style}", color=colour,
                  markersize=3, label=name.replace("$", r"\$"))  # fmt: skip
    _by_epoch(axes)
    if figure == "learning_rate":
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return _svg(drawing, f"runs-{figure}", alt)


def confusion_matrix_image(confusion: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """A confusion matrix for TensorBoard, uint8 (height, width, 4): mistakes shaded, every number written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 6), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(drawing), drawing.subplots()
    axes.imshow(np.where(np.eye(len(confusion), dtype=bool), 0, confusion), cmap="Oranges")
    for (truth, answer), count in np.ndenumerate(confusion):
        axes.text(answer, truth, str(count), ha="center", va="center", color="black" if count else "lightgrey")
    axes.set(xlabel="answer", ylabel="truth", xticks=range(len(confusion)), yticks=range(len(confusion)))
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _axes(size: tuple[float, float]) -> "tuple[Any, Axes]":
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9.5)
    axes.yaxis.label.set(color=INK, size=9.5)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    return drawing, axes


def _by_epoch(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")


def _svg(drawing: Any, name: str, alt: str) -> str:
    """The figure as an <svg> for a page: its colours the page's, its ids its own, `alt` for those who cannot see it."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that matplotlib's font has not, the reader's may have
        drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'role="img" aria-label="{html.escape(alt)}"', text, count=1)
    text = re.sub(r"'DejaVu Sans'[^;\"]*sans-serif", "var(--sans)", text)
    text = re.sub(r"\n\s*", "\n", text)
    return re.sub("|".join(VARIABLES), lambda found: f"var({VARIABLES[found[0]]})", text)
