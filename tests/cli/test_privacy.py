"""No telemetry, ours or a dependency's: commands connect to this machine alone, and leave no device id."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import NUMERALS, run_quietly
from tests.helpers.picture_files import page_of
from tests.helpers.serving import drawing_png, post_picture, running_server

TRACE = ("strace", "-f", "-qq", "-e", "trace=bind,connect,sendto,sendmsg,sendmmsg", "-o")
LOCAL = re.compile(r"sa_family=AF_(UNIX|NETLINK|UNSPEC)|127\.0\.0\.1|\"::1\"|::ffff:127\.")


def strace_works(folder: Path) -> bool:
    traced = shutil.which("strace") and run_quietly((*TRACE, folder / "try", "true")).returncode == 0
    return bool(traced)


def remote_addresses(trace: Path) -> list[str]:
    """The lines of a trace that name an address that is not on loopback, be it to send to or to listen on."""
    return [line for line in trace.read_text().splitlines() if "sa_family=" in line and not LOCAL.search(line)]


def device_ids(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if "microsoft" in str(path.relative_to(home)).lower()]


def test_reading_leaves_no_device_id(tmp_path: Path) -> None:
    Image.fromarray(page_of("0571")).save(tmp_path / "a.png")
    (tmp_path / "home").mkdir()
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}
    assert run_quietly((*NUMERALS, "read", tmp_path / "a.png"), None, **home).stdout == "0571\n"
    with running_server(tmp_path, **home) as server:
        assert post_picture(server, drawing_png("2")).json()["text"] == "2"
        assert server.stop() == 0
    assert device_ids(tmp_path / "home") == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["read", "train", "train --seeds", "read-many", "serve"])
def test_commands_connect_to_this_machine_alone(command: str, small_npz: Path, tmp_path: Path) -> None:
    if not strace_works(tmp_path):
        pytest.skip("strace is not installed (apt-get install strace), or not permitted here")
    (tmp_path / "scans").mkdir()
    Image.fromarray(page_of("0571")).save(tmp_path / "scans" / "a.png")
    training = ("--data", small_npz, "--epochs", 1, "--device", "cpu", "--out", tmp_path / "run")
    arguments: dict[str, tuple[object, ...]] = {
        "read": ("read", tmp_path / "scans" / "a.png"),
        "train": ("train", *training),
        "train --seeds": ("train", *training, "--seeds", 2),
        "read-many": ("read-many", tmp_path / "scans", "--out", tmp_path / "records"),
    }
    (tmp_path / "home").mkdir()
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}
    trace = tmp_path / "trace"
    if command == "serve":
        with running_server(tmp_path, under=(*TRACE, trace), **home) as server:
            assert post_picture(server, drawing_png("2")).json()["text"] == "2"
            os.kill(server.pids()[1], signal.SIGTERM)  # the first is strace, which does not pass it on
            assert server.process.wait(120) == 0
    else:
        done = run_quietly((*TRACE, trace, *NUMERALS, *arguments[command]), None, **home)
        assert done.returncode == 0, done.stderr
    assert remote_addresses(trace) == []
    assert device_ids(tmp_path / "home") == []
