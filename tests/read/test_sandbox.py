"""The sandbox: a decoder that crashes, hangs or exhausts memory fails for one picture, and the next one is decoded."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numerals.errors import FailureError, PictureError
from numerals.read.pages import pages
from numerals.read.picture import load_picture
from numerals.read.sandbox import ENVIRONMENT, Sandbox
from tests.helpers import picture_files
from tests.helpers.descriptors import leave_descriptors
from tests.helpers.waiting import PATIENCE, wait_until

# Replaces the decoder in the process by what a malicious picture might make it do. Python itself imports
# `sitecustomize` when it starts, so everything else in the process is the real code.
HOSTILE_SITECUSTOMIZE = """
import os, sys, time
target = os.path.join(os.path.dirname(__file__), "written")
if "-m" in sys.orig_argv and "numerals.read.sandbox" in sys.orig_argv:
    import ctypes, socket
    kept = os.open(target, os.O_WRONLY | os.O_CREAT)
    from numerals.errors import PictureError
    from numerals.read import picture
    real = picture.load_picture
    def denied(action):
        try: action()
        except OSError as error: raise PictureError("denied: " + error.strerror)
        raise PictureError("permitted")
    def load_picture(source, **numbers):
        match bytes(source):
            case b"crash": ctypes.string_at(0)
            case b"hang": time.sleep(3600)
            case b"nap": time.sleep(4 * float(sys.argv[1]))
            case b"spin":
                while True: pass
            case b"end": os._exit(0)
            case b"lie": os.write(1, b"\\xff" * 16); os._exit(0)
            case b"write": os.write(kept, b"something"); return real(source)
            case b"open": denied(lambda: open("/etc/passwd"))
            case b"create": denied(lambda: open(target, "wb"))
            case b"connect": denied(socket.socket)
            case b"pipe": denied(os.pipe)
            case b"eat":
                memory = []
                while True: memory.append(bytearray(2**24))
        return real(source, **numbers)
    picture.load_picture = load_picture
"""


@pytest.fixture(scope="module")
def picture() -> bytes:
    return next(iter(picture_files.high_bit_depths().values()))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox whose decoder does what the content of a file asks for."""
    (tmp_path / "sitecustomize.py").write_text(HOSTILE_SITECUSTOMIZE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sandbox = Sandbox(seconds=60.0, mebibytes=200)  # so long that a busy machine runs out of memory first
    yield sandbox
    sandbox.close()


def children(pid: int) -> list[int]:
    """The decoding processes that the process `pid` started."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "numerals.read.sandbox" in line]


@contextlib.contextmanager
def new_sandbox(seconds: float = 20.0) -> Iterator[tuple[Sandbox, Callable[[], int]]]:
    """A sandbox of one process, and a function that returns the process's id."""
    others = children(os.getpid())
    with contextlib.closing(Sandbox(seconds)) as sandbox:
        yield sandbox, lambda: next(pid for pid in children(os.getpid()) if pid not in others)


def test_it_decodes_as_load_picture_does(sandbox: Sandbox) -> None:
    for name, content in {
        **picture_files.high_bit_depths(),
        **picture_files.transparent(),
        **picture_files.exif_orientations(),
        **picture_files.multi_frame(),
    }.items():
        if name.endswith(".pdf"):
            continue
        decoded, expected = sandbox.decode(content), load_picture(content)
        assert np.array_equal(decoded.pixels, expected.pixels) and decoded.pixels.dtype == np.uint8, name
        assert (decoded.width, decoded.height) == (expected.width, expected.height), name
        assert decoded.pixels.flags.writeable


def test_it_loads_pages_as_pages_does(sandbox: Sandbox, tmp_path: Path) -> None:
    for name, content in picture_files.readable().items():
        (tmp_path / name).write_bytes(content)
        loaded, expected = list(sandbox.pages(tmp_path / name)), list(pages(content))
        assert len(loaded) == len(expected)
        for page, same in zip(loaded, expected, strict=True):
            assert np.array_equal(page.pixels, same.pixels), name
            assert (page.width, page.height) == (same.width, same.height), name
    for name, content in picture_files.refused().items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError) as expected_error:
            list(pages(tmp_path / name))
        with pytest.raises(PictureError) as refused:
            list(sandbox.pages(tmp_path / name))
        assert str(refused.value) == str(expected_error.value), name


def test_a_file_left_after_its_first_page_does_not_disturb_the_next(sandbox: Sandbox, picture: bytes) -> None:
    with contextlib.closing(sandbox.pages(picture_files.pdf_of(3))) as loaded:
        next(loaded)
    assert [page.width for page in sandbox.pages(picture)] == [400]


