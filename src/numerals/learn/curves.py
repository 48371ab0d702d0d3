"""The history as a picture: training beside validation. Knows nothing about how the figures came about."""

import io
from collections.abc import Sequence

from numerals.learn.callbacks import Epoch

EXPLANATION = (
    "Training lies below validation in accuracy: its digits are rotated, zoomed and shifted,\n"
    "units are dropped, and its figure is a mean over the epoch, from its worse beginning on."
)


def draw(history: Sequence[Epoch], best_epoch: int) -> bytes:
    """An SVG of loss, accuracy and learning rate by epoch, the kept epoch marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    epochs = [row.epoch for row in history]
    panels = figure.subplots(1, 3)
    for panel, name in zip(panels[:2], ("loss", "accuracy"), strict=True):
        panel.plot(epochs, [getattr(row, name) for row in history], "o-", color="#8a8f98", label="training")
        panel.plot(epochs, [getattr(row, f"val_{name}") for row in history], "o-", color="#0b62d6", label="validation")
        panel.set_title(name)
    panels[0].set_ylim(bottom=0)
    panels[1].legend(loc="lower right")
    panels[2].step(epochs, [row.learning_rate for row in history], "o-", where="mid", color="#0b62d6")
    panels[2].set_yscale("log")
    panels[2].set_title("learning rate")
    for panel in panels:
        panel.axvline(best_epoch, color="#d6650b", linestyle=":", label="kept")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("epoch")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend()
    figure.supxlabel(EXPLANATION, fontsize="small", color="#555555")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
