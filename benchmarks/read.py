"""Reading beside Tesseract and RapidOCR, and the speed of ours: one line for each measurement, and a table of them.

    python -m benchmarks.read
    python -m benchmarks.read --folder my/pictures

It makes its pictures from MNIST's test digits, and reads those of any folder with a labels.tsv (see labelled.py) too.
What it makes is drawn by the code that the row model learnt from, which favours ours; a folder of your own is the fair
test. An engine that is not installed is left out. Each measurement is a line in the record.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import speed
from benchmarks.engines import ENGINES, ask, missing
from benchmarks.labelled import Labelled, read_labels
from benchmarks.machine import RECORDS, conditions, keep
from benchmarks.pictures import PAGES, ROWS, made_page, made_photograph, made_row, make, unseen_glyphs
from benchmarks.reading_table import PHOTOGRAPH, table
from benchmarks.score import score
from numerals.errors import FailureError, NumeralsError
from numerals.files import storage_error

RECORD = RECORDS / "reading.jsonl"
INTERRUPTED = 130  # the shell's code for it
Set = tuple[str, list[Labelled]]


def main() -> None:
    options = _options()
    try:
        lines = list(_kept(options))
        if not lines:
            raise FailureError("nothing was measured; name other engines, or make pictures")
    except NumeralsError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        failure = storage_error(error, Path(error.filename or options.record))
        _end(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        _end("interrupted; the record has what was measured", INTERRUPTED)
    print(table(lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="all of them unless named")
    add("--folder", type=Path, action="append", default=[], help="pictures with a labels.tsv; may be given again")
    add("--kind", nargs="+", default=[], help="of those only pictures of these kinds, a column of labels.tsv")
    add("--rows", type=_count, default=100, help="how many rows to make; 0 for none")
    add("--pages", type=_count, default=20, help="how many pages to make; 0 for none")
    add("--seed", type=_count, default=0, help="of the pictures that are made")
    add("--keep", type=Path, help="make them in this folder, and leave them there")
    add("--no-speed", action="store_true", help="leave out all that measures ours alone")
    add("--runs", type=_several, default=5, help="how often each speed is measured; the median counts")
    add("--record", type=Path, default=RECORD, help="the file that a line a measurement is added to")
    add("--note", default="", help="conditions worth knowing, e.g. what else ran")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; give a whole number from 0 on")
    return int(text)


def _several(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("0; give a whole number from 1 on")
    return int(text)


def _kept(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every measurement, kept as soon as it is made; the mistakes in the call are found before the first."""
    folders = [_folder(path, options.kind) for path in options.folder]
    told = conditions(options.note)
    with tempfile.TemporaryDirectory() as scratch:
        made = _made(options.keep or Path(scratch), options)
        for result in _measured(options, [*made, *folders]):
            line = result | told
            keep(options.record, line)
            yield line


def _folder(folder: Path, kinds: list[str]) -> Set:
    """A folder of somebody's; the record has its name and not where it is."""
    name = folder.resolve().name + (f" ({', '.join(kinds)})" if kinds else "")
    return name, read_labels(folder, kinds)


def _made(folder: Path, options: argparse.Namespace) -> list[Set]:
    """The pictures that are made: rows, pages, and for the speed one photograph."""
    wanted = [(ROWS, made_row, options.rows, ".png"), (PAGES, made_page, options.pages, ".jpg")]
    wanted += [(PHOTOGRAPH, made_photograph, int(not options.no_speed), ".jpg")]
    glyphs = unseen_glyphs()
    made = [make(folder / name, maker, glyphs, count, end, options.seed) for name, maker, count, end in wanted if count]
    return [(path.name, read_labels(path)) for path in made]


def _measured(options: argparse.Namespace, sets: list[Set]) -> Iterator[dict[str, Any]]:
    yield from _readings(options, sets)
    if options.no_speed:
        return
    _tell("recognise")
    yield from speed.recognise(options.runs)
    _tell("cold start")
    yield speed.cold_start(options.runs)


def _readings(options: argparse.Namespace, sets: list[Set]) -> Iterator[dict[str, Any]]:
    """Each set by each engine; one that does not run is told once, and left out from there on."""
    lacking = {name: why for name in options.engines if (why := missing(name))}
    for why in lacking.values():
        _tell(why)
    for name, pictures in sets:
        one_row = all(len(each.rows) == 1 for each in pictures)
        for engine in [each for each in options.engines if each not in lacking]:
            if ENGINES[engine].one_row and not one_row:
                continue
            _tell(f"{engine} reads {name}")
            try:
                yield reading(engine, name, pictures, options.runs if name == PHOTOGRAPH else 1)
            except FailureError as error:
                _tell(str(error))
                lacking[engine] = str(error)


def reading(engine: str, name: str, pictures: list[Labelled], times: int = 1) -> dict[str, Any]:
    """How well and how fast that engine reads the pictures, each so many times over.

    Raises:
        FailureError: the engine does not run.
    """
    answer = ask(engine, [each.path for each in pictures] * times)
    readings = answer.pop("readings")
    milliseconds = [read["ms"] for read in readings]
    readings = readings[: len(pictures)]  # the first time over
    for each, read in zip(pictures, readings, strict=True):
        if read["error"]:
            _tell(f"{engine}: {each.path.name} counts as not read: {read['error']}")
    counted = score((each.digits, read["text"]) for each, read in zip(pictures, readings, strict=True))
    return {
        "measure": "reading",
        "engine": engine,
        "set": name,
        "pictures": counted.pictures,
        "exact": counted.exact,
        "digits": counted.digits,
        "errors": counted.errors,
        "median_ms": round(statistics.median(milliseconds), 1),
        "runs": times,
        **answer,
    }


def _end(why: str, code: int) -> NoReturn:
    _tell(f"error: {why}")
    sys.exit(code)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
