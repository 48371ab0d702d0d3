"""A Ray cluster of several nodes on this machine: `python -m tests.helpers.clusters NODES`.

Prints its address. A line on standard input removes a node; the end of standard input stops the cluster.
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
OBJECT_STORE_BYTES = 150 * 2**20


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a cluster in a process of its own; yields its address and the process."""
    environment = {**os.environ, **token_environment()}
    command = [sys.executable, "-m", "tests.helpers.clusters", str(nodes)]
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
            process.wait(240)


def interrupt(command: list[str], when: Callable[[], bool]) -> str:
    """Run the command and press Ctrl-C as soon as `when` is true; returns the last line of stderr.

    As from a terminal, SIGINT goes to the workers too.
    """
    with _running_until(command, when) as job:
        os.killpg(job.pid, signal.SIGINT)
        _, stderr = job.communicate(timeout=240)
    assert job.returncode == 130, stderr
    return str(stderr.splitlines()[-1])


def kill(command: list[str], when: Callable[[], bool]) -> None:
    """Run the command and send it SIGKILL as soon as `when` is true, but not its workers."""
    with _running_until(command, when) as job:
        assert job.poll() is None, "it ended before it could be killed"
        job.kill()


@contextlib.contextmanager
def _running_until(command: list[str], when: Callable[[], bool]) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as job:
        while job.poll() is None and not when():
            time.sleep(0.02)
        yield job


def token_environment(token: str = TOKEN) -> dict[str, str]:
    """The environment variables with which a process may join the cluster."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}


def main(nodes: int) -> None:
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
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
