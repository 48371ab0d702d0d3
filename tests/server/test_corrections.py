"""The file of corrections, used by one process and by several; and its routes."""

import base64
import itertools
import os
import random
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np
import pytest

from numerals.errors import DataError, StorageError
from numerals.read.picture import load_pixels
from numerals.server.corrections import CorrectionStore, DamagedError
from tests.helpers.pictures import encoded, on_paper, some_digits
from tests.helpers.serving import running_server


def add_correction(path: Path, number: int) -> int:
    return CorrectionStore(path, busy_seconds=60).add(number % 10, None, bytes([number]), None)


def test_several_processes_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "corrections.sqlite"
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        ids = list(pool.map(partial(add_correction, path), range(40)))
    assert sorted(ids) == list(range(1, 41))
    assert sorted(correction.picture[0] for correction in CorrectionStore(path).latest(100)) == list(range(40))


def test_corrections_are_listed_newest_first_and_deleted_once(tmp_path: Path) -> None:
    store = CorrectionStore(tmp_path / "c.sqlite")
    assert (store.latest(5), store.count(), store.delete(1)) == ([], 0, False)
    assert not store.path.exists()  # only add creates the file
    for digit in range(5):
        store.add(digit, 9, b"png", bytes(784))
    assert [correction.digit for correction in store.latest(2)] == [4, 3]
    assert [correction.digit for correction in store.latest(9, before=3)] == [1, 0]
    assert store.delete(5) and not store.delete(5)
    assert store.add(7, None, b"", None) == 6  # an id is never used again
    assert store.count() == 5


@pytest.mark.parametrize("content", [b"no database at all" * 99, None])
def test_a_file_of_another_program_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.sqlite"
    if content is None:
        sqlite3.connect(path).execute("CREATE TABLE theirs (a)").connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(DataError, match="corrections"):
        CorrectionStore(path).add(1, 2, b"", None)
    assert path.read_bytes() == before


def test_the_server_saves_its_own_copy_of_a_picture(tmp_path: Path) -> None:
    image = on_paper(some_digits(1)[0][0], 500, (240, 240, 240), (20, 20, 120))
    seen = bytes(range(256)) * 3 + bytes(16)
    body = {
        "picture": base64.b64encode(encoded(image, "JPEG")).decode(),
        "digit": 3,
        "read": 7,
        "seen": base64.b64encode(seen).decode(),
    }
    with running_server(tmp_path) as server:
        url = f"{server.url}/v1/corrections"
        response = httpx.post(url, json=body)
        assert (response.status_code, response.json()) == (201, {"id": 1})
        [listed] = httpx.get(url).json()["corrections"]
        assert (listed["digit"], listed["read"]) == (3, 7)
        assert base64.b64decode(listed["picture"])[:4] == b"\x89PNG"
        [saved] = CorrectionStore(server.corrections).latest(1)
        assert saved.seen == seen and max(load_pixels(saved.picture).shape) <= 400
        assert np.abs(load_pixels(saved.picture).mean() - image.mean()) < 3
        assert [httpx.delete(f"{url}/1").status_code for _ in range(2)] == [204, 404]
        assert httpx.get(url).json()["corrections"] == []
        assert server.stop() == 0


# A file that another process holds


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file so that no other process can read or write it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


