"""Starts Ray on the cores of this machine, or joins the cluster at --address.

Ray's usage reports and dashboard are off. Every connection needs a token: on this machine a new one for each command,
on a cluster the one that its owner chose (docs/scale.md).
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

from numerals.errors import FailureError, InputError, NumeralsError

TIMEOUT = 15  # seconds for a cluster to answer
OBJECT_STORE_BYTES = 200 * 2**20  # on this machine; it holds a few parts or trials at a time
MAX_ERROR_CHARACTERS = 200  # of an error of Ray's
# Without its dashboard, Ray starts the dashboard's process for usage reports alone; and even if those are off, it asks
# the cloud's metadata service, and a name server, where it runs. With a port that cannot exist, Ray does without it.
NO_PORT = 2**16
_checked: set[str] = set()  # addresses that answered; "" stands for this machine


@contextmanager
def connected(address: str | None, workers: int | None = None) -> Iterator[int]:
    """Run Ray within the block; yields the number of cores that it has.

    Args:
        address: HOST:PORT of a cluster's head node, if this machine is in the cluster; None for this machine alone.
        workers: on this machine, let Ray use at least this many cores, even if there are fewer.

    Raises:
        InputError: Ray is not installed, nothing answers at the address, or the token is wrong.
    """
    check(address)
    if address is None:
        cores = max(os.cpu_count() or 1, workers or 1)
        settings: dict[str, Any] = {"num_cpus": cores, "object_store_memory": OBJECT_STORE_BYTES}
        settings |= {"include_dashboard": False, "dashboard_port": NO_PORT}
    else:
        settings = {}
    import ray

    with _ray_output_hidden():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **settings)
        except (OSError, RuntimeError, ValueError) as error:  # another version of Ray or Python, a port in use
            problem = f"--address {address}: cannot join the cluster" if address else "Ray does not start"
            raise InputError(f"{problem} ({str(error).splitlines()[0]})") from error
        try:
            yield int(ray.cluster_resources().get("CPU", 1))
        finally:
            ray.shutdown()


def check(address: str | None) -> None:
    """Check that Ray is installed and that the cluster answers, before a command writes anything.

    Raises:
        InputError: as `connected`.
    """
    missing = [name for name in ("ray", "pyarrow", "optuna") if util.find_spec(name) is None]
    if missing:
        raise InputError(f"this command runs on Ray; {missing[0]} is not installed; pip install 'numerals[scale]'")
    _configure_ray()
    if (address or "") not in _checked:
        if address is None:
            _configure_loopback()
        else:
            _check_address(address)
        _checked.add(address or "")
    with _ray_output_hidden():
        import ray  # noqa: F401  so that later imports print nothing


def _configure_ray() -> None:
    """Set Ray's environment variables. It reads them when it is imported, and its workers inherit them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2", "1")
    for name in ("ray", "ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are raised too; we report those
    warnings.simplefilter("ignore")


def _configure_loopback() -> None:
    """Let Ray listen on loopback only, with a new token, so that no other machine or user can run code in it."""
    # As on Windows and macOS. Otherwise Ray looks up this machine's own address, and listens on all of them, even if
    # ray.init is given 127.0.0.1.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if os.environ["RAY_AUTH_MODE"] == "token":
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _ray_output_hidden() -> Iterator[None]:
    """Hide what Ray's processes write to stderr and stdout; Python's own stderr still works.

    Whatever its settings, Ray writes there how its processes died, which is no error when it shuts down. Commands print
    their results after that.
    """
    if os.environ.get("NUMERALS_TRACEBACK"):
        yield
        return
    stderr = sys.stderr
    with open(os.dup(2), "w", buffering=1, errors="backslashreplace") as visible:
        nowhere = open(os.devnull, "w")  # noqa: SIM115  a thread of Ray's may still write after the block
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = visible
        try:
            with redirect_stdout(nowhere):
                yield
        finally:
            sys.stderr = stderr
            visible.flush()
            os.dup2(visible.fileno(), 2)


def _check_address(address: str) -> None:
    """Check that a Ray of the same version and token answers. Ray itself would wait for minutes or end the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16 or "/" in host:
        raise InputError(f"--address {address}: must be HOST:PORT of the cluster's head, as in 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT / 3).close()
    except OSError as error:
        raise InputError(f"--address {address}: nothing answers ({error}); is the cluster running?") from error
    if os.environ["RAY_AUTH_MODE"] == "token" and not _has_token():
        raise InputError(
            f"--address {address}: no token; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's, or "
            "RAY_AUTH_MODE=disabled if it has none (docs/scale.md)"
        )
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"--address {address}: something other than Ray listens there") from error
    if done.returncode:
        raise InputError(f"--address {address}: Ray there has another version or another token")


def _has_token() -> bool:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or path.is_file()


def cause_of(error: BaseException, problem: str) -> NumeralsError:
    """The error of numerals that Ray wrapped in its own; otherwise a FailureError that begins with `problem`."""
    inner: BaseException | None = error
    while inner is not None:
        inner = getattr(inner, "cause", None) or inner.__cause__
        if isinstance(inner, NumeralsError):
            return type(inner)(str(inner))
    last_line = str(error).strip().splitlines()[-1]
    return FailureError(f"{problem}: {last_line[:MAX_ERROR_CHARACTERS]}; to continue, repeat the command")
