"""numerals doctor on a complete, a light and a damaged installation."""

import re
import shutil
from pathlib import Path

import pytest

import numerals
from numerals.article.data import TEST_LABELS
from numerals.cli import doctor
from tests.conftest import NUMERALS, run_quietly


def test_the_doctor_finds_nothing_wrong() -> None:
    done = run_quietly((*NUMERALS, "doctor"))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("numerals", "torch", "device", TEST_LABELS, "verified", "cache"):
        assert words in done.stdout
    assert "BAD" not in done.stdout


def test_a_missing_package_is_a_fault_only_if_it_is_required() -> None:
    missing = [doctor.check_package("no-such-package", required) for required in (False, True)]
    assert [finding.ok for finding in missing] == [True, False]
    assert "only training needs it" in missing[0].result and "reinstall numerals" in missing[1].result


@pytest.mark.parametrize("damaged", [f"mnist/{TEST_LABELS}.gz", "weights/reader.onnx"])
def test_a_damaged_file_is_named(damaged: str, tmp_path: Path) -> None:
    shutil.copytree(Path(numerals.__file__).parent, tmp_path / "numerals")
    path = tmp_path / "numerals" / damaged
    content = path.read_bytes()
    path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    done = run_quietly((*NUMERALS, "doctor"), PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    [bad] = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    assert str(path) in bad
    assert re.search("reinstall numerals|install it again", bad)
