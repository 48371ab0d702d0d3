"""The training benchmark: its records and tables, and one small run. `make bench` runs the programs themselves."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import run, table
from benchmarks.peers import size


def record(program: str, seed: int, seconds: float, accuracy: float = 0.99) -> dict[str, Any]:
    return {
        "program": program,
        "seed": seed,
        "epochs": 10,
        "test_accuracy": accuracy,
        "process_seconds": seconds,
        "peak_mebibytes": 500.4,
        "install_mebibytes": 1000.0,
        "import_seconds": 1.5,
        "reached": [[seconds / 2, 0.991], [seconds - 1, 0.993]],
        "machine": {"processor": "a processor", "cores": 2},
        "date": "2026-11-22",
        "note": "nothing else ran",
    }


def test_the_speed_table_is_sorted_and_relative_to_keras() -> None:
    runs = [record("Keras 3.15 on tensorflow", seed, 300 + seed) for seed in (0, 1, 2)]
    runs += [
        record("numerals quick", seed, seconds, 0.994 + seed / 1e4)
        for seed, seconds in ((0, 9.0), (1, 10.0), (2, 99.0))
    ]
    lines = table.speed_table(runs).splitlines()
    row = "| numerals quick | 10.0 s | 30.1 | 5 s | - | 99.41 ± 0.01 % | 10 | 500 MiB | 1000 MiB | 1.5 s | 3 |"
    assert lines[2] == row and lines[0].count("|") == lines[1].count("|") == row.count("|")
    assert lines[3].startswith("| Keras 3.15 on tensorflow | 301.0 s | 1.0 |")
    assert lines[-1] == "a processor, 2 cores; 2026-11-22; nothing else ran."


def test_runs_with_other_epochs_are_separate_rows(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    runs = [record("numerals article", 0, 100.0), record("numerals article", 0, 12.0) | {"asked_epochs": 1}]
    runs += [record("Keras's example, Keras 3.15 on tensorflow", 0, 50.0), record("numerals article", 0, 110.0)]
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    seconds = {run["program"]: run["process_seconds"] for run in table.records(path)}
    assert seconds["numerals article"] == 110.0 and seconds["numerals article, epochs: 1"] == 12.0
    # Keras's own example is not the reference: without the article's program on Keras there is no ratio
    assert "| 50.0 s |  |" in table.speed_table(table.records(path))


def test_the_ratio_is_of_medians() -> None:
    seconds = {"torch-example": [1.0], "instant": [4.0, 5.0, 50.0], "keras-tensorflow": [300.0, 310.0, 900.0]}
    assert run.ratios(seconds) == ["instant: 62.0 times as fast as keras-tensorflow"]
    assert run.ratios({"instant": [4.0]}) == []


def test_an_installation_is_the_named_packages_and_their_requirements() -> None:
    base, train = size.installed(["numerals"]), size.installed(["numerals[train]"])
    assert {"numpy", "onnxruntime"} <= set(base) < set(train) and {"torch", "tensorboard"} <= set(train) - set(base)
    assert "pytest" not in train
    assert 50 < size.mebibytes(base) < size.mebibytes(train)


def test_a_failing_program_is_named() -> None:
    with pytest.raises(SystemExit, match="failed"):
        run._run([sys.executable, "-c", "import nothing_of_that_name"])


@pytest.mark.slow
def test_a_recipe_and_a_peer_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.jsonl"
    options = ["instant", "torch-example", "--seeds", "0", "--epochs", "1", "--record", str(path)]
    monkeypatch.setattr("sys.argv", ["run", *options])
    run.main()
    ours, theirs = (json.loads(line) for line in path.read_text().splitlines())
    assert (ours["program"], ours["epochs"], theirs["epochs"]) == ("numerals instant", 1, 1)
    assert theirs["program"].startswith("PyTorch's example") and theirs["test_accuracy"] > 0.97
    assert ours["reached"][-1][0] < ours["process_seconds"] and theirs["reached"][0][1] == theirs["test_accuracy"]
    assert 0 < ours["import_seconds"] < ours["process_seconds"] > 0 < theirs["import_seconds"]
    assert 0 < ours["fit_seconds"] < ours["process_seconds"] and theirs["install_mebibytes"] > 100
