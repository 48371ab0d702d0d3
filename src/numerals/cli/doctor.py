"""The checks of `numerals doctor`: installed packages, training device, training data, shipped models."""

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata, util

import numerals
from numerals.article import data
from numerals.errors import DataError, ModelError
from numerals.files import sha256
from numerals.read import model_files


@dataclass(frozen=True)
class Finding:
    """The result of one check; a line of the output."""

    subject: str
    ok: bool
    result: str


def examine() -> list[Finding]:
    """Run all checks."""
    return [
        Finding(
            "numerals",
            True,
            f"{numerals.__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        ),
        *(check_package(name, required) for name, required in _dependencies()),
        _device(),
        *(_model(name) for name in (model_files.DIGIT_MODEL, model_files.ROW_MODEL)),
        *(_file(name) for name in data.SHA256),
        _cache(),
    ]


def _dependencies() -> list[tuple[str, bool]]:
    """Each package that numerals depends on, and whether always (True) or only for training (False)."""
    dependencies = []
    for line in metadata.requires("numerals") or []:
        name = re.split(r"[^\w.-]", line)[0]
        if "extra ==" not in line:
            dependencies.append((name, True))
        elif re.search(r"extra == .train.", line):
            dependencies.append((name, False))
    return dependencies


def check_package(name: str, required: bool) -> Finding:
    """The version of a package. A missing package is a fault only if it is `required`: reading needs fewer."""
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        hint = "reinstall numerals" if required else "only training needs it: pip install 'numerals[train]'"
        return Finding(name, not required, f"not installed; {hint}")


def _device() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("device", True, "PyTorch is not installed; reading works, training does not")
    from numerals.article.device import choose_device, uses_bfloat16

    device = choose_device("auto")
    precision = "bfloat16" if uses_bfloat16("auto", device) else "float32"
    return Finding("device", True, f"{device}, {os.cpu_count()} cores; precision auto means {precision} here")


def _model(name: str) -> Finding:
    """Check a shipped model against the SHA-256 in its card."""
    try:
        card = model_files.load(name=name).card
    except ModelError as error:
        return Finding("model", False, str(error))
    return Finding("model", True, f"{name}, SHA-256 {card['sha256'][:12]}... verified")


def _file(name: str) -> Finding:
    """Check a file of MNIST in the package."""
    try:
        data.unpack(name)
    except DataError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"SHA-256 {data.SHA256[name][:12]}... verified")


def _cache() -> Finding:
    """Count the intact files in the cache; a damaged one is no fault, because the next start replaces it."""
    folder = data.cache_folder()
    cached = [name for name in data.SHA256 if (folder / name).is_file()]
    intact = [name for name in cached if sha256(folder / name) == data.SHA256[name]]
    result = f"{folder}: {len(intact)} of {len(data.SHA256)} files unpacked and verified"
    if len(intact) < len(cached):
        result += f"; {len(cached) - len(intact)} damaged, to be replaced at the next start"
    return Finding("cache", True, f"{result}; you can delete this folder at any time")
