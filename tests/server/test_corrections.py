"""CorrectionStore are kept, listed and deleted, by several processes too; another's file is left alone."""

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
from tests.helpers.serving import served


def keep(path: Path, number: int) -> int:
    return CorrectionStore(path).add(number % 10, None, bytes([number]), None)


def test_several_processes_keep_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "corrections.sqlite"
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        kept = list(pool.map(partial(keep, path), range(40)))
    assert sorted(kept) == list(range(1, 41))
    assert sorted(each.picture[0] for each in CorrectionStore(path).latest(100)) == list(range(40))


def test_what_is_kept_is_listed_from_the_newest_and_deleted_once(tmp_path: Path) -> None:
    corrections = CorrectionStore(tmp_path / "c.sqlite")
    assert (corrections.latest(5), corrections.count(), corrections.delete(1)) == ([], 0, False)
    assert not corrections.path.exists()  # nothing was kept
    for digit in range(5):
        corrections.add(digit, 9, b"png", b"seen")
    assert [each.digit for each in corrections.latest(2)] == [4, 3]
    assert [each.digit for each in corrections.latest(9, before=3)] == [1, 0]
    assert corrections.delete(5) and not corrections.delete(5)
    assert corrections.add(7, None, b"", None) == 6  # an id is never given again
    assert corrections.count() == 5


@pytest.mark.parametrize("content", [b"no database at all" * 99, None])
def test_a_file_of_others_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.sqlite"
    if content is None:
        sqlite3.connect(path).execute("CREATE TABLE theirs (a)").connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(DataError, match="corrections"):
        CorrectionStore(path).add(1, 2, b"", None)
    assert path.read_bytes() == before


def test_the_server_keeps_a_picture_of_its_own_making(tmp_path: Path) -> None:
    image = on_paper(some_digits(1)[0][0], 500, (240, 240, 240), (20, 20, 120))
    seen = bytes(range(256)) * 3 + bytes(16)
    asked = {
        "picture": base64.b64encode(encoded(image, "JPEG")).decode(),
        "digit": 3,
        "read": 7,
        "seen": base64.b64encode(seen).decode(),
    }
    with served(tmp_path) as server:
        url = f"{server.url}/v1/corrections"
        answer = httpx.post(url, json=asked)
        assert (answer.status_code, answer.json()) == (201, {"id": 1})
        [listed] = httpx.get(url).json()["corrections"]
        assert (listed["digit"], listed["read"]) == (3, 7)
        assert base64.b64decode(listed["picture"])[:4] == b"\x89PNG"
        [kept] = CorrectionStore(server.corrections).latest(1)
        assert kept.seen == seen and max(load_pixels(kept.picture).shape) <= 400
        assert np.abs(load_pixels(kept.picture).mean() - image.mean()) < 3
        assert [httpx.delete(f"{url}/1").status_code for _ in range(2)] == [204, 404]
        assert httpx.get(url).json()["corrections"] == []
        assert server.end() == 0
