"""A Ray cluster of several nodes on this machine, in a process of its own: `python -m tests.clusters NODES`.

It prints its address; a line on standard input loses a node; the end of standard input ends it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef" * 4
STORE = 150 * 2**20


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Its address, and its process."""
    environment = {**os.environ, **of_token()}
    command = [sys.executable, "-m", "tests.clusters", str(nodes)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout and process.stdin
        try:
            for line in process.stdout:
                if line.startswith("address "):
                    yield line.split()[1], process
                    break
        finally:
            process.stdin.close()
            process.wait(60)


def interrupted(command: list[str], enough: Callable[[], bool]) -> str:
    """The command, and when it is `enough` Ctrl-C as a terminal sends it, to the workers too; what was said last."""
    with _at_work(command, enough) as job:
        os.killpg(job.pid, signal.SIGINT)
        _, says = job.communicate(timeout=60)
    assert job.returncode == 130, says
    return str(says.splitlines()[-1])


def killed(command: list[str], enough: Callable[[], bool]) -> None:
    """The command, and when it is `enough` SIGKILL to it alone; its workers find out by themselves."""
    with _at_work(command, enough) as job:
        assert job.poll() is None  # it is at work
        job.kill()


@contextlib.contextmanager
def _at_work(command: list[str], enough: Callable[[], bool]) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as job:
        while job.poll() is None and not enough():
            time.sleep(0.02)
        yield job


def of_token(token: str = TOKEN) -> dict[str, str]:
    """The environment of whoever may speak to it."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}


def below(pid: int, name: str) -> list[int]:
    """Processes whose command line has `name`, descended from `pid`."""
    parents, found = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if name in (path / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(path.name))
    return [each for each in found if pid in _ancestors(each, parents)]


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid


def main(nodes: int) -> None:
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE}
    made = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    others = [made.add_node(**options) for _ in range(nodes - 1)]
    made.wait_for_nodes()
    sys.stdout.write(f"address {made.address}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        made.remove_node(others.pop(), allow_graceful=False)
    made.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
