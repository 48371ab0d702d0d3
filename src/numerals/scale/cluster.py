"""Ray: started on this machine's cores, or joined at --address. Knows nothing about what runs on it.

Its usage reports are off, it has no dashboard, and whoever speaks to it must know its token: on this machine one that
is made for the occasion, in a cluster the one that its owner gave out (docs/scale.md).
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import util
from pathlib import Path
from typing import Any

from numerals.errors import InputError

PATIENCE = 15  # seconds for a cluster to answer
STORE = 200 * 2**20  # bytes of Ray's object store on this machine: what lies there is a few parts or trials
_answered: set[str] = set()  # addresses that need not be asked twice; "" is this machine


@contextmanager
def connected(address: str | None, workers: int | None = None) -> Iterator[int]:
    """Ray within the block; gives the number of cores it may use.

    Args:
        address: HOST:PORT of a cluster's head, from a machine of the cluster; None: this machine's own cores.
        workers: at least so many cores are offered on this machine, whatever it has.

    Raises:
        InputError: Ray is not installed, nobody answers at the address, or not to our token.
    """
    check(address)
    if address is None:
        cores = max(os.cpu_count() or 1, workers or 1)
        settings: dict[str, Any] = {"num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False}
        settings["_node_ip_address"] = "127.0.0.1"  # nothing of it listens to other machines
    else:
        settings = {}
    import ray

    with _hushed():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **settings)
        except (OSError, RuntimeError, ValueError) as error:  # another version of Ray or Python, a port in use
            what = f"--address {address}: cannot be joined" if address else "Ray cannot be started"
            raise InputError(f"{what} ({str(error).splitlines()[0]})") from error
        try:
            yield int(ray.cluster_resources().get("CPU", 1))
        finally:
            ray.shutdown()


def check(address: str | None) -> None:
    """Before anything is made: that Ray is installed, and that one of our token answers.

    Raises:
        InputError: as `connected`.
    """
    missing = [name for name in ("ray", "pyarrow", "optuna") if util.find_spec(name) is None]
    if missing:
        raise InputError(f"this runs on Ray; {missing[0]} is not installed; pip install 'numerals[scale]'")
    _quiet()
    protected = os.environ.setdefault("RAY_AUTH_MODE", "token") == "token"
    if address is None and protected and "" not in _answered:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray reads it once, when it is imported
        _answered.add("")
    if address is not None and address not in _answered:
        _ask(address)
        _answered.add(address)
    with _hushed():
        import ray  # noqa: F401  what follows finds it imported


def _quiet() -> None:
    """Before Ray is imported, since it reads these then; its workers inherit them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2", "1")
    for name in ("ray", "ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised too, and said in our words
    warnings.simplefilter("ignore")


@contextmanager
def _hushed() -> Iterator[None]:
    """stderr for Python alone, stdout for nobody: there Ray writes, past every setting, how its processes died.

    That is no error here, and our results are printed when Ray has ended.
    """
    if os.environ.get("NUMERALS_TRACEBACK"):
        yield
        return
    before = sys.stderr
    with open(os.dup(2), "w", buffering=1, errors="backslashreplace") as ours:
        nowhere = open(os.devnull, "w")  # noqa: SIM115  a thread of Ray's may still write when it is over
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = ours
        try:
            with redirect_stdout(nowhere):
                yield
        finally:
            sys.stderr = before
            ours.flush()
            os.dup2(ours.fileno(), 2)


def _ask(address: str) -> None:
    """That a Ray of our token answers; Ray itself waits for minutes, or ends the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16 or "/" in host:
        raise InputError(f"--address {address}: must be HOST:PORT of the cluster's head, as in 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE / 3).close()
    except OSError as error:
        raise InputError(f"--address {address}: nobody answers ({error}); is the cluster up?") from error
    if os.environ["RAY_AUTH_MODE"] == "token" and not _has_token():
        raise InputError(
            f"--address {address}: no token; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's, or "
            "RAY_AUTH_MODE=disabled where it has none (docs/scale.md)"
        )
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"--address {address}: what listens there does not answer as Ray does") from error
    if done.returncode:
        raise InputError(f"--address {address}: no Ray of this version there, or it has another token than ours")


def _has_token() -> bool:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or path.is_file()
