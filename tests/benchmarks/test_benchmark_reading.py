"""The reading benchmark: its labels, its counts, the pictures that it makes, and one small run of it, ours alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import engines, pictures, speed
from benchmarks.labelled import LABELS, Labelled, read_labels, write_labels
from benchmarks.machine import ROOT
from benchmarks.peers import process
from benchmarks.reading_table import table
from benchmarks.score import digits_in, edit_distance, score
from numerals.article.data import load_mnist
from numerals.errors import DataError, FailureError
from numerals.handwriting.glyphs import Glyphs
from tests.conftest import run_quietly

NUMBER = st.text("0123456789", max_size=7)


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    return pictures.unseen_glyphs()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    return tmp_path


def labels(folder: Path, text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    (folder / LABELS).write_bytes(text.encode())
    return [(each.path.name, each.kind, each.rows) for each in read_labels(folder)]


def test_labels_with_and_without_header(folder: Path) -> None:
    wanted = [("a.png", "", ("0571",)), ("b.png", "", ("12", "345"))]
    assert labels(folder, "a.png\t0571\nb.png\t12/345\n") == wanted
    assert labels(folder, "a.png\t0571\tblue ink\n\nb.png\t12/345") == wanted
    assert labels(folder, "file\tdigits\r\na.png\t0571\r\nb.png\t12/345\r\n") == wanted
    assert labels(folder, "\ufefffile\tnote\tdigits\na.png\t\t0571\nb.png\tx\t12/345\n") == wanted


def test_labels_by_kind(folder: Path) -> None:
    (folder / LABELS).write_text(
        "file\tkind\tdigits\tnote\na.png\tline\t1\t-\nb.png\tgrid\t2/3\t-\nc.png\tline\t4\t-\n"
    )
    assert [each.kind for each in read_labels(folder)] == ["line", "grid", "line"]
    assert [each.digits for each in read_labels(folder, ["grid"])] == ["23"]
    with pytest.raises(DataError, match="no picture of kind single"):
        read_labels(folder, ["single"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no picture;"),
        ("file\tdigits\n", "no picture;"),
        ("file\ttext\na.png\t1\n", "no column `digits`"),
        ("a.png\n", "line 1: too few columns"),
        ("file\tkind\tdigits\na.png\tline\n", "line 2: too few columns"),
        ("a.png\t1\n\nb.png\tabc\n", "line 3: 'abc' are no digits"),
        ("a.png\t\n", "line 1: '' are no digits"),
        ("a.png\t12//3\n", "are no digits"),
        ("a.png\t١٢\n", "are no digits"),
        ("z.png\t1\n", "line 1: no picture 'z.png'"),
        ("\t1\n", "line 1: no picture ''"),
    ],
)
def test_a_label_that_is_none_is_refused_in_one_line(folder: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why) as refused:
        labels(folder, text)
    assert "\n" not in str(refused.value)


def test_labels_that_cannot_be_read_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.tsv: cannot be read"):
        read_labels(folder)
    (folder / LABELS).write_bytes(b"a.png\t1\t\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_labels(folder)


def test_labels_come_back_as_they_were_written(folder: Path) -> None:
    written = [Labelled(folder / "a.png", ("05", "7"), "pages"), Labelled(folder / "b.png", ("1",), "pages")]
    write_labels(folder, written)
    assert read_labels(folder) == written


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("", "123", 3), ("0571", "0571", 0), ("0571", "571", 1), ("12", "21", 2), ("1234", "92345", 2)],
)
def test_edit_distance_by_hand(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance == edit_distance(other, one)


@given(NUMBER, NUMBER)
def test_edit_distance_is_the_shortest_way(one: str, other: str) -> None:
    """Against the definition, spelt out: drop one's first, drop the other's, or go on from both."""

    def shortest(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return shortest(a[1:], b[1:])
        return 1 + min(shortest(a[1:], b), shortest(a, b[1:]), shortest(a[1:], b[1:]))

    assert edit_distance(one, other) == shortest(one, other)


def test_score_by_hand() -> None:
    """Three pictures: right but for marks and breaks, a 1 too many, nothing read: 1 exact, 5 errors of 11 digits."""
    counted = score([("0571", "05.\n71-"), ("339", "3391"), ("2468", "")])
    assert (counted.pictures, counted.exact, counted.digits, counted.errors) == (3, 1, 11, 5)
    assert counted.error_rate == 5 / 11
    assert digits_in("1٢²3") == "13"


def test_a_seed_makes_the_same_pictures(glyphs: Glyphs, tmp_path: Path) -> None:
    def content(name: str, seed: int) -> list[bytes]:
        rows = pictures.make(tmp_path / name / "rows", pictures.made_row, glyphs, 3, ".png", seed)
        pages = pictures.make(tmp_path / name / "pages", pictures.made_page, glyphs, 1, ".jpg", seed)
        return [path.read_bytes() for made in (rows, pages) for path in sorted(made.iterdir())]

    first = content("first", 0)
    assert len(first) == 6
    assert content("again", 0) == first
    assert not set(content("other", 1)) & set(first)


def test_what_is_made_can_be_read_as_a_folder(glyphs: Glyphs, tmp_path: Path) -> None:
    pages = read_labels(pictures.make(tmp_path / "pages", pictures.made_page, glyphs, 2, ".jpg"))
    assert [3 <= len(page.rows) <= 6 for page in pages] == [True, True]
    photograph = pictures.make(tmp_path / "photograph", pictures.made_photograph, glyphs, 1, ".jpg")
    with Image.open(read_labels(photograph)[0].path) as image:
        assert (image.size, image.mode) == ((3024, 4032), "RGB")


def test_only_test_digits_are_written_with(glyphs: Glyphs) -> None:
    _, (_, test_labels) = load_mnist()
    assert np.array_equal(glyphs.labels, test_labels[:: pictures.EVERY])


def test_a_picture_that_an_engine_cannot_read_is_no_end() -> None:
    def read(path: str) -> str:
        if path == "bad":
            raise ValueError("no picture")
        return "12"

    assert process._reading(read, "bad")["error"] == "ValueError: no picture"
    assert process._reading(read, "good") | {"ms": 0} == {"text": "12", "ms": 0, "error": None}


def test_size_and_memory_are_of_this_order() -> None:
    assert 1 < process.installed("numpy", "numpy") < process.installed("numerals", "numerals") < 2000
    assert 10 < process.own_peak() < 20_000


def test_an_engine_that_fails_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('first\\nlibGL is missing')")
    monkeypatch.setitem(engines.ENGINES, "rapidocr", engines.Engine(command, sys.executable, "install it"))
    with pytest.raises(FailureError, match=r"^rapidocr does not run: libGL is missing; install it$"):
        engines.ask("rapidocr", [])


def test_ways_take_turns_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def way(name: str, seconds: list[float]) -> float:
        order.append(name)
        return seconds.pop(0)

    slow, quick = [9.0, 3.0, 1.0, 2.0], [9.0, 0.5, 0.5, 0.1]
    medians = speed._in_turns({"slow": lambda: way("slow", slow), "quick": lambda: way("quick", quick)}, 3)
    assert medians == {"slow": 2.0, "quick": 0.5}
    assert order == ["slow", "quick"] * 4


def small_run(tmp_path: Path, *options: object, **env: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-m", "benchmarks.read", "--record", tmp_path / "record.jsonl", *options)
    return run_quietly(command, cwd=ROOT, **env)


def test_a_small_run_end_to_end(tmp_path: Path) -> None:
    made, ours = tmp_path / "made", ("--engines", "numerals", "--pages", 0, "--no-speed")
    done = small_run(tmp_path, *ours, "--rows", 3, "--keep", made)
    assert done.returncode == 0, done.stderr
    first = record(tmp_path)
    assert [(line["set"], line["engine"], line["pictures"]) for line in first] == [("rows", "numerals", 3)]
    assert first[0]["errors"] < 0.5 * first[0]["digits"]
    assert first[0]["median_ms"] > 0
    assert {"date", "source", "machine", "versions", "peak_mebibytes"} <= set(first[0])
    assert done.stdout.strip() == table(first).strip()
    again = small_run(tmp_path, *ours, "--rows", 0, "--folder", made / "rows", "--kind", "rows")
    assert again.returncode == 0, again.stderr
    second = record(tmp_path)[-1]
    assert second["set"] == "rows (rows)"
    assert [second[name] for name in ("exact", "errors")] == [first[0][name] for name in ("exact", "errors")]


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


def test_an_engine_that_is_missing_is_left_out(tmp_path: Path) -> None:
    done = small_run(tmp_path, "--engines", "tesseract", "--rows", 1, "--pages", 0, "--no-speed", PATH="")
    assert done.stderr.splitlines() == [
        "tesseract is left out: it is not installed; apt-get install tesseract-ocr",
        "error: nothing was measured; name other engines, or make pictures",
    ]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--folder", "nowhere"], "cannot be read"),
        (["--runs", "0"], "give a whole number from 1 on"),
        (["--rows", "-1"], "give a whole number from 0 on"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, options: list[str], why: str) -> None:
    done = small_run(tmp_path, *options)
    assert done.returncode == 2
    assert why in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "record.jsonl").exists()


def test_the_table() -> None:
    told = {"machine": {"processor": "P", "cores": 2}, "date": "2026-01-01", "note": "quiet"}
    lines: list[dict[str, Any]] = [
        {
            **{"measure": "reading", "set": "photograph", "engine": "numerals", "program": "numerals 0"},
            **{"pictures": 1, "exact": 1, "digits": 4, "errors": 1},
            **{"median_ms": 201.4, "peak_mebibytes": 300, "installed_mebibytes": None},
        },
        {"measure": "cold start", "seconds": 0.5},
        {"measure": "recognise", "pictures": "any", "per_second": 16000},
    ]
    made = table([line | told for line in lines])
    for cell in (
        "| 100.0 % | 25.0 % | 201 | 300 | - |",
        "201 ms, 300 MiB; errors: 1 of 4 digits",
        "16,000 a",
    ):
        assert cell in made
    assert made.endswith("P, 2 cores; 2026-01-01; quiet.\n")
