"""Whole trainings on a few hundred digits: repeatable, honest about the test digits, and kept as promised."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.batches import batches
from numerals.article.callbacks import Callback, EarlyStopping, Epoch, ReduceLROnPlateau
from numerals.article.data import Dataset, split_indices
from numerals.article.device import choose_device, uses_bfloat16
from numerals.article.metrics import compute_metrics, evaluate
from numerals.article.recipe import Recipe
from numerals.article.state import TrainingState, snapshot
from numerals.errors import DataError, InputError, RunError
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.train import Run, train
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.keras_peer import ARTICLE, KERAS_WARNS, digits, keras_rules, small

pytestmark = pytest.mark.filterwarnings(KERAS_WARNS)

COUNT = 300  # 240 to train on, 60 for validation
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a network gains nothing from more, and waits for them where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder(Callback):
    """Records what happens; may interrupt the training in the third step of an epoch."""

    def __init__(self, interrupt_in: int | None = None) -> None:
        self.rows: list[tuple[Epoch, bool]] = []
        self.steps: list[tuple[int, int, int]] = []
        self.layers: list[model.LayerSummary] = []
        self._interrupt_in = interrupt_in

    def on_train_begin(self, state: TrainingState) -> None:
        self.layers = model.describe(state.network)
        assert (state.training_digits, state.validation_digits) == (240, 60)

    def on_step_end(self, state: TrainingState) -> None:
        self.steps.append((state.epoch, state.step, state.steps_per_epoch))
        if (state.epoch, state.step) == (self._interrupt_in, 3):
            raise KeyboardInterrupt

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        self.rows.append((epoch, state.best is not None and state.best.epoch == epoch.epoch))


def run_of(tmp_path: Path, name: str = "run", seed: int = 0, callbacks: Sequence[Callback] = (), **tables: Any) -> Run:
    data = digits(COUNT)
    return train(small(**tables), data, out=tmp_path / name, seed=seed, device="cpu", callbacks=callbacks)


def figures(run: Run) -> list[Epoch]:
    """The history without the clock."""
    return [replace(row, seconds=0.0) for row in run.history]


def parts(data: Dataset) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    images, labels = data.train
    kept, held_out = split_indices(len(images), 0.2, 42)
    return (images[kept], labels[kept]), (images[held_out], labels[held_out])


# ---- the same again


def test_same_seed_same_weights_other_seed_other(tmp_path: Path) -> None:
    one, same, other = (run_of(tmp_path, name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.metrics["weights_sha256"] == same.metrics["weights_sha256"] != other.metrics["weights_sha256"]
    assert figures(one) == figures(same) != figures(other)
    assert (one.folder / "model.safetensors").read_bytes() == (same.folder / "model.safetensors").read_bytes()
    assert one.test == same.test


def test_another_process_ends_with_the_same_weights(tmp_path: Path) -> None:
    here = run_of(tmp_path, "here", epochs=1)
    (tmp_path / "recipe.toml").write_text(small(epochs=1).to_toml())
    (x_train, y_train), (x_test, y_test) = digits(COUNT).train, digits(COUNT).test
    np.savez(tmp_path / "few.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    code = (
        "import sys, torch; torch.set_num_threads(1); from numerals.runs.train import train; torch.manual_seed(99);"
        "print(train(sys.argv[1], sys.argv[2], out=sys.argv[3], device='cpu').metrics['weights_sha256'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "recipe.toml", tmp_path / "few.npz", tmp_path / "there"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert answer.stdout.strip() == here.metrics["weights_sha256"]


def test_the_callers_randomness_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = run_of(tmp_path, "a", epochs=1)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert repr(np.random.get_state(legacy=False)) == repr(numpy_before)
    torch.manual_seed(6)
    np.random.seed(6)
    assert run_of(tmp_path, "b", epochs=1).metrics["weights_sha256"] == first.metrics["weights_sha256"]


# ---- the best epoch, and the rules


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Recorder]:
    """A learning rate so large that val_loss goes up and down; stopped early with a fallen rate."""
    watcher = Recorder()
    run = run_of(
        tmp_path_factory.mktemp("rising"),
        callbacks=[watcher],
        epochs=12,
        optimizer={"learning_rate": 0.03},
        early_stopping={"patience": 2},
        plateau={"patience": 1},
    )
    return run, watcher


def test_the_best_weights_are_restored_and_kept(rising: tuple[Run, Recorder]) -> None:
    run, watcher = rising
    losses = [row.val_loss for row in run.history]
    assert run.best_epoch == 1 + int(np.argmin(losses)) < len(run.history), "the case needs a last epoch that is worse"
    assert [best for _, best in watcher.rows] == [loss < min([9e9, *losses[:at]]) for at, loss in enumerate(losses)]
    network = RunFolder.open(run.folder).network()
    assert weights_sha256(snapshot(network)) == run.metrics["weights_sha256"]
    images, labels = parts(digits(COUNT))[1]
    kept = compute_metrics(model.predictor(network)(images), labels)
    assert kept.loss == pytest.approx(min(losses), abs=1e-6)
    assert kept.accuracy == run.history[run.best_epoch - 1].val_accuracy == run.metrics["validation"]["accuracy"]
    assert np.array_equal(run.predict(images), model.predictor(network)(images))
    assert run.test == evaluate(run.predict, *digits(COUNT).test)


def test_rate_and_end_are_what_kerases_callbacks_make_of_the_losses(rising: tuple[Run, Recorder]) -> None:
    run, _ = rising
    numbers = run.recipe
    losses = [row.val_loss for row in run.history]
    last, best, rates = keras_rules(losses, numbers.optimizer.learning_rate, numbers.early_stopping, numbers.plateau)
    assert (last, best) == (len(losses), run.best_epoch) and last < numbers.epochs and run.metrics["ended"] == "early"
    used = [np.float32(row.learning_rate) for row in run.history]
    assert used == [np.float32(numbers.optimizer.learning_rate), *rates[:-1]]
    assert used[-1] < used[0], "the case needs a fall"


def test_a_lowered_rate_is_really_used(tmp_path: Path) -> None:
    """With min_delta out of reach the rate falls after each epoch, down to nothing: the weights then stand still."""
    run = run_of(
        tmp_path,
        epochs=4,
        plateau={"patience": 1, "factor": 1e-9, "minimum": 0.0, "min_delta": 100.0},
        early_stopping={"patience": 9},
        model={"batch_norm_momentum": 0.0},
    )
    assert [row.learning_rate for row in run.history] == pytest.approx([1e-3, 1e-3, 1e-12, 1e-21])
    third, fourth = (row.val_loss for row in run.history[2:])
    assert abs(third - run.history[1].val_loss) < 0.1 and abs(fourth - third) < 0.1


# ---- what the network sees


class Seen:
    """What the network was given: (training, images float32 (b, 28, 28)), in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.batches: list[tuple[bool, npt.NDArray[np.float32]]] = []
        build = model.build

        def spied(numbers: Any) -> nn.Sequential:
            network = build(numbers)
            network.register_forward_pre_hook(self._note)
            return network

        patch.setattr(model, "build", spied)

    def _note(self, network: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self.batches.append((network.training, arguments[0][:, 0].numpy(force=True).copy()))

    def in_mode(self, training: bool) -> npt.NDArray[np.float32]:
        return np.concatenate([images for was, images in self.batches if was is training])


def pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(255)


def test_only_training_digits_are_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    run_of(tmp_path)
    data = digits(COUNT)
    _, validation = parts(data)
    looked_at = np.concatenate([pixels(each) for each in (validation[0], validation[0], data.test[0])])
    assert np.array_equal(seen.in_mode(False), looked_at), "raw, once an epoch, and the test digits once at the end"
    modes = [was for was, _ in seen.batches]
    tested = [False] * math.ceil(len(data.test[0]) / model.PREDICTION_BATCH_SIZE)
    assert modes == [*[True] * 8, False, *[True] * 8, False, *tested]
    fed = seen.in_mode(True)
    assert fed.shape == (2 * 240, 28, 28) and fed.min() >= 0 and fed.max() <= 1 + 1e-6
    raw = {image.tobytes() for image in pixels(data.train[0])}
    assert not any(image.tobytes() in raw for image in fed), "each was moved"
    assert len({image.tobytes() for image in fed}) == len(fed), "and each time anew"


def test_without_augmentation_training_sees_the_training_part_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    run_of(tmp_path, epochs=1, augment={"rotation": 0.0, "zoom": 0.0, "width_shift": 0.0, "height_shift": 0.0})
    images = parts(digits(COUNT))[0][0]
    fed = np.rint(seen.in_mode(True) * 255).astype(np.uint8)
    assert sorted(image.tobytes() for image in fed) == sorted(image.tobytes() for image in images)


def test_the_test_digits_reach_no_choice(tmp_path: Path) -> None:
    data, chance = digits(COUNT), np.random.default_rng(0)
    garbage = (
        chance.integers(0, 256, (7, 28, 28)).astype(np.uint8),
        chance.integers(0, 10, 7).astype(np.uint8),
    )
    recipe = small(epochs=3, early_stopping={"patience": 1}, plateau={"patience": 1})
    honest = train(recipe, data, out=tmp_path / "a", device="cpu")
    blind = train(recipe, Dataset("garbage", data.train, garbage), out=tmp_path / "b", device="cpu")
    assert blind.metrics["weights_sha256"] == honest.metrics["weights_sha256"]
    assert figures(blind) == figures(honest) and blind.best_epoch == honest.best_epoch
    assert blind.test is not None and blind.test.count == 7


def indexed(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pictures that say which they are: uniform grey, which no transform changes."""
    grey = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(grey[:, None, None], (count, 28, 28)).copy(), grey % 10


def order(count: int, size: int, epoch: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Which pictures the epoch's batches hold, and how many each."""
    found, sizes = [], []
    training = indexed(count)
    for images, labels in batches(training, small(batch_size=size), seed, epoch, CPU):
        assert images.dtype == torch.float32 and images.shape[1:] == (1, 28, 28) and labels.dtype == torch.int64
        which = np.rint(images[:, 0, 14, 14].numpy() * 255).astype(int)
        assert np.array_equal(training[1][which], labels.numpy()), "each digit keeps its label"
        found += which.tolist()
        sizes.append(len(labels))
    return found, sizes


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (96, 32, [32, 32, 32]),
        (100, 32, [32, 32, 32, 4]),
        (97, 32, [32, 32, 32, 1]),
        (20, 32, [20]),
        (20, 5000, [20]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_digit_is_seen_once_an_epoch(count: int, size: int, sizes: list[int]) -> None:
    found, found_sizes = order(count, size, epoch=1)
    assert sorted(found) == list(range(count)) and found_sizes == sizes


def test_batches_larger_than_a_chunk_and_chunks_that_are_no_multiple() -> None:
    labels = np.zeros(5000, np.uint8)
    images = np.zeros((5000, 28, 28), np.uint8)
    for size, first in ((3000, [3000, 2000]), (300, [300] * 16 + [200])):
        assert [len(truth) for _, truth in batches((images, labels), small(batch_size=size), 0, 1, CPU)] == first


def test_the_order_is_another_in_each_epoch_and_for_each_seed() -> None:
    orders = [order(200, 32, epoch, seed)[0] for epoch, seed in ((1, 0), (2, 0), (1, 1), (2, 1))]
    assert len({tuple(each) for each in orders}) == 4 and list(range(200)) not in orders
    assert order(200, 32, 1)[0] == orders[0]


def test_the_transforms_are_others_in_each_epoch() -> None:
    training = parts(digits(COUNT))[0]
    sums = [
        sorted(float(image.sum()) for images, _ in batches(training, small(), 0, epoch, CPU) for image in images)
        for epoch in (1, 2, 1)
    ]
    assert sums[0] == sums[2] != sums[1]


@pytest.mark.parametrize(("size", "steps"), [(1000, 1), (50, 5), (239, 2)])
def test_batches_of_any_size_train(tmp_path: Path, size: int, steps: int) -> None:
    watcher = Recorder()
    run = run_of(tmp_path, callbacks=[watcher], epochs=1, batch_size=size)
    assert watcher.steps == [(1, step, steps) for step in range(1, steps + 1)]
    assert run.test is not None and run.test.count == 100
    assert len(watcher.layers) == 13


def test_training_figures_are_means_over_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch of 40 counts as 40, not as 200; with a rate of nothing each digit's loss is what it is."""
    tables: dict[str, Any] = {
        "epochs": 1,
        "model": {"dropout": 0.0},
        "optimizer": {"learning_rate": 1e-30},
        "batch_size": 200,
    }
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = nn.functional.cross_entropy

    def spied(logits: torch.Tensor, truth: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        assert label_smoothing == 0  # the article's
        outputs.append((logits.detach(), truth))
        return real(logits, truth)

    monkeypatch.setattr("torch.nn.functional.cross_entropy", spied)
    run = run_of(tmp_path, **tables)
    logits, truth = (torch.cat(each) for each in zip(*outputs, strict=True))
    assert len(truth) == 240
    assert run.history[0].loss == pytest.approx(real(logits, truth).item(), rel=1e-5)
    assert run.history[0].accuracy == pytest.approx((logits.argmax(1) == truth).float().mean().item(), abs=1e-6)


# ---- what is kept


def test_the_files_agree_with_each_other(rising: tuple[Run, Recorder]) -> None:
    run, _ = rising
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "SHA256SUMS",
        "checkpoint",
        "curves.svg",
        "history.csv",
        "metrics.json",
        "model.safetensors",
        "recipe.toml",
        "test_probabilities.npz",
    ]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics and Recipe.load(run.folder / "recipe.toml") == run.recipe
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == [
        row.to_dict() for row in run.history
    ]
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert (metrics["epochs"], metrics["best_epoch"]) == (len(rows), run.best_epoch)
    best = rows[run.best_epoch - 1]
    assert metrics["validation"] == {"accuracy": float(best["val_accuracy"]), "loss": float(best["val_loss"])}

    with np.load(run.folder / "test_probabilities.npz") as kept:
        probabilities, labels = kept["probabilities"], kept["labels"]
    assert probabilities.shape == (100, 10) and probabilities.dtype == np.float32
    assert np.array_equal(labels, digits(COUNT).test[1])
    assert run.test is not None and compute_metrics(probabilities, labels) == run.test
    assert metrics["test"] == run.test.to_dict()
    assert set(metrics["stages"]) == {"load", "fit", "checkpoint", "test", "draw"}
    assert metrics["data"]["sha256"] == digits(COUNT).sha256() and metrics["parameters"] > 1000

    svg = (run.folder / "curves.svg").read_text()
    assert svg.count("<svg") == 1 and svg.rstrip().endswith("</svg>")
    lines = [re.findall(r"[ML] [-\d.]+ [-\d.]+", path) for path in re.findall(r'<path d="(M [^"]*)"', svg)]
    drawn = [line for line in lines if len(line) == len(rows)]
    assert len(drawn) >= 4, "a point an epoch: loss and accuracy, training and validation"


def test_interrupted_in_the_second_epoch_keeps_the_first(tmp_path: Path) -> None:
    run = run_of(tmp_path, callbacks=[Recorder(interrupt_in=2)], epochs=3)
    once = run_of(tmp_path, "once", epochs=1)
    assert run.test is None and run.metrics["test"] is None and run.metrics["ended"] == "interrupted"
    assert (run.best_epoch, len(run.history)) == (1, 1)
    assert run.metrics["weights_sha256"] == once.metrics["weights_sha256"]
    assert weights_sha256(snapshot(RunFolder.open(run.folder).network())) == once.metrics["weights_sha256"]
    assert not (run.folder / "test_probabilities.npz").exists()
    assert len((run.folder / "history.csv").read_text().splitlines()) == 2


def test_interrupted_in_the_first_epoch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, callbacks=[Recorder(interrupt_in=1)])
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("keep me")
    with pytest.raises(RunError, match="already exists"):
        run_of(tmp_path, "taken")
    assert [path.name for path in taken.iterdir()] == ["mine"]
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match="seed"):
            run_of(tmp_path, "seed", seed)
    with pytest.raises(InputError, match="convolutions"):
        run_of(tmp_path, "many", model={"convolutions": (4, 4, 4, 4)})
    one = digits(1)
    with pytest.raises(DataError, match="1 digits"):
        train(small(), one, out=tmp_path / "one", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# ---- devices and precision


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cuda:7"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="auto, cpu or cuda"):
        choose_device(name)


@pytest.mark.parametrize("there", [True, False])
def test_devices_are_chosen_by_what_there_is(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if there else "cpu")
    if there:
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(InputError, match="none on this machine"):
            choose_device("cuda")


@pytest.mark.parametrize("unit", [True, False])
def test_precision_is_bfloat16_only_with_a_unit_for_it(
    unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": unit})
    assert not uses_bfloat16("float32", CPU) and uses_bfloat16("auto", CPU) is unit
    plain, auto = (run_of(tmp_path, name, epochs=1, precision=name) for name in ("float32", "auto"))
    assert plain.metrics["precision"] == "float32"
    assert auto.metrics["precision"] == ("bfloat16" if unit else "float32")
    assert (auto.metrics["weights_sha256"] == plain.metrics["weights_sha256"]) is not unit
    kept = RunFolder.open(auto.folder).network().state_dict()
    assert all(value.dtype == torch.float32 for name, value in kept.items() if "num_batches" not in name)
    assert auto.history[0].val_loss == pytest.approx(plain.history[0].val_loss, abs=0.2)


class Interrupts:
    """Presses Ctrl-C when the function of that name is called for the n-th time, before it does anything."""

    def __init__(self, owner: object, name: str, time: int, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.time, self.real = 0, time, getattr(owner, name)
        patch.setattr(owner, name, self)

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == self.time:
            raise KeyboardInterrupt
        return self.real(*arguments)

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else lambda *arguments: self(instance, *arguments)


@pytest.mark.parametrize(
    ("owner", "name", "time", "kept"),
    [
        (RunFolder, "write_model", 1, 1),
        (RunFolder, "write_model", 2, 2),
        (RunFolder, "write_history", 1, 1),
        (RunFolder, "write_history", 2, 2),
        (EarlyStopping, "is_best", 2, 1),
        (ReduceLROnPlateau, "next_rate", 2, 1),
    ],
)
def test_ctrl_c_anywhere_leaves_a_model_that_is_what_it_says(
    owner: type, name: str, time: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch of this training is better than the one before, so the kept one is the last that was judged."""
    Interrupts(owner, name, time, monkeypatch)
    run = train(small(epochs=3), digits(600), out=tmp_path / "run")
    assert (run.test, run.metrics["ended"], run.best_epoch) == (None, "interrupted", kept)
    network = RunFolder.open(run.folder).network()
    assert weights_sha256(snapshot(network)) == run.metrics["weights_sha256"]
    assert len((run.folder / "history.csv").read_text().splitlines()) == 1 + len(run.history)


def test_ctrl_c_while_testing_says_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupts(RunFolder, "write_probabilities", 1, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=r"the best model so far is saved in .*run"):
        train(small(epochs=1), digits(300), out=tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").network()


def test_what_was_made_for_a_run_that_kept_nothing_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(small(), str(tmp_path / "absent.npz"), out=tmp_path / "deep" / "er" / "run")
    assert list(tmp_path.iterdir()) == []


def test_dropout_is_drawn_anew_in_each_step_and_again_the_same(tmp_path: Path) -> None:
    class Seeds(Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_step_end(self, state: TrainingState) -> None:
            self.seen.append(torch.initial_seed())

    watched = [Seeds(), Seeds()]
    for number, seeds in enumerate(watched):
        train(small(epochs=2), digits(300), out=tmp_path / str(number), callbacks=[seeds])
    assert len(set(watched[0].seen)) == len(watched[0].seen) == 2 * 8
    assert watched[0].seen == watched[1].seen


def test_same_seed_same_weights_with_two_threads(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    runs = [train(small(epochs=1), digits(300), out=tmp_path / name) for name in ("a", "b")]
    assert runs[0].metrics["weights_sha256"] == runs[1].metrics["weights_sha256"]
    torch.set_num_threads(1)
    assert runs[0].metrics["threads"] == 2


THREADS = {"precision": "float32", "curves": False, "tensorboard": {"enabled": False}}


def test_across_threads_a_steps_gradients_agree() -> None:
    network, images = (
        model.build(ARTICLE.model),
        torch.rand((32, 1, 28, 28), generator=torch.Generator().manual_seed(0)),
    )
    for layer in network:
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    gradients, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(images), torch.arange(32) % 10).backward()
            gradients.append([each.grad.clone() for each in network.parameters() if each.grad is not None])
    finally:
        torch.set_num_threads(before)
    assert len(gradients[0]) == 12
    for one, two in zip(*gradients, strict=True):
        assert float((one - two).abs().max()) <= 1e-5 * float(two.abs().max())


def test_across_threads_the_losses_agree(tmp_path: Path) -> None:
    """Sums of other parts round otherwise, in the last bits; Adam's first steps are as long for the least gradient.

    After 25 steps that is up to 0.43 % of a loss; so is what the last bits of the first weights change, threads alike.
    """
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(train(ARTICLE.change(epochs=1, **THREADS), digits(1000), out=tmp_path / str(threads), device="cpu"))
    torch.set_num_threads(1)
    one, two = (run.history[0] for run in runs)
    assert (one.loss, one.val_loss) == pytest.approx((two.loss, two.val_loss), rel=1e-2)


@pytest.mark.slow
def test_across_threads_a_whole_training_agrees(tmp_path: Path) -> None:
    """`instant` ends its learning rate at nothing, so its test accuracy is settled: six seeds, at most 0.0005 apart."""
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(train("instant", out=tmp_path / str(threads), device="cpu"))
    torch.set_num_threads(1)
    accuracies = [run.test.accuracy for run in runs if run.test]
    assert abs(accuracies[0] - accuracies[1]) < 0.002


def test_a_peak_is_the_process_own_and_not_that_of_whoever_started_it() -> None:
    told = "from numerals.runs.profiling import peak_mebibytes; print(peak_mebibytes())"
    large = f"import subprocess, sys; full = b'1' * 10**9; subprocess.run([sys.executable, '-c', {told!r}])"
    done = run_quietly([sys.executable, "-c", large])
    assert 5 < float(done.stdout) < 500, done.stderr


@pytest.mark.slow
def test_the_articles_training_takes_little_memory(tmp_path: Path) -> None:
    """610 to 720 MiB, one in five times 800, as memory lies by chance; never under 820 with validation by the thousand.

    A machine's first training holds 940, as Numba compiles in it.
    """
    peaks = []
    for name in "abc":
        options = ("--epochs", 1, "--device", "cpu", "--out", tmp_path / name, "--quiet", "--json")
        done = run_quietly((*NUMERALS, "train", *options))
        assert done.returncode == 0, done.stderr
        peaks.append(json.loads(done.stdout)["peak_mebibytes"])
    assert min(peaks) < 780 and max(peaks) < 953  # a gigabyte
