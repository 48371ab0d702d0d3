"""The installations for reading and for serving, which have no PyTorch, use models of the user's own."""

import hashlib
import json
from pathlib import Path

import onnx
import pytest

from numerals.read import model_files
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.installations import installed_with
from tests.helpers.serving import drawing_png, post_picture, running_server


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A digit model that is no copy of the included one, so that it is checked."""
    model = onnx.load(model_files.shipped_path())
    model.doc_string = "my own"
    content = model.SerializeToString()
    card = json.loads(model_files.shipped_path().with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(content).hexdigest()
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_the_installation_for_reading_reads_with_a_model_of_ones_own(own_model: Path, tmp_path: Path) -> None:
    path = installed_with(tmp_path)
    assert "torch" in run_quietly((NUMERALS[0], "-c", "import torch"), PYTHONPATH=path).stderr
    (tmp_path / "20.png").write_bytes(drawing_png("20"))
    done = run_quietly((*NUMERALS, "read", tmp_path / "20.png", "--model", own_model), PYTHONPATH=path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_installation_for_serving_serves_a_model_of_ones_own(workers: int, own_model: Path, tmp_path: Path) -> None:
    path = installed_with(tmp_path, "serve")
    with running_server(tmp_path, "--model", own_model, "--workers", workers, PYTHONPATH=path) as server:
        assert post_picture(server, drawing_png("20")).json()["text"] == "20"
        assert server.stop() == 0
