"""What the recipes for speed add to the article's loop: one cycle of the rate, smoothed labels, pooling first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.batches import batches
from numerals.article.callbacks import OneCycle
from numerals.article.data import LabelledImages
from numerals.article.optimizer import KerasAdam
from numerals.article.recipe import Recipe
from numerals.article.state import snapshot
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.train import train
from tests.helpers.keras_peer import ARTICLE, digits, small

STILL = {"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0}
CYCLE = {"kind": "one-cycle", "warmup": 0.25}


def cycling(**changes: object) -> Recipe:
    return small(**{"epochs": 3, "schedule": CYCLE, **changes})


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    cycle = OneCycle(cycling(epochs=4, optimizer={"learning_rate": 0.02}))
    at = np.linspace(0, 4, 33)
    assert [cycle.rate(done) for done in at] == pytest.approx(np.interp(at, [0, 1, 4], [0, 0.02, 0]))
    assert [cycle.highest(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx([0.02, 0.02, 0.04 / 3, 0.02 / 3])


def test_each_step_has_its_own_rate_and_the_last_weights_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate so high that the validation loss rises: neither it nor the plateau rule has a say."""
    used, step = [], KerasAdam.step

    def noted(self: KerasAdam) -> None:
        used.append(self.learning_rate)
        step(self)

    monkeypatch.setattr(KerasAdam, "step", noted)
    recipe = cycling(epochs=6, optimizer={"learning_rate": 0.5}, early_stopping={"patience": 1})
    run = train(recipe, digits(300), out=tmp_path / "run")
    steps = len(used) // 6
    cycle = OneCycle(recipe)
    assert used == pytest.approx([cycle.rate((step + 0.5) / steps) for step in range(6 * steps)])
    losses = [row.val_loss for row in run.history]
    assert len(losses) == run.best_epoch == 6 and min(losses[1:5]) != losses[5], "the case needs another least loss"
    assert [row.learning_rate for row in run.history] == pytest.approx([cycle.highest(each) for each in range(1, 7)])
    assert weights_sha256(snapshot(RunFolder.open(run.folder).network())) == run.metrics["weights_sha256"]


def test_smoothed_labels_are_what_is_learnt(tmp_path: Path) -> None:
    """Half of the truth spread over ten classes: nobody is surer of a digit than 0.55."""
    numbers = {
        "epochs": 20,
        "model": {"batch_norm_momentum": 0.5},
        "optimizer": {"learning_rate": 0.01},
        "augment": STILL,
    }
    runs = [
        train(cycling(label_smoothing=share, **numbers), digits(300), out=tmp_path / str(share)) for share in (0.0, 0.5)
    ]
    plain, smoothed = (run.predict(digits(300).train[0]).max(axis=1) for run in runs)
    assert np.median(plain) > 0.7 and 0.3 < np.median(smoothed) < 0.6


def test_pooling_first_is_the_same_network_on_fewer_pixels() -> None:
    """Without BatchNorm the two orders agree, as the largest of several is the same before and after ReLU."""
    networks = []
    for first in (False, True):
        torch.manual_seed(0)
        networks.append(model.build(ARTICLE.change(model={"pool_first": first, "batch_norm": False}).model))
    signal = model.as_input(digits(50).train[0], torch.device("cpu"))
    one, other = (network.eval()(signal) for network in networks)
    assert torch.allclose(one, other, atol=1e-5)
    names = [layer.name for layer in model.describe(networks[1])]
    assert names[:3] == ["Conv 32, 3x3", "MaxPool 2x2", "ReLU"] and "BatchNorm" not in names
    normed = model.describe(model.build(ARTICLE.change(model={"pool_first": True}).model))
    assert [layer.name for layer in normed][:4] == ["Conv 32, 3x3", "MaxPool 2x2", "BatchNorm", "ReLU"]


def test_weight_decay_is_decoupled() -> None:
    """Where there is no slope each step shrinks a weight by rate times decay and by nothing else."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = KerasAdam(network, ARTICLE.change(optimizer={"weight_decay": 0.1, "learning_rate": 0.01}).optimizer)
    for _ in range(3):
        network.weight.grad = torch.zeros(1, 1)
        optimizer.step()
    assert network.weight.item() == pytest.approx((1 - 0.001) ** 3)


def test_without_augmentation_the_digits_are_as_they_are() -> None:
    part = digits(64).train
    ((seen, labels),) = batches(part, ARTICLE.change(augment=STILL, batch_size=64), 0, 1, torch.device("cpu"))
    assert {image.tobytes() for image in (seen[:, 0].numpy() * 255).round().astype(np.uint8)} == {
        image.tobytes() for image in part[0]
    }
    assert sorted(labels.tolist()) == sorted(part[1].tolist())


def test_a_share_of_the_training_digits_is_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(part: LabelledImages, *rest: Any) -> Any:
        seen.append(len(part[0]))
        return batches(part, *rest)

    monkeypatch.setattr("numerals.article.fit.batches", noted)
    train(small(training_share=0.25, epochs=1), digits(300), out=tmp_path / "run")
    assert seen == [60]  # of 240; 60 more are for validation


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "least"), [("instant", 0.988), ("quick", 0.992)])
def test_the_fast_recipes_are_as_good_as_they_say(recipe: str, least: float, tmp_path: Path) -> None:
    """Their means over ten seeds, 0.990 and 0.994, less what a single seed may be under them."""
    run = train(recipe, out=tmp_path / "run")
    assert run.test is not None and run.test.accuracy >= least
