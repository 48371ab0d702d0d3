"""The tests themselves: they pass in the background and on a busy machine, and none waits for ever."""

import ast
import sys
from pathlib import Path

import pytest

from tests.conftest import SLOW_TIMEOUT, run_quietly

ROOT = Path(__file__).parents[1]
CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns"}


def test_it_passes_where_sigint_is_ignored() -> None:
    """As in `make test &`: a shell lets its background jobs ignore SIGINT, and children inherit that."""
    interrupted = "tests/cli/test_read_files.py::test_each_picture_is_printed_when_it_is_read[text]"
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120", interrupted)
    done = run_quietly(("sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command), cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_test_has_a_timeout(request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) == 600
    for item in request.session.items:
        if item.get_closest_marker("slow"):
            marker = item.get_closest_marker("timeout")
            assert marker and 0 < marker.args[0] <= SLOW_TIMEOUT, item.nodeid


def clock_assertions(source: str) -> list[int]:
    """The lines that assert on a clock of the `time` module, other than on processor time."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        for call in ast.walk(node.test)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr in CLOCKS) == ("time", True)
    ]


def test_no_test_asserts_on_wall_time() -> None:
    """On a busy machine anything may take long. Waits go through `wait_until`; a bound is one of processor time."""
    assert clock_assertions("x = 1\nassert time.monotonic() - begun < 10") == [2]
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        assert clock_assertions(path.read_text()) == [], path.relative_to(ROOT)
