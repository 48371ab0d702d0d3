"""Make the README's tables from benchmarks/records; a test checks that they agree.

`python -m benchmarks.table` prints them; --write puts them into the README.
"""

import argparse
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

from benchmarks.machine import RECORDS, ROOT, Record

ARTICLE_RECORD = RECORDS / "article.jsonl"  # accuracy: many seeds, while other work ran
SPEED_RECORD = RECORDS / "training.jsonl"  # speed: programs in turn, on a quiet machine
BEST_RECORD = RECORDS / "best.jsonl"  # the recipe that takes longest, by itself on a quiet machine
REFERENCE = re.compile(r"Keras [\d.]+ on tensorflow")  # the program that speeds are compared with
LEVELS = (0.99, 0.994)  # accuracies whose first time is shown
README = ROOT / "README.md"
MARKS = re.compile(r"(<!-- records: made by `make record` -->\n).*?(<!-- /records -->)", re.DOTALL)


def records(path: Path = ARTICLE_RECORD) -> list[Record]:
    """Read the runs of a record file. Of several with the same program, seed and --epochs, the last one counts."""
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    for run in runs:
        if run.get("asked_epochs"):
            run["program"] += f", epochs: {run['asked_epochs']}"
    return list({(run["program"], run["seed"]): run for run in runs}.values())


def accuracy_table(runs: list[Record]) -> str:
    """A row per program: accuracy on the 10,000 test digits, mean ± standard deviation over seeds, number of runs."""
    programs = dict.fromkeys(run["program"] for run in runs)
    lines = ["| program | test accuracy | test loss | epochs | runs |", "| --- | --- | --- | --- | --- |"]
    for program in programs:
        of_program = [run for run in runs if run["program"] == program]
        accuracy, loss = (_values(of_program, name) for name in ("test_accuracy", "test_loss"))
        epochs = sorted({run["epochs"] for run in of_program})
        lines.append(
            f"| {program} | {_spread(accuracy, 100, 2)} % | {_spread(loss, 1, 4)} | "
            f"{epochs[0]}{f' to {epochs[-1]}' if len(epochs) > 1 else ''} | {len(of_program)} |"
        )
    return "\n".join(lines) + f"\n\n{_conditions(runs)}\n"


def speed_table(runs: list[Record]) -> str:
    """A row per program, fastest first: median seconds of the whole process, speed relative to Keras with TensorFlow,
    and the seconds until its accuracy after an epoch first reached each of LEVELS.
    """
    programs = {run["program"]: [other for other in runs if other["program"] == run["program"]] for run in runs}
    seconds = {
        program: statistics.median(_values(of_program, "process_seconds")) for program, of_program in programs.items()
    }
    reference = next((taken for program, taken in seconds.items() if REFERENCE.match(program)), None)
    lines = [
        "| program | whole process | times as fast as Keras | to 99 % | to 99.4 % | test accuracy | epochs "
        "| peak memory | installed | import | runs |",
        "| --- " * 11 + "|",
    ]
    for program in sorted(programs, key=lambda program: seconds[program]):
        of_program = programs[program]
        figures = [
            f"{seconds[program]:.1f} s",
            f"{reference / seconds[program]:.1f}" if reference else "",
            *(_time_to_reach(of_program, level) for level in LEVELS),
            f"{_spread(_values(of_program, 'test_accuracy'), 100, 2)} %",
            str(max(_values(of_program, "epochs"))),
            f"{max(_values(of_program, 'peak_mebibytes')):.0f} MiB",
            f"{max(_values(of_program, 'install_mebibytes')):.0f} MiB",
            _import_time(of_program),
            str(len(of_program)),
        ]
        lines.append(f"| {program} | {' | '.join(figures)} |")
    return "\n".join(lines) + f"\n\n{_conditions(runs)}\n"


def _time_to_reach(runs: list[Record], level: float) -> str:
    """Median seconds until an accuracy was reached; a dash if most runs never reached it."""
    first = [
        next((seconds for seconds, accuracy in run.get("reached", ()) if accuracy >= level), math.inf) for run in runs
    ]
    median = statistics.median(first)
    return "-" if math.isinf(median) else f"{median:.0f} s"


def _import_time(runs: list[Record]) -> str:
    """Median import time; older lines of a record have none."""
    seconds = [run["import_seconds"] for run in runs if "import_seconds" in run]
    return f"{statistics.median(seconds):.1f} s" if seconds else "-"


def tables() -> str:
    """The README's tables."""
    return "\n".join([accuracy_table(records()), speed_table(records(SPEED_RECORD)), speed_table(records(BEST_RECORD))])


def _conditions(runs: list[Record]) -> str:
    """Machines, dates and notes of the runs."""
    machines = {f"{run['machine']['processor']}, {run['machine']['cores']} cores" for run in runs}
    dates = sorted({run["date"] for run in runs})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    notes = sorted({run["note"] for run in runs if run["note"]})
    return f"{'; '.join([*sorted(machines), span, *notes])}."


def _values(runs: list[Record], name: str) -> list[Any]:
    return [run[name] for run in runs]


def _spread(values: list[float], scale: float, places: int) -> str:
    """Mean ± standard deviation of a sample; only the mean of a single value."""
    mean = f"{scale * statistics.mean(values):.{places}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{places}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="print only the speeds of this record")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    text = speed_table(records(options.record)) if options.record else tables()
    print(text)
    if options.write:
        README.write_text(MARKS.sub(lambda marks: marks[1] + text + marks[2], README.read_text()))


if __name__ == "__main__":
    main()
