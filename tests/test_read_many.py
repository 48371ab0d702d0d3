"""Archives: each picture is read once, whatever is killed on the way; what cannot be is a line."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from numerals.app.archive import Archive, Part, _matches, _parted, without_secrets
from numerals.app.job import SCHEMA, Job, as_parquet, part_of
from numerals.app.read_many import recorder
from numerals.errors import InputError
from numerals.read.reader import Reader
from tests.clusters import below, cluster, of_token
from tests.conftest import NUMERALS, run_quietly
from tests.pictures import encoded, on_paper, some_digits

ROOT = Path(__file__).parent.parent
ACTOR = "ReadParts"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures in two folders, one of them damaged, and a file that is none."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "more").mkdir()
    for number, digit in enumerate(some_digits(60)[0]):
        (folder / ("more" if number % 3 else "") / f"{number:02}.png").write_bytes(encoded(on_paper(digit, 64)))
    (folder / "07.png").write_bytes(b"no picture")
    (folder / "note.txt").write_text("nothing")
    return folder


@pytest.fixture(scope="module")
def serial(scans: Path) -> list[dict[str, Any]]:
    """What one Reader makes of them, one after the other."""
    record = recorder(Reader(threads=1))
    records = [record(str(path), str(path)) for path in sorted(scans.rglob("*.png"))]
    return by_name(pq.read_table(pa.BufferReader(as_parquet(records))))


def by_name(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda record: record["picture"])


def many(*arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    return run_quietly([*NUMERALS, "read-many", *arguments], None, **env)


def table_of(pictures: list[bytes], path: Path, column: str = "picture", group: int = 7) -> Path:
    pq.write_table(pa.table({column: pictures, "year": [1999] * len(pictures)}), path, row_group_size=group)
    return path


def test_a_folder_is_all_below_it_and_what_is_no_picture_is_counted(scans: Path) -> None:
    archive = Archive(str(scans), "picture")
    parts = list(archive.parts(25))
    assert [part.pictures for part in parts] == [25, 25, 11]
    assert sorted(name for part in parts for name in part.names) == sorted(map(str, scans.rglob("*.png")))
    assert archive.skipped == 1


def test_a_glob_names_files_folder_by_folder(scans: Path) -> None:
    def names(pattern: str) -> set[str]:
        return {name for part in Archive(f"{scans}/{pattern}", "picture").parts(500) for name in part.names}

    assert names("0*.png") == set(map(str, scans.glob("0*.png")))
    assert names("*/1*.png") == set(map(str, scans.glob("*/1*.png")))
    assert names("**/[12]?.png") == set(map(str, scans.rglob("[12]?.png")))


@given(st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4), st.lists(st.sampled_from(["a", "*", "**"]), max_size=4))
def test_globs_match_as_a_regular_expression_does(names: list[str], patterns: list[str]) -> None:
    expression = "".join("(?:[^/]+/)*" if each == "**" else each.replace("*", "[^/]*") + "/" for each in patterns)
    assert _matches(names, patterns) == bool(re.fullmatch(expression, "".join(f"{name}/" for name in names)))


@given(st.lists(st.integers(0, 40 * 2**20)), st.integers(1, 9))
def test_parts_hold_each_picture_once_and_are_bounded(sizes: list[int], most: int) -> None:
    parts = list(_parted(((str(number), size) for number, size in enumerate(sizes)), most))
    assert [name for part in parts for name in part.names] == [str(number) for number in range(len(sizes))]
    for part in parts:
        assert 1 <= part.pictures <= most
        assert part.pictures == 1 or sum(sizes[int(name)] for name in part.names) <= 16 * 2**20


def test_a_table_is_read_row_by_row_and_its_rows_are_named(tmp_path: Path) -> None:
    pictures = [bytes([number]) for number in range(20)]
    archive = Archive(str(table_of(pictures, tmp_path / "t.parquet")), "picture")
    found = [pair for part in archive.parts(3) for pair in archive.contents(part)]
    assert found == [(f"{tmp_path}/t.parquet#{number}", content) for number, content in enumerate(pictures)]


def test_a_table_of_structs_with_bytes_is_one_too(tmp_path: Path) -> None:
    cells = [{"bytes": b"1", "path": "x"}, {"bytes": None, "path": "y"}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "t.parquet")
    archive = Archive(str(tmp_path / "*.parquet"), "image")
    found = [content for part in archive.parts(500) for _, content in archive.contents(part)]
    assert found[0] == b"1" and "empty" in str(found[1])


@pytest.mark.parametrize(
    ("source", "column", "says"),
    [
        ("nowhere", "picture", "no such file"),
        ("t.parquet", "image", "no column image; it has picture, year"),
        ("t.parquet", "year", "column year holds int64"),
        ("bad.parquet", "picture", "cannot be read"),
        ("nosuch://bucket/x", "picture", "cannot be opened"),
    ],
)
def test_a_mistake_in_the_source_is_a_line(tmp_path: Path, source: str, column: str, says: str) -> None:
    table_of([b"1"], tmp_path / "t.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    named = source if "://" in source else str(tmp_path / source)
    with pytest.raises(InputError, match=says) as caught:
        list(Archive(named, column).parts(5))
    assert "\n" not in str(caught.value)


def test_a_job_is_found_again_and_another_is_refused(tmp_path: Path, scans: Path) -> None:
    archive = Archive(str(scans), "picture")
    job = Job(tmp_path / "out", {"source": "a"})
    listed = job.listed(archive, 10)
    (missing,) = job.missing(listed)
    assert (listed.pictures, listed.skipped, len(missing)) == (61, 1, 7)
    job.path(3).write_bytes(as_parquet([]))
    again = Job(tmp_path / "out", {"source": "a"})
    assert again.listed(Archive("nowhere", "picture"), 10) == listed  # as it was listed, not anew
    assert [number for left in again.missing(listed) for number, _ in left] == [0, 1, 2, 4, 5, 6]
    assert again.read_before(listed) == 10
    with pytest.raises(InputError, match="belongs to another job \\(source differs\\)"):
        Job(tmp_path / "out", {"source": "b"})
    with pytest.raises(InputError, match="no job of read-many"):
        Job(scans, {"source": "a"})


def test_no_keys_are_kept() -> None:
    assert without_secrets("s3://id:secret@bucket/x@y?scheme=http") == "s3://bucket/x@y?scheme=http"


def test_a_record_says_why_a_picture_could_not_be_read(scans: Path) -> None:
    record = recorder(Reader(threads=1))
    bad, good = record("bad", str(scans / "07.png")), record("good", str(scans / "03.png"))
    assert bad["text"] == "" and bad["rows"] == [] and "not a picture" in bad["error"]
    assert good["error"] is None and good["rows"][0]["digits"][0]["box"]["width"] > 0
    assert pq.read_table(pa.BufferReader(as_parquet([bad, good]))).schema.equals(SCHEMA)


def test_without_ray_there_is_a_line() -> None:
    code = (
        "import sys, importlib.machinery as m; real = m.PathFinder\n"
        "class Hide:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        return None if name.split('.')[0] == 'ray' else real.find_spec(name, path, target)\n"
        "sys.meta_path = [Hide if each is real else each for each in sys.meta_path]\n"
        "from numerals.app.cli import main; sys.argv = ['numerals', 'read-many', 'x', '--out', 'y']; main()"
    )
    done = run_quietly([sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "numerals: this runs on Ray, which is not installed; pip install 'numerals[scale]'"
    ]


@pytest.mark.parametrize(
    ("address", "says"),
    [("here", "must be HOST:PORT"), ("ray://h:1", "must be HOST:PORT"), ("127.0.0.1:1", "nobody answers")],
)
def test_an_address_that_is_none_is_a_line(tmp_path: Path, address: str, says: str) -> None:
    done = many(tmp_path, "--out", tmp_path / "out", "--address", address)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_what_listens_but_is_no_ray_is_a_line_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = many(tmp_path, "--out", tmp_path / "out", "--address", address, **of_token())
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and address in done.stderr
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_two_workers_read_what_one_reader_does(tmp_path: Path, scans: Path, serial: list[dict[str, Any]]) -> None:
    out = tmp_path / "out"
    done = many(scans, "--out", out, "--workers", 2, "--part", 8)
    assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
    assert done.stderr.splitlines() == [
        "61 pictures read, 1 of them not readable (column error); 0 were there before; 1 files are no pictures"
    ]
    assert by_name(pq.read_table(out)) == serial
    again = many(scans, "--out", out, "--part", 8)
    assert again.returncode == 0 and "0 pictures read" in again.stderr and "61 were there before" in again.stderr
    other = many(scans, "--out", out, "--part", 9)
    assert other.returncode == 2 and "belongs to another job (part differs)" in other.stderr


@pytest.mark.slow
def test_killed_workers_and_a_killed_job_lose_nothing(
    tmp_path: Path, scans: Path, serial: list[dict[str, Any]]
) -> None:
    """Workers are killed again and again, then the whole job, which is started anew."""
    out = tmp_path / "out"
    command = [*map(str, NUMERALS), "read-many", str(scans), "--out", str(out), "--workers", "2", "--part", "2"]
    killed = 0
    with start(command) as job:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(list(out.glob("part-*"))) < 12:
            for pid in below(job.pid, ACTOR)[:1]:
                if len(list(out.glob("part-*"))) > 2 * killed:
                    killed += 1
                    kill(pid)
            time.sleep(0.2)
        job.kill()
    before = {path.name: path.read_bytes() for path in out.glob("part-*")}
    assert killed >= 2 and 0 < len(before) < 31
    with start(command) as job:
        while job.poll() is None:
            for pid in below(job.pid, ACTOR)[:1]:
                if len(list(out.glob("part-*"))) > len(before) + 6 and killed < 5:
                    killed += 1
                    kill(pid)
            time.sleep(0.2)
    assert job.returncode == 0
    assert by_name(pq.read_table(out)) == serial
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_ctrl_c_is_a_line_and_the_same_command_goes_on(tmp_path: Path, scans: Path) -> None:
    out = tmp_path / "out"
    with start([*map(str, NUMERALS), "read-many", str(scans), "--out", str(out), "--part", "1"]) as job:
        while job.poll() is None and not list(out.glob("part-*")):
            time.sleep(0.1)
        job.send_signal(signal.SIGINT)
        _, says = job.communicate(timeout=60)
    assert job.returncode == 130
    assert says.splitlines() == [f"numerals: interrupted; what was read is in {out}; the same command goes on"]


@pytest.mark.slow
def test_a_cluster_reads_the_same_though_a_node_is_lost(
    tmp_path: Path, scans: Path, serial: list[dict[str, Any]]
) -> None:
    out = tmp_path / "out"
    with cluster(3) as (address, process):
        wrong = many(scans, "--out", out, "--address", address, **of_token("f" * 64))
        assert wrong.returncode == 2 and "another token" in wrong.stderr and not out.exists()
        command = [*map(str, NUMERALS), "read-many", str(scans), "--out", str(out), "--address", address]
        with start([*command, "--part", "2"], **of_token()) as job:
            while job.poll() is None and len(list(out.glob("part-*"))) < 4:
                time.sleep(0.1)
            assert process.stdin
            process.stdin.write("lose one\n")
            process.stdin.flush()
            _, says = job.communicate(timeout=100)
        assert job.returncode == 0, says
    assert by_name(pq.read_table(out)) == serial


@pytest.mark.slow
def test_a_bucket_is_read_and_one_that_is_denied_is_a_line(
    tmp_path: Path, scans: Path, serial: list[dict[str, Any]]
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two", "AWS_EC2_METADATA_DISABLED": "true"}
    with moto() as server:
        urllib.request.urlopen(urllib.request.Request(f"http://{server}/archive", method="PUT"))
        bucket = fs.S3FileSystem(access_key="one", secret_key="two", endpoint_override=server, scheme="http")
        for path in scans.rglob("*.*"):
            with bucket.open_output_stream(f"archive/scans/{path.relative_to(scans)}") as file:
                file.write(path.read_bytes())
        at = f"?endpoint_override={server}&scheme=http"
        done = many(f"s3://archive/scans{at}", "--out", tmp_path / "out", **keys)
        assert done.returncode == 0, done.stderr
        missing = many(f"s3://nobody/scans{at}", "--out", tmp_path / "other", **keys)
    found = by_name(pq.read_table(tmp_path / "out"))
    assert [record["picture"] for record in found] == [
        f"s3://archive/scans/{Path(record['picture']).relative_to(scans)}" for record in serial
    ]
    assert [record["rows"] for record in found] == [record["rows"] for record in serial]
    assert missing.returncode == 2 and "no such file, folder or bucket" in missing.stderr
    with moto(INITIAL_NO_AUTH_ACTION_COUNT="0") as server:
        denied = many(f"s3://archive/scans?endpoint_override={server}&scheme=http", "--out", tmp_path / "third", **keys)
    assert denied.returncode == 2 and len(denied.stderr.splitlines()) == 1 and not (tmp_path / "third").exists()


@contextlib.contextmanager
def start(command: list[str], **env: str) -> "Iterator[subprocess.Popen[str]]":
    """A command that is killed at the end, if it has not ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
            process.communicate(timeout=120)
        finally:
            process.kill()


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def moto(**env: str) -> Iterator[str]:
    """A server that speaks as Amazon's S3 does: `make .venv-moto/done` installs it."""
    program = shutil.which("moto_server", path=f"{ROOT / '.venv-moto' / 'bin'}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("moto is not installed; make .venv-moto/done")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, **env}
    with subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def test_a_part_goes_through_json() -> None:
    for part in (Part(names=("a", "\udcff")), Part(table="t", group=1, before=2, start=3, stop=4)):
        assert part_of(json.dumps(part.to_dict())) == part
