"""The HTML report of a run and the comparison of several: contents, errors, and how they look in a browser."""

import html
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
import torch
from playwright.sync_api import Page, Request

from numerals.article.metrics import compute_metrics
from numerals.article.recipe import Recipe
from numerals.errors import InputError, NumeralsError, RunError
from numerals.report import prose
from numerals.report.build import report
from numerals.report.significance import compare
from numerals.runs.load import SavedRun, load_run
from numerals.runs.train import train
from tests.conftest import make_huge
from tests.helpers.browser import accessibility_violations, chromium
from tests.helpers.commands import assert_one_line, call

TINY = Recipe.load("article").change(
    epochs=3,
    model={"convolutions": (4, 4), "dense": 8},
    curves=False,
    tensorboard={"enabled": False},
    early_stopping={"patience": 1},
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that share a busy machine wait for each other at every layer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runs(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small runs with different seeds and learning rates."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, rate in (("first", 0, 0.001), ("second", 1, 0.01)):
        train(
            TINY.change(optimizer={"learning_rate": rate}), str(small_npz), out=folder / name, seed=seed, device="cpu"
        )
    return folder / "first", folder / "second"


@pytest.fixture
def copied(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def test_a_report_is_self_contained_and_shows_every_mistake(copied: Path) -> None:
    page = report([copied]).read_text()
    test = json.loads((copied / "metrics.json").read_text())["test"]
    assert (copied / "report.html").stat().st_size < 5e6
    assert page.count("data-index=") == test["errors"] > 20
    assert f'<data id="accuracy" value="{test["accuracy"]}">' in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page), "no external files"
    assert not re.findall(r"<img(?![^>]*\balt=)", page), "every image has an alternative text"
    assert "Disputed labels" not in page and "--robustness" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for word in ("rotated", "4 filters", "225,418"):
        assert (word in page) is (word != "225,418")


def test_robustness_is_shown_when_it_is_saved(copied: Path) -> None:
    page = report([copied], measure_robustness=True).read_text()
    saved = json.loads((copied / "robustness.json").read_text())
    for corruption in saved["corruptions"]:
        assert f"Accuracy under {corruption['name']}: {saved['clean']:.3f} on clean digits" in page
    assert page.count("in training up to 10") == 3, "rotation, scale and shift are similar to the augmentation"


def test_run_names_are_escaped(copied: Path) -> None:
    unusual = copied.rename(copied.with_name('<b>&"$x$'))
    page = report([unusual]).read_text()
    assert '<b>&"$' not in page and "What &lt;b&gt;&amp;&#34;$x$ learned" in page
    comparison = report([unusual, Path(shutil.copytree(unusual, unusual.with_name("<i>other")))]).read_text()
    assert "<i>other" not in comparison and "&lt;i&gt;other" in comparison


def test_the_metrics_of_an_older_run_are_completed_without_writing(copied: Path) -> None:
    (copied / "SHA256SUMS").unlink()
    complete = json.loads((copied / "metrics.json").read_text())
    older = complete | {"test": {key: complete["test"][key] for key in ("count", "errors", "accuracy", "loss")}}
    (copied / "metrics.json").write_text(json.dumps(older))
    assert load_run(copied).metrics == complete
    report([copied])
    assert json.loads((copied / "metrics.json").read_text()) == older


@pytest.mark.parametrize(
    "file", ["recipe.toml", "model.safetensors", "history.csv", "metrics.json", "test_probabilities.npz"]
)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "noise"])
def test_a_missing_or_damaged_file_is_reported_in_one_line(
    file: str, damage: str, copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = copied / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        half = content[: len(content) // 2 - 3]
        path.write_bytes({"cut": half, "empty": b"", "noise": np.random.default_rng(0).bytes(500)}[damage])
    if (file, damage) == ("recipe.toml", "empty"):
        path.write_text("epochs = 'many'")  # an empty recipe is the article's
    code, stdout, stderr = call(capfd, "report", copied)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, file)
    assert not (copied / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "old", "new"), [("history.csv", "0.", "1."), ("metrics.json", '"seed": 0', '"seed": 7')]
)
def test_a_changed_file_is_refused(file: str, old: str, new: str, copied: Path) -> None:
    path = copied / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match=rf"{file}: damaged, its SHA-256 is \w{{12}}..., not \w{{12}}..."):
        report([copied])


