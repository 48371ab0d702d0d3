"""The documentation agrees with the code: files exist, options are in the help, tables come from the records."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from benchmarks import table
from numerals.article.recipe import Recipe
from tests.helpers.architecture import PACKAGES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_points_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_has_the_tables_of_the_records() -> None:
    marks = table.MARKS.search((ROOT / "README.md").read_text())
    assert marks, "the README has no marks for the tables"
    assert marks[0] == marks[1] + table.tables() + marks[2], "run `make record`"


def test_the_recorded_accuracy_of_the_article_reaches_its_goals() -> None:
    """The mean of five seeds is at least 99.3 %, and at most a tenth of a point below Keras's mean of three."""
    ours, keras = (
        [run["test_accuracy"] for run in table.records() if run["program"].startswith(program)]
        for program in ("numerals article", "Keras")
    )
    assert len(ours) >= 5 and len(keras) >= 3  # `records` counts a seed once
    assert sum(ours) / len(ours) >= max(0.9930, sum(keras) / len(keras) - 0.001)


def test_design_names_every_module() -> None:
    """The map has a line for every module, below its package, and none for a module that does not exist."""
    lines = re.findall(r"^ {6}( {2})?([\w/]+(?:\.py)?) {2,}\S", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    package, mapped = "", []
    for indent, name in lines:
        package = package if indent else name if name.endswith("/") else ""
        mapped += [package + name] if name.endswith(".py") else []
    source = ROOT / "src" / "numerals"
    paths = [path for path in source.rglob("*.py") if path.name != "__init__.py" or path.parent == source]
    modules = [path.relative_to(source).as_posix() for path in paths]
    assert {"missing": set(modules) - set(mapped), "stale": set(mapped) - set(modules)} == {
        "missing": set(),
        "stale": set(),
    }
    assert len(mapped) == len(set(mapped))


def test_the_map_of_the_design_is_in_import_order() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    packages = [name for name in re.findall(r"^ {6}(\w+)(?:/|\.py) ", design, re.MULTILINE) if name in PACKAGES]
    assert packages == [package for package in PACKAGES if package in packages] and len(packages) > 15


def test_every_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(?P<path>(?:\w+/)?test_\w+\.py)::(?P<test>test_\w+)`(?P<slow> \(slow\))?", page)
    assert len(named) > 40 and len(named) == page.count("::test_")
    for path, test, slow in named:
        source = (ROOT / "tests" / path).read_text()
        definition = re.search(rf"(?P<decorators>(?:^@.*\n|^ .*\n|^\).*\n)*)^def {test}\(", source, re.MULTILINE)
        assert definition, f"tests/{path} has no {test}"
        assert bool(slow) is ("mark.slow" in definition["decorators"]), f"{test}: slow or not"
    for line in re.findall(r"^\| (?!promise|---)(.*)$", page, re.MULTILINE):
        assert "::test_" in line, f"no test for: {line}"


def test_the_readmes_recipe_loads(tmp_path: Path) -> None:
    example = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(example) == 1
    (tmp_path / "my.toml").write_text(example[0])
    recipe = Recipe.load(tmp_path / "my.toml")
    assert (recipe.epochs, recipe.augment.rotation, recipe.augment.zoom) == (15, 15.0, 0.1)


def test_contributing_names_modules_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Reading order")[1].split("## Rules")[0]
    order, table_of_places = text.split("## Where to add things")
    named = re.findall(r"`([\w/]+)`", order) + re.findall(r"`(\w+/[\w/]+)`", table_of_places)
    source = ROOT / "src" / "numerals"
    folders = [source, source / "article", ROOT]  # the article's modules are named without their package
    assert len(named) > 35
    for name in named:
        assert any((folder / f"{name}.py").exists() or (folder / name).is_dir() for folder in folders), name


def test_the_readme_activates_the_environment_before_it_uses_it() -> None:
    text = (ROOT / "README.md").read_text()
    shell = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    first = next(number for number, line in enumerate(shell) if line.startswith("numerals "))
    assert any(line.startswith("source .venv/bin/activate") for line in shell[:first])


def test_every_make_target_that_the_pages_name_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page in PAGES:
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{page.name}: make {target}"


COMMANDS = [
    *("train", "train-reader", "adapt", "sweep", "evaluate", "report", "export"),
    *("predict", "read", "read-many", "serve", "doctor", "benchmark"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_the_readme_uses_is_in_help(command: str) -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "numerals", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    calls = re.findall(rf"numerals {command}\b(?!-)([^#\n]*)", (ROOT / "README.md").read_text())
    assert calls, f"the README does not mention numerals {command}"
    for option in re.findall(r"--[a-z-]+", " ".join(calls)):
        assert option in help_text


def test_no_file_names_this_machine_or_a_registry() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(
        r"(^|[^\w.])/(home|root|wor" + r"k|tmp/[a-z])/|https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)"
    )
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in (".gz", ".onnx", ".png", ".jpg", ".svg") or not path.exists():
            continue
        assert not pattern.search(path.read_text()), name


FLOORS = {"pillow": "13.0.0", "starlette": "1.3.1", "python-multipart": "0.0.27", "torch": "2.10", "onnx": "1.21"}


@pytest.mark.parametrize("package", FLOORS)
def test_the_tested_versions_have_no_known_advisory(package: str) -> None:
    """Minimum versions recorded by hand: an audit needs network access, which tests do not have."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    [pinned] = [line.split("==")[1] for line in lines if line.lower().startswith(f"{package}==")]
    assert Version(pinned) >= Version(FLOORS[package])


def test_every_recipe_is_documented() -> None:
    recipes = sorted(path.stem for path in (ROOT / "src" / "numerals" / "recipes").glob("*.toml"))
    assert {"article", "instant", "quick", "best"} <= set(recipes)
    for document in ("README.md", "CHANGELOG.md"):
        text = (ROOT / document).read_text()
        mention = "(`|--recipe |train-reader |runs/|recipes/)"
        assert [recipe for recipe in recipes if not re.search(rf"{mention}{recipe}\b", text)] == [], document
    in_help = ["adapt"]  # a command of its own
    for command, names in [("train", r"recipe\(([a-z,]+)\)"), ("train-reader", r"\[([a-z|]+)\|FILE")]:
        help_text = subprocess.check_output([sys.executable, "-m", "numerals", command, "--help"], text=True)
        match = re.search(names, re.sub(r"[\s│]", "", help_text))
        assert match, f"numerals {command} --help does not list its recipes"
        in_help += re.split(r"[,|]", match[1])
    assert sorted(in_help) == recipes
