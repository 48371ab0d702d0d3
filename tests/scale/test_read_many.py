"""numerals read-many: listing archives, a job's folder, and whole jobs on Ray that are killed and continued.

The tests that start Ray are slow; most of them share one Ray.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numerals.errors import FailureError, InputError, PictureError
from numerals.read.reader import Reader
from numerals.read.sandbox import Sandbox
from numerals.scale import cluster
from numerals.scale.archive import Archive, Part, without_secrets
from numerals.scale.attempts import Attempts
from numerals.scale.job import Job, as_parquet, part_of
from tests.conftest import NUMERALS, run_quietly
from tests.helpers import picture_files
from tests.helpers.clusters import cluster as simulated_cluster
from tests.helpers.clusters import token_environment
from tests.helpers.commands import assert_one_line, call
from tests.helpers.pictures import encoded, on_paper, some_digits
from tests.scale.test_folder import DAMAGES, damage

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

PICTURES = 40


def a_picture(number: int) -> bytes:
    digits, _ = some_digits()
    row = np.concatenate([on_paper(digits[(number + k) % 200], 48) for k in range(2)], axis=1)
    return encoded(np.pad(row, 24, constant_values=235))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PICTURES pictures in three folders, one of them damaged, and two other files."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(PICTURES - 1):
        path = folder / ("", "a", "a/b")[number % 3] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(a_picture(number))
    (folder / "damaged.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / "a" / "README").write_text("nor this")
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    cells = [a_picture(number) for number in range(12)] + [None, b"no picture"]
    columns = {
        "picture": cells,
        "image": [cell and {"bytes": cell, "path": "x"} for cell in cells],
        "label": list(range(14)),
    }
    pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


def names(archive: Archive, max_pictures: int = 7) -> list[str]:
    return [name for part in archive.parts(max_pictures) for name in part.names]


def records(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def test_a_folder_is_listed_once_in_bounded_parts(scans: Path) -> None:
    archive = Archive(str(scans), "picture")
    parts = list(archive.parts(7))
    assert max(part.pictures for part in parts) <= 7
    assert Counter(name for part in parts for name in part.names) == Counter(map(str, scans.rglob("*.png")))
    assert archive.skipped == 2


@pytest.mark.parametrize("pattern", ["*.png", "a/*.png", "**/*.png", "*/b/00[0-5].png", "a/?1?.png"])
def test_a_glob_matches_as_in_pathlib(scans: Path, pattern: str) -> None:
    assert sorted(names(Archive(f"{scans}/{pattern}", "picture"))) == sorted(map(str, scans.glob(pattern)))


def test_two_stars_at_the_end_match_all_subfolders(scans: Path) -> None:
    assert sorted(names(Archive(f"{scans}/a/**", "picture"))) == sorted(map(str, (scans / "a").rglob("*.png")))


def test_a_file_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    for name in ("[1].png", "1.png"):
        (tmp_path / name).write_bytes(a_picture(1))
    assert names(Archive(str(tmp_path / "[1].png"), "picture")) == [str(tmp_path / "[1].png")]


@pytest.mark.parametrize("column", ["picture", "image"])
@pytest.mark.parametrize("max_pictures", [1, 3, 100])
def test_the_parts_of_a_table_have_each_row_once(table: Path, column: str, max_pictures: int) -> None:
    archive = Archive(str(table), column)
    found = [each for part in archive.parts(max_pictures) for each in archive.contents(part)]
    assert [name for name, _ in found] == [f"{table}#{row}" for row in range(14)]
    assert [content for _, content in found[:12]] == [a_picture(number) for number in range(12)]
    assert isinstance(found[12][1], Exception) and found[13][1] == b"no picture"


@pytest.mark.parametrize(("column", "words"), [("nope", "no column nope"), ("label", "must hold the bytes")])
def test_a_table_without_the_column_is_refused(table: Path, column: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(Archive(str(table), column).parts(5))


def test_a_part_is_restored_from_json() -> None:
    for part in (Part(("a", "b\n")), Part(table="t", group=1, before=5, start=2, stop=4)):
        assert part_of(json.dumps(part.to_dict())) == part


def test_a_job_continues_with_missing_parts_and_refuses_another_request(scans: Path, tmp_path: Path) -> None:
    request = {"source": "x", "part": 7}
    archive = Archive(str(scans), "picture")
    listing = Job(tmp_path / "out", request).list_archive(archive, 7)
    assert (listing.pictures, listing.skipped) == (PICTURES, 2)
    job = Job(tmp_path / "out", request)
    job.path(1).write_bytes(as_parquet([]))
    missing = [number for chunk in job.missing(job.list_archive(archive, 7)) for number, _ in chunk]
    assert missing == [number for number in range(listing.parts) if number != 1]
    with pytest.raises(InputError, match=r"another job \(part differs"):
        Job(tmp_path / "out", request | {"part": 8})
    with pytest.raises(InputError, match="do not belong to a job"):
        Job(scans, request)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["listed.json", "parts-0000.jsonl"])
def test_a_damaged_list_of_parts_is_one_line(name: str, kind: str, scans: Path, tmp_path: Path) -> None:
    archive, request = Archive(str(scans), "picture"), {"source": "x"}
    job = Job(tmp_path, request)
    listing = job.list_archive(archive, 7)
    damage(tmp_path / "_job" / name, kind)
    with pytest.raises(InputError, match=r"damaged \(.+\); choose another --out") as caught:
        job.count_done(Job(tmp_path, request).list_archive(archive, 7))
    assert str(caught.value).startswith(str(tmp_path / "_job" / name)) and "\n" not in str(caught.value)
    assert listing.pictures == PICTURES


@pytest.mark.parametrize(
    "line",
    [
        '{"names": "abc"}',
        '{"names": [1], "table": "", "group": 0, "before": 0, "start": 0, "stop": 0}',
        '{"names": [], "table": null, "group": 0, "before": 0, "start": 0, "stop": 0}',
        '{"names": [], "table": "t", "group": -1, "before": 0, "start": 0, "stop": 0}',
        '{"names": [], "table": "t", "group": 0, "before": 0, "start": 0, "stop": 1e9}',
        '{"names": [], "table": "t", "group": 0, "before": 0, "start": 0, "stop": 1, "more": 1}',
        "[]",
        "7",
    ],
)
def test_a_line_that_is_no_part_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a part of an archive"):
        part_of(line)


@pytest.mark.parametrize("change", [{"parts": 99}, {"parts": -1}, {"parts": 1.0}, {"pictures": None}, {"more": 1}])
def test_a_wrong_size_of_the_archive_is_one_line(change: dict[str, Any], scans: Path, tmp_path: Path) -> None:
    archive, request = Archive(str(scans), "picture"), {"source": "x"}
    listing = Job(tmp_path, request).list_archive(archive, 7)
    (tmp_path / "_job" / "listed.json").write_text(json.dumps(vars(listing) | change))
    with pytest.raises(InputError, match="damaged"):
        job = Job(tmp_path, request)
        job.count_done(job.list_archive(archive, 7))


def test_missing_parts_come_in_batches_of_the_wanted_size(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(600):  # listed in files of 256
        (tmp_path / "scans" / f"{number}.png").touch()
    job = Job(tmp_path / "out", {"source": "scans"})
    listing = job.list_archive(Archive(str(tmp_path / "scans"), "picture"), 1)
    job.path(7).touch()
    assert [len(each) for each in job.missing(listing, 400)] == [400, 199]
    numbers = [number for each in job.missing(listing, 100) for number, _ in each]
    assert numbers == [number for number in range(600) if number != 7]


def test_the_keys_of_a_bucket_are_removed() -> None:
    assert without_secrets("s3://key:secret@bucket/a?region=x") == "s3://bucket/a?region=x"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "no such file"),
        (("{scans}", "--address", "here"), "must be HOST:PORT"),
        (("{scans}", "--address", "127.0.0.1:1"), "nothing answers"),
        (("{table}", "--column", "nope"), "no column nope"),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(
    scans: Path,
    table: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    given = [each.format(scans=scans, table=table) for each in arguments]
    code, stdout, stderr = call(capfd, "read-many", *given, "--out", tmp_path / "out")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, words)
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'ray' else found(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run_quietly((*NUMERALS, "read-many", tmp_path, "--out", tmp_path / "out"), PYTHONPATH=path)
    assert done.returncode == 2 and "numerals[scale]" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_port_without_ray_is_one_line_within_the_timeout(scans: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_quietly((*NUMERALS, "read-many", scans, "--out", "out", "--address", address), tmp_path,
                           RAY_AUTH_MODE="disabled")  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


@pytest.fixture(scope="module")
def serial(scans: Path) -> dict[str, str]:
    """The texts that one Reader reads; "" for the damaged picture."""
    reader = Reader(threads=1)
    return {
        str(path): reader.read(path).text if path.stem != "damaged" else "" for path in sorted(scans.rglob("*.png"))
    }


def assert_complete(out: Path, serial: dict[str, str]) -> None:
    """Assert that each picture has one record, with the text of the serial Reader."""
    saved = records(out)
    assert Counter(record["picture"] for record in saved) == Counter(list(serial))
    assert {record["picture"]: record["text"] for record in saved} == serial
    assert [Path(record["picture"]).stem for record in saved if record["error"]] == ["damaged"]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of three nodes with one core each; this process has joined it."""
    cluster.check(None)
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "token"
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    ray_cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(2):
        ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(ray_cluster.address, log_to_driver=False)
    yield ray_cluster
    ray.shutdown()
    ray_cluster.shutdown()


