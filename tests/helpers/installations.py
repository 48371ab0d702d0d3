"""Python as it is where fewer packages are installed than here."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HIDE = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def installed_with(folder: Path, *extras: str) -> str:
    """Hide the packages that numerals with these extras does not install.

    Args:
        folder: gets the code that hides them.
        extras: of pyproject.toml; none for the installation that only reads.

    Returns:
        A PYTHONPATH with which Python, and all that it starts, finds no other packages.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    kept, waiting = {"numerals"}, [Requirement(line) for line in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in kept or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        kept.add(name)
        waiting += map(Requirement, metadata.requires(name) or ())
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if re.fullmatch(r"\w+", module) and not kept & {canonicalize_name(owner) for owner in owners}
    }
    folder.joinpath("sitecustomize.py").write_text(HIDE.format(names=sorted(hidden)))
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