def noise_png(seed: int = 0) -> bytes:
    """A picture of the largest size that is saved, which no compression makes smaller."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (400, 400, 3), np.uint8))


def correction_body(picture: bytes) -> dict[str, object]:
    return {"picture": base64.b64encode(picture).decode(), "digit": 3}


def test_a_locked_file_is_answered_with_503_and_delays_nothing_else(tmp_path: Path) -> None:
    CorrectionStore(tmp_path / "corrections.sqlite").add(1, None, b"png", None)
    with running_server(tmp_path) as server, locked(server.corrections), ThreadPoolExecutor(80) as pool:
        url = f"{server.url}/v1/corrections"
        answers: list[str] = []

        def ask(method: str, path: str) -> None:
            response = httpx.request(method, url + path, timeout=120)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            answers.append(response.json()["detail"])

        requests = [pool.submit(ask, *request) for request in [("GET", ""), ("DELETE", "/1")] * 40]
        assert httpx.get(f"{server.url}/v1/model", timeout=120).status_code == 200
        before_the_model = Counter("locked" in answer for answer in list(answers))
        for request in requests:
            request.result()
        assert before_the_model[True] < 8, before_the_model  # as many may wait; the others are answered at once
        assert all("\n" not in answer for answer in answers)
        kinds = Counter("locked" if "locked" in answer else answer for answer in answers)
        assert kinds["locked"] and kinds["too many requests for the corrections at once; try again in a second"], kinds
        response = httpx.post(url, json=correction_body(noise_png()), timeout=120)
        assert response.status_code == 503 and "locked" in response.json()["detail"]
        assert server.stop() == 0


# A bound in bytes


def test_a_full_file_is_answered_with_507_until_a_correction_is_deleted(tmp_path: Path) -> None:
    with running_server(tmp_path, "--corrections-size", 2) as server:
        url = f"{server.url}/v1/corrections"
        ids: list[int] = []
        while (response := httpx.post(url, json=correction_body(noise_png(len(ids))))).status_code == 201:
            ids.append(response.json()["id"])
            assert len(ids) < 10
        assert response.status_code == 507 and "\n" not in response.text
        assert "2 MB" in response.json()["detail"] and "--corrections-size" in response.json()["detail"]
        assert len(ids) >= 3 and sum(path.stat().st_size for path in tmp_path.glob("*.sqlite")) < 2.2e6
        assert httpx.get(url).json()["count"] == len(ids)
        assert httpx.delete(f"{url}/{ids[0]}").status_code == 204
        assert httpx.post(url, json=correction_body(noise_png())).status_code == 201
        assert server.stop() == 0


def test_a_list_has_a_bounded_size(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        store = CorrectionStore(server.corrections)
        for seed in range(24):
            store.add(1, None, noise_png(seed), None)
        pages, before = [], 25
        while listed := httpx.get(f"{server.url}/v1/corrections?limit=200&before={before}").json()["corrections"]:
            pages.append([correction["id"] for correction in listed])
            assert sum(len(correction["picture"]) for correction in listed) < 13e6
            before = pages[-1][-1]
        assert list(itertools.chain(*pages)) == list(range(24, 0, -1)) and len(pages) == 2
        assert server.stop() == 0


# A damaged or hostile file


def saved(path: Path, count: int = 20) -> Path:
    """A file of corrections, in one piece: without a write-ahead log."""
    store = CorrectionStore(path)
    for number in range(count):
        store.add(number % 10, number % 7 or None, bytes([number]) * (100 * number + 1), bytes(784))
    return path


def operations(path: Path) -> list[Callable[[], object]]:
    store = CorrectionStore(path)
    return [
        lambda: store.latest(200),
        store.count,
        lambda: store.add(3, None, b"png", None),
        lambda: store.delete(7),
        lambda: store.latest(3, before=12),
    ]


def outcomes(path: Path) -> Counter[str]:
    """How the operations on a file ended; fails on an exception that a user would see as a bug."""
    ended = Counter[str]()
    for operation in operations(path):
        try:
            operation()
            ended["done"] += 1
        except (DamagedError, StorageError) as error:
            assert str(error).isprintable() and len(str(error)) < 600, str(error)
            assert str(path) in str(error)
            ended[type(error).__name__] += 1
    return ended


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, cut off, zeroed, or copied from elsewhere in it."""
    page, result = 4096, bytearray(content)
    kind = rng.choice(["head", "schema", "anywhere", "page heads", "cut", "zeros", "copy"])
    if kind == "cut":
        return content[: rng.randrange(len(content))]
    if kind in ("zeros", "copy"):
        to, size = rng.randrange(len(content)), rng.choice([1, 8, 64, page])
        start = rng.randrange(len(content))
        result[to : to + size] = bytes(size) if kind == "zeros" else content[start : start + size]
        return bytes(result[: len(content)])
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        if kind == "page heads":
            position = page * rng.randrange(len(content) // page) + rng.randrange(16)
        else:
            position = rng.randrange({"head": 112, "schema": page, "anywhere": len(content)}[kind])
        result[position] = rng.choice([rng.randrange(256), result[position] ^ 1 << rng.randrange(8), 0, 255])
    return bytes(result)


def test_damaged_files_are_used_or_refused_in_a_line(tmp_path: Path) -> None:
    content, rng = saved(tmp_path / "whole.sqlite").read_bytes(), random.Random(0)
    seen = Counter[str]()
    for number in range(400):
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(damaged(content, rng))
        seen += outcomes(path)
        for file in tmp_path.glob(f"{number}.sqlite*"):
            file.unlink()
    assert seen["done"] > 300 and seen["DamagedError"] > 300, seen


@pytest.mark.parametrize("file", ["damaged", "foreign", "of another kind"])
def test_the_server_says_500_for_a_damaged_file(tmp_path: Path, file: str) -> None:
    path = tmp_path / "corrections.sqlite"
    if file == "foreign":
        sqlite3.connect(path).execute("CREATE TABLE theirs (a)").connection.close()
    else:
        content = saved(path).read_bytes()
        path.write_bytes(content[:4096] + bytes(len(content) - 4096) if file == "damaged" else b"text" * 2000)
    with running_server(tmp_path) as server:
        url = f"{server.url}/v1/corrections"
        for response in (
            httpx.get(url),
            httpx.delete(f"{url}/7"),
            httpx.post(url, json=correction_body(noise_png())),
        ):
            assert response.status_code == 500, (response.request.method, response.text)
            detail = response.json()["detail"]
            assert str(path) in detail and "--corrections" in detail and "\n" not in detail
        assert server.stop() == 0


HOSTILE_SCHEMAS = {
    "view": "ALTER TABLE corrections RENAME TO other; CREATE VIEW corrections AS SELECT * FROM other",
    "endless view": "DROP TABLE corrections; CREATE VIEW corrections AS WITH RECURSIVE r(id, at, digit, read, picture, "
    "seen) AS (SELECT 1, 2, 3, 4, 5, 6 UNION ALL SELECT id + 1, 2, 3, 4, 5, 6 FROM r) SELECT * FROM r",
    "recursive trigger": "PRAGMA recursive_triggers = ON; CREATE TRIGGER t AFTER INSERT ON corrections BEGIN "
    "INSERT INTO corrections (at, digit, picture) VALUES (new.at, new.digit, new.picture); END",
    "trigger": "CREATE TRIGGER t BEFORE DELETE ON corrections BEGIN DELETE FROM corrections; END",
    "name": 'CREATE TABLE "\u001b[31m\n" (a)',
    "index": "DELETE FROM corrections; CREATE INDEX i ON corrections (hex(zeroblob(1000000000)))",
    "column": "ALTER TABLE corrections ADD COLUMN more INTEGER DEFAULT 7",
    "generated": "ALTER TABLE corrections ADD COLUMN more GENERATED ALWAYS AS (hex(zeroblob(1000000000)))",
    "other table": "DROP TABLE corrections; CREATE TABLE corrections (id, at, digit, read, picture, seen)",
    "check": "DROP TABLE corrections; CREATE TABLE corrections (id INTEGER PRIMARY KEY AUTOINCREMENT, at, digit, read, "
    "picture, seen CHECK (length(hex(zeroblob(1000000000))) > 7))",
    "no table": "DROP TABLE corrections",
    "virtual table": "DROP TABLE corrections; CREATE VIRTUAL TABLE corrections USING fts5(at, digit, read, picture)",
    "invalid": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE corrections (\u202e' || "
    "char(10) WHERE name = 'corrections'",
    "no text": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = x'fffe00' WHERE name = 'corrections'",
}


@pytest.mark.parametrize("name", HOSTILE_SCHEMAS)
def test_a_hostile_schema_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "c.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(HOSTILE_SCHEMAS[name])
    assert outcomes(path) == {"DamagedError": len(operations(path))}


HOSTILE_VALUES = {
    "at": [7, 1.5, b"2026-01-01", "soon", "\u001b[31m", "2026-01-01\n" * 9],
    "digit": [10, -1, 2**62, 1e308, "three", b"3"],
    "read": [10, -1, 0.5, "three", b"3"],
    "picture": ["text", 7, 1.5],
    "seen": ["text", 7, b"", bytes(783), bytes(10**6)],
}


@pytest.mark.parametrize("column", HOSTILE_VALUES)
def test_an_impossible_value_is_refused_and_can_be_deleted(tmp_path: Path, column: str) -> None:
    path = saved(tmp_path / "c.sqlite", 3)
    store = CorrectionStore(path)
    for value in HOSTILE_VALUES[column]:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                f"UPDATE corrections SET {column} = ? WHERE id = (SELECT max(id) FROM corrections)", (value,)
            )
        with pytest.raises(DamagedError, match="impossible values") as caught:
            store.latest(1)
        assert str(caught.value).isprintable()
        number = store.add(1, None, b"png", None)
        assert store.delete(number - 1) and [correction.id for correction in store.latest(1)] == [number]


def test_giant_and_undecodable_values_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.sqlite", 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE corrections SET picture = zeroblob(3000000) WHERE id = 3")
        connection.execute("UPDATE corrections SET at = CAST(x'fffe' AS TEXT) WHERE id = 2")
    store = CorrectionStore(path)
    with pytest.raises(DamagedError, match="too big"):
        store.latest(1)
    with pytest.raises(DamagedError, match="impossible"):
        store.latest(1, before=3)
    assert store.count() == 3 and store.delete(3)