def test_invalid_arguments_and_inconsistent_files_are_refused(copied: Path, small_npz: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="given twice"):
        report([copied, copied])
    with pytest.raises(InputError, match=r"must end in \.html"):
        report([copied], tmp_path / "page.pdf")
    (copied / "SHA256SUMS").unlink()  # else the hash is checked first
    metrics = json.loads((copied / "metrics.json").read_text())
    changed = {
        "epochs": metrics | {"best_epoch": 9},
        "other digits": metrics | {"data": metrics["data"] | {"sha256": "0" * 64}},
        "other weights": metrics | {"weights_sha256": "0" * 64},
        "stages is missing": {key: value for key, value in metrics.items() if key != "stages"},
        "another number": metrics | {"test": metrics["test"] | {"errors": 1}},
    }
    for reason, content in changed.items():
        (copied / "metrics.json").write_text(json.dumps(content))
        with pytest.raises(NumeralsError, match=reason) as caught:
            report([copied])
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_probabilities_of_another_type_are_refused_in_a_line(copied: Path) -> None:
    (copied / "SHA256SUMS").unlink()
    path = copied / "test_probabilities.npz"
    with np.load(path) as saved:
        probabilities, labels = saved["probabilities"], saved["labels"]
    for changed in (
        {"probabilities": probabilities.astype(str)},
        {"probabilities": probabilities.astype(complex)},
        {"labels": labels.astype(float)},
        {"labels": labels + 100},
        {"labels": labels.astype("M8[s]")},
    ):
        np.savez(path, **{"probabilities": probabilities, "labels": labels} | changed)
        with pytest.raises(RunError, match=r"test_probabilities\.npz: cut off or damaged") as refused:
            report([copied])
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        make_huge,
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("[]"),
    ],
)
def test_what_is_no_saved_robustness_is_refused_in_a_line(copied: Path, make: Callable[[Path], None]) -> None:
    make(copied / "robustness.json")
    with pytest.raises(RunError, match=r"robustness\.json: cut or damaged") as refused:
        report([copied])
    assert "\n" not in str(refused.value)


