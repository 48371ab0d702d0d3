"""numerals benchmark and the benchmark of inference, on real processes and models."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import inference
from numerals.cli import benchmark
from numerals.errors import FailureError
from numerals.read.pixels import DigitImages
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import assert_one_line, call


def test_latencies_leave_out_the_warm_up_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the calls move."""
    calls, now = 0, 0.0

    def work() -> None:
        nonlocal calls, now
        calls += 1
        now += 0.25 if calls <= benchmark.WARM_UP_CALLS else 0.002

    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: now))
    latency = benchmark.latencies(work, batch=10, calls=20)
    assert calls == benchmark.WARM_UP_CALLS + 20
    assert (latency.p50_ms, latency.p99_ms, latency.per_second) == (2, 2, 5000)


def test_the_shipped_model_is_timed_with_each_batch_size() -> None:
    speeds = benchmark.time_recognition()
    assert [speed.batch for speed in speeds] == [1, 32, 256]
    assert all(speed.per_second > 0 and 0 < speed.p50_ms <= speed.p99_ms for speed in speeds)


def test_a_failed_training_says_why(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="nowhere"):
        benchmark.train(str(tmp_path / "nowhere.toml"), 0, tmp_path)


def test_a_recipe_of_a_reading_network_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "benchmark", "--recipe", "rows")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "rows")


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    small = (
        "epochs = 1\ntraining_share = 0.1\ncurves = false\n[split]\nvalidation = 0.01\n[tensorboard]\nenabled = false\n"
    )
    recipe.write_text(small + "[model]\nconvolutions = [8, 16]\npool_first = true\ndense = 32\n")
    done = run_quietly((*NUMERALS, "benchmark", "--recipe", recipe, "--seeds", 2, "--json"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [(row["threads"], row["runs"]) for row in printed["trainings"]] == [(1, 2), (2, 2)]
    for row in printed["trainings"]:
        assert 0.5 < row["accuracy"] < 1 and 0 < row["fit_seconds"] < row["process_seconds"] and row["deviation"] >= 0
    assert list(tmp_path.iterdir()) == [recipe]
    trainings = [benchmark.TrainingSpeed(**row) for row in printed["trainings"]]
    text = list(benchmark.lines(trainings, [benchmark.Speed(**row) for row in printed["recognising"]]))
    assert text[0].startswith("recipe") and "times as fast as with one thread" in text[4]


def test_the_threads_of_a_throughput_share_the_digits() -> None:
    seen: list[int] = []

    def answer(digits: DigitImages) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        seen.append(len(digits))
        return np.zeros((len(digits), 10), np.float32)

    for threads in (1, 2):
        assert inference.throughput(answer, threads, 32, np.zeros((1000, 28, 28), np.uint8)) > 0
        assert (sum(seen), max(seen)) == (1000, 32)
        seen.clear()
