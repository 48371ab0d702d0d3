"""Thousands of damaged picture files in a separate process, which a crash would end; and files that fuzzing found."""

import subprocess
import sys
from pathlib import Path

import pytest

from numerals.errors import PictureError
from numerals.read.picture import load_picture
from tests.helpers import fuzz

ROOT = Path(__file__).parents[2]


def test_every_undamaged_file_passes_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(fuzz.undamaged_files()) > 80
    for content in [*fuzz.undamaged_files(), *fuzz.small_pdfs()]:
        fuzz.check(content)


FOUND = {  # files that once failed the check
    "a BigTIFF whose first page is at 2^64 - 246": b"MM\0+\0\x08\0\0\xff\xff\xff\xff\xff\xff\xff\n" + bytes(99),
    "a BigTIFF whose page has 2^64 - 1 entries": b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8 + bytes(99),
}


@pytest.mark.parametrize("name", FOUND)
def test_files_that_fuzzing_found_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FOUND[name])
    for source in (FOUND[name], tmp_path / "file"):
        with pytest.raises(PictureError):
            load_picture(source)


def test_the_check_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def broken(content: bytes, max_pixels: int = 0) -> None:
        raise OSError("a decoder's own error")

    monkeypatch.setattr(fuzz, "load_picture", broken)
    with pytest.raises(OSError, match="a decoder's own error"):
        fuzz.check(fuzz.undamaged_files()[0])
    assert Path("last-input").read_bytes() == fuzz.undamaged_files()[0]
    monkeypatch.setattr(fuzz, "pages", broken)
    with pytest.raises(OSError, match="a decoder's own error"):
        fuzz.check(fuzz.small_pdfs()[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["picture", "pdf"])
def test_twenty_thousand_damaged_pictures_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tests.helpers.fuzz", "20000", "0", kind]
    paths = {"PYTHONPATH": ":".join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200, env=paths)
    assert (done.returncode, done.stdout) == (0, "20000 inputs\n"), done.stderr[-3000:]
