"""docs/walkthrough.md runs as printed, and shows its own outputs and pictures."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numerals.article import model
from numerals.article.recipe import Recipe
from tests.helpers import walkthrough

ROOT = Path(__file__).parents[2]
PAGE = walkthrough.PAGE.read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(1800)  # the page trains for a minute or two, and longer on a busy machine
BY_HAND = {"tensorboard.png"}  # a screenshot, not drawn by the page


@dataclass(frozen=True)
class PageRun:
    """The page after running in a fresh folder."""

    folder: Path
    outputs: list[str]


@pytest.fixture(scope="module")
def page_run(tmp_path_factory: pytest.TempPathFactory) -> PageRun:
    folder = tmp_path_factory.mktemp("walkthrough")
    return PageRun(folder, walkthrough.run(PAGE, folder))


def test_every_block_is_found_and_run(page_run: PageRun) -> None:
    assert len(page_run.outputs) == PAGE.count("```python") == len(walkthrough.blocks(PAGE)) > 20


def test_every_output_follows_its_block() -> None:
    assert PAGE.count("```text") == sum(bool(block.output) for block in walkthrough.blocks(PAGE))
    assert PAGE.count(walkthrough.VARIES) == sum(block.varies for block in walkthrough.blocks(PAGE))


def test_the_blocks_print_what_the_page_shows(page_run: PageRun) -> None:
    """Exactly; where outputs vary between machines, the same number of lines."""
    for block, output in zip(walkthrough.blocks(PAGE), page_run.outputs, strict=True):
        if block.varies:
            assert output.count("\n") == block.output.count("\n"), f"line {block.line}: run `make pictures`"
        else:
            assert output == block.output, f"line {block.line}: run `make pictures`"


def test_the_table_of_layers_has_the_parameters_of_the_network() -> None:
    layers = model.describe(model.build(Recipe.load("article").model))
    table = PAGE[PAGE.index("| Layer |") : PAGE.index("**Convolution.**")]
    for count in [layer.parameters for layer in layers if layer.parameters]:
        assert re.search(rf"= {count:,} ", table), count
    assert f"**{sum(layer.parameters for layer in layers):,}**" in table


def test_the_page_draws_exactly_the_pictures_that_it_shows(page_run: PageRun) -> None:
    drawn = {path.name for path in (page_run.folder / walkthrough.PICTURES).iterdir()}
    assert drawn | BY_HAND == set(walkthrough.pictures(PAGE))


def test_every_picture_shows_something(page_run: PageRun) -> None:
    for name in set(walkthrough.pictures(PAGE)) - BY_HAND:
        assert shows_something(page_run.folder / walkthrough.PICTURES / name), name


def test_the_committed_pictures_show_something_and_are_small() -> None:
    paths = [ROOT / "docs" / walkthrough.PICTURES / name for name in walkthrough.pictures(PAGE)]
    for path in paths:
        assert shows_something(path), f"{path.name}: run `make pictures`"
    assert sum(path.stat().st_size for path in paths) < 1_000_000
    assert (ROOT / "docs" / walkthrough.PICTURES / "tensorboard.png").stat().st_size < 150_000


def test_a_blank_picture_is_noticed(tmp_path: Path) -> None:
    Image.new("L", (400, 300), 255).save(tmp_path / "blank.png")
    (tmp_path / "blank.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    assert not shows_something(tmp_path / "blank.png")
    assert not shows_something(tmp_path / "blank.svg")


def test_every_picture_has_an_alternative_text() -> None:
    for line in PAGE.splitlines():
        if line.startswith("!["):
            assert len(line[2 : line.index("]")]) > 40, line


def test_outputs_are_written_behind_their_blocks() -> None:
    page = "```python\nprint(1)\n```\n\ntext\n\n```python\nprint(2)\n```\n\n<!-- varies -->\n```text\nold\n```\n\nend\n"
    written = walkthrough.with_outputs(page, ["1\n", "2\n"])
    assert [block.output for block in walkthrough.blocks(written)] == ["1\n", "2\n"]
    assert [block.varies for block in walkthrough.blocks(written)] == [False, True]
    assert walkthrough.with_outputs(written, ["1\n", "2\n"]) == written
    assert walkthrough.with_outputs(written, ["", "2\n"]) == page.replace("old", "2")


def test_an_error_has_the_line_number_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        walkthrough.run("# Title\n\n```python\nx = 1\nx / 0\n```\n", tmp_path)
    assert caught.traceback[-1].lineno == 5 - 1  # pytest counts from 0


def test_the_notebook_has_a_cell_for_each_block(tmp_path: Path) -> None:
    out = tmp_path / "walkthrough.ipynb"
    jupytext = str(Path(sys.executable).parent / "jupytext")  # as `make notebook` calls it
    command = [jupytext, "--to", "notebook", "--output", str(out), str(walkthrough.PAGE)]
    subprocess.run(command, check=True, capture_output=True)
    cells = [cell for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]) for cell in cells] == [block.code.strip() for block in walkthrough.blocks(PAGE)]


def shows_something(path: Path) -> bool:
    """Whether a picture has a minimum size and is not blank."""
    if path.suffix == ".svg":
        return any(element.tag.endswith("path") for element in ElementTree.parse(path).iter())
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"), np.float32)
    return min(grey.shape) >= 200 and float(grey.std()) > 5
