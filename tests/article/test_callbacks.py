"""Early stopping and the plateau rule against Keras's own callbacks; TensorBoard's files, read by its own reader."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from numerals.article.callbacks import EarlyStopping, ReduceLROnPlateau
from numerals.article.recipe import EarlyStoppingSettings, PlateauSettings
from numerals.runs.train import FinishedRun, train
from tests.helpers.keras_peer import ARTICLE, KERAS_WARNS, digits, keras_callbacks, small

pytestmark = pytest.mark.filterwarnings(KERAS_WARNS)

near = st.builds(  # gains about as large as min_delta, a little more and a little less
    lambda steps, noise: 0.3 + steps * 1e-4 + noise,
    st.integers(-4, 4),
    st.sampled_from([0.0, 1e-6, -1e-6, 1e-8, -1e-8, 2e-9]),
)
losses = st.lists(
    st.one_of(
        near,
        near,
        st.floats(0, 3),
        st.sampled_from([float("inf"), float("nan"), 0.0, 1e-30, 1e30]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=250, deadline=None)
@given(
    losses=losses,
    rate=st.floats(1e-7, 1),
    stopping=st.builds(EarlyStoppingSettings, patience=st.integers(1, 6)),
    plateau=st.builds(
        PlateauSettings,
        patience=st.integers(1, 4),
        factor=st.sampled_from([0.1, 0.5, 0.3, 0.99]),
        minimum=st.sampled_from([1e-6, 0.0, 1e-3]),
        min_delta=st.sampled_from([1e-4, 0.0, 0.01]),
    ),
)
@example([0.3, 0.29995, 0.29995, 0.29991, 0.2], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)
@example([0.3, 0.3 - 1e-4, 0.3, 0.3, 0.3], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)
@example([float("nan"), 0.2, 0.1, 0.1], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)
@example([0.1, float("nan"), 0.05, 0.2, 0.2, 0.2], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)
@example([float("inf"), float("inf"), 0.3, 0.3], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)
@example([0.3] * 14, 2e-6, EarlyStoppingSettings(patience=6), ARTICLE.plateau)
@example([0.3, 0.3 - 1e-9, 0.3 - 2e-9, 0.3 - 3e-9], 1e-3, ARTICLE.early_stopping, ARTICLE.plateau)  # none in float32
def test_both_rules_decide_as_keras_does(
    losses: list[float], rate: float, stopping: EarlyStoppingSettings, plateau: PlateauSettings
) -> None:
    last, best, rates = keras_callbacks(losses, rate, stopping, plateau)
    stops, falls = EarlyStopping(stopping), ReduceLROnPlateau(plateau)
    ours, ended, kept = [], 0, 0
    for ended, loss in enumerate(losses, 1):
        if stops.update(ended, loss):
            kept = ended
        rate = falls.update(loss, rate)
        ours.append(np.float32(rate))
        if stops.stop:
            break
    assert (ended, stops.best_epoch, kept) == (last, best, best)
    assert ours == rates


def test_the_examples_of_the_article() -> None:
    """Three epochs without gain end it, two lower the rate; no Keras needed to see it."""
    stops, falls = EarlyStopping(ARTICLE.early_stopping), ReduceLROnPlateau(ARTICLE.plateau)
    rate, rates = 1e-3, []
    for epoch, loss in enumerate([0.5, 0.4, 0.41, 0.42, 0.43], 1):
        stops.update(epoch, loss)
        rate = falls.update(loss, rate)
        rates.append(rate)
        assert stops.stop is (epoch == 5)
    assert stops.best_epoch == 2
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4])


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)  # importing it fails
        recipe = small(epochs=3, tensorboard={"enabled": True})
        return train(recipe, digits(300), out=tmp_path_factory.mktemp("board") / "run", device="cpu")


def test_tensorboards_reader_finds_each_figure_once(board: FinishedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = {
        "train": {"loss": "loss", "accuracy": "accuracy", "learning_rate": "learning_rate"},
        "validation": {"loss": "val_loss", "accuracy": "val_accuracy"},
    }
    for part, tags in wanted.items():
        events = EventAccumulator(str(board.folder / "tensorboard" / part), {"scalars": 0})
        events.Reload()
        assert set(events.Tags()["scalars"]) == set(tags)
        for tag, name in tags.items():
            read = [(event.step, event.value) for event in events.Scalars(tag)]
            assert [step for step, _ in read] == [1, 2, 3]
            assert [value for _, value in read] == [np.float32(getattr(row, name)) for row in board.history]


def test_tensorboards_reader_finds_digits_and_histograms(board: FinishedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(board.folder / "tensorboard" / "train"), {"images": 0, "histograms": 0})
    events.Reload()
    (tag,) = events.Tags()["images"]
    (picture,) = events.Images(tag)
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)).convert("L"))
    assert pixels.shape == (4 * 28, 8 * 28)  # a batch of 32
    inked = pixels.reshape(4, 28, 8, 28).max(axis=(1, 3))
    assert (inked > 100).all(), "a digit in each place"
    names = events.Tags()["histograms"]
    assert len(names) == 12 and all(name.startswith("weights/") for name in names)
    for name in names:
        assert [event.step for event in events.Histograms(name)] == [1, 2, 3]
        assert all(event.histogram_value.num > 0 for event in events.Histograms(name))


def test_tensorboards_reader_finds_the_confusion_matrix_and_the_mistakes(board: FinishedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(board.folder / "tensorboard" / "test"), {"images": 0, "tensors": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"confusion matrix", "mistakes"}
    (picture,) = events.Images("mistakes")
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)).convert("L"))
    assert board.test and board.test.errors
    rows = -(-min(board.test.errors, 128) // 16)
    assert pixels.shape == (rows * 30 - 2, 16 * 30 - 2)
    inked = np.pad(pixels, ((0, 2), (0, 2))).reshape(rows, 30, 16, 30).max(axis=(1, 3)) > 100
    assert inked.sum() == min(board.test.errors, 128), "a digit for each mistake"
    (text,) = events.Tensors("mistakes, row by row/text_summary")
    assert text.tensor_proto.string_val[0].decode().count(" as ") == min(board.test.errors, 128)


def test_tensorflow_is_not_needed(board: FinishedRun) -> None:
    assert sys.modules.get("tensorflow") is None
    assert (board.folder / "tensorboard").is_dir()


def test_no_tensorboard_where_the_recipe_has_none(tmp_path: Path) -> None:
    run = train(small(epochs=1), digits(100), out=tmp_path / "run", device="cpu")
    assert not (run.folder / "tensorboard").exists()
