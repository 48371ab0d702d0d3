"""numerals read-many: what an archive holds, a job's folder, and whole jobs on a real Ray, killed and gone on with.

Those that start Ray are slow ones; they share one Ray where they can.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numerals.errors import InputError
from numerals.read.reader import Reader
from numerals.scale import cluster
from numerals.scale.archive import Archive, Part, without_secrets
from numerals.scale.job import Job, as_parquet, part_of
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.clusters import cluster as simulated
from tests.helpers.clusters import of_token
from tests.helpers.pictures import encoded, on_paper, some_digits

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
    """PICTURES pictures in three folders, one of them damaged, and two files that are none."""
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


def names(archive: Archive, most: int = 7) -> list[str]:
    return [name for part in archive.parts(most) for name in part.names]


def records(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found


def test_a_folder_gives_each_picture_once_in_bounded_parts(scans: Path) -> None:
    archive = Archive(str(scans), "picture")
    parts = list(archive.parts(7))
    assert max(part.pictures for part in parts) <= 7
    assert Counter(name for part in parts for name in part.names) == Counter(map(str, scans.rglob("*.png")))
    assert archive.skipped == 2


@pytest.mark.parametrize("pattern", ["*.png", "a/*.png", "**/*.png", "*/b/00[0-5].png", "a/?1?.png"])
def test_a_glob_means_what_it_means_to_pathlib(scans: Path, pattern: str) -> None:
    assert sorted(names(Archive(f"{scans}/{pattern}", "picture"))) == sorted(map(str, scans.glob(pattern)))


def test_two_stars_at_the_end_are_all_below(scans: Path) -> None:
    assert sorted(names(Archive(f"{scans}/a/**", "picture"))) == sorted(map(str, (scans / "a").rglob("*.png")))


def test_a_file_named_like_a_glob_is_that_file(tmp_path: Path) -> None:
    for name in ("[1].png", "1.png"):
        (tmp_path / name).write_bytes(a_picture(1))
    assert names(Archive(str(tmp_path / "[1].png"), "picture")) == [str(tmp_path / "[1].png")]


@pytest.mark.parametrize("column", ["picture", "image"])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_tables_parts_hold_each_row_once(table: Path, column: str, most: int) -> None:
    archive = Archive(str(table), column)
    found = [each for part in archive.parts(most) for each in archive.contents(part)]
    assert [name for name, _ in found] == [f"{table}#{row}" for row in range(14)]
    assert [content for _, content in found[:12]] == [a_picture(number) for number in range(12)]
    assert isinstance(found[12][1], Exception) and found[13][1] == b"no picture"


@pytest.mark.parametrize(("column", "says"), [("nope", "no column nope"), ("label", "must hold the bytes")])
def test_a_table_without_the_column_is_refused(table: Path, column: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        list(Archive(str(table), column).parts(5))


def test_a_part_survives_its_line_of_json() -> None:
    for part in (Part(("a", "b\n")), Part(table="t", group=1, before=5, start=2, stop=4)):
        assert part_of(json.dumps(part.to_dict())) == part


def test_a_job_goes_on_with_what_is_missing_and_refuses_another(scans: Path, tmp_path: Path) -> None:
    asked = {"source": "x", "part": 7}
    archive = Archive(str(scans), "picture")
    listed = Job(tmp_path / "out", asked).list_archive(archive, 7)
    assert (listed.pictures, listed.skipped) == (PICTURES, 2)
    job = Job(tmp_path / "out", asked)
    job.path(1).write_bytes(as_parquet([]))
    left = [number for chunk in job.missing(job.list_archive(archive, 7)) for number, _ in chunk]
    assert left == [number for number in range(listed.parts) if number != 1]
    with pytest.raises(InputError, match=r"another job \(part differs"):
        Job(tmp_path / "out", asked | {"part": 8})
    with pytest.raises(InputError, match="do not belong to a job"):
        Job(scans, asked)


def test_as_many_parts_are_handed_out_together_as_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(600):  # their lists are files of 256
        (tmp_path / "scans" / f"{number}.png").touch()
    job = Job(tmp_path / "out", {"source": "scans"})
    listed = job.list_archive(Archive(str(tmp_path / "scans"), "picture"), 1)
    job.path(7).touch()
    assert [len(each) for each in job.missing(listed, 400)] == [400, 199]
    numbers = [number for each in job.missing(listed, 100) for number, _ in each]
    assert numbers == [number for number in range(600) if number != 7]


def test_keys_of_a_bucket_are_written_nowhere() -> None:
    assert without_secrets("s3://key:secret@bucket/a?region=x") == "s3://bucket/a?region=x"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "no such file"),
        (("{scans}", "--address", "here"), "must be HOST:PORT"),
        (("{scans}", "--address", "127.0.0.1:1"), "nothing answers"),
        (("{table}", "--column", "nope"), "no column nope"),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(
    scans: Path, table: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    given = [each.format(scans=scans, table=table) for each in arguments]
    done = run_quietly((*NUMERALS, "read-many", *given, "--out", "out"), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert says in done.stderr and not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'ray' else found(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run_quietly((*NUMERALS, "read-many", tmp_path, "--out", tmp_path / "out"), PYTHONPATH=path)
    assert done.returncode == 2 and "numerals[scale]" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_port_that_is_no_ray_is_one_line_in_time(scans: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_quietly((*NUMERALS, "read-many", scans, "--out", "out", "--address", address), tmp_path,
                           RAY_AUTH_MODE="disabled")  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert time.monotonic() - begun < 30


@pytest.fixture(scope="module")
def serial(scans: Path) -> dict[str, str]:
    """What a Reader alone reads, and what it refuses."""
    reader = Reader(threads=1)
    return {
        str(path): reader.read(path).text if path.stem != "damaged" else "" for path in sorted(scans.rglob("*.png"))
    }


def assert_whole(out: Path, serial: dict[str, str]) -> None:
    """Each picture once, with the text of the serial Reader."""
    found = records(out)
    assert Counter(record["picture"] for record in found) == Counter(list(serial))
    assert {record["picture"]: record["text"] for record in found} == serial
    assert [Path(record["picture"]).stem for record in found if record["error"]] == ["damaged"]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of three nodes of one core, and ourselves joined to it."""
    cluster.check(None)
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "token"
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def read(source: str, out: Path, part: int = 4, column: str = "picture") -> Iterator[Any]:
    from numerals.scale import read_many as many

    request = many.ReadRequest(source, column, part, None)
    job, listed = many.prepare(request, out)
    yield from many.read_parts(job, listed, request, 2)


