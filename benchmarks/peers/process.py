"""Read the pictures named on standard input with one engine, one after the other, and print the result as JSON.

Needs only the standard library: each engine runs in an environment of its own.
"""

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

MEBI = 2**20


@dataclass(frozen=True)
class Reading:
    """The result for one picture."""

    text: str  # "" where reading failed
    ms: float
    error: str | None


@dataclass(frozen=True)
class EngineResult:
    """What an engine's process prints: a reading for each picture, and what the process took."""

    readings: tuple[Reading, ...]
    program: str  # name and version
    versions: dict[str, str]  # of the packages that it uses
    installed_mebibytes: float | None  # size on disk including dependencies; None where unknown
    peak_mebibytes: float

    @staticmethod
    def from_json(text: str) -> "EngineResult":
        fields = json.loads(text)
        return EngineResult(tuple(Reading(**reading) for reading in fields.pop("readings")), **fields)


def read_pictures(
    read: Callable[[str], str],
    program: str,
    versions: dict[str, str],
    installed_mebibytes: float | None,
    peak_mebibytes: Callable[[], float],
) -> None:
    """Read a JSON list of paths from stdin, read each picture, and print an `EngineResult` as JSON.

    Args:
        read: returns the text in the picture at a path.
        program: name and version of the engine.
        versions: versions of the packages that it uses.
        installed_mebibytes: size on disk including dependencies.
        peak_mebibytes: returns the peak memory so far; called after the last picture.
    """
    readings = tuple(_read_one(read, path) for path in json.load(sys.stdin))
    result = EngineResult(readings, program, versions, installed_mebibytes, round(peak_mebibytes(), 1))
    print(json.dumps(asdict(result)))


def _read_one(read: Callable[[str], str], path: str) -> Reading:
    """A picture that the engine cannot read counts as a wrong answer and does not stop the run."""
    started = time.perf_counter()
    text, error = "", None
    try:
        text = read(path)
    except Exception as fault:  # noqa: BLE001 (an engine may raise anything)
        error = f"{type(fault).__name__}: {fault}"
    return Reading(text, 1000 * (time.perf_counter() - started), error)


def own_peak() -> float:
    """Peak memory of this process in MiB. From /proc, because getrusage would include the parent's peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def versions_of(*packages: str) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}


def installed_mebibytes(package: str, module: str) -> float:
    """Size of an installed package and everything that it requires (without extras), in MiB.

    The package itself is measured as the folder that `module` is imported from: an editable install is elsewhere.
    """
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    own = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    others = [
        Path(str(file.locate()))
        for name in sorted(_required(package) - {_canonical(package)})
        for file in metadata.distribution(name).files or []
    ]
    sizes = [path.stat().st_size for path in [*own, *others] if path.suffix != ".pyc" and path.exists()]
    return round(sum(sizes) / MEBI, 1)


def _required(package: str) -> set[str]:
    """The package and its installed requirements, recursively."""
    required: set[str] = set()
    waiting = [package]
    while waiting:
        name = _canonical(waiting.pop())
        if name not in required:
            required.add(name)
            waiting += _requirements(name)
    return required


def _requirements(package: str) -> Iterator[str]:
    """Direct requirements without extras; one that is not installed is for another system."""
    for line in metadata.requires(package) or []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if "extra ==" not in line and any(metadata.distributions(name=name)):
            yield name


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
