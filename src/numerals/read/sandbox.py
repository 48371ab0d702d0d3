"""Pictures of strangers decoded in processes of their own, which may crash, hang or eat memory, and cost one answer.

Knows nothing about formats: in the process `picture.load_picture` decodes. Nothing is unpickled on either side. The
process has no more memory and time than it is given, may write no file, and ends with the one that asks.
"""

import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import IO

import numpy as np

from numerals.errors import PictureError
from numerals.read.picture import MAX_SIDE, Picture, load_picture
from numerals.read.pixels import MAX_PIXELS

START = 30.0  # seconds until a process must be ready, on however busy a machine
GRACE = 2.0  # times the seconds of a picture, after which a process ends by itself: whoever asked it has gone
LENGTH = struct.Struct(">Q")  # before each message: how many bytes follow
SIZES = struct.Struct(
    ">5I"
)  # before pixels: the original's width and height; their rows, columns, channels (0 is grey)
READY, READ, REFUSED = b"!", b"+", b"-"  # how a message of the process begins
MOST_ANSWER = 1 + SIZES.size + 3 * MAX_SIDE**2  # bytes of a message that are believed


@dataclass(frozen=True)
class Limits:
    """What a picture may take."""

    seconds: float
    mebibytes: int
    max_pixels: int


class Sandbox:
    """Decodes as `picture.load_picture` does. Any number of threads may call it; each waits for a free process.

    Args:
        seconds: that a picture may take.
        mebibytes: of memory that it may take, besides the 50 or so that an idle process has.
        workers: processes, hence pictures at the same time.
        max_pixels: larger pictures are refused before they are decoded.
    """

    def __init__(
        self, seconds: float = 5.0, mebibytes: int = 1024, workers: int = 1, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._limits = Limits(seconds, mebibytes, max_pixels)
        self._lock, self._closed = threading.Lock(), False
        self._workers = [_Decoder(self._limits) for _ in range(workers)]
        self._free: queue.LifoQueue[int] = queue.LifoQueue()  # which of them; the last one used is the warmest
        for which in range(workers):
            self._free.put(which)

    def decode(self, data: bytes) -> Picture:
        """The picture in a file's bytes, upright and bounded, and how large it was; of several pages the first.

        Raises:
            PictureError: as `load_picture`; the decoder crashed, hung or ran out of memory; or the sandbox is closed.
        """
        which = self._free.get()
        try:
            return self._workers[which].decode(data)
        finally:
            with self._lock:
                if not self._workers[which].lives() and not self._closed:
                    self._workers[which].close()
                    self._workers[which] = _Decoder(self._limits)
            self._free.put(which)

    def close(self) -> None:
        """End the processes, busy ones with their picture."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        for which in [self._free.get() for _ in self._workers]:  # nobody waits at their pipes any more
            self._workers[which].close()
            self._free.put(which)


class _Decoder:
    """One process and the two pipes to it, for one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        # it imports from where we do, and never from the folder that a service happens to be started in
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "numerals.read.sandbox", *map(str, astuple(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print of odd files
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        self._limits, self._ready, self._late = limits, False, False

    def decode(self, data: bytes) -> Picture:
        """Raises PictureError, after which it may not live any more."""
        self._ready = self._ready or self._ask(None, START) == READY
        answer = self._ask(data, self._limits.seconds) if self._ready else None
        if answer is not None and answer.startswith(READ):
            return _unpacked(answer[1:])
        if answer is not None and answer.startswith(REFUSED):
            raise PictureError(answer[1:].decode(errors="replace"))
        self.kill()
        how = f"took over {self._limits.seconds:g} s" if self._late else "crashed or ran out of memory"
        raise PictureError(f"{len(data)} bytes: decoding {how}; give a simpler picture")

    def _ask(self, data: bytes | None, seconds: float) -> bytes | None:
        """Send the data, if any, and take a message; None where the process has ended, as it does when it is late."""
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            if data is not None:
                _send(self._process.stdin, data)
            return _receive(self._process.stdout, MOST_ANSWER)
        except (OSError, ValueError):  # ValueError: closed meanwhile
            return None
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def lives(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let go of the pipes of one that is dead."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was not sent any more
                if pipe is not None:
                    pipe.close()


def _send(pipe: IO[bytes], *parts: bytes) -> None:
    pipe.write(LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes], most: int) -> bytes | None:
    """One message; None at the end of the pipe, where it is cut off, or where it is announced as over `most`."""
    head = pipe.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else most + 1
    content = pipe.read(length) if length <= most else b""
    return content if len(content) == length else None


def _packed(loaded: Picture) -> bytes:
    rows, columns, *channels = loaded.pixels.shape
    return SIZES.pack(loaded.width, loaded.height, rows, columns, *(channels or [0])) + loaded.pixels.tobytes()


def _unpacked(content: bytes) -> Picture:
    width, height, rows, columns, channels = SIZES.unpack_from(content)
    shape = (rows, columns, channels) if channels else (rows, columns)
    return Picture(np.frombuffer(bytearray(content), np.uint8, offset=SIZES.size).reshape(shape), width, height)


def _limit_memory(mebibytes: int) -> None:
    """So much more than the process has now; and no file, and no picture left in a dump of memory. On Linux."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    most = now + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(what, (0, 0))


def _answer(data: bytes, max_pixels: int) -> tuple[bytes, bytes]:
    try:
        return READ, _packed(load_picture(data, max_pixels=max_pixels))
    except PictureError as error:
        return REFUSED, str(error).encode(errors="replace")


def _serve(limits: Limits) -> None:
    """What the process does: one picture after the other, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    _limit_memory(limits.mebibytes)
    _send(sys.stdout.buffer, READY)
    while (data := _receive(sys.stdin.buffer, sys.maxsize)) is not None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, GRACE * limits.seconds)
        _send(sys.stdout.buffer, *_answer(data, limits.max_pixels))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    seconds, mebibytes, max_pixels = sys.argv[1:]
    _serve(Limits(float(seconds), int(mebibytes), int(max_pixels)))
