"""Runs the command line inside the test process, where PyTorch is imported once for all tests."""

import re
import sys

import pytest

from numerals.cli import main

RESULT = re.compile(r"Test Accuracy: 0\.\d{4}, Test Loss: \d+\.\d{4}\n")  # the last line of train and evaluate


def call(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run `numerals ARGUMENTS`; returns exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["numerals", *map(str, arguments)])
        patch.setattr("threading.excepthook", None)  # `main` replaces it for good
        with pytest.raises(SystemExit) as exited:
            main.main()
    assert isinstance(exited.value.code, int)
    return exited.value.code, *capfd.readouterr()


def assert_one_line(stderr: str, *words: object) -> None:
    """Assert that stderr is one line of numerals, without a traceback, that contains these words."""
    assert stderr.startswith("numerals: ")
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    for word in words:
        assert str(word) in stderr
