"""Small recipes and a finished training for the tests of the commands."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import NUMERALS, run_quietly

Trained = tuple[Path, "subprocess.CompletedProcess[str]"]
RUN_FILES = {"recipe.toml", "model.safetensors", "history.csv", "curves.svg", "metrics.json", "test_probabilities.npz"}
RUN_FILES |= {"checkpoint", "SHA256SUMS"}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without TensorBoard, which takes a second to start."""
    path = tmp_path_factory.mktemp("recipe") / "plain.toml"
    path.write_text("[tensorboard]\nenabled = false\n")
    return path


@pytest.fixture(scope="session")
def tiny(plain: Path) -> Path:
    """The same with a tiny network."""
    path = plain.with_name("tiny.toml")
    path.write_text(plain.read_text() + "[model]\nconvolutions = [4, 4]\ndense = 8\n")
    return path


@pytest.fixture(scope="session")
def trained(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The article's recipe, trained for one epoch: the run folder, and the finished command."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_quietly((*NUMERALS, "train", "--data", small_npz, "--epochs", 1, "--device", "cpu"), cwd=folder)
    return folder / "runs" / "article-1", done
