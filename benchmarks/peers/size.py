"""Print the size of an installation in MiB: `python -m benchmarks.peers.size 'numerals[train]'`.

Counts the files of the named packages and of everything that they require in this environment.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def installed(names: list[str]) -> dict[str, metadata.Distribution]:
    """The distributions that satisfy these requirements and theirs, recursively, by name."""
    distributions: dict[str, metadata.Distribution] = {}
    waiting, seen = [Requirement(name) for name in names], set()
    while waiting:
        wanted = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        distributions[key[0]] = distribution = metadata.distribution(wanted.name)
        for line in distribution.requires or ():
            needed = Requirement(line)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return distributions


def mebibytes(distributions: dict[str, metadata.Distribution]) -> float:
    """Total size of their files."""
    files = {Path(str(file.locate())) for package in distributions.values() for file in package.files or ()}
    return sum(path.stat().st_size for path in files if path.is_file()) / 2**20


if __name__ == "__main__":
    print(round(mebibytes(installed(sys.argv[1:])), 1))
