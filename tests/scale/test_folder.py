"""The output folder of a Ray command: who may continue in it."""

import json
import os
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


def damage(path: Path, kind: str) -> None:
    """Replace a file with something that no command writes."""
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a link to nothing":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[: len(content) // 2],
                "bytes": bytes(range(256)),
                "null": b"null",
                "list": b"[1, 2]",
                "nested": b"[" * 100_000,
                "foreign": b'{"name": "left-pad", "version": "1.0.0"}',
                "large numbers": b'{"a": 1e999, "b": ' + b"9" * 5000 + b"}",
            }[kind]
        )


DAMAGES = (
    "a pipe",
    "a folder",
    "a link to nothing",
    "empty",
    "cut",
    "bytes",
    "null",
    "list",
    "nested",
    "foreign",
    "large numbers",
)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("record", ["sweep.json", "_job/job.json"])
def test_a_damaged_request_is_one_line_and_stays_as_it_is(record: str, kind: str, tmp_path: Path) -> None:
    request = RequestFolder(tmp_path, record, "sha256", "sweep", REQUEST)
    request.claim()
    damage(tmp_path / record, kind)
    before = os.lstat(tmp_path / record)
    with pytest.raises(InputError, match=r"damaged|belongs to another sweep") as caught:
        request.claim()
    assert str(tmp_path) in str(caught.value) and "; choose another --out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.lstat(tmp_path / record) == before


def test_a_request_with_a_wrong_hash_is_damaged(tmp_path: Path) -> None:
    folder(tmp_path).claim()
    (tmp_path / "_job" / "job.json").write_text(json.dumps({"hash": "0" * 64, **REQUEST}))
    with pytest.raises(InputError, match=r"job\.json: damaged \(its SHA-256 is wrong\); choose another --out"):
        folder(tmp_path).claim()
