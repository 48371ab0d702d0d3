"""Draw the training history of a run as curves.svg: loss, accuracy and learning rate by epoch."""

import io
from collections.abc import Sequence

from numerals.article.callbacks import Epoch
from numerals.article.recipe import Recipe

TRAINING, VALIDATION, BEST_EPOCH = "#8a8f98", "#0b62d6", "#d6650b"  # colours


def draw(history: Sequence[Epoch], best_epoch: int, recipe: Recipe) -> bytes:
    """Draw an SVG with training next to validation, and a line at the best epoch, whose weights are kept."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "numerals", "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, 3.8), layout="constrained")
        epochs = [row.epoch for row in history]
        panels = figure.subplots(1, 3)
        for panel, name in zip(panels[:2], ("loss", "accuracy"), strict=True):
            panel.plot(epochs, [getattr(row, name) for row in history], "o-", color=TRAINING, label="training")
            panel.plot(
                epochs, [getattr(row, f"val_{name}") for row in history], "o-", color=VALIDATION, label="validation"
            )
            panel.set_title(name)
        panels[2].plot(epochs, [row.learning_rate for row in history], "o-", color=VALIDATION)
        panels[2].set_yscale("log")
        panels[2].set_title("learning rate")
        for panel in panels:
            panel.axvline(best_epoch, color=BEST_EPOCH, linestyle=":", label="best epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_xlabel("epoch")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylim(bottom=0)
        panels[0].legend(loc="best", frameon=False)
        figure.supxlabel(explain_gap(recipe), fontsize="small", color="#555555")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def explain_gap(recipe: Recipe) -> str:
    """Say in two lines why the training and validation curves cannot be compared directly."""
    augment = recipe.augment
    changes = [
        verb
        for verb, amount in (
            ("rotated", augment.rotation),
            ("zoomed", augment.zoom),
            ("shifted", augment.width_shift + augment.height_shift),
            ("mirrored", augment.flip_horizontal or augment.flip_vertical),
        )
        if amount
    ]
    conditions = [f"on digits that are {' and '.join(changes)}"] if changes else []
    conditions += ["with dropout"] if recipe.model.dropout else []
    conditions += ["as the mean over the epoch"]
    return f"Training is measured {', '.join(conditions)};\nvalidation after the epoch, on unchanged digits."
