"""Reading whole pictures as a user does: Reader.read, numerals read, several pages, annotated pictures."""

import contextlib
import csv
import io
import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

import numerals
from numerals.cli import read_files
from numerals.cli.terminal import print_error
from numerals.errors import PictureError, printable
from numerals.read.annotate import annotate
from numerals.read.pages import pages
from numerals.read.sandbox import Sandbox
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.picture_files import page_of


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "two rows.png"
    Image.fromarray(page_of("0571", "3390")).save(path)
    return path


def test_a_page_has_its_rows_digits_and_boxes(reader: numerals.Reader, picture: Path) -> None:
    page = reader.read(picture)
    assert page.text == "0571\n3390"
    assert (page.width, page.height, page.turn) == (700, 400, 0)
    for line, row in enumerate(page.rows):
        for column, digit in enumerate(row.digits):
            x, y = digit.box.left + digit.box.width / 2, digit.box.top + digit.box.height / 2
            assert abs(x - (60 + 70 * column + 28)) < 20 and abs(y - (60 + 120 * line + 28)) < 20
            assert 0.5 < digit.confidence <= 1
    assert json.loads(json.dumps(page.to_dict()))["rows"][1]["text"] == "3390"


def test_path_bytes_and_array_read_the_same(reader: numerals.Reader, picture: Path) -> None:
    texts = {
        reader.read(given).text for given in (picture, str(picture), picture.read_bytes(), page_of("0571", "3390"))
    }
    assert texts == {"0571\n3390"}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_boxes_of_a_turned_page_are_in_the_original_pixels(reader: numerals.Reader, turns: int) -> None:
    upright = page_of("2457", "6243")
    page = reader.read(np.ascontiguousarray(np.rot90(upright, turns)))
    assert page.text == "2457\n6243"
    assert page.turn == 360 - 90 * turns
    ink = np.rot90(upright, turns) < 128
    for row in page.rows:
        for digit in row.digits:
            box = digit.box
            assert ink[box.top : box.top + box.height, box.left : box.left + box.width].sum() > 50


def test_boxes_of_a_large_picture_are_in_its_own_pixels(reader: numerals.Reader) -> None:
    large = page_of("0571").repeat(6, 0).repeat(6, 1)
    page = reader.read(large)
    assert page.text == "0571" and (page.width, page.height) == (4200, 2400)
    assert abs(page.rows[0].digits[0].box.left - 6 * 70) < 6 * 25


def test_an_empty_page_has_no_rows(reader: numerals.Reader) -> None:
    assert reader.read(np.full((300, 400), 240, np.uint8)).rows == ()


def test_pages_of_a_tiff_and_of_a_pdf(reader: numerals.Reader, tmp_path: Path) -> None:
    sheets = [Image.fromarray(page_of(row)) for row in ("0571", "3390", "2457")]
    for name in ("pages.tiff", "pages.pdf"):
        sheets[0].save(tmp_path / name, save_all=True, append_images=sheets[1:])
        texts = [reader.read(loaded).text for loaded in pages(tmp_path / name)]
        assert texts == ["0571", "3390", "2457"], name


def test_a_damaged_pdf_is_refused() -> None:
    document = pypdfium2.PdfDocument.new()
    document.new_page(100, 100)
    buffer = io.BytesIO()
    document.save(buffer)
    with pytest.raises(PictureError, match="damaged"):
        list(pages(buffer.getvalue()[:60]))


def test_an_annotated_picture_is_larger_and_coloured(reader: numerals.Reader, picture: Path) -> None:
    loaded = next(pages(picture))
    drawn = annotate(loaded.pixels, reader.read(loaded))
    assert drawn.mode == "RGB" and drawn.width >= 700 and drawn.height > 400
    colours = np.asarray(drawn).reshape(-1, 3).astype(int)
    assert (np.ptp(colours, axis=1) > 100).sum() > 500  # boxes


def test_the_command_reads_pictures_and_reports_those_it_cannot_read(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:500])
    Image.fromarray(np.full((200, 300), 240, np.uint8)).save(tmp_path / "blank.png")
    done = run_quietly((*NUMERALS, "read", picture))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0571\n3390\n", "")
    done = run_quietly((*NUMERALS, "read", picture, tmp_path, "--annotate", tmp_path / "seen"))
    assert done.returncode == 1
    assert done.stdout == f"{picture}: 0571\n{picture}: 3390\n"
    assert "bad.png: damaged or cut off" in done.stderr and "blank.png: no digits found" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["blank-png-1.png", "two rows-png-1.png"]


def test_pictures_of_the_same_name_are_annotated_separately(
    reader: numerals.Reader, picture: Path, tmp_path: Path
) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x y\n.png").write_bytes(picture.read_bytes())
        names.append(str(tmp_path / folder / "x y\n.png"))
    with contextlib.closing(Sandbox()) as sandbox:
        assert len(list(read_files.read_all(reader, sandbox, names, tmp_path / "seen"))) == 2
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["x y--png(2)-1.png", "x y--png-1.png"]


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@a.png", "\t=1.png", "＝1.png", "\x1b]0;x\x07.png"])
def test_a_file_name_is_no_formula_and_no_escape_sequence(name: str) -> None:
    readings = [read_files.Reading(name, 1, None, f"{name}: damaged")]
    (row,) = csv.DictReader(io.StringIO("".join(read_files.as_csv(readings, False))))
    shown = printable(name)
    cell = f"'{shown}" if shown[0] in "=+-@＝" else shown
    assert (row["picture"], row["page"], row["error"]) == (cell, "1", f"{cell}: damaged")


def test_an_error_line_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("\x1b[31mred\x9b2J.png: cannot be read")
    assert capsys.readouterr().err == "numerals: \\x1b[31mred\\x9b2J.png: cannot be read\n"


