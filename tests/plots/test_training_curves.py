"""curves.svg: what it shows, and that its explanation fits the recipe."""

from numerals.article.callbacks import Epoch
from numerals.plots import training_curves
from tests.helpers.keras_peer import ARTICLE


def test_the_explanation_fits_the_recipe() -> None:
    still = {"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0}
    plain = ARTICLE.change(augment=still, model={"dropout": 0.0})
    assert "rotated and zoomed and shifted, with dropout" in training_curves.explain_gap(ARTICLE)
    mirrored = plain.change(augment={"flip_vertical": True})
    assert "on digits that are mirrored" in training_curves.explain_gap(mirrored)
    assert training_curves.explain_gap(plain).startswith("Training is measured as the mean over the epoch")


def test_curves_are_labelled() -> None:
    history = [Epoch(1, 0.5, 0.8, 0.3, 0.9, 1e-3, 1.0), Epoch(2, 0.3, 0.9, 0.35, 0.91, 1e-4, 1.0)]
    svg = training_curves.draw(history, 1, ARTICLE).decode()
    for text in ("loss", "accuracy", "learning rate", "training", "validation", "best epoch", "rotated"):
        assert text in svg, text
