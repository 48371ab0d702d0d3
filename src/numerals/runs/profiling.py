"""What metrics.json says about a training's cost: seconds and peak memory by stage, and versions."""

import contextlib
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numerals

PACKAGES = ("torch", "numpy", "numba", "safetensors", "tensorboard")  # whose versions metrics.json records


class Profile:
    """Seconds and peak memory by stage. Each `with profile("load"):` is a stage; the same name twice adds up."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.stages: dict[str, dict[str, float | None]] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            before = self.stages.get(stage, {}).get("seconds") or 0.0
            self.stages[stage] = {
                "seconds": round(before + time.perf_counter() - started, 3),
                "peak_mebibytes": peak_mebibytes(),
            }

    def to_dict(self) -> dict[str, Any]:
        """The totals and each stage; a stage's peak is the highest of the process up to the stage's end."""
        return {
            "seconds": round(time.perf_counter() - self._started, 3),
            "peak_mebibytes": peak_mebibytes(),
            "stages": self.stages,
        }


def peak_mebibytes() -> float | None:
    """Peak memory of this process so far, in MiB; None where the system does not report it (Windows)."""
    with contextlib.suppress(OSError):  # Linux: getrusage would report the parent's peak if that was higher
        status = Path("/proc/self/status").read_text()
        return round(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024, 1)
    try:
        import resource
    except ImportError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)  # macOS counts bytes


def versions() -> dict[str, str]:
    """The versions of numerals, Python and the packages that a training depends on."""
    found = {"numerals": numerals.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