@pytest.mark.slow
def test_several_nodes_read_what_one_reader_does(
    nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    assert sum(done.pictures for done in read(str(scans), tmp_path / "out")) == PICTURES
    assert_whole(tmp_path / "out", serial)
    assert list(read(str(scans), tmp_path / "out")) == []  # nothing is left to do


@pytest.mark.slow
def test_a_worker_killed_again_and_again_changes_nothing(
    nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    killed = 0
    for _ in read(str(scans), tmp_path / "out", part=2):
        if killed < 4:
            killed += kill_a_worker()
    assert killed >= 2
    assert_whole(tmp_path / "out", serial)


def kill_a_worker() -> bool:
    """SIGKILL to one of our actors, told from others' by our token in its environment."""
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::MapWorker") and token in path.with_name("environ").read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
                return True
        except OSError:  # it has gone
            continue
    return False


@pytest.mark.slow
def test_a_bucket_is_read_as_a_folder_is(nodes: Any, scans: Path, serial: dict[str, str], tmp_path: Path) -> None:
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
    found = {record["picture"]: record["text"] for record in records(tmp_path / "out")}
    assert found == {name.replace(str(scans), "s3://scans/all"): text for name, text in serial.items()}
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.slow
def test_killed_at_random_and_started_again_it_reads_each_picture_once(
    scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    """The command itself, with a Ray of its own."""
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
    assert_whole(tmp_path / "out", serial)


@contextmanager
def started(*options: object, **env: str) -> "Iterator[subprocess.Popen[str]]":
    """The command at work; killed at the end, if it has not ended."""
    command = [*map(str, NUMERALS), "read-many", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        try:
            yield job
        finally:
            job.kill()


@pytest.mark.slow
def test_a_node_that_is_lost_is_no_error_and_another_token_is_one(
    scans: Path, serial: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with simulated(3) as (address, process):
        wrong = run_quietly(
            [*NUMERALS, "read-many", scans, "--out", out, "--address", address], None, **of_token("f" * 64)
        )
        assert wrong.returncode == 2 and "another token" in wrong.stderr and not out.exists()
        with started(scans, "--out", out, "--address", address, "--part", 1, **of_token()) as job:
            while job.poll() is None and len(list(out.glob("part-*"))) < 4:
                time.sleep(0.05)
            assert process.stdin and job.poll() is None  # it is at work
            process.stdin.write("lose one\n")
            process.stdin.flush()
            printed, says = job.communicate(timeout=100)
        assert job.returncode == 0, says
        assert printed == f"{out}\n" and len(says.splitlines()) == 1, says  # it is no error, and Ray says nothing of it
    assert_whole(out, serial)


@pytest.mark.slow
def test_ctrl_c_is_one_line_that_says_what_goes_on(tmp_path: Path) -> None:
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    pictures.mkdir()
    for number in range(500):  # many are left when the first is read
        (pictures / f"{number}.png").write_bytes(a_picture(number % PICTURES))
    with started(pictures, "--out", out, "--part", 1) as job:
        while job.poll() is None and not list(out.glob("part-*")):
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        _, says = job.communicate(timeout=60)
    assert job.returncode == 130
    assert says.splitlines() == [f"numerals: interrupted; what was read is in {out}; to continue, repeat the command"]


def test_a_bucket_that_denies_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
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
