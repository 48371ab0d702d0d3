"""The table that the reading benchmark prints, from lines of its record."""

from collections.abc import Iterable

from benchmarks.machine import Record

GOALS = {  # for numerals, on two cores
    "photograph": "under 250 ms, under 381 MiB (400 MB)",
    "recognise": "15,000 digits a second",
    "cold start": "under 0.7 s",
}
PHOTOGRAPH = "photograph"  # the set with a goal
NOTES = """\
exact: every digit of the picture right, in reading order. errors: digits to insert, delete or change, of all written.
ms: median per picture with models loaded; Tesseract starts a process per picture. MiB: the process's peak; on disk.
The sets rows, pages and photograph are drawn by the code that drew the row model's training samples, from other digits.
They favour numerals: a folder of your own pictures is the fair test."""


def table(lines: Iterable[Record]) -> str:
    """Markdown tables of accuracy and speed, with what the columns mean and the machine."""
    lines = list(lines)
    parts = [
        _reading([line for line in lines if line["measure"] == "reading"]),
        _speed(lines),
        NOTES,
        _conditions(lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reading(lines: list[Record]) -> str:
    if not lines:
        return ""
    head = ["pictures", "program", "exact", "errors", "ms", "peak MiB", "disk MiB"]
    return _markdown(head, [_reading_cells(line) for line in lines])


def _reading_cells(line: Record) -> list[str]:
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


def _speed(lines: list[Record]) -> str:
    rows = [cells for line in lines if (cells := _speed_cells(line))]
    return _markdown(["numerals", "measured", "goal"], rows) if rows else ""


def _speed_cells(line: Record) -> list[str] | None:
    """The line's row in the table of speeds; None if it has none."""
    measure = line["measure"]
    if measure == "reading" and line["set"] == PHOTOGRAPH and line["engine"] == "numerals":
        measured = f"{line['median_ms']:.0f} ms, {line['peak_mebibytes']:.0f} MiB"
        if line["errors"]:  # a row that is not found takes no time
            measured += f"; errors: {line['errors']} of {line['digits']} digits"
        return ["photograph of 12 megapixels, from path to Page", measured, GOALS["photograph"]]
    if measure == "recognise":
        return [f"recognise, {line['pictures']}", f"{line['per_second']:,} a second", GOALS[measure]]
    if measure == "cold start":
        return ["`numerals read one.png`, the whole process", f"{line['seconds']:.2f} s", GOALS[measure]]
    return None


def _conditions(lines: list[Record]) -> str:
    machines = {f"{line['machine']['processor']}, {line['machine']['cores']} cores" for line in lines}
    dates, notes = ({line[name] for line in lines if line[name]} for name in ("date", "note"))
    return "; ".join([*sorted(machines), *sorted(dates), *sorted(notes)]) + "."


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