def test_it_can_be_closed_between_the_pages_of_a_file() -> None:
    sandbox = Sandbox()
    loaded = sandbox.pages(picture_files.pdf_of(2))
    next(loaded)
    sandbox.close()
    with pytest.raises(PictureError):
        next(loaded)


def test_pdfs_that_need_too_much_cost_one_answer(picture: bytes) -> None:
    """Forms within forms, and a soft mask, whose size pdfium does not tell."""
    with contextlib.closing(Sandbox(mebibytes=200)) as sandbox:
        with pytest.raises(PictureError, match=r"decoding crashed or ran out of memory \(at most 200 MiB\)"):
            list(sandbox.pages(picture_files.pdf_of_nested_forms()))
        with contextlib.suppress(PictureError):  # refused, or rendered without its mask
            list(sandbox.pages(picture_files.pdf_with_soft_mask(20_000, 20_000)))
        assert [page.width for page in sandbox.pages(picture)] == [400]
    with contextlib.closing(Sandbox(seconds=0.5, mebibytes=8000)) as sandbox:
        with pytest.raises(PictureError, match=r"decoding took over 0\.5 s"):
            list(sandbox.pages(picture_files.pdf_of_nested_forms(branches=100)))
        assert [page.width for page in sandbox.pages(picture)] == [400]


def test_memory_that_is_refused_is_named() -> None:
    with (
        contextlib.closing(Sandbox(mebibytes=100)) as sandbox,
        pytest.raises(PictureError, match=r"\d+ bytes: decoding needed over 100 MiB of memory"),
    ):
        list(sandbox.pages(picture_files.png(9000, 9000, colour=2)))


def test_it_refuses_pictures_with_the_messages_of_load_picture(sandbox: Sandbox) -> None:
    for name, content in picture_files.refused().items():
        with pytest.raises(PictureError) as expected:
            load_picture(content)
        with pytest.raises(PictureError) as refused:
            sandbox.decode(content)
        assert str(refused.value) == str(expected.value), name


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (b"crash", "5 bytes: decoding crashed or ran out of memory"),
        (b"end", "3 bytes: decoding crashed"),
        (b"lie", "3 bytes: decoding crashed"),
        (b"eat", "memory"),
        (b"write", "5 bytes: "),
    ],
)
def test_what_goes_wrong_costs_one_answer(
    attacked: Sandbox, picture: bytes, attack: bytes, message: str, tmp_path: Path
) -> None:
    assert attacked.decode(picture).width == 400
    with pytest.raises(PictureError, match=message):
        attacked.decode(attack)
    assert attacked.decode(picture).width == 400
    assert (tmp_path / "written").read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
