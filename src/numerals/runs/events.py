"""TensorBoard's files as far as a checkpoint knows them, so that each figure is there once. Knows nothing of events."""

from pathlib import Path

from numerals import files
from numerals.runs.folder import damaged

Known = dict[str, tuple[int, str]]  # file in the folder -> its bytes, and their SHA-256


def known(folder: Path) -> Known:
    """What is in the folder now, made durable."""
    found: Known = {}
    for path in sorted(folder.glob("*/*")):
        files.sync(path)
        size = path.stat().st_size
        found[str(path.relative_to(folder))] = size, files.sha256(path, size) or ""
    return found


def damage(folder: Path, known: Known) -> str | None:
    """Which file is not what was known, if one is."""
    for name, (size, expected) in known.items():
        found = files.sha256(folder / name, size)
        if found != expected:
            return damaged(folder / name, found, expected)
    return None


def cut_back(folder: Path, known: Known) -> None:
    """Bring the folder back to what was known, or to nothing where a file is damaged.

    Raises:
        StorageError: the disk refuses.
    """
    if damage(folder, known):
        files.remove(folder)
    for path in folder.glob("*/*"):
        name = str(path.relative_to(folder))
        if name in known:
            files.truncate(path, known[name][0])
        else:
            files.remove(path)
