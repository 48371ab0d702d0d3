"""What is installed, which device trains, whether the data verifies. Knows nothing about training itself."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata, util

import numerals
from numerals.errors import DataError
from numerals.learn import data

TRAINING = ("torch", "pydantic", "tensorboard", "safetensors", "matplotlib", "tomli-w")


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool
    says: str


def examine() -> list[Finding]:
    """Everything worth a line, in the order of a reader's questions."""
    return [
        Finding(
            "numerals",
            True,
            f"{numerals.__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        ),
        *(_package(name) for name in TRAINING),
        _device(),
        *(_file(name) for name in data.SHA256),
        _cache(),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, False, "not installed; training needs it: pip install 'numerals[train]'")


def _device() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("device", False, "no PyTorch, so nothing can be trained")
    from numerals.learn.device import choose_device, uses_bfloat16

    device = choose_device("auto")
    precision = "bfloat16" if uses_bfloat16("auto", device) else "float32"
    return Finding("device", True, f"{device}, {os.cpu_count()} cores; precision auto means {precision} here")


def _file(name: str) -> Finding:
    """The packaged file, whatever the cache has."""
    try:
        data.unpack(name)
    except DataError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"SHA-256 {data.SHA256[name][:12]}... verified")


def _cache() -> Finding:
    folder = data.cache_folder()
    there = [name for name in data.SHA256 if (folder / name).exists()]
    return Finding(
        "cache", True, f"{folder}: {len(there)} of {len(data.SHA256)} files unpacked; it may be deleted at any time"
    )
