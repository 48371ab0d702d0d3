"""What someone who knows Keras tries first: train, load, history, summary, predict, evaluate, report, export."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numerals
from numerals.errors import DataError, NumeralsError, RecipeError, RunError
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.keras_peer import small
from tests.helpers.trainings import DATA, Recorder, interrupt

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> numerals.Run:
    """A training on arrays, in the run folder that it chose."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained = numerals.train(small(epochs=2), (DATA.train, DATA.test), device="cpu")
        assert trained.folder.parent == Path("runs")
        trained.folder = trained.folder.absolute()
    return trained


def test_the_history_is_the_one_of_keras(run: numerals.Run) -> None:
    assert list(run.history) == [*("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")]
    assert len(run.history["val_loss"]) == len(run.history.rows) == 2
    assert run.history["val_loss"] == [row.val_loss for row in run.history.rows]
    assert isinstance(run.history, dict), "pandas.DataFrame takes it"


def test_a_saved_run_is_the_run_that_train_returned(run: numerals.Run) -> None:
    loaded = numerals.load(run.folder)
    assert type(loaded) is type(run) and repr(loaded) == repr(run)
    assert (loaded.history, loaded.recipe, loaded.best_epoch) == (run.history, run.recipe, run.best_epoch)
    assert (loaded.test, loaded.metrics) == (run.test, run.metrics)
    images, labels = DATA.test
    assert np.array_equal(loaded.predict(images), run.predict(images))
    assert loaded.evaluate(images, labels) == run.test == run.evaluate(*numerals.prepare(images, labels))
    resumed = numerals.resume(run)
    assert (resumed.history, resumed.test) == (run.history, run.test)


def test_summary_prints_the_layers(run: numerals.Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "output", "parameters"] and lines[1].startswith("Conv ")
    assert lines[-1].startswith(f"{run.metrics['parameters']:,} parameters, ")


def test_a_run_shows_itself_in_a_line_and_in_notebooks(run: numerals.Run) -> None:
    assert f"Test Accuracy: {run.test.accuracy:.4f}" in repr(run) and str(run.folder) in repr(run)
    assert "\n" not in repr(run) and len(repr(run.test)) < 150
    page = run._repr_html_()
    assert f"{run.test.accuracy:.4f}" in page and "data:image/svg+xml;base64," in page


def test_report_and_export_know_the_arrays(run: numerals.Run) -> None:
    assert run.report() == run.folder / "report.html" and (run.folder / "report.html").is_file()
    path = run.export()
    assert len(numerals.Reader(path).recognise(DATA.test[0][:5])) == 5
    again = numerals.load(run.folder)
    for action in (again.report, again.export):
        with pytest.raises(RunError, match=r"data=\.\.\.\)$"):
            action()
    assert numerals.load(run.folder, (DATA.train, DATA.test)).report() == run.folder / "report.html"


def test_what_is_no_run_is_refused_in_a_line(tmp_path: Path, run: numerals.Run) -> None:
    for folder in (tmp_path, tmp_path / "absent", run.folder / "recipe.toml"):
        with pytest.raises(NumeralsError, match=r"^\S[^\n]*$"):
            numerals.load(folder)


def test_an_interrupted_run_has_no_test(tmp_path: Path) -> None:
    stopped = numerals.train(
        small(epochs=3), DATA, out=tmp_path / "run", device="cpu", callbacks=[Recorder(2, 1, interrupt)]
    )
    for each in (stopped, numerals.load(stopped.folder)):
        assert "interrupted" in repr(each) and "interrupted" in each._repr_html_()
        with pytest.raises(RunError, match="interrupted before its test"):
            _ = each.test
    assert numerals.resume(stopped).test.count == 100


def test_recipe_keys_are_keywords(tmp_path: Path) -> None:
    run = numerals.train(
        small(), DATA, out=tmp_path / "run", device="cpu", epochs=1, batch_size=60, augment={"rotation": 15}
    )
    assert (run.recipe.epochs, run.recipe.batch_size, run.recipe.augment.rotation) == (1, 60, 15)
    assert run.recipe.augment.zoom == small().augment.zoom
    with pytest.raises(RecipeError, match="unknown key batchsize; did you mean batch_size"):
        numerals.train(small(), DATA, out=tmp_path / "other", batchsize=1)
    assert not (tmp_path / "other").exists()


def test_arrays_in_any_form_are_data(tmp_path: Path) -> None:
    images, labels = DATA.train
    forms: list[Any] = [(images, labels), numerals.prepare(images, labels), [images.tolist(), labels.tolist()]]
    hashes = set()
    for number, data in enumerate(forms):
        run = numerals.train(small(), data, out=tmp_path / str(number), device="cpu", epochs=1)
        hashes.add(run.metrics["weights_sha256"])
        assert run.metrics["data"]["train"] + run.metrics["data"]["test"] == len(images)
    assert len(hashes) == 1
    with pytest.raises(DataError, match="3 parts"):
        numerals.train(small(), (images, labels, 3), out=tmp_path / "wrong")


def in_a_terminal(code: str, folder: Path) -> str:
    """Run Python code whose stderr is a terminal, and return what it printed there."""
    main, other = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=other, stdout=other, cwd=folder)
    os.close(other)
    output = b"".join(_chunks(main))
    assert process.wait() == 0, output.decode()
    return output.decode()


def _chunks(descriptor: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(descriptor, 2**16):
            yield chunk
    except OSError:  # Linux's end of a terminal whose other side is closed
        return
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("progress", "shown"), [("None", True), ("True", True), ("False", False)])
def test_progress_is_shown_in_terminals(tmp_path: Path, small_npz: Path, progress: str, shown: bool) -> None:
    code = f"import numerals; numerals.train('instant', {str(small_npz)!r}, epochs=1, progress={progress})"
    output = in_a_terminal(code, tmp_path)
    assert ("epoch 1/1  loss" in output and "Saved in runs/instant-1" in output) is shown
    assert shown or output.strip() == ""


def test_progress_is_not_shown_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numerals.train(small(), DATA, out=tmp_path / "run", device="cpu", epochs=1)
    assert capsys.readouterr() == ("", "")
    numerals.train(small(), DATA, out=tmp_path / "other", device="cpu", epochs=1, progress=True)
    assert "epoch 1/1" in capsys.readouterr().err


def test_the_log_has_what_the_command_line_prints(
    tmp_path: Path, small_npz: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "numerals"):
        numerals.train("instant", small_npz, out=tmp_path / "run", epochs=1, progress=False)
    options = ("--recipe", "instant", "--data", small_npz, "--epochs", 1, "--out", tmp_path / "other")
    printed = run_quietly((*NUMERALS, "train", *options)).stderr.replace("other", "run")

    def comparable(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+\.\d+", "N", line).rstrip() for line in lines]

    assert comparable("\n".join(caplog.messages).splitlines()) == comparable(printed.splitlines())
    resumed = run_quietly((*NUMERALS, "train", "--resume", tmp_path / "run")).stderr
    assert resumed.count("Finished 1 epoch.") == 1
