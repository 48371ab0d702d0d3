"""The file of corrections, used by one process and by several; and its routes."""

import base64
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np
import pytest

from numerals.errors import DataError
from numerals.read.picture import load_pixels
from numerals.server.corrections import CorrectionStore
from tests.helpers.pictures import encoded, on_paper, some_digits
from tests.helpers.serving import running_server


def add_correction(path: Path, number: int) -> int:
    return CorrectionStore(path).add(number % 10, None, bytes([number]), None)


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
        store.add(digit, 9, b"png", b"seen")
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
