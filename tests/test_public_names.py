"""The public names: importable, documented, typed, and usable where fewer packages are installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import numerals
import numerals.errors
from tests.conftest import run_quietly
from tests.helpers.installations import ROOT, installed_with


def python(folder: Path, code: str, *extras: str) -> "subprocess.CompletedProcess[str]":
    """Run code in an installation for reading, or with these extras."""
    return run_quietly(
        (sys.executable, "-W", "error", "-c", code), cwd=folder, PYTHONPATH=installed_with(folder, *extras)
    )


def test_what_reading_and_training_return_is_public() -> None:
    names = "Page Row Digit Box Recognition Run Recipe Dataset Metrics Callback Reader load train resume evaluate"
    assert set(names.split()) <= set(numerals.__all__)
    errors = {name for name in vars(numerals.errors) if name.endswith("Error")}
    assert errors <= set(numerals.__all__)
    for name in numerals.__all__:
        assert getattr(numerals, name) is not None
    assert numerals.errors.RunError is numerals.RunError


@pytest.mark.parametrize(
    "code",
    [
        "from numerals import *; print(Reader, Recognition, PictureError, evaluate, Dataset)",
        "import inspect, numerals; assert set(numerals.__all__) <= set(dict(inspect.getmembers(numerals)))",
        "import numerals, pydoc; page = pydoc.render_doc(numerals); assert 'numerals[train]' in page",
        "import numerals; repr(numerals.Run), hasattr(numerals.train, '_repr_html_'), numerals.Page",
    ],
)
def test_the_installation_for_reading_lists_and_documents_every_name(tmp_path: Path, code: str) -> None:
    done = python(tmp_path, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "call", ["train()", "load('runs/a')", "resume('runs/a')", "Recipe.load('article')", "Run.test"]
)
def test_the_installation_for_reading_names_the_extra_that_trains(tmp_path: Path, call: str) -> None:
    done = python(tmp_path, f"import numerals\ntry: numerals.{call}\nexcept numerals.MissingError as e: print(e)")
    name = call.partition("(")[0].partition(".")[0]
    assert done.stdout.startswith(f"numerals.{name} needs ") and "pip install 'numerals[train]'" in done.stdout
    assert done.stdout.count("\n") == 1 and done.stderr == ""


def test_importing_numerals_loads_nothing_heavy() -> None:
    code = (
        "import sys, numerals; print([n for n in ('torch', 'numpy', 'cv2', 'onnxruntime', 'PIL') if n in sys.modules])"
    )
    assert run_quietly((sys.executable, "-c", code)).stdout == "[]\n"


def test_a_type_checker_knows_the_names(tmp_path: Path) -> None:
    """A misspelt name is an error; the metrics of a run need no check for None."""
    (tmp_path / "use.py").write_text(
        "import numerals\n"
        "accuracy: float = numerals.load('runs/a').test.accuracy\n"
        "numerals.train('article', epochs=3, augment={'rotation': 15}).predict([[0.0]])\n"
        "numerals.Readr()\n"
    )
    command = (sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", tmp_path / "use.py")
    lines = run_quietly(command, cwd=ROOT).stdout.splitlines()
    assert len(lines) == 2 and 'use.py:4: error: Module has no attribute "Readr"' in lines[0], lines


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    for name in numerals.__all__:
        assert f"`{name}" in page, name
    for kind in (numerals.Run, numerals.Reader, numerals.Page, numerals.Row, numerals.Digit):
        for name in (name for name in vars(kind) if not name.startswith("_")):
            assert f"`{name}" in page or f".{name}" in page, f"{kind.__name__}.{name}"
