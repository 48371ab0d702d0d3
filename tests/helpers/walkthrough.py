"""Runs docs/walkthrough.md: its Python blocks in order, in one namespace, as a learner would who types them in.

    cd docs && ../.venv/bin/python ../tests/helpers/walkthrough.py --write

puts the pictures into ./pictures, and with --write what the blocks printed into the page. The run folders that the
page makes live in a temporary folder and go with it. Knows nothing about numerals; the test imports it to compare.
"""

import argparse
import contextlib
import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
PICTURES = "pictures"  # the page's folder for them, beside the page
VARIES = "<!-- varies -->"  # stands before an output that another machine prints otherwise

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n" + rf"(?:\n(?P<varies>{VARIES}\n)?```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A Python block of the page, with the output that the page shows for it."""

    code: str
    line: int  # of the page, where the code begins
    output: str  # "" where the page shows none
    varies: bool


def blocks(page: str) -> list[Block]:
    """The page's Python blocks, in order."""
    return [
        Block(found["code"], page[: found.start("code")].count("\n") + 1, found["output"] or "", bool(found["varies"]))
        for found in _BLOCK.finditer(page)
    ]


def pictures(page: str) -> list[str]:
    """The files under pictures/ that the page shows, in order."""
    return re.findall(rf"!\[[^\]]*\]\({PICTURES}/([^)]+)\)", page)


def run(page: str, folder: Path) -> list[str]:
    """What each Python block printed. Runs and pictures land in `folder`; an error names its line of the page."""
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")  # no window
    names: dict[str, Any] = {"__name__": "walkthrough"}
    printed = []
    with contextlib.chdir(folder), plt.style.context("default"):
        for block in blocks(page):
            code = compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            plt.close("all")
            printed.append(output.getvalue())
    return printed


def with_outputs(page: str, printed: list[str]) -> str:
    """The page with what its blocks printed, each output right behind its block and marked as it was before."""
    outputs = iter(printed)

    def renew(found: re.Match[str]) -> str:
        output = next(outputs)
        shown = f"\n{found['varies'] or ''}```text\n{output}```\n" if output else ""
        return f"```python\n{found['code']}```\n{shown}"

    return _BLOCK.sub(renew, page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run docs/walkthrough.md and keep its pictures in ./pictures.")
    parser.add_argument("--write", action="store_true", help="write what the blocks printed into the page, too")
    write = parser.parse_args().write
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        printed = run(page, Path(folder))
        shutil.copytree(Path(folder) / PICTURES, PICTURES, dirs_exist_ok=True)
    if write:
        PAGE.write_text(with_outputs(page, printed), encoding="utf-8")


if __name__ == "__main__":
    main()
