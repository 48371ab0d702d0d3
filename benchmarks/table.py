"""The README's tables, made from benchmarks/records. Nothing in them is typed by hand; a test compares.

`python benchmarks/table.py` prints them; with --write they go into the README.
"""

import argparse
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORD = HERE / "records" / "article.jsonl"  # how good: many seeds, whatever else ran
SPEEDS = HERE / "records" / "training.jsonl"  # how fast: in turn, on a quiet machine
BEST = HERE / "records" / "best.jsonl"  # the recipe that takes longest, by itself on a quiet machine
REFERENCE = re.compile(r"Keras [\d.]+ on tensorflow")  # the program that the others are compared with
LEVELS = (0.99, 0.994)
README = HERE.parent / "README.md"
MARKS = re.compile(r"(<!-- records: made by `make record` -->\n).*?(<!-- /records -->)", re.DOTALL)


def records(path: Path = RECORD) -> list[dict[str, Any]]:
    """The runs kept in that file; of several with the same program, seed and epochs asked for, the last."""
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    for run in runs:
        if run.get("asked_epochs"):
            run["program"] += f", epochs: {run['asked_epochs']}"
    return list({(run["program"], run["seed"]): run for run in runs}.values())


def table(runs: list[dict[str, Any]]) -> str:
    """A row for each program: accuracy on the 10,000 test digits, mean ± standard deviation over the seeds, and n."""
    programs = dict.fromkeys(run["program"] for run in runs)
    lines = ["| program | test accuracy | test loss | epochs | runs |", "| --- | --- | --- | --- | --- |"]
    for program in programs:
        mine = [run for run in runs if run["program"] == program]
        accuracy, loss = ([run[name] for run in mine] for name in ("test_accuracy", "test_loss"))
        epochs = sorted({run["epochs"] for run in mine})
        lines.append(
            f"| {program} | {_spread(accuracy, 100, 2)} % | {_spread(loss, 1, 4)} | "
            f"{epochs[0]}{f' to {epochs[-1]}' if len(epochs) > 1 else ''} | {len(mine)} |"
        )
    return "\n".join(lines) + f"\n\n{_conditions(runs)}\n"


def speeds(runs: list[dict[str, Any]]) -> str:
    """A row for each program, the fastest first: seconds of the whole process, how many times less than Keras's with
    TensorFlow, and when the digits that it looks at after each epoch were first answered as well as LEVELS.
    """
    programs = {run["program"]: [other for other in runs if other["program"] == run["program"]] for run in runs}
    seconds = {program: statistics.median(_all(mine, "process_seconds")) for program, mine in programs.items()}
    reference = next((taken for program, taken in seconds.items() if REFERENCE.match(program)), None)
    lines = [
        "| program | whole process | times as fast as Keras | to 99 % | to 99.4 % | test accuracy | epochs "
        "| peak memory | installed | import | runs |",
        "| --- " * 11 + "|",
    ]
    for program in sorted(programs, key=lambda each: seconds[each]):
        mine = programs[program]
        figures = [
            f"{seconds[program]:.1f} s",
            f"{reference / seconds[program]:.1f}" if reference else "",
            *(_reached(mine, level) for level in LEVELS),
            f"{_spread(_all(mine, 'test_accuracy'), 100, 2)} %",
            str(max(_all(mine, "epochs"))),
            f"{max(_all(mine, 'peak_mebibytes')):.0f} MiB",
            f"{max(_all(mine, 'install_mebibytes')):.0f} MiB",
            _imported(mine),
            str(len(mine)),
        ]
        lines.append(f"| {program} | {' | '.join(figures)} |")
    return "\n".join(lines) + f"\n\n{_conditions(runs)}\n"


def _reached(runs: list[dict[str, Any]], level: float) -> str:
    """The median second at which they reached it; a dash where most never did."""
    first = [next((at for at, accuracy in run.get("reached", ()) if accuracy >= level), math.inf) for run in runs]
    middle = statistics.median(first)
    return "-" if math.isinf(middle) else f"{middle:.0f} s"


def _imported(runs: list[dict[str, Any]]) -> str:
    """The median of their imports' seconds; older lines of a record have none."""
    taken = [run["import_seconds"] for run in runs if "import_seconds" in run]
    return f"{statistics.median(taken):.1f} s" if taken else "-"


def tables() -> str:
    """All of them, as the README has them."""
    return "\n".join([table(records()), speeds(records(SPEEDS)), speeds(records(BEST))])


def _conditions(runs: list[dict[str, Any]]) -> str:
    """Where and when, and what else was said about it."""
    machines = {f"{run['machine']['processor']}, {run['machine']['cores']} cores" for run in runs}
    dates = sorted({run["date"] for run in runs})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    notes = sorted({run["note"] for run in runs if run["note"]})
    return f"{'; '.join([*sorted(machines), span, *notes])}."


def _all(runs: list[dict[str, Any]], name: str) -> list[Any]:
    return [run[name] for run in runs]


def _spread(values: list[float], scale: float, places: int) -> str:
    """Mean ± standard deviation of a sample; one value has none."""
    mean = f"{scale * statistics.mean(values):.{places}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{places}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="only the speeds of this record")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    made = speeds(records(options.record)) if options.record else tables()
    print(made)
    if options.write:
        README.write_text(MARKS.sub(lambda marks: marks[1] + made + marks[2], README.read_text()))


if __name__ == "__main__":
    main()