def test_a_comparison_of_two_runs(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(load_run, runs)
    (difference,) = compare([first, second])
    labels = first.dataset.test[1]
    wrong = [set(np.flatnonzero(run.probabilities.argmax(1) != labels).tolist()) for run in (first, second)]
    assert set(difference.only_first.tolist()) == wrong[0] - wrong[1]
    assert set(difference.only_other.tolist()) == wrong[1] - wrong[0] and difference.both == len(wrong[0] & wrong[1])
    page = report(runs, tmp_path / "new" / "page.html").read_text()
    assert "optimizer.learning_rate" in page and "augment.rotation" not in page
    assert page.count("data-index=") == len(wrong[0] ^ wrong[1])
    assert html.escape(prose.difference_in_words(first.name, second.name, difference)) in page
    assert f'value="{difference.p_value}"' in page


def test_only_a_significant_difference_is_called_better(runs: tuple[Path, Path]) -> None:
    first = load_run(runs[0])
    labels = first.dataset.test[1]

    def with_mistakes(indices: range) -> SavedRun:
        probabilities = np.eye(10, dtype=np.float32)[labels]
        probabilities[list(indices)] = np.roll(probabilities[list(indices)], 1, axis=1)
        metrics = first.metrics | {"test": compute_metrics(probabilities, labels).to_dict()}
        return replace(first, folder=Path(f"run-{len(indices)}"), metrics=metrics, probabilities=probabilities)

    few, some, many = with_mistakes(range(3)), with_mistakes(range(3, 7)), with_mistakes(range(40))
    noise, gain = compare([few, some, many])
    assert noise.is_noise and "within noise" in prose.difference_in_words(few.name, some.name, noise)
    assert not gain.is_noise
    assert "run-3 is better on these digits" in prose.difference_in_words(few.name, many.name, gain)
    (same,) = compare([few, few])
    assert prose.difference_in_words("a", "b", same) == "Both runs get the same 3 digits wrong: there is no difference."


def test_a_recipe_in_words() -> None:
    article = Recipe.load("article")
    text = " ".join(prose.recipe_in_words(article, 48_000, 12_000, 225_418))
    for word in (
        "48,000",
        "12,000",
        "10°",
        "32 and 64 filters",
        "3×3",
        "128 units",
        "20\N{NO-BREAK SPACE}%",
        "225,418",
        "0.001",
        "at most 10 epochs",
        "after each of them max pooling keeps the largest of 2×2 neighbours",
        "dropout silences 20",
    ):
        assert word in text
    mirrored = article.change(augment={"flip_horizontal": True, "flip_vertical": True}).augment
    assert "its height, mirrored left to right half of the time and mirrored top to bottom half of the time" in (
        prose.augmentation_in_words(mirrored)
    )
    instant = " ".join(prose.recipe_in_words(Recipe.load("instant"), 41_160, 1_200, 1))
    for word in ("no augmentation", "one epoch", "rose to 0.02", "smoothed by 5\N{NO-BREAK SPACE}%"):
        assert word in instant
    best = " ".join(prose.recipe_in_words(Recipe.load("best"), 58_800, 1_200, 94_458))
    assert "24, 48, 48 and 64 filters of 5×5 and 3×3 pixels" in best
    assert "after convolutions 1 and 3 max pooling keeps the largest of 2×2 neighbours" in best
    assert prose.recipe_differences([article, article.change(epochs=3, augment={"zoom": 0.2})]) == [
        ("epochs", [10, 3]),
        ("augment.zoom", [0.1, 0.2]),
    ]


# In a browser


def open_page(page: Page, path: Path) -> list[str]:
    """Open the file and return a list that collects console messages, errors and requests for other files."""
    messages: list[str] = []

    def on_request(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            messages.append(request.url)

    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", on_request)
    page.goto(path.as_uri())
    return messages


@pytest.mark.slow
def test_the_report_in_a_browser(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate((first, second)):
        train("instant", out=folder, seed=seed, device="cpu")
    one, both = report([first], measure_robustness=True), report([first, second])
    test = json.loads((first / "metrics.json").read_text())["test"]
    with chromium() as browser:
        for scheme in ("light", "dark"):
            for path in (one, both):
                for width in (390, 1280):
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                    assert open_page(page, path) == []
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, "no horizontal scrolling"
                    if width == 1280:
                        assert accessibility_violations(page) == []
                    page.close()
        page = browser.new_page()
        open_page(page, one)
        _assert_shows_metrics(page, test)
        _assert_sorts_and_filters(page, load_run(first))


@pytest.mark.slow
def test_the_report_in_print(copied: Path) -> None:
    path = report([copied])
    with chromium() as browser:
        page = browser.new_page(color_scheme="dark")
        open_page(page, path)
        printed = pypdfium2.PdfDocument(page.pdf(format="A4"))
        mistakes = page.locator("#all-mistakes li").count()
    assert 5 < len(printed) < 12 + mistakes / 32
    sizes: set[tuple[int, int]] = set()
    for sheet in printed:
        pixels = sheet.render(scale=1).to_numpy()[..., :3]
        margins = np.concatenate([pixels[:, :30], pixels[:, -30:]], axis=1)
        assert margins.min() == 255, "white margins"
        for each in sheet.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
            left, bottom, right, top = each.get_bounds()
            sizes.add((round(right - left), round(top - bottom)))
    assert all(abs(width - height) <= 1 for width, height in sizes if height > 30 and width < 60), "digits are square"


def _assert_shows_metrics(page: Page, test: dict[str, object]) -> None:
    """Check that the numbers on the page are those of metrics.json."""
    displayed = {
        key: page.locator(f"#{key}").get_attribute("value") for key in ("accuracy", "errors", "loss", "calibration")
    }
    assert displayed == {
        "accuracy": str(test["accuracy"]),
        "errors": str(test["errors"]),
        "loss": str(test["loss"]),
        "calibration": str(test["calibration_error"]),
    }
    assert page.locator("#accuracy").inner_text() == f"{100 * float(str(test['accuracy'])):.2f}\N{NO-BREAK SPACE}%"
    rows = page.eval_on_selector_all(
        "#confusion tbody tr", "rows => rows.map(r => [...r.cells].slice(1).map(c => +c.textContent))"
    )
    assert rows == test["confusion"]
    classes = page.eval_on_selector_all("#classes data", "cells => cells.map(cell => +cell.value)")
    assert isinstance(test["classes"], list)
    assert classes == [each[name] for each in test["classes"] for name in ("precision", "recall", "f1")]
    undisputed = test["undisputed"]
    assert isinstance(undisputed, dict)
    assert page.locator("#undisputed").get_attribute("value") == str(undisputed["accuracy"])


def _assert_sorts_and_filters(page: Page, run: SavedRun) -> None:
    """Check the gallery of mistakes against the probabilities, for each order and filter."""
    labels, confidence = run.dataset.test[1], run.probabilities.max(axis=1)

    def indices() -> list[int]:
        cards = page.locator("#all-mistakes li:visible")
        return [int(index) for index in cards.evaluate_all("cards => cards.map(card => card.dataset.index)")]

    assert set(indices()) == set(run.mistakes.tolist())
    assert [confidence[index] for index in indices()] == sorted(confidence[run.mistakes], reverse=True)
    page.select_option("#order", "index")
    assert indices() == sorted(run.mistakes.tolist())
    page.select_option("#order", "least-confident")
    assert [confidence[index] for index in indices()] == sorted(confidence[run.mistakes])
    label, prediction = (int(each[run.mistakes[0]]) for each in (labels, run.predictions))
    page.select_option("#label", str(label))
    assert set(indices()) == {index for index in run.mistakes if labels[index] == label}
    assert len(indices()) < len(run.mistakes)
    page.select_option("#prediction", str(prediction))
    remaining = {i for i in run.mistakes if (labels[i], run.predictions[i]) == (label, prediction)}
    assert set(indices()) == remaining
    assert page.locator("#visible-count").inner_text() == f"{len(remaining)} of {len(run.mistakes)} mistakes"