def test_a_name_cannot_be_turned_around_or_hide_characters(picture: Path, tmp_path: Path) -> None:
    marks = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\U000e0041"
    disguised = tmp_path / f"{marks}gnp.png"
    disguised.write_bytes(picture.read_bytes())
    for output_format in ("text", "csv"):
        done = run_quietly((*NUMERALS, "read", "--format", output_format, disguised, tmp_path / f"{marks}.png"))
        assert not set(marks) & set(done.stdout + done.stderr)
        shown = marks.encode("unicode_escape").decode()
        assert f"{shown}gnp.png" in done.stdout and f"{shown}.png" in done.stderr


@pytest.mark.parametrize("character", ["n", "七"])
def test_pictures_with_long_names_are_annotated(
    reader: numerals.Reader, picture: Path, tmp_path: Path, character: str
) -> None:
    size = 250 // len(character.encode())
    names = [str(tmp_path / f"{character * (size - len(end))}{end}.png") for end in ("", "1", "2")]
    for name in names:
        Path(name).write_bytes(picture.read_bytes())
    with contextlib.closing(Sandbox()) as sandbox:
        readings = list(read_files.read_all(reader, sandbox, names, tmp_path / "seen"))
    assert [reading.error for reading in readings] == [None] * 3
    assert len(list((tmp_path / "seen").iterdir())) == 3


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_json_and_csv(picture: Path, output_format: str) -> None:
    done = run_quietly((*NUMERALS, "read", "--format", output_format, picture))
    assert done.returncode == 0
    if output_format == "json":
        (page,) = json.loads(done.stdout)
        assert page["text"] == "0571\n3390" and page["rows"][0]["digits"][1]["digit"] == 5 and page["error"] is None
    else:
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [row["text"] for row in rows] == ["0571", "3390"] and [row["row"] for row in rows] == ["1", "2"]


@pytest.mark.parametrize("output_format", ["text", "json", "csv"])
def test_rows_below_a_confidence_are_marked(picture: Path, reader: numerals.Reader, output_format: str) -> None:
    low, high = sorted(row.confidence for row in reader.read(picture).rows)
    for limit, strict, marks, code in (
        (0.5, (), [False, False], 0),
        (0.5, ("--strict",), [False, False], 0),
        (1, (), [True, True], 0),
        ((low + high) / 2, ("--strict",), [row.confidence == low for row in reader.read(picture).rows], 1),
    ):
        limits = () if limit == 0.5 else ("--min-confidence", limit)
        done = run_quietly((*NUMERALS, "read", picture, "--format", output_format, *limits, *strict))
        message = f"numerals: 1 of 2 rows are below --min-confidence {limit}; check those marked\n" if code else ""
        assert (done.returncode, done.stderr) == (code, message)
        if output_format == "text":
            lines = zip(("0571", "3390"), marks, strict=True)
            assert done.stdout == "".join(f"{row} ?\n" if mark else f"{row}\n" for row, mark in lines)
        elif output_format == "json":
            assert [row["review"] for row in json.loads(done.stdout)[0]["rows"]] == marks
        else:
            rows = csv.DictReader(io.StringIO(done.stdout))
            assert [row["review"] for row in rows] == [str(mark).lower() for mark in marks]


@pytest.mark.parametrize("limit", ["1.5", "-0.1", "nan"])
def test_an_impossible_confidence_is_refused(limit: str, picture: Path) -> None:
    done = run_quietly((*NUMERALS, "read", picture, "--min-confidence", limit))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"numerals: --min-confidence {limit}: must be from 0 to 1\n"


def test_a_picture_that_cannot_be_read_has_the_keys_of_others(picture: Path, tmp_path: Path) -> None:
    done = run_quietly((*NUMERALS, "read", "--format", "json", picture, tmp_path / "absent.png"))
    good, bad = json.loads(done.stdout)
    assert list(good) == list(bad) and done.returncode == 1
    assert (bad["text"], bad["rows"], bad["width"]) == (None, [], None) and "absent.png" in bad["error"]


def test_a_picture_from_stdin(picture: Path) -> None:
    with open(picture, "rb") as file:
        done = subprocess.run([*NUMERALS, "read", "-"], stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == "0571\n3390\n"


@pytest.mark.parametrize("output_format", ["text", "json", "csv"])
def test_each_picture_is_printed_when_it_is_read(picture: Path, output_format: str) -> None:
    """After Ctrl-C the output is complete; the second picture, standard input, never comes."""
    command = [*NUMERALS, "read", "--format", output_format, str(picture), "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        seen = ""
        while "3390" not in seen:
            line = child.stdout.readline()
            assert line, seen
            seen += line
        child.send_signal(signal.SIGINT)
        rest, stderr = child.stdout.read(), child.stderr.read()
    assert child.returncode == 130 and stderr == "numerals: interrupted; what was read is printed\n"
    if output_format == "json":
        assert [page["text"] for page in json.loads(seen + rest)] == ["0571\n3390"]
    else:
        assert rest == ""


@pytest.mark.parametrize("arguments", ["absent.png", "empty", "--format=xml x.png"])
def test_a_mistake_is_one_line(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_quietly((*NUMERALS, "read", *arguments.split()), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("numerals: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_json_list_is_closed_when_it_is_interrupted(error: BaseException) -> None:
    readings = (read_files.Reading(f"{number}.png", 1, None, "damaged") for number in range(3))
    parts = read_files.as_json(readings, True)
    printed = next(parts) + next(parts) + parts.throw(error)
    assert [each["picture"] for each in json.loads(printed)] == ["0.png"]
    with pytest.raises(type(error)):
        next(parts)
