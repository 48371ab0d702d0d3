"""sandbox.py: a decoder that crashes, hangs or eats memory costs one answer, and the next picture is read."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from numerals.errors import PictureError
from numerals.read.picture import load_picture
from numerals.read.sandbox import Sandbox
from tests.helpers import kinds

# What the process runs in the place of a decoder: code that a hostile picture might bring about. `sitecustomize` is
# imported by Python itself when it starts, so the process is the real one; only what decodes is exchanged.
HOSTILE = """
import os, sys, time
if "-m" in sys.orig_argv and "numerals.read.sandbox" in sys.orig_argv:
    import ctypes
    from numerals.read import picture
    real = picture.load_picture
    def load_picture(source, **numbers):
        match bytes(source):
            case b"crash": ctypes.string_at(0)
            case b"hang": time.sleep(60)
            case b"spin":
                while True: pass
            case b"end": os._exit(0)
            case b"lie": os.write(1, b"\\xff" * 16); os._exit(0)
            case b"write": open(os.environ["TARGET"], "wb").write(b"something"); return real(source)
            case b"eat":
                kept = []
                while True: kept.append(bytearray(2**24))
        return real(source, **numbers)
    picture.load_picture = load_picture
"""


@pytest.fixture(scope="module")
def picture() -> bytes:
    return next(iter(kinds.deep().values()))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox whose decoder does what a picture tells it to."""
    (tmp_path / "sitecustomize.py").write_text(HOSTILE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("TARGET", str(tmp_path / "written"))
    sandbox = Sandbox(seconds=1.0, mebibytes=200)
    yield sandbox
    sandbox.close()


def test_it_decodes_as_without_it(sandbox: Sandbox) -> None:
    for name, content in {**kinds.deep(), **kinds.transparent(), **kinds.turned(), **kinds.several()}.items():
        if name.endswith(".pdf"):
            continue
        ours, plain = sandbox.decode(content), load_picture(content)
        assert np.array_equal(ours.pixels, plain.pixels) and ours.pixels.dtype == np.uint8, name
        assert (ours.width, ours.height) == (plain.width, plain.height), name
        assert ours.pixels.flags.writeable


def test_what_is_refused_is_refused_with_the_same_words(sandbox: Sandbox) -> None:
    for name, content in kinds.refused().items():
        with pytest.raises(PictureError) as plain:
            load_picture(content)
        with pytest.raises(PictureError) as guarded:
            sandbox.decode(content)
        assert str(guarded.value) == str(plain.value), name


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (b"crash", "5 bytes: decoding crashed or ran out of memory"),
        (b"end", "3 bytes: decoding crashed"),
        (b"lie", "3 bytes: decoding crashed"),
        (b"hang", "4 bytes: decoding took over 1 s"),
        (b"spin", "4 bytes: decoding took over 1 s"),
        (b"eat", "memory"),
        (b"write", "5 bytes: "),
    ],
)
def test_what_goes_wrong_costs_one_answer(attacked: Sandbox, picture: bytes, attack: bytes, says: str) -> None:
    assert attacked.decode(picture).width == 400
    started = time.monotonic()
    with pytest.raises(PictureError, match=says):
        attacked.decode(attack)
    assert time.monotonic() - started < 10
    assert attacked.decode(picture).width == 400
    assert not Path(os.environ["TARGET"]).exists() or Path(os.environ["TARGET"]).read_bytes() == b""


def test_many_threads_and_several_processes(picture: bytes) -> None:
    sandbox = Sandbox(workers=2)
    try:
        with ThreadPoolExecutor(8) as pool:
            widths = list(pool.map(lambda _: sandbox.decode(picture).width, range(40)))
        assert widths == [400] * 40
    finally:
        sandbox.close()


def test_larger_pictures_than_allowed_are_refused_before_they_are_decoded() -> None:
    sandbox = Sandbox(max_pixels=79_999)
    try:
        for content in kinds.deep().values():  # 400 x 200
            with pytest.raises(PictureError, match="400x200 pixels; at most 79,999 are read"):
                sandbox.decode(content)
    finally:
        sandbox.close()


def test_closing_ends_the_processes_and_whoever_waits(attacked: Sandbox, picture: bytes) -> None:
    attacked.decode(picture)
    before = children(os.getpid())
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            attacked.decode(b"hang")
        except PictureError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    attacked.close()
    asking.join(5)
    assert len(errors) == 1 and len(before) - len(children(os.getpid())) == 1
    with pytest.raises(PictureError):
        attacked.decode(picture)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "size"), [("PNG", (10_000, 10_000)), ("JPEG", (10_000, 10_000)), ("WEBP", (8000, 5000))]
)
def test_the_largest_pictures_fit_in_the_memory_that_it_gives(form: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 180, 40)).save(file, form)
    sandbox = Sandbox(seconds=60.0)
    try:
        assert (sandbox.decode(file.getvalue()).width, sandbox.decode(file.getvalue()).height) == size
    finally:
        sandbox.close()


def children(pid: int) -> list[int]:
    """The processes of ours that decode."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "numerals.read.sandbox" in line]


def test_the_process_ends_with_the_one_that_asks(picture: bytes, tmp_path: Path) -> None:
    """Also when that one is killed; and it is started in a folder whose modules are nobody's to import."""
    (tmp_path / "cv2.py").write_text("raise SystemExit(9)")
    (tmp_path / "picture").write_bytes(picture)
    code = (
        "import sys, time; from numerals.read.sandbox import Sandbox; sandbox = Sandbox();"
        "print(sandbox.decode(open(sys.argv[1], 'rb').read()).width, flush=True); time.sleep(60)"
    )
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    asking = subprocess.Popen(
        [sys.executable, "-P", "-c", code, "picture"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    with asking:
        assert asking.stdout is not None and asking.stdout.readline() == "400\n"
        (decoding,) = children(asking.pid)
        asking.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while Path(f"/proc/{decoding}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{decoding}").exists()
