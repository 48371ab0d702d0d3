"""files.py: a file is complete or absent."""

import errno
import hashlib
import multiprocessing
import os
import sys
from collections import Counter
from multiprocessing import synchronize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerals.errors import StorageError
from numerals.files import open_plain, read_plain, sha256, storage_error, write_atomically
from tests.conftest import mounts, run_on_full_disk
from tests.helpers.waiting import wait_until

# Writes 32 KiB, which fits, then overwrites them with 256 KiB, which do not.
WRITES_TWICE = """
import sys
from pathlib import Path
from numerals.errors import StorageError
from numerals.files import write_atomically
path = Path(sys.argv[1])
write_atomically(path, b"a" * 32768)
try:
    write_atomically(path, b"b" * 262144)
except StorageError as error:
    print(error)
else:
    sys.exit("no StorageError")
"""


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_the_content_is_complete_and_replaces_the_previous_one(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, second: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    for content in (first, second):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "file"
    with pytest.raises(StorageError) as caught:
        write_atomically(path, b"content")
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name_stays_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    (path / "inside").write_bytes(b"kept")
    with pytest.raises(StorageError, match="file"):
        write_atomically(path, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (path / "inside").read_bytes() == b"kept"


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"kept")
    with pytest.raises(StorageError, match="folder"):
        write_atomically(tmp_path / "folder" / "file", b"content")
    assert (tmp_path / "folder").read_bytes() == b"kept"


def test_a_name_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(tmp_path / ("x" * 250), b"content")  # the temporary name is longer than 255
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_previous_content_and_no_temporary_file(tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    done = run_on_full_disk((sys.executable, "-c", WRITES_TWICE, disk / "file"), disk, kept, 64)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in kept.iterdir()] == ["file"]
    assert (kept / "file").read_bytes() == b"a" * 32768
    assert done.stdout.count("\n") == 1
    assert f"{disk / 'file'}: {'the disk is full' if mounts() else 'cannot be written'}" in done.stdout


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EACCES, "cannot be written")],
)
def test_an_error_number_becomes_a_message_of_one_line(number: int, words: str) -> None:
    message = str(storage_error(OSError(number, "reason"), Path("/there/file")))
    assert message.startswith(f"/there/file: {words}")
    assert "\n" not in message


def test_what_is_not_a_plain_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "device", "folder"):
        with pytest.raises(OSError, match="not a plain file"):
            open_plain(tmp_path / name, 2**20)
        assert sha256(tmp_path / name) is None
    assert sha256(tmp_path / "absent") is None


def test_a_file_is_read_and_hashed_up_to_a_size(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 5)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_plain(tmp_path / "link", len(content)) == content
    with pytest.raises(OSError, match="larger than 3 MiB"):
        read_plain(tmp_path / "file", 3 * 2**20)
    for size in (0, 5, 2**20, 2**21 + 1, len(content), 2 * len(content)):
        assert sha256(tmp_path / "file", size) == hashlib.sha256(content[:size]).hexdigest()
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2**40)
    assert sha256(tmp_path / "huge") is None


def _write_until(stop: synchronize.Event, path: Path, letter: bytes) -> None:
    while not stop.is_set():
        write_atomically(path, letter * 300_000)


def test_a_reader_sees_only_complete_files_while_several_processes_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"a" * 300_000)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    writers = [context.Process(target=_write_until, args=(stop, path, letter)) for letter in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    letters_read: Counter[bytes] = Counter()

    def has_seen_each_often() -> bool:
        for _ in range(20):
            content = path.read_bytes()
            assert content == content[:1] * 300_000
            letters_read[content[:1]] += 1
        return len(letters_read) == 3 and min(letters_read.values()) > 100

    try:
        wait_until(has_seen_each_often, "each writer's content is read a hundred times")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]
