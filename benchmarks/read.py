"""Compare reading with Tesseract and RapidOCR, and measure the speed of numerals.

    python -m benchmarks.read
    python -m benchmarks.read --folder my/pictures

Reads synthetic pictures made from MNIST's test digits, and any folder with a labels.tsv (see labelled.py). The code
that draws the synthetic ones also drew the row model's training samples, which favours numerals: a folder of your own
is the fair test. Engines that are not installed are skipped. Each measurement is a line in the record; a table is
printed.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from benchmarks import speed
from benchmarks.engines import ENGINES, run_engine, why_missing
from benchmarks.labelled import LabelledPicture, read_labels
from benchmarks.machine import RECORDS, Record, append_record, conditions
from benchmarks.pictures import (
    PAGES,
    ROWS,
    draw_page,
    draw_photograph,
    draw_row,
    glyphs_of_test_digits,
    write_pictures,
)
from benchmarks.reading_table import PHOTOGRAPH, table
from benchmarks.score import score
from numerals.errors import FailureError, NumeralsError
from numerals.files import storage_error

RECORD = RECORDS / "reading.jsonl"
INTERRUPTED = 130  # exit code after Ctrl-C, as shells report it
PictureSet = tuple[str, list[LabelledPicture]]  # its name in the record, its pictures


def main() -> None:
    options = _parse_options()
    try:
        lines = list(_record_all(options))
        if not lines:
            raise FailureError("nothing was measured; choose other --engines, or more --rows or --pages")
    except NumeralsError as error:
        _exit(str(error), error.exit_code)
    except OSError as error:
        failure = storage_error(error, Path(error.filename or options.record))
        _exit(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        _exit("interrupted; the record has the measurements so far", INTERRUPTED)
    print(table(lines))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="engines to run (default: all)")
    add("--folder", type=Path, action="append", default=[], help="folder of pictures with a labels.tsv; repeatable")
    add("--kind", nargs="+", default=[], help="read only pictures of these kinds, a column of labels.tsv")
    add("--rows", type=_count, default=100, help="number of synthetic rows; 0 for none")
    add("--pages", type=_count, default=20, help="number of synthetic pages; 0 for none")
    add("--seed", type=_count, default=0, help="seed of the synthetic pictures")
    add("--keep", type=Path, help="write the synthetic pictures to this folder and keep them")
    add("--no-speed", action="store_true", help="skip the measurements of numerals alone")
    add("--runs", type=_positive_count, default=5, help="timings of each speed; the median counts")
    add("--record", type=Path, default=RECORD, help="file to append a line per measurement to")
    add("--note", default="", help="conditions to record, e.g. what else ran")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; give a whole number, 0 or more")
    return int(text)


def _positive_count(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("0; give a whole number, 1 or more")
    return int(text)


def _record_all(options: argparse.Namespace) -> Iterator[Record]:
    """Append each measurement to the record as soon as it is made. Invalid options fail before the first one."""
    folders = [_labelled_set(path, options.kind) for path in options.folder]
    measured_on = conditions(options.note)
    with tempfile.TemporaryDirectory() as scratch:
        synthetic = _synthetic_sets(options.keep or Path(scratch), options)
        for result in _measure_all(options, [*synthetic, *folders]):
            line = result | measured_on
            append_record(options.record, line)
            yield line


def _labelled_set(folder: Path, kinds: list[str]) -> PictureSet:
    """The pictures of a folder; the record gets its name, not its path."""
    name = folder.resolve().name + (f" ({', '.join(kinds)})" if kinds else "")
    return name, read_labels(folder, kinds)


def _synthetic_sets(folder: Path, options: argparse.Namespace) -> list[PictureSet]:
    """Make rows and pages, and one photograph for the speed."""
    sets = [(ROWS, draw_row, options.rows, ".png"), (PAGES, draw_page, options.pages, ".jpg")]
    sets += [(PHOTOGRAPH, draw_photograph, int(not options.no_speed), ".jpg")]
    glyphs = glyphs_of_test_digits()
    folders = [
        write_pictures(folder / name, maker, glyphs, count, suffix, options.seed)
        for name, maker, count, suffix in sets
        if count
    ]
    return [(path.name, read_labels(path)) for path in folders]


def _measure_all(options: argparse.Namespace, sets: list[PictureSet]) -> Iterator[Record]:
    yield from _measure_engines(options, sets)
    if options.no_speed:
        return
    _log("recognise")
    yield from speed.recognise(options.runs)
    _log("cold start")
    yield speed.cold_start(options.runs)


def _measure_engines(options: argparse.Namespace, sets: list[PictureSet]) -> Iterator[Record]:
    """Read each set with each engine. An engine that is missing or fails is reported once and then skipped."""
    skipped = set[str]()
    for engine in options.engines:
        if why := why_missing(engine):
            _log(why)
            skipped.add(engine)
    for name, pictures in sets:
        one_row = all(len(picture.rows) == 1 for picture in pictures)
        for engine in [engine for engine in options.engines if engine not in skipped]:
            if ENGINES[engine].one_row and not one_row:
                continue
            _log(f"{engine} reads {name}")
            try:
                yield measure_engine(engine, name, pictures, options.runs if name == PHOTOGRAPH else 1)
            except FailureError as error:
                _log(str(error))
                skipped.add(engine)


def measure_engine(engine: str, name: str, pictures: list[LabelledPicture], repeats: int = 1) -> Record:
    """Accuracy and speed of an engine on a set of pictures, each read `repeats` times.

    Raises:
        FailureError: the engine failed.
    """
    result = run_engine(engine, [picture.path for picture in pictures] * repeats)
    first_readings = result.readings[: len(pictures)]
    for picture, reading in zip(pictures, first_readings, strict=True):
        if reading.error:
            _log(f"{engine}: {picture.path.name} counts as not read: {reading.error}")
    counts = score((picture.digits, reading.text) for picture, reading in zip(pictures, first_readings, strict=True))
    return {
        "measure": "reading",
        "engine": engine,
        "set": name,
        "pictures": counts.pictures,
        "exact": counts.exact,
        "digits": counts.digits,
        "errors": counts.errors,
        "median_ms": round(statistics.median(reading.ms for reading in result.readings), 1),
        "runs": repeats,
        "program": result.program,
        "versions": result.versions,
        "installed_mebibytes": result.installed_mebibytes,
        "peak_mebibytes": result.peak_mebibytes,
    }


def _exit(message: str, code: int) -> NoReturn:
    _log(f"error: {message}")
    sys.exit(code)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
