"""One run, or several, as a page: what is on it, what is refused, and how it stands in a real browser."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
import torch
from playwright.sync_api import Page

from numerals.article.metrics import compute_metrics
from numerals.article.recipe import Recipe
from numerals.errors import InputError, NumeralsError, RunError
from numerals.report import prose
from numerals.report.build import report
from numerals.report.significance import compare, verdict
from numerals.runs.load import KeptRun, read_run
from numerals.runs.train import train
from tests.helpers.browser import chromium, complaints
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
    """Two that share a busy machine wait for each other at every layer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runs(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small runs, of another seed and another learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, rate in (("first", 0, 0.001), ("second", 1, 0.01)):
        train(
            TINY.change(optimizer={"learning_rate": rate}), str(small_npz), out=folder / name, seed=seed, device="cpu"
        )
    return folder / "first", folder / "second"


@pytest.fixture
def copied(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def test_a_report_needs_nothing_else_and_shows_every_mistake(copied: Path) -> None:
    page = report([copied]).read_text()
    test = json.loads((copied / "metrics.json").read_text())["test"]
    assert (copied / "report.html").stat().st_size < 5e6
    assert page.count("data-place=") == test["errors"] > 20
    assert f'<data id="accuracy" value="{test["accuracy"]}">' in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page), "all of it is inside"
    assert not re.findall(r"<img(?![^>]*\balt=)", page), "every picture has words"
    assert "Disputed labels" not in page and "--robustness" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for word in ("rotated", "4 filters", "225,418"):
        assert (word in page) is (word != "225,418")


def test_robustness_is_shown_once_it_is_kept(copied: Path) -> None:
    page = report([copied], robustness=True).read_text()
    kept = json.loads((copied / "robustness.json").read_text())
    for each in kept["corruptions"]:
        assert f"Accuracy under {each['name']}: {kept['clean']:.3f} untouched" in page
    assert page.count("in training up to 10") == 3, "rotation, scale and shift are augmented alike"


def test_names_are_no_markup(copied: Path) -> None:
    odd = copied.rename(copied.with_name('<b>&"$x$'))
    page = report([odd]).read_text()
    assert '<b>&"$' not in page and "What &lt;b&gt;&amp;&#34;$x$ learned" in page
    side_by_side = report([odd, Path(shutil.copytree(odd, odd.with_name("<i>other")))]).read_text()
    assert "<i>other" not in side_by_side and "&lt;i&gt;other" in side_by_side


def test_an_older_runs_metrics_are_completed(copied: Path) -> None:
    (copied / "SHA256SUMS").unlink()
    whole = json.loads((copied / "metrics.json").read_text())
    older = whole | {"test": {key: whole["test"][key] for key in ("count", "errors", "accuracy", "loss")}}
    (copied / "metrics.json").write_text(json.dumps(older))
    report([copied])
    assert json.loads((copied / "metrics.json").read_text()) == whole


@pytest.mark.parametrize(
    "file", ["recipe.toml", "model.safetensors", "history.csv", "metrics.json", "test_probabilities.npz"]
)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "noise"])
def test_a_missing_or_cut_file_is_one_line(
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
    ("file", "was", "now"), [("history.csv", "0.", "1."), ("metrics.json", '"seed": 0', '"seed": 7')]
)
def test_a_figure_that_is_not_the_trainings_is_not_shown(file: str, was: str, now: str, copied: Path) -> None:
    path = copied / file
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, now, 1))
    with pytest.raises(RunError, match=rf"{file}: damaged, its SHA-256 is \w{{12}}..., not \w{{12}}..."):
        report([copied])


def test_what_does_not_fit_together_is_refused(copied: Path, small_npz: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="named twice"):
        report([copied, copied])
    with pytest.raises(InputError, match="ends in"):
        report([copied], tmp_path / "page.pdf")
    (copied / "SHA256SUMS").unlink()  # as of a run from elsewhere
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


