"""The rules of the house hold, and the check that says so bites."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import FLOORS, GROUND, NEVER_LEARNT_FROM, TRAININGS, reached, violations

SOURCE = Path(__file__).parent.parent / "src" / "numerals"


def test_the_house_keeps_its_rules() -> None:
    assert violations(SOURCE) == []


def test_every_module_stands_in_a_known_room() -> None:
    tops = {path.stem for path in SOURCE.glob("*.py")}
    rooms = {path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py") if path.parent != SOURCE}
    assert tops <= GROUND | {"__main__"}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize(
    ("module", "line", "why"),
    [
        ("spec.py", "import numerals.learn.data", "upward"),
        ("errors.py", "from numerals import app", "upward"),
        ("learn/data.py", "from numerals.app import cli", "upward"),
        ("learn/data.py", "def load():\n    import numerals.app.cli", "upward"),
        ("learn/data.py", "from ..app import cli", "upward"),
        ("read/find.py", "from numerals.learn.data import split", "upward"),
        ("learn/data.py", "import torch", "may"),
        ("learn/data.py", "def load():\n    from torch.nn import functional", "may"),
        ("read/reader.py", "import torch.nn", "may"),
        ("app/cli.py", "import torch", "may"),
        ("learn/train.py", "import ray", "may"),
        ("read/reader.py", "import onnxruntime", "may"),
        ("learn/callbacks.py", "import keras", "may"),
        ("app/serve.py", "from numerals.learn import data", "not need"),
        ("app/read_many.py", "def run():\n    import numerals.learn.data", "not need"),
        ("app/cli.py", "from numerals.learn.train import train", "inside the command"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, module: str, line: str, why: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert any(why in found for found in violations(tmp_path))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("learn/train.py", "import torch\nfrom numerals.learn import data\nfrom numerals.spec import SIDE"),
        ("app/cli.py", "def train():\n    from numerals.learn.train import train"),
        ("app/cli.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from numerals.learn import train"),
        ("learn/data.py", "import torchlight\nimport numpy"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, module: str, line: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert violations(tmp_path) == []


def test_importing_numerals_and_loading_the_digits_needs_no_torch() -> None:
    code = "import sys, numerals; numerals.load_mnist(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_files_stay_short() -> None:
    long = {path.name: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


@pytest.mark.parametrize("training", TRAININGS)
def test_no_training_can_reach_what_models_are_tried_with(training: str) -> None:
    seen = reached(SOURCE, training)
    assert {training, "learn.randomness"} <= seen
    assert NEVER_LEARNT_FROM not in seen


def test_a_roundabout_way_to_it_is_found(tmp_path: Path) -> None:
    assert NEVER_LEARNT_FROM in reached(SOURCE, "learn.report")
    (tmp_path / "learn").mkdir()
    (tmp_path / "learn" / "train.py").write_text("def fit():\n    from numerals.learn import batches")
    (tmp_path / "learn" / "batches.py").write_text("from numerals.learn.corruptions import noise")
    (tmp_path / "learn" / "corruptions.py").write_text("")
    assert NEVER_LEARNT_FROM in reached(tmp_path, "learn.train")
