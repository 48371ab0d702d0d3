"""The output folder of a Ray command: who may continue in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from numerals.errors import InputError, StorageError
from numerals.scale.folder import RequestFolder

REQUEST = {"source": "scans", "part": 7, "lists": [1, 2]}
# As earlier versions wrote it: the SHA-256 of the request's JSON with sorted keys.
SHA256 = "61582873fc4384856e5a9048398f4dd892394854a94a66f19375a745ded649ca"


def folder(path: Path, request: dict[str, Any] = REQUEST) -> RequestFolder:
    return RequestFolder(path, "_job/job.json", "hash", "job", request)


@pytest.mark.parametrize("existing", [False, True])
def test_a_new_or_empty_folder_is_claimed_once(existing: bool, tmp_path: Path) -> None:
    if existing:
        (tmp_path / "out").mkdir()
    assert not folder(tmp_path / "out").check()
    assert not (tmp_path / "out" / "_job").exists(), "check writes nothing"
    assert not folder(tmp_path / "out").claim()
    assert json.loads((tmp_path / "out" / "_job" / "job.json").read_text()) == {"hash": SHA256, **REQUEST}
    assert folder(tmp_path / "out").check() and folder(tmp_path / "out").claim()


def test_another_request_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    folder(tmp_path).claim()
    with pytest.raises(InputError, match=r"belongs to another job \(part, lists differs\); choose another --out"):
        folder(tmp_path, REQUEST | {"part": 8, "lists": [1]}).claim()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="has files that do not belong to a job; choose another --out"):
        folder(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["{", "[]", "7"])
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "_job").mkdir()
    (tmp_path / "_job" / "job.json").write_text(content)
    with pytest.raises(InputError, match=r"job\.json: damaged"):
        folder(tmp_path).claim()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="not a folder"):
        folder(tmp_path / "out").claim()
    with pytest.raises(StorageError, match="cannot be written"):
        folder(tmp_path / "out" / "deeper").claim()
