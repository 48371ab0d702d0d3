"""What the fast recipes add to the article's training: one-cycle schedule, label smoothing, fewer digits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numerals.article.batches import batches
from numerals.article.callbacks import OneCycle
from numerals.article.data import LabelledImages
from numerals.article.optimizer import KerasAdam
from numerals.article.recipe import Recipe
from numerals.article.state import snapshot
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.train import train
from tests.helpers.keras_peer import digits, small

NO_AUGMENTATION = {"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0}
ONE_CYCLE = {"kind": "one-cycle", "warmup": 0.25}


def one_cycle_recipe(**changes: object) -> Recipe:
    return small(**{"epochs": 3, "schedule": ONE_CYCLE, **changes})


def test_the_learning_rate_rises_linearly_and_falls_linearly_to_0() -> None:
    cycle = OneCycle(one_cycle_recipe(epochs=4, optimizer={"learning_rate": 0.02}))
    epochs = np.linspace(0, 4, 33)
    assert [cycle.rate(epoch) for epoch in epochs] == pytest.approx(np.interp(epochs, [0, 1, 4], [0, 0.02, 0]))
    assert [cycle.highest(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx([0.02, 0.02, 0.04 / 3, 0.02 / 3])


def test_each_step_has_its_own_rate_and_the_last_weights_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate is so high that the validation loss rises; neither early stopping nor the plateau may react."""
    rates, step = [], KerasAdam.step

    def recorded_step(self: KerasAdam) -> None:
        rates.append(self.learning_rate)
        step(self)

    monkeypatch.setattr(KerasAdam, "step", recorded_step)
    recipe = one_cycle_recipe(epochs=6, optimizer={"learning_rate": 0.5}, early_stopping={"patience": 1})
    run = train(recipe, digits(300), out=tmp_path / "run")
    steps = len(rates) // 6
    cycle = OneCycle(recipe)
    assert rates == pytest.approx([cycle.rate((step + 0.5) / steps) for step in range(6 * steps)])
    losses = [row.val_loss for row in run.history]
    assert len(losses) == run.best_epoch == 6 and min(losses[1:5]) != losses[5], (
        "this test needs a lower loss in an earlier epoch"
    )
    assert [row.learning_rate for row in run.history] == pytest.approx([cycle.highest(epoch) for epoch in range(1, 7)])
    assert weights_sha256(snapshot(RunFolder.open(run.folder).network())) == run.metrics["weights_sha256"]


def test_label_smoothing_lowers_the_confidence(tmp_path: Path) -> None:
    """With half of the target spread over ten classes, the best confidence is 0.55."""
    changes = {
        "epochs": 20,
        "model": {"batch_norm_momentum": 0.5},
        "optimizer": {"learning_rate": 0.01},
        "augment": NO_AUGMENTATION,
    }
    runs = [
        train(one_cycle_recipe(label_smoothing=smoothing, **changes), digits(300), out=tmp_path / str(smoothing))
        for smoothing in (0.0, 0.5)
    ]
    plain, smoothed = (run.predict(digits(300).train[0]).max(axis=1) for run in runs)
    assert np.median(plain) > 0.7 and 0.3 < np.median(smoothed) < 0.6


def test_only_the_training_share_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def recorded_batches(training: LabelledImages, *rest: Any) -> Any:
        counts.append(len(training[0]))
        return batches(training, *rest)

    monkeypatch.setattr("numerals.article.fit.batches", recorded_batches)
    train(small(training_share=0.25, epochs=1), digits(300), out=tmp_path / "run")
    assert counts == [60]  # of 240; another 60 are for validation


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "min_accuracy"), [("instant", 0.988), ("quick", 0.992)])
def test_the_fast_recipes_reach_their_accuracy(recipe: str, min_accuracy: float, tmp_path: Path) -> None:
    """A single seed may be a little below the means over ten seeds, 0.990 and 0.994."""
    run = train(recipe, out=tmp_path / "run")
    assert run.test is not None and run.test.accuracy >= min_accuracy