def test_an_exhausted_sequence_of_ids_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.sqlite", 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 9223372036854775807")
    assert outcomes(path) == {"done": 4, "StorageError": 1}


def test_pages_that_refer_to_each_other_have_an_end(tmp_path: Path) -> None:
    """Each page of the tree lists the next one seventy times, so that a scan of it would take for ever."""
    path = saved(tmp_path / "c.sqlite", 1)
    size, cells, depth = 512, 70, 18
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA journal_mode = DELETE; PRAGMA page_size = {size}; VACUUM;")
        connection.execute("UPDATE sqlite_sequence SET name = 'other'")  # so that the scan for the name does not end
        connection.execute("CREATE TABLE filler (a)")
        connection.execute("INSERT INTO filler VALUES (?)", (bytes(size * (depth + 1)),))
        connection.execute("DROP TABLE filler")
        [root] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone()
        [pages] = connection.execute("PRAGMA page_count").fetchone()
    content = bytearray(path.read_bytes())
    chain = [root, *range(pages - depth, pages + 1)]
    content[size * (pages - 1) : size * pages] = content[size * (root - 1) : size * root]
    for number, child in itertools.pairwise(chain):
        starts = range(size - 5 * cells, size, 5)
        head = struct.pack(">BHHHBI", 5, 0, cells, starts[0], 0, child)  # an inner page of a table
        listed = head + struct.pack(f">{cells}H", *starts)
        children = b"".join(struct.pack(">IB", child, key) for key in range(1, cells + 1))
        content[size * (number - 1) : size * number] = listed.ljust(size - len(children), b"\0") + children
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="interrupted"):
        CorrectionStore(path).add(1, None, b"png", None)


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "c.sqlite"
    if suffix:
        saved(path)
    os.mkfifo(f"{path}{suffix}")
    assert outcomes(path) == {"DamagedError": len(operations(path))}


@pytest.mark.parametrize("is_link", [False, True])
def test_a_journal_does_not_delete_another_file(tmp_path: Path, is_link: bool) -> None:
    """A rollback journal may name a second one, which SQLite deletes; this one names a file of the user."""
    path, victim = saved(tmp_path / "c.sqlite"), tmp_path / "victim"
    victim.write_text("precious")
    magic, name = bytes.fromhex("d9d505f920a163d7"), bytes(victim)
    head = struct.pack(">8s5I", magic, 0, 0, path.stat().st_size // 4096, 512, 4096)
    tail = struct.pack(f">I{len(name)}sII8s", 2**30 // 4096 + 1, name, len(name), sum(name), magic)
    (tmp_path / "c.sqlite-journal").write_bytes(head.ljust(512, b"\0") + tail)
    if is_link:
        (tmp_path / "link.sqlite").symlink_to(path)
        path = tmp_path / "link.sqlite"
    assert outcomes(path) == {"DamagedError": len(operations(path))}
    assert victim.read_text() == "precious"
