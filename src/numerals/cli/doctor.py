"""What is installed, which device trains, whether the data verifies. Knows nothing about training itself."""

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata, util

import numerals
from numerals.article import data
from numerals.errors import DataError, ModelError
from numerals.read import model_files


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
        *(package(name, always) for name, always in _wishes()),
        _device(),
        *(_model(name) for name in (model_files.DIGIT_MODEL, model_files.ROW_MODEL)),
        *(_file(name) for name in data.SHA256),
        _cache(),
    ]


def _wishes() -> list[tuple[str, bool]]:
    """Every package that the installed numerals asks for, and whether always or for training only."""
    wishes = []
    for line in metadata.requires("numerals") or []:
        name = re.split(r"[^\w.-]", line)[0]
        if "extra ==" not in line:
            wishes.append((name, True))
        elif re.search(r"extra == .train.", line):
            wishes.append((name, False))
    return wishes


def package(name: str, always: bool) -> Finding:
    """A package's version; that one for training is missing is no fault, since reading does without."""
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        hint = "install numerals again" if always else "only training needs it: pip install 'numerals[train]'"
        return Finding(name, not always, f"not installed; {hint}")


def _device() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("device", True, "no PyTorch, so nothing can be trained; reading does without")
    from numerals.article.device import choose_device, uses_bfloat16

    device = choose_device("auto")
    precision = "bfloat16" if uses_bfloat16("auto", device) else "float32"
    return Finding("device", True, f"{device}, {os.cpu_count()} cores; precision auto means {precision} here")


def _model(name: str) -> Finding:
    """Whether a model that ships is the one of its card."""
    try:
        card = model_files.load(name=name).card
    except ModelError as error:
        return Finding("model", False, str(error))
    return Finding("model", True, f"{name}, SHA-256 {card['sha256'][:12]}... verified")


def _file(name: str) -> Finding:
    """The packaged file, whatever the cache has."""
    try:
        data.unpack(name)
    except DataError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"SHA-256 {data.SHA256[name][:12]}... verified")


def _cache() -> Finding:
    """What is unpacked is verified as a start would; a damaged file would be written anew then."""
    folder = data.cache_folder()
    there = [name for name in data.SHA256 if (folder / name).is_file()]
    good = [name for name in there if hashlib.sha256((folder / name).read_bytes()).hexdigest() == data.SHA256[name]]
    says = f"{folder}: {len(good)} of {len(data.SHA256)} files unpacked and verified"
    if len(good) < len(there):
        says += f"; {len(there) - len(good)} damaged, the next start unpacks them again"
    return Finding("cache", True, f"{says}; it may be deleted at any time")
