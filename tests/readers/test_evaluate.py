"""Runs of every kind open again, those of earlier versions too."""

from pathlib import Path

import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.state import snapshot
from numerals.readers import evaluate, recipes
from numerals.readers.digit_network import DigitNetwork
from numerals.readers.evaluate import load_model, open_run
from numerals.readers.row_network import RowNetwork
from numerals.runs.folder import RunFolder, weights_sha256


def write_run(path: Path, recipe_toml: str, network: nn.Module) -> RunFolder:
    """A run folder of an untrained network."""
    folder = RunFolder.create(path, "run")
    folder.write("recipe.toml", recipe_toml)
    folder.write_model(snapshot(network))
    return folder


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("article", model.build(recipes.Recipe.load("article").model)),
        ("digits", DigitNetwork()),
        ("rows", RowNetwork()),
        ("adapt", DigitNetwork()),
    ],
)
def test_a_run_of_any_kind_opens(name: str, network: nn.Module, tmp_path: Path) -> None:
    recipe, opened = open_run(write_run(tmp_path / "run", recipes.load(name).to_toml(), network))
    assert recipe == recipes.load(name)
    assert type(opened) is type(network) and not opened.training
    assert weights_sha256(snapshot(opened)) == weights_sha256(snapshot(network))


def test_a_run_that_calls_its_network_reader_opens_as_one_of_digits(small_npz: Path, tmp_path: Path) -> None:
    """Earlier versions wrote this name."""
    torch.manual_seed(0)
    network = DigitNetwork()
    recipe_toml = recipes.load("digits").to_toml()
    earlier = recipe_toml.replace('name = "digits"', 'name = "reader"').replace(
        'network = "digits"', 'network = "reader"'
    )
    assert earlier.count('"reader"') == 2
    folder = write_run(tmp_path / "reader-1", earlier, network)
    recipe, opened = open_run(folder)
    assert isinstance(recipe, recipes.DigitRecipe) and isinstance(opened, DigitNetwork)
    assert (recipe.name, recipe.network) == ("reader", "digits")
    assert folder.kind() == "digits"
    loaded = load_model(folder.path, str(small_npz), "cpu")
    assert loaded.weights_sha256 == weights_sha256(snapshot(network))
    assert loaded.evaluate() == evaluate.evaluate_network(network.eval(), loaded.test_digits)
