"""Run docs/walkthrough.md: its Python blocks in order, in one namespace, as a reader would who types them in.

    cd docs && ../.venv/bin/python ../tests/helpers/walkthrough.py --write

writes the page's pictures to ./pictures and, with --write, the output of its blocks into the page. Run folders are
created in a temporary folder, which is removed at the end.
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
PICTURES = "pictures"  # folder of the page's pictures
VARIES = "<!-- varies -->"  # marks an output that differs between machines

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n" + rf"(?:\n(?P<varies>{VARIES}\n)?```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A Python block of the page and the output shown for it."""

    code: str
    line: int  # line number of the code in the page
    output: str  # "" if the page shows none
    varies: bool


def blocks(page: str) -> list[Block]:
    """The page's Python blocks, in order."""
    return [
        Block(match["code"], page[: match.start("code")].count("\n") + 1, match["output"] or "", bool(match["varies"]))
        for match in _BLOCK.finditer(page)
    ]


def pictures(page: str) -> list[str]:
    """Names of the files under pictures/ that the page shows, in order."""
    return re.findall(rf"!\[[^\]]*\]\({PICTURES}/([^)]+)\)", page)


def run(page: str, folder: Path) -> list[str]:
    """Run the page's blocks in a folder and return the output of each; a traceback has the page's line numbers."""
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")  # no window
    names: dict[str, Any] = {"__name__": "walkthrough"}
    outputs = []
    with contextlib.chdir(folder), plt.style.context("default"):
        for block in blocks(page):
            code = compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            plt.close("all")
            outputs.append(output.getvalue())
    return outputs


def with_outputs(page: str, outputs: list[str]) -> str:
    """The page with the output of each block behind it; marks of varying outputs stay."""
    remaining = iter(outputs)

    def replace(match: re.Match[str]) -> str:
        output = next(remaining)
        shown = f"\n{match['varies'] or ''}```text\n{output}```\n" if output else ""
        return f"```python\n{match['code']}```\n{shown}"

    return _BLOCK.sub(replace, page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run docs/walkthrough.md and write its pictures to ./pictures.")
    parser.add_argument("--write", action="store_true", help="also write the outputs of its blocks into the page")
    write = parser.parse_args().write
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        outputs = run(page, Path(folder))
        shutil.copytree(Path(folder) / PICTURES, PICTURES, dirs_exist_ok=True)
    if write:
        PAGE.write_text(with_outputs(page, outputs), encoding="utf-8")


if __name__ == "__main__":
    main()
