"""The reading benchmark: labels, scores, synthetic pictures, and one small run with numerals as the only engine."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import engines, pictures, speed
from benchmarks.labelled import LABELS, LabelledPicture, read_labels, write_labels
from benchmarks.machine import ROOT
from benchmarks.peers import process
from benchmarks.peers.process import Reading
from benchmarks.reading_table import table
from benchmarks.score import digits_in, edit_distance, score
from numerals.article.data import load_mnist
from numerals.errors import DataError, FailureError
from numerals.handwriting.glyphs import Glyphs
from tests.conftest import run_quietly

NUMBER = st.text("0123456789", max_size=7)


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    return pictures.glyphs_of_test_digits()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    return tmp_path


def labels(folder: Path, text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    (folder / LABELS).write_bytes(text.encode())
    return [(picture.path.name, picture.kind, picture.rows) for picture in read_labels(folder)]


def test_labels_with_and_without_header(folder: Path) -> None:
    expected = [("a.png", "", ("0571",)), ("b.png", "", ("12", "345"))]
    assert labels(folder, "a.png\t0571\nb.png\t12/345\n") == expected
    assert labels(folder, "a.png\t0571\tblue ink\n\nb.png\t12/345") == expected
    assert labels(folder, "file\tdigits\r\na.png\t0571\r\nb.png\t12/345\r\n") == expected
    assert labels(folder, "\ufefffile\tnote\tdigits\na.png\t\t0571\nb.png\tx\t12/345\n") == expected


def test_labels_by_kind(folder: Path) -> None:
    (folder / LABELS).write_text(
        "file\tkind\tdigits\tnote\na.png\tline\t1\t-\nb.png\tgrid\t2/3\t-\nc.png\tline\t4\t-\n"
    )
    assert [picture.kind for picture in read_labels(folder)] == ["line", "grid", "line"]
    assert [picture.digits for picture in read_labels(folder, ["grid"])] == ["23"]
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
        ("a.png\t1\n\nb.png\tabc\n", "line 3: 'abc' is not a row of digits"),
        ("a.png\t\n", "line 1: '' is not a row of digits"),
        ("a.png\t12//3\n", "is not a row of digits"),
        ("a.png\t١٢\n", "is not a row of digits"),
        ("z.png\t1\n", "line 1: no picture 'z.png'"),
        ("\t1\n", "line 1: no picture ''"),
    ],
)
def test_an_invalid_label_is_refused_in_one_line(folder: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why) as refused:
        labels(folder, text)
    assert "\n" not in str(refused.value)


def test_unreadable_labels_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.tsv: cannot be read"):
        read_labels(folder)
    (folder / LABELS).write_bytes(b"a.png\t1\t\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_labels(folder)


def test_written_labels_are_read_back_unchanged(folder: Path) -> None:
    written = [
        LabelledPicture(folder / "a.png", ("05", "7"), "pages"),
        LabelledPicture(folder / "b.png", ("1",), "pages"),
    ]
    write_labels(folder, written)
    assert read_labels(folder) == written


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "123", 3), ("0571", "0571", 0), ("0571", "571", 1), ("12", "21", 2), ("1234", "92345", 2)],
)
def test_edit_distance_of_known_pairs(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance == edit_distance(b, a)


@given(NUMBER, NUMBER)
def test_edit_distance_agrees_with_its_recursive_definition(one: str, other: str) -> None:
    """Delete the first character of one, of the other, or substitute it."""

    def shortest(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return shortest(a[1:], b[1:])
        return 1 + min(shortest(a[1:], b), shortest(a, b[1:]), shortest(a[1:], b[1:]))

    assert edit_distance(one, other) == shortest(one, other)


def test_score_of_known_readings() -> None:
    """Three pictures: right apart from marks and breaks, an extra 1, nothing read: 1 exact, 5 errors of 11 digits."""
    counts = score([("0571", "05.\n71-"), ("339", "3391"), ("2468", "")])
    assert (counts.pictures, counts.exact, counts.digits, counts.errors) == (3, 1, 11, 5)
    assert counts.error_rate == 5 / 11
    assert digits_in("1٢²3") == "13"


def test_a_seed_makes_the_same_pictures(glyphs: Glyphs, tmp_path: Path) -> None:
    def content(name: str, seed: int) -> list[bytes]:
        rows = pictures.write_pictures(tmp_path / name / "rows", pictures.draw_row, glyphs, 3, ".png", seed)
        pages = pictures.write_pictures(tmp_path / name / "pages", pictures.draw_page, glyphs, 1, ".jpg", seed)
        return [path.read_bytes() for made in (rows, pages) for path in sorted(made.iterdir())]

    first = content("first", 0)
    assert len(first) == 6
    assert content("again", 0) == first
    assert not set(content("other", 1)) & set(first)


def test_synthetic_pictures_can_be_read_as_a_folder(glyphs: Glyphs, tmp_path: Path) -> None:
    pages = read_labels(pictures.write_pictures(tmp_path / "pages", pictures.draw_page, glyphs, 2, ".jpg"))
    assert [3 <= len(page.rows) <= 6 for page in pages] == [True, True]
    photograph = pictures.write_pictures(tmp_path / "photograph", pictures.draw_photograph, glyphs, 1, ".jpg")
    with Image.open(read_labels(photograph)[0].path) as image:
        assert (image.size, image.mode) == ((3024, 4032), "RGB")


def test_synthetic_pictures_use_only_test_digits(glyphs: Glyphs) -> None:
    _, (_, test_labels) = load_mnist()
    assert np.array_equal(glyphs.labels, test_labels[:: pictures.EVERY])


def test_a_picture_that_an_engine_cannot_read_does_not_stop_the_run() -> None:
    def read(path: str) -> str:
        if path == "bad":
            raise ValueError("no picture")
        return "12"

    assert process._read_one(read, "bad").error == "ValueError: no picture"
    good = process._read_one(read, "good")
    assert good == Reading("12", good.ms, None)


def test_installed_size_and_peak_memory_are_plausible() -> None:
    numpy, ours = process.installed_mebibytes("numpy", "numpy"), process.installed_mebibytes("numerals", "numerals")
    assert 1 < numpy < ours < 2000
    assert 10 < process.own_peak() < 20_000


def test_an_engine_that_fails_is_one_error_line(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('first\\nlibGL is missing')")
    monkeypatch.setitem(engines.ENGINES, "rapidocr", engines.Engine(command, sys.executable, "install it"))
    with pytest.raises(FailureError, match=r"^rapidocr failed: libGL is missing; run `install it`$"):
        engines.run_engine("rapidocr", [])


def test_functions_are_timed_in_turn_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []

    def next_time(name: str, seconds: list[float]) -> float:
        calls.append(name)
        return seconds.pop(0)

    slow, fast = partial(next_time, "slow", [9.0, 3.0, 1.0, 2.0]), partial(next_time, "fast", [9.0, 0.5, 0.5, 0.1])
    assert speed.medians_in_turn({"slow": slow, "fast": fast}, 3) == {"slow": 2.0, "fast": 0.5}
    assert calls == ["slow", "fast"] * 4


def run_benchmark(tmp_path: Path, *options: object, **env: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-m", "benchmarks.read", "--record", tmp_path / "record.jsonl", *options)
    return run_quietly(command, cwd=ROOT, **env)


def test_a_small_run_end_to_end(tmp_path: Path) -> None:
    folder, options = tmp_path / "pictures", ("--engines", "numerals", "--pages", 0, "--no-speed")
    done = run_benchmark(tmp_path, *options, "--rows", 3, "--keep", folder)
    assert done.returncode == 0, done.stderr
    first = record(tmp_path)
    assert [(line["set"], line["engine"], line["pictures"]) for line in first] == [("rows", "numerals", 3)]
    assert first[0]["errors"] < 0.5 * first[0]["digits"]
    assert first[0]["median_ms"] > 0
    assert {"date", "source", "machine", "versions", "peak_mebibytes"} <= set(first[0])
    assert done.stdout.strip() == table(first).strip()
    again = run_benchmark(tmp_path, *options, "--rows", 0, "--folder", folder / "rows", "--kind", "rows")
    assert again.returncode == 0, again.stderr
    second = record(tmp_path)[-1]
    assert second["set"] == "rows (rows)"
    assert [second[name] for name in ("exact", "errors")] == [first[0][name] for name in ("exact", "errors")]


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


def test_a_missing_engine_is_skipped(tmp_path: Path) -> None:
    done = run_benchmark(tmp_path, "--engines", "tesseract", "--rows", 1, "--pages", 0, "--no-speed", PATH="")
    assert done.stderr.splitlines() == [
        "skipping tesseract: not installed; run `apt-get install tesseract-ocr`",
        "error: nothing was measured; choose other --engines, or more --rows or --pages",
    ]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--folder", "nowhere"], "cannot be read"),
        (["--runs", "0"], "give a whole number, 1 or more"),
        (["--rows", "-1"], "give a whole number, 0 or more"),
    ],
)
def test_an_invalid_option_is_one_error_line(tmp_path: Path, options: list[str], why: str) -> None:
    done = run_benchmark(tmp_path, *options)
    assert done.returncode == 2
    assert why in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "record.jsonl").exists()


def test_the_table_of_a_record() -> None:
    conditions = {"machine": {"processor": "P", "cores": 2}, "date": "2026-01-01", "note": "quiet"}
    lines: list[dict[str, Any]] = [
        {
            **{"measure": "reading", "set": "photograph", "engine": "numerals", "program": "numerals 0"},
            **{"pictures": 1, "exact": 1, "digits": 4, "errors": 1},
            **{"median_ms": 201.4, "peak_mebibytes": 300, "installed_mebibytes": None},
        },
        {"measure": "cold start", "seconds": 0.5},
        {"measure": "recognise", "pictures": "any", "per_second": 16000},
    ]
    text = table([line | conditions for line in lines])
    for cell in (
        "| 100.0 % | 25.0 % | 201 | 300 | - |",
        "201 ms, 300 MiB; errors: 1 of 4 digits",
        "16,000 a",
    ):
        assert cell in text
    assert text.endswith("P, 2 cores; 2026-01-01; quiet.\n")
