"""Decode untrusted pictures in separate processes, which may crash, hang or exhaust memory at the cost of one picture.

Limits of a decoding process, and why:

- Time per picture: the caller kills a process that takes longer, so a decoder that hangs blocks nobody. The process
  also ends itself after twice that time, in case its caller has died.
- Memory: the address space may grow by `mebibytes` above what the idle process has, so a file that unpacks to gigabytes
  fails there and not in the service. Linux only.
- Pixels: larger pictures are refused before they are decoded.
- Files: it can write none (RLIMIT_FSIZE is 0), and a crash leaves no picture in a core dump (RLIMIT_CORE is 0). Linux
  only.
- Messages: lengths and plain bytes over two pipes. Neither side unpickles anything, and the caller believes no message
  longer than the largest picture.

The process keeps its user's rights to read files and to use the network: it guards against faulty decoders and
excessive pictures, and is not a security boundary for arbitrary code.
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

START_SECONDS = 30.0  # within which a process must be ready, also on a busy machine
SELF_DESTRUCT_FACTOR = 2.0  # times the seconds per picture after which a process ends itself
LENGTH = struct.Struct(">Q")  # before each message: how many bytes follow
HEADER = struct.Struct(">5I")  # before pixels: width and height of the original; rows, columns, channels (0: grey)
READY, DECODED, REFUSED = b"!", b"+", b"-"  # first byte of a process's message
MAX_MESSAGE_BYTES = 1 + HEADER.size + 3 * MAX_SIDE**2


@dataclass(frozen=True)
class Limits:
    """What decoding one picture may take."""

    seconds: float
    mebibytes: int
    max_pixels: int


class Sandbox:
    """A pool of processes that decode pictures as `load_picture` does.

    Any number of threads may call it; each waits for a free process.

    Args:
        seconds: that decoding one picture may take.
        mebibytes: of memory that decoding one picture may take, on top of the 50 or so of an idle process.
        processes: how many, and so how many pictures are decoded at the same time.
        max_pixels: larger pictures are refused before they are decoded.
    """

    def __init__(
        self, seconds: float = 5.0, mebibytes: int = 1024, processes: int = 1, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._limits = Limits(seconds, mebibytes, max_pixels)
        self._lock, self._closed = threading.Lock(), False
        self._decoders = [_Decoder(self._limits) for _ in range(processes)]
        self._free: queue.LifoQueue[int] = queue.LifoQueue()  # indices; the process used last has the warmest caches
        for index in range(processes):
            self._free.put(index)

    def decode(self, data: bytes) -> Picture:
        """Decode a picture file.

        Args:
            data: the bytes of the file. Of several pages, the first is decoded.

        Raises:
            PictureError: as `load_picture`; the decoder crashed, hung or ran out of memory; or the sandbox is closed.
        """
        index = self._free.get()
        try:
            return self._decoders[index].decode(data)
        finally:
            with self._lock:
                if not self._decoders[index].is_alive() and not self._closed:
                    self._decoders[index].close()
                    self._decoders[index] = _Decoder(self._limits)
            self._free.put(index)

    def close(self) -> None:
        """End the processes; pictures that they are decoding fail."""
        with self._lock:
            self._closed = True
            for decoder in self._decoders:
                decoder.kill()
        for index in [self._free.get() for _ in self._decoders]:  # wait until no thread uses their pipes
            self._decoders[index].close()
            self._free.put(index)


class _Decoder:
    """The caller's side of one decoding process, for one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        # The process imports from the caller's paths, and never from the folder that a service was started in.
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "numerals.read.sandbox", *map(str, astuple(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print about odd files
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        self._limits, self._ready, self._timed_out = limits, False, False

    def decode(self, data: bytes) -> Picture:
        """Decode a picture file; after a PictureError the process may have ended."""
        self._ready = self._ready or self._exchange(None, START_SECONDS) == READY
        answer = self._exchange(data, self._limits.seconds) if self._ready else None
        if answer is not None and answer.startswith(DECODED):
            return _unpack(answer[1:])
        if answer is not None and answer.startswith(REFUSED):
            raise PictureError(answer[1:].decode(errors="replace"))
        self.kill()
        reason = f"took over {self._limits.seconds:g} s" if self._timed_out else "crashed or ran out of memory"
        raise PictureError(f"{len(data)} bytes: decoding {reason}; give a simpler picture")

    def _exchange(self, data: bytes | None, seconds: float) -> bytes | None:
        """Send the data, if any, and receive a message; None if the process has ended or took too long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            if data is not None:
                _send(self._process.stdin, data)
            return _receive(self._process.stdout, MAX_MESSAGE_BYTES)
        except (OSError, ValueError):  # ValueError: the pipe was closed in the meantime
            return None
        finally:
            timer.cancel()

    def _time_out(self) -> None:
        self._timed_out = True
        self._process.kill()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes to a process that has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # data that could not be sent
                if pipe is not None:
                    pipe.close()


def _send(pipe: IO[bytes], *parts: bytes) -> None:
    pipe.write(LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes], max_bytes: int) -> bytes | None:
    """Receive one message; None at the end of the pipe, and if the message is cut off or longer than `max_bytes`."""
    head = pipe.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else max_bytes + 1
    content = pipe.read(length) if length <= max_bytes else b""
    return content if len(content) == length else None


def _pack(picture: Picture) -> bytes:
    rows, columns, *channels = picture.pixels.shape
    return HEADER.pack(picture.width, picture.height, rows, columns, *(channels or [0])) + picture.pixels.tobytes()


def _unpack(content: bytes) -> Picture:
    width, height, rows, columns, channels = HEADER.unpack_from(content)
    shape = (rows, columns, channels) if channels else (rows, columns)
    return Picture(np.frombuffer(bytearray(content), np.uint8, offset=HEADER.size).reshape(shape), width, height)


def _set_limits(mebibytes: int) -> None:
    """Limit this process's memory to `mebibytes` more than it has now, and forbid it to write files or core dumps."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm") as statm:
        current = int(statm.read().split()[0]) * resource.getpagesize()
    maximum = current + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (maximum, maximum))
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))


def _answer(data: bytes, max_pixels: int) -> tuple[bytes, bytes]:
    try:
        return DECODED, _pack(load_picture(data, max_pixels=max_pixels))
    except PictureError as error:
        return REFUSED, str(error).encode(errors="replace")


def _run(limits: Limits) -> None:
    """Run in the decoding process: decode one picture after the other, until the caller closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    _set_limits(limits.mebibytes)
    _send(sys.stdout.buffer, READY)
    while (data := _receive(sys.stdin.buffer, sys.maxsize)) is not None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, SELF_DESTRUCT_FACTOR * limits.seconds)
        _send(sys.stdout.buffer, *_answer(data, limits.max_pixels))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    seconds, mebibytes, max_pixels = sys.argv[1:]
    _run(Limits(float(seconds), int(mebibytes), int(max_pixels)))
