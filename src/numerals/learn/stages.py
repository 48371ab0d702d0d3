"""What a run says of itself: seconds and peak memory by stage, versions. Knows nothing about what the stages do."""

import contextlib
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numerals

PACKAGES = ("torch", "numpy", "safetensors", "tensorboard")  # whose versions a run keeps


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
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"numerals": numerals.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