@pytest.mark.parametrize("attack", [b"open", b"create", b"connect", b"pipe"])
def test_a_decoder_opens_neither_files_nor_connections(attacked: Sandbox, attack: bytes) -> None:
    with pytest.raises(PictureError, match="denied: Too many open files"):
        attacked.decode(attack)


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
def test_a_decoder_gets_no_secret_and_few_rights(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMERALS_TOKEN", "a-secret")
    with new_sandbox() as (sandbox, process):
        sandbox.decode(picture)
        pid = process()
        names = {entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry}
        assert names <= {*ENVIRONMENT, "PYTHONPATH", "OMP_NUM_THREADS"}
        limits = Path(f"/proc/{pid}/limits").read_text()
    for name in ("Max file size", "Max core file size", "Max open files", "Max processes"):
        assert re.search(rf"{name} +0 +0 ", limits), limits


def test_an_idle_process_that_was_killed_costs_no_answer(picture: bytes) -> None:
    with new_sandbox() as (sandbox, process):
        for _ in range(5):
            assert sandbox.decode(picture).width == 400
            os.kill(process(), signal.SIGKILL)
            assert [page.width for page in sandbox.pages(picture)] == [400]
            os.kill(process(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_a_process_that_cannot_be_started_is_started_later(picture: bytes) -> None:
    """With all file descriptors in use, no pictures are decoded; afterwards they are again."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with new_sandbox() as (sandbox, process):
        assert sandbox.is_ready() and sandbox.decode(picture).width == 400
        os.kill(process(), signal.SIGKILL)
        used = len(os.listdir("/proc/self/fd"))
        try:
            for left in range(5):  # with none left, and with too few
                leave_descriptors(os.getpid(), left)
                with pytest.raises(FailureError, match=r"no process .* can be started \(Too many open files\)"):
                    sandbox.decode(picture)
                assert not sandbox.is_ready()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == used - 2  # without those of the process that ended
        assert sandbox.is_ready() and sandbox.decode(picture).width == 400
    assert not sandbox.is_ready()


def test_a_process_that_ends_at_once_is_a_failure_not_the_pictures_fault(
    picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(9)")
    with new_sandbox() as (sandbox, process):
        os.kill(process(), signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(tmp_path), *sys.path])
            with pytest.raises(FailureError, match="does not start; try again later"):
                sandbox.decode(picture)
            assert not sandbox.is_ready()
        assert sandbox.decode(picture).width == 400


@pytest.mark.skipif(sys.platform == "win32", reason="has no timer of processor time")
@pytest.mark.usefixtures("attacked")
def test_time_without_a_processor_is_not_the_pictures_fault(picture: bytes) -> None:
    """A process that waits, as on a busy machine, may take longer; one that never ends is ended."""
    with contextlib.closing(Sandbox(seconds=0.5, mebibytes=200)) as sandbox:
        with pytest.raises(PictureError, match="3 bytes: not a supported picture"):
            sandbox.decode(b"nap")
        with pytest.raises(PictureError, match=r"4 bytes: decoding took over 0\.5 s of processor time"):
            sandbox.decode(b"spin")
        assert sandbox.decode(picture).width == 400
        with pytest.raises(FailureError, match="4 bytes: not decoded within 3 s"):
            sandbox.decode(b"hang")
        assert sandbox.decode(picture).width == 400


def test_a_process_that_is_stopped_is_replaced(picture: bytes) -> None:
    with new_sandbox(seconds=0.5) as (sandbox, process):
        assert sandbox.decode(picture).width == 400
        os.kill(process(), signal.SIGSTOP)
        with pytest.raises(FailureError, match="not decoded within 3 s"):
            sandbox.decode(picture)
        assert sandbox.decode(picture).width == 400


def test_many_threads_share_several_processes(picture: bytes) -> None:
    sandbox = Sandbox(processes=2)
    try:
        with ThreadPoolExecutor(8) as pool:
            widths = list(pool.map(lambda _: sandbox.decode(picture).width, range(40)))
        assert widths == [400] * 40
    finally:
        sandbox.close()


def test_pictures_over_the_limit_are_refused_before_they_are_decoded() -> None:
    sandbox = Sandbox(max_pixels=79_999)
    try:
        for content in picture_files.high_bit_depths().values():  # 400 x 200
            with pytest.raises(PictureError, match="400x200 pixels; at most 79,999 are read"):
                sandbox.decode(content)
    finally:
        sandbox.close()


def test_closing_ends_the_processes_and_the_calls_that_wait(attacked: Sandbox, picture: bytes) -> None:
    attacked.decode(picture)
    before = children(os.getpid())
    errors: list[BaseException] = []

    def decode() -> None:
        try:
            attacked.decode(b"hang")
        except PictureError as error:
            errors.append(error)

    waiting = threading.Thread(target=decode)
    waiting.start()
    time.sleep(0.2)
    attacked.close()
    waiting.join(PATIENCE)
    assert len(errors) == 1 and "took over" not in str(errors[0]) and len(before) - len(children(os.getpid())) == 1
    with pytest.raises(PictureError):
        attacked.decode(picture)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "size"), [("PNG", (10_000, 10_000)), ("JPEG", (10_000, 10_000)), ("WEBP", (8000, 5000))]
)
def test_the_largest_pictures_fit_in_its_memory_limit(form: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 180, 40)).save(file, form)
    sandbox = Sandbox(seconds=60.0)
    try:
        for _ in range(2):  # the process that decoded one decodes the next
            picture = sandbox.decode(file.getvalue())
            assert (picture.width, picture.height) == size
    finally:
        sandbox.close()


def test_the_process_ends_with_the_one_that_asks(picture: bytes, tmp_path: Path) -> None:
    """Even if that process is killed; and it imports nothing from the folder that it was started in."""
    (tmp_path / "cv2.py").write_text("raise SystemExit(9)")
    (tmp_path / "picture").write_bytes(picture)
    code = (
        "import sys, time; from numerals.read.sandbox import Sandbox; sandbox = Sandbox();"
        "print(sandbox.decode(open(sys.argv[1], 'rb').read()).width, flush=True); time.sleep(3600)"
    )
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    caller = subprocess.Popen(
        [sys.executable, "-P", "-c", code, "picture"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    with caller:
        assert caller.stdout is not None and caller.stdout.readline() == "400\n"
        (decoding,) = children(caller.pid)
        caller.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{decoding}").exists(), "the decoding process ends")
