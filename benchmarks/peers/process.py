"""What an engine's process does: read the pictures that standard input names, one after the other, and answer in JSON.

Knows nothing about engines, and needs nothing but Python: each engine runs in an environment of its own.
"""

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

MEBI = 2**20


def answer(
    read: Callable[[str], str],
    program: str,
    versions: dict[str, str],
    installed_mebibytes: float | None,
    peak_mebibytes: Callable[[], float],
) -> None:
    """Print one JSON object: what was read in each picture, in how many ms, and what it took.

    Args:
        read: the path of a picture -> the text in it.
        program: its name and version.
        versions: of what it stands on.
        installed_mebibytes: how large it is on disk, with what it needs.
        peak_mebibytes: the most memory it has held so far.
    """
    result = {
        "readings": [_reading(read, path) for path in json.load(sys.stdin)],
        "program": program,
        "versions": versions,
        "installed_mebibytes": installed_mebibytes,
        "peak_mebibytes": round(peak_mebibytes(), 1),
    }
    print(json.dumps(result))


def _reading(read: Callable[[str], str], path: str) -> dict[str, Any]:
    """One picture; one that the engine cannot read is a wrong answer, not the end."""
    started = time.perf_counter()
    text, error = "", None
    try:
        text = read(path)
    except Exception as fault:  # noqa: BLE001 (an engine's faults are of any kind)
        error = f"{type(fault).__name__}: {fault}"
    return {"text": text, "ms": 1000 * (time.perf_counter() - started), "error": error}


def own_peak() -> float:
    """The most memory that this process has held, in MiB. Linux tells; getrusage would count its parent's in too."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def versions_of(*packages: str) -> dict[str, str]:
    """Of installed packages."""
    return {package: metadata.version(package) for package in packages}


def installed(package: str, module: str) -> float:
    """How large a package is on disk with all that it requires, without extras, in MiB.

    The package itself is counted as the folder that it is imported from, which is elsewhere when it is being developed.
    """
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or []) if spec else []
    own = [path for place in places for path in Path(place).rglob("*") if path.is_file()]
    others = [
        Path(str(file.locate()))
        for name in sorted(_required(package) - {_canonical(package)})
        for file in metadata.distribution(name).files or []
    ]
    sizes = [path.stat().st_size for path in [*own, *others] if path.suffix != ".pyc" and path.exists()]
    return round(sum(sizes) / MEBI, 1)


def _required(package: str) -> set[str]:
    """The package and all that it requires, as far as it is installed here."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = _canonical(waiting.pop())
        if name not in found:
            found.add(name)
            waiting += _requirements(name)
    return found


def _requirements(package: str) -> Iterator[str]:
    """What a package requires by itself; what is not installed is for another system."""
    for line in metadata.requires(package) or []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if "extra ==" not in line and any(metadata.distributions(name=name)):
            yield name


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