def read(source: str, out: Path, part: int = 4, column: str = "picture") -> Iterator[Any]:
    from numerals.scale.read_many import ReadRequest, prepare, read_parts

    request = ReadRequest(source, column, part, None)
    job, listing = prepare(request, out)
    yield from read_parts(job, listing, request, 2)


@pytest.mark.slow
def test_several_nodes_read_what_one_reader_does(
    nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    assert sum(done.pictures for done in read(str(scans), tmp_path / "out")) == PICTURES
    assert_complete(tmp_path / "out", serial)
    assert list(read(str(scans), tmp_path / "out")) == []  # nothing is missing


@pytest.mark.slow
def test_a_picture_that_ends_its_readers_gets_an_error_and_the_others_are_read(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numerals.scale import read_many

    class Attacked(read_many.PartReader):
        """What a bug in reading might do: no sandbox is around it."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            record = self._record

            def attacked(name: str, content: Any) -> dict[str, Any]:
                if name.endswith("2.png") and not isinstance(content, PictureError):
                    os.kill(os.getpid(), signal.SIGKILL)
                return record(name, content)

            self._record = attacked

    monkeypatch.setattr(read_many, "PartReader", Attacked)
    (tmp_path / "scans").mkdir()
    for number in range(5):
        (tmp_path / "scans" / f"{number}.png").write_bytes(a_picture(number))
    assert sum(done.pictures for done in read(str(tmp_path / "scans"), tmp_path / "out", part=5)) == 5
    saved = {Path(record["picture"]).name: record for record in records(tmp_path / "out")}
    assert sorted(saved) == [f"{number}.png" for number in range(5)]
    assert [name for name, record in saved.items() if record["error"]] == ["2.png"]
    assert saved["2.png"]["error"].endswith("2.png: it ended 2 readers; left out")


@pytest.mark.slow
def test_a_pdf_that_needs_gigabytes_gets_an_error_and_the_others_are_read(nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "forms.pdf").write_bytes(picture_files.pdf_of_nested_forms())
    (tmp_path / "scans" / "good.png").write_bytes(a_picture(0))
    assert sum(done.pictures for done in read(str(tmp_path / "scans"), tmp_path / "out")) == 2
    errors = {Path(record["picture"]).name: record["error"] for record in records(tmp_path / "out")}
    assert "decoding" in errors["forms.pdf"] and errors["good.png"] is None


def test_a_failure_of_the_machine_is_no_error_of_the_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from numerals.scale.read_many import recorder

    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(9)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with closing(Sandbox()) as sandbox:
        record = recorder(Reader(), sandbox)
        with pytest.raises(FailureError, match="does not start"):
            record("a.png", a_picture(0))


@pytest.mark.parametrize("kill", [(), (2,), (0, 4)])
def test_attempts_find_the_pictures_that_end_readers(kill: tuple[int, ...]) -> None:
    attempts, read = Attempts(), list[int]()
    for _ in range(10):
        read.clear()
        left_out = attempts.begin(7)
        for picture in range(5):
            if left_out is not None and picture in left_out:
                continue
            if left_out is not None:
                attempts.reading(7, picture)
            if picture in kill:
                break
            read.append(picture)
        else:
            break
    assert read == [picture for picture in range(5) if picture not in kill]
    attempts.end(7)
    assert attempts.begin(7) is None


@pytest.mark.slow
def test_a_worker_killed_again_and_again_changes_nothing(
    nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    killed = 0
    for _ in read(str(scans), tmp_path / "out", part=2):
        if killed < 4:
            killed += kill_a_worker()
    assert killed >= 2
    assert_complete(tmp_path / "out", serial)


def kill_a_worker() -> bool:
    """Kill one actor of this process, which has our token in its environment."""
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::MapWorker") and token in path.with_name("environ").read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
                return True
        except OSError:  # it has ended
            continue
    return False


@pytest.mark.slow
def test_a_bucket_reads_like_a_folder(nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    boto3 = pytest.importorskip("boto3")
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
        client.create_bucket(Bucket="scans")
        for path in scans.rglob("*.*"):
            client.upload_file(str(path), "scans", f"all/{path.relative_to(scans)}")
        source = f"s3://key:secret@scans/all?scheme=http&endpoint_override={host}:{port}"
        assert sum(done.pictures for done in read(source, tmp_path / "out", part=16)) == PICTURES
    finally:
        server.stop()
    texts = {record["picture"]: record["text"] for record in records(tmp_path / "out")}
    assert texts == {name.replace(str(scans), "s3://scans/all"): text for name, text in serial.items()}
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.slow
def test_killed_at_random_and_started_again_it_reads_each_picture_once(
    scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    """With the real command, which starts its own Ray."""
    command = [
        sys.executable,
        "-m",
        "numerals",
        "read-many",
        str(scans),
        "--out",
        "out",
        "--part",
        "2",
        "--workers",
        "2",
    ]
    draw = random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(3, 14))
        process.kill()
        process.wait()
    done = run_quietly(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", serial)


@contextmanager
def started(*options: object, **env: str) -> "Iterator[subprocess.Popen[str]]":
    """Start the command; kill it at the end if it is still running."""
    command = [*map(str, NUMERALS), "read-many", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        try:
            yield job
        finally:
            job.kill()


@pytest.mark.slow
def test_a_lost_node_is_no_error_but_a_wrong_token_is(scans: Path, serial: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with simulated_cluster(3) as (address, process):
        wrong = run_quietly(
            [*NUMERALS, "read-many", scans, "--out", out, "--address", address], None, **token_environment("f" * 64)
        )
        assert wrong.returncode == 2 and "another token" in wrong.stderr and not out.exists()
        with started(scans, "--out", out, "--address", address, "--part", 1, **token_environment()) as job:
            while job.poll() is None and len(list(out.glob("part-*"))) < 4:
                time.sleep(0.05)
            assert process.stdin and job.poll() is None  # still running
            process.stdin.write("lose one\n")
            process.stdin.flush()
            stdout, stderr = job.communicate(timeout=240)
        assert job.returncode == 0, stderr
        assert stdout == f"{out}\n" and len(stderr.splitlines()) == 1, stderr  # and Ray prints nothing
    assert_complete(out, serial)


@pytest.mark.slow
def test_ctrl_c_is_one_line_that_says_how_to_continue(tmp_path: Path) -> None:
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    pictures.mkdir()
    for number in range(500):  # enough that some are still missing after the first
        (pictures / f"{number}.png").write_bytes(a_picture(number % PICTURES))
    with started(pictures, "--out", out, "--part", 1) as job:
        while job.poll() is None and not list(out.glob("part-*")):
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        _, stderr = job.communicate(timeout=240)
    assert job.returncode == 130
    assert stderr.splitlines() == [f"numerals: interrupted; what was read is in {out}; to continue, repeat the command"]


def test_access_denied_by_a_bucket_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    deny = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "0"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=deny) as server:
        try:
            for _ in range(200):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            source = f"s3://key:secret@scans/all?scheme=http&endpoint_override=127.0.0.1:{port}"
            done = run_quietly([*NUMERALS, "read-many", source, "--out", tmp_path / "out"])
        finally:
            server.kill()
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "secret" not in done.stderr and "ACCESS_DENIED" in done.stderr
    assert list(tmp_path.iterdir()) == []
