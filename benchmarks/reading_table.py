"""The table that the reading benchmark prints, from lines of its record. Knows nothing about how they were measured."""

from collections.abc import Iterable
from typing import Any

GOALS = {  # what ours is to reach on two cores
    "photograph": "under 250 ms, under 381 MiB (400 MB)",
    "recognise": "15,000 digits a second",
    "cold start": "under 0.7 s",
}
PHOTOGRAPH = "photograph"  # the set that has a goal
NOTES = """\
exact: every digit of the picture right, in reading order. errors: digits to insert, delete or change, of all written.
ms: median for a picture, models loaded; Tesseract is a process for each. MiB: the process's peak; on disk.
The sets rows, pages and photograph are drawn by the code that the row model of numerals learnt from, from other digits,
and so favour numerals: a folder of your own pictures is the fair test."""

Line = dict[str, Any]


def table(lines: Iterable[Line]) -> str:
    """What was read and how fast, and under it what the columns mean and what it was measured on."""
    lines = list(lines)
    parts = [_reading([line for line in lines if line["measure"] == "reading"]), _speed(lines), NOTES, _where(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reading(lines: list[Line]) -> str:
    if not lines:
        return ""
    head = ["pictures", "program", "exact", "errors", "ms", "peak MiB", "disk MiB"]
    return _markdown(head, [_reading_cells(line) for line in lines])


def _reading_cells(line: Line) -> list[str]:
    size = line["installed_mebibytes"]
    return [
        f"{line['set']}, {line['pictures']}",
        line["program"],
        f"{100 * line['exact'] / line['pictures']:.1f} %",
        f"{100 * line['errors'] / line['digits']:.1f} %",
        f"{line['median_ms']:.0f}",
        f"{line['peak_mebibytes']:.0f}",
        "-" if size is None else f"{size:.0f}",
    ]


def _speed(lines: list[Line]) -> str:
    rows = [cells for line in lines for cells in _speed_cells(line)]
    return _markdown(["numerals", "measured", "goal"], rows) if rows else ""


def _speed_cells(line: Line) -> Iterable[list[str]]:
    """The rows of the second table that one line makes."""
    measure = line["measure"]
    if measure == "reading" and line["set"] == PHOTOGRAPH and line["engine"] == "numerals":
        measured = f"{line['median_ms']:.0f} ms, {line['peak_mebibytes']:.0f} MiB"
        if line["errors"]:  # what is not found takes no time
            measured += f"; errors: {line['errors']} of {line['digits']} digits"
        yield ["photograph of 12 megapixels, from path to Page", measured, GOALS["photograph"]]
    elif measure == "recognise":
        yield [f"recognise, {line['pictures']}", f"{line['per_second']:,} a second", GOALS[measure]]
    elif measure == "cold start":
        yield ["`numerals read one.png`, the whole process", f"{line['seconds']:.2f} s", GOALS[measure]]


def _where(lines: list[Line]) -> str:
    """The machine, the days and what else was noted."""
    machines = {f"{line['machine']['processor']}, {line['machine']['cores']} cores" for line in lines}
    days, notes = ({line[name] for line in lines if line[name]} for name in ("date", "note"))
    return "; ".join([*sorted(machines), *sorted(days), *sorted(notes)]) + "."


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
