"""The import rules of docs/design.md hold, and the checker finds every kind of violation."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.architecture import (
    ONLY_FOR_TESTING_MODELS,
    PACKAGES,
    TRAININGS,
    import_graph,
    reached,
    violations,
)

SOURCE = Path(__file__).parent.parent / "src" / "numerals"


def write_source(folder: Path, files: dict[str, str]) -> Path:
    """Write these modules into a source folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_no_import_breaks_a_rule() -> None:
    assert violations(SOURCE) == []


def test_every_module_is_in_a_listed_package() -> None:
    tops = {path.stem for path in SOURCE.glob("*.py")}
    packages = {path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py") if path.parent != SOURCE}
    assert tops | packages <= set(PACKAGES)


@pytest.mark.parametrize(
    ("module", "line", "why"),
    [
        ("spec.py", "import numerals.article.data", "upward"),
        ("errors.py", "from numerals import cli", "upward"),
        ("article/data.py", "from numerals.runs import train", "upward"),
        ("article/data.py", "def load():\n    import numerals.cli.main", "upward"),
        ("article/data.py", "from ..runs import train", "upward"),
        ("read/reader.py", "from numerals.article.data import split_indices", "upward"),
        ("runs/folder.py", "from numerals.readers.recipes import RowRecipe", "upward"),
        ("scale/sweep.py", "from numerals.cli.progress import say", "upward"),
        ("read/reader.py", "import torch.nn", "torch"),
        ("server/app.py", "def answer():\n    from torch.nn import functional", "torch"),
        ("runs/train.py", "import ray", "only scale may"),
        ("read/reader.py", "import onnxruntime", "only read.recognise may"),
        ("article/callbacks.py", "import tensorflow", "no module may"),
        ("cli/main.py", "from numerals.runs.train import train", "inside the command"),
        ("unlisted/train.py", "import json", "not in the list"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, module: str, line: str, why: str) -> None:
    stubs = {f"{name}.py": "" for name in ("spec", "article/data", "runs/train", "runs/folder", "readers/recipes")}
    stubs |= {f"{name}.py": "" for name in ("cli/main", "cli/progress", "read/reader")}
    assert any(why in found for found in violations(write_source(tmp_path, stubs | {module: line})))


def test_an_indirect_import_of_torch_is_found(tmp_path: Path) -> None:
    files = {
        "article/model.py": "import torch",
        "article/data.py": "def f():\n    from numerals.article import model",
        "server/app.py": "from numerals.article.data import load",
    }
    [found] = violations(write_source(tmp_path, files))
    assert found.startswith("server.app -> article.data -> article.model -> torch")


def test_an_indirect_import_at_the_start_of_the_command_line_is_found(tmp_path: Path) -> None:
    files = {
        "cli/main.py": "from numerals.cli import progress",
        "cli/progress.py": "from numerals.read import reader",
        "read/reader.py": "",
    }
    assert violations(write_source(tmp_path, files)) == [
        "cli.main imports read.reader when it starts: commands import what they need inside the command"
    ]


def test_a_circle_is_found(tmp_path: Path) -> None:
    files = {
        "runs/a.py": "from numerals.runs import b",
        "runs/b.py": "def f():\n    from numerals.runs.c import g",
        "runs/c.py": "from numerals.runs import a",
    }
    assert any(
        "runs.a -> runs.b -> runs.c -> runs.a: a circle" in found for found in violations(write_source(tmp_path, files))
    )


def test_a_circle_of_types_is_found(tmp_path: Path) -> None:
    files = {
        "runs/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from numerals.runs.b import B",
        "runs/b.py": "from numerals.runs import a",
    }
    assert "runs.a -> runs.b -> runs.a: a circle" in violations(write_source(tmp_path, files))


@pytest.mark.parametrize(
    "files",
    [
        {"runs/train.py": "import torch\nfrom numerals.article import data\nfrom numerals.spec import SIDE"},
        {"cli/main.py": "def train():\n    from numerals.runs.train import train"},
        {"cli/main.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from numerals.runs import train"},
        {"read/reader.py": "import torchlight\nimport numpy", "spec.py": "from numerals import errors"},
    ],
)
def test_allowed_imports_pass(tmp_path: Path, files: dict[str, str]) -> None:
    stubs = {"article/data.py": "", "errors.py": "", "runs/train.py": "", "spec.py": ""}
    assert violations(write_source(tmp_path, stubs | files)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import numerals; numerals.load_mnist()",
        "import numerals.cli.ray_jobs, numerals.scale.read_many",  # numerals[scale] reads archives without torch
    ],
)
def test_loading_mnist_and_reading_archives_need_no_torch(code: str) -> None:
    command = [sys.executable, "-c", f"{code}\nimport sys; print('torch' in sys.modules)"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("training", TRAININGS)
def test_no_training_reaches_the_corruptions_that_test_models(training: str) -> None:
    modules = reached(import_graph(SOURCE), training)
    assert {training, "seeds"} <= modules
    assert ONLY_FOR_TESTING_MODELS not in modules


def test_reaching_them_indirectly_is_found(tmp_path: Path) -> None:
    assert ONLY_FOR_TESTING_MODELS in reached(import_graph(SOURCE), "report.build")
    files = {
        "runs/train.py": "def fit():\n    from numerals.article import batches",
        "article/batches.py": "from numerals.report.corruptions import noise",
        "report/corruptions.py": "",
    }
    assert ONLY_FOR_TESTING_MODELS in reached(import_graph(write_source(tmp_path, files)), "runs.train")
