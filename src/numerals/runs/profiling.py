"""What a run says of itself: seconds and peak memory by stage, versions. Knows nothing about what the stages do."""

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

PACKAGES = ("torch", "numpy", "numba", "safetensors", "tensorboard")  # whose versions a run keeps


class Stages:
    """Collects one entry for each `with stages("load"):`; the same name twice adds up."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.stages: dict[str, dict[str, float | None]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            before = self.stages.get(name, {}).get("seconds") or 0.0
            self.stages[name] = {
                "seconds": round(before + time.perf_counter() - started, 3),
                "peak_mebibytes": peak_mebibytes(),
            }

    def to_dict(self) -> dict[str, Any]:
        """The whole, and each stage; a stage's peak is the process's highest up to its end."""
        return {
            "seconds": round(time.perf_counter() - self._started, 3),
            "peak_mebibytes": peak_mebibytes(),
            "stages": self.stages,
        }


def peak_mebibytes() -> float | None:
    """The most memory this process has held so far, in MiB; None where the system does not tell (Windows)."""
    with contextlib.suppress(OSError):  # Linux, where getrusage would count that of the process that started this one
        status = Path("/proc/self/status").read_text()
        return round(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024, 1)
    try:
        import resource
    except ImportError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)  # macOS counts bytes


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"numerals": numerals.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