def test_two_runs_side_by_side(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(read_run, runs)
    (difference,) = compare([first, second])
    labels = first.dataset.test[1]
    wrong = [set(np.flatnonzero(run.probabilities.argmax(1) != labels).tolist()) for run in (first, second)]
    assert set(difference.only_first.tolist()) == wrong[0] - wrong[1]
    assert set(difference.only_other.tolist()) == wrong[1] - wrong[0] and difference.both == len(wrong[0] & wrong[1])
    page = report(runs, tmp_path / "new" / "page.html").read_text()
    assert "optimizer.learning_rate" in page and "augment.rotation" not in page
    assert page.count("data-place=") == len(wrong[0] ^ wrong[1])
    assert ("noise" in verdict(first, second, difference)) and f'value="{difference.p}"' in page


def test_noise_is_called_noise_and_a_gain_a_gain(runs: tuple[Path, Path]) -> None:
    first = read_run(runs[0])
    labels = first.dataset.test[1]

    def with_mistakes(places: range) -> KeptRun:
        shares = np.eye(10, dtype=np.float32)[labels]
        shares[list(places)] = np.roll(shares[list(places)], 1, axis=1)
        metrics = first.metrics | {"test": compute_metrics(shares, labels).to_dict()}
        return replace(first, folder=Path(f"run-{len(places)}"), metrics=metrics, probabilities=shares)

    few, some, many = with_mistakes(range(3)), with_mistakes(range(3, 7)), with_mistakes(range(40))
    noise, gain = compare([few, some, many])
    assert noise.is_noise and "That is noise" in verdict(few, some, noise)
    assert not gain.is_noise and "run-3 is better on these digits" in verdict(few, many, gain)
    assert "there is no difference" in verdict(few, few, compare([few, few])[0])


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
        "10 epochs",
    ):
        assert word in text
    instant = " ".join(prose.recipe_in_words(Recipe.load("instant"), 41_160, 1_200, 1))
    for word in ("no augmentation", "one epoch", "rose to 0.02", "smoothed by 5\N{NO-BREAK SPACE}%"):
        assert word in instant
    best = " ".join(prose.recipe_in_words(Recipe.load("best"), 58_800, 1_200, 94_458))
    assert "24, 48, 48 and 64 filters, 5×5 and 3×3 pixels" in best
    assert "after number 1 and 3 the strongest of 2×2" in best
    assert prose.differences([article, article.change(epochs=3, augment={"zoom": 0.2})]) == [
        ("epochs", [10, 3]),
        ("augment.zoom", [0.1, 0.2]),
    ]


# In a browser


def opened(page: Page, path: Path) -> list[str]:
    """Open the file; what is said on the console, or fetched from anywhere, is collected."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(path.as_uri())
    return said


@pytest.mark.slow
def test_the_report_in_a_browser(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate((first, second)):
        train("instant", out=folder, seed=seed, device="cpu")
    one, both = report([first], robustness=True), report([first, second])
    test = json.loads((first / "metrics.json").read_text())["test"]
    with chromium() as browser:
        for scheme in ("light", "dark"):
            for path in (one, both):
                for width in (390, 1280):
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                    assert opened(page, path) == []
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
                    if width == 1280:
                        assert complaints(page) == []
                    page.close()
        page = browser.new_page()
        opened(page, one)
        _reads_back(page, test)
        _sorts_and_filters(page, read_run(first))


@pytest.mark.slow
def test_the_report_on_paper(copied: Path) -> None:
    path = report([copied])
    with chromium() as browser:
        page = browser.new_page(color_scheme="dark")
        opened(page, path)
        printed = pypdfium2.PdfDocument(page.pdf(format="A4"))
        shown = page.locator("#all-mistakes li").count()
    assert 5 < len(printed) < 12 + shown / 32
    sizes: set[tuple[int, int]] = set()
    for sheet in printed:
        pixels = sheet.render(scale=1).to_numpy()[..., :3]
        margins = np.concatenate([pixels[:, :30], pixels[:, -30:]], axis=1)
        assert margins.min() == 255, "white, and nothing runs over its edge"
        for each in sheet.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
            left, bottom, right, top = each.get_bounds()
            sizes.add((round(right - left), round(top - bottom)))
    assert all(abs(width - height) <= 1 for width, height in sizes if height > 30 and width < 60), (
        "no digit is squeezed"
    )


def _reads_back(page: Page, test: dict[str, object]) -> None:
    """The numbers on the page are those of metrics.json."""
    shown = {
        key: page.locator(f"#{key}").get_attribute("value") for key in ("accuracy", "errors", "loss", "calibration")
    }
    assert shown == {
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
    classes = page.eval_on_selector_all("#classes data", "all => all.map(each => +each.value)")
    assert isinstance(test["classes"], list)
    assert classes == [each[name] for each in test["classes"] for name in ("precision", "recall", "f1")]
    undisputed = test["undisputed"]
    assert isinstance(undisputed, dict)
    assert page.locator("#undisputed").get_attribute("value") == str(undisputed["accuracy"])


def _sorts_and_filters(page: Page, run: KeptRun) -> None:
    """What the gallery shows is what the probabilities say."""
    labels, sure = run.dataset.test[1], run.probabilities.max(axis=1)

    def places() -> list[int]:
        cards = page.locator("#all-mistakes li:visible")
        return [int(place) for place in cards.evaluate_all("all => all.map(each => each.dataset.place)")]

    assert set(places()) == set(run.mistakes.tolist())
    assert [sure[at] for at in places()] == sorted(sure[run.mistakes], reverse=True)
    page.select_option("#order", "place")
    assert places() == sorted(run.mistakes.tolist())
    page.select_option("#order", "doubtful")
    assert [sure[at] for at in places()] == sorted(sure[run.mistakes])
    truth, answer = (int(each[run.mistakes[0]]) for each in (labels, run.answers))
    page.select_option("#truth", str(truth))
    assert set(places()) == {at for at in run.mistakes if labels[at] == truth} and len(places()) < len(run.mistakes)
    page.select_option("#answer", str(answer))
    left = {at for at in run.mistakes if (labels[at], run.answers[at]) == (truth, answer)}
    assert set(places()) == left
    assert page.locator("#shown").inner_text() == f"{len(left)} of {len(run.mistakes)} shown"
