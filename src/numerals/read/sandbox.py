"""Decode untrusted pictures in separate processes, which may crash, hang or exhaust memory at the cost of one picture.

Limits of a decoding process, and why:

- Time per picture, and per page of a file with several: the caller kills a process that takes longer, so a decoder that
  hangs blocks nobody. The process also ends itself after twice that time, in case its caller has died.
- Memory: the address space may grow by `mebibytes` above what the idle process has, so a file that unpacks to gigabytes
  fails there and not in the caller. Linux only.
- Pixels: larger pictures are refused before they are decoded.
- Files: it can write none (RLIMIT_FSIZE is 0), and a crash leaves no picture in a core dump (RLIMIT_CORE is 0). Linux
  only.
- Messages: lengths and plain bytes over two pipes. Neither side unpickles anything, and the caller believes no message
  longer than the largest picture.

The process keeps its user's rights to read files and to use the network: it guards against faulty decoders and
excessive pictures, and is not a security boundary for arbitrary code.
"""

import io
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from numerals.errors import MissingError, PictureError
from numerals.read.pages import load_pages
from numerals.read.picture import MAX_SIDE, Picture, check_size, load_picture, open_source
from numerals.read.pixels import MAX_PIXELS

START_SECONDS = 30.0  # within which a process must be ready, also on a busy machine
SELF_DESTRUCT_FACTOR = 2.0  # times the seconds per picture after which a process ends itself
LENGTH = struct.Struct(">Q")  # before each message: how many bytes follow
HEADER = struct.Struct(">5I")  # before pixels: width and height of the original; rows, columns, channels (0: grey)
FIRST_PAGE, ALL_PAGES = b"1", b"*"  # first byte of a request; the name for errors follows, then the file
READY, DECODED, END, REFUSED, MISSING = b"!", b"+", b".", b"-", b"?"  # first byte of a process's message
MAX_MESSAGE_BYTES = 1 + HEADER.size + 3 * MAX_SIDE**2


@dataclass(frozen=True)
class Limits:
    """What decoding one picture may take."""

    seconds: float
    mebibytes: int
    max_pixels: int


class Sandbox:
    """A pool of processes that decode pictures as `load_picture` and `pages` do.

    Any number of threads may call it; each waits for a free process.

    Args:
        seconds: that decoding one picture, or one page, may take. The default is for 100 megapixels on a busy machine.
        mebibytes: of memory that decoding one picture may take, on top of the 50 or so of an idle process.
        processes: how many, and so how many pictures are decoded at the same time.
        max_pixels: larger pictures are refused before they are decoded.
    """

    def __init__(
        self, seconds: float = 20.0, mebibytes: int = 1024, processes: int = 1, max_pixels: int = MAX_PIXELS
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
        with self._borrowed() as decoder:
            return decoder.decode(data)

    def pages(self, source: str | Path | bytes) -> Generator[Picture, None, None]:
        """Load the pages of a file, one after the other, as `pages.pages` does.

        Close the generator if you leave it before its end; it occupies a process.

        Args:
            source: a path, or the bytes of a file.

        Raises:
            PictureError: as `pages.pages`; the file is over MAX_FILE_BYTES; or as `decode`.
            MissingError: the file is a PDF, and pypdfium2 is not installed.
        """
        with open_source(source) as (file, name):
            try:
                check_size(file, name)
                data = file.read()
            except OSError as error:
                raise PictureError(f"{name}: cannot be read ({error.strerror})") from error
        with self._borrowed() as decoder:
            yield from decoder.pages(data, name)

    @contextmanager
    def _borrowed(self) -> Iterator["_Decoder"]:
        """Yield a process that nobody else uses; one that has ended is replaced."""
        index = self._free.get()
        try:
            with self._lock:
                if not self._decoders[index].is_alive() and not self._closed:
                    self._decoders[index].close()
                    self._decoders[index] = _Decoder(self._limits)
            yield self._decoders[index]
        finally:
            if self._closed:
                self._decoders[index].close()
            self._free.put(index)

    def close(self) -> None:
        """End the processes; pictures that they are decoding fail."""
        with self._lock:
            self._closed = True
            for decoder in self._decoders:
                decoder.kill()
        unused = []
        with suppress(queue.Empty):  # whoever uses one of the others closes its pipes
            while True:
                unused.append(self._free.get_nowait())
        for index in unused:
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
        name = f"{len(data)} bytes"
        picture = self._result(self._ask(FIRST_PAGE, name, data), name)
        assert picture is not None  # END follows only pages
        return picture

    def pages(self, data: bytes, name: str) -> Iterator[Picture]:
        """Load the pages of a file; after a PictureError, or if not all are loaded, the process may have ended.

        Args:
            data: the bytes of the file.
            name: what error messages call it.
        """
        picture = None
        try:
            picture = self._result(self._ask(ALL_PAGES, name, data), name)
            while picture:
                yield picture
                picture = self._result(self._exchange((), self._limits.seconds), name)
        except (PictureError, MissingError):  # the answer is complete
            picture = None
            raise
        finally:
            if picture:  # the caller left, and the process would send the other pages
                self.kill()

    def _ask(self, kind: bytes, name: str, data: bytes) -> bytes | None:
        """Send a request, when the process is ready, and receive its first answer."""
        self._ready = self._ready or self._exchange((), START_SECONDS) == READY
        request = (kind + name.encode(errors="surrogateescape"), data)
        return self._exchange(request, self._limits.seconds) if self._ready else None

    def _result(self, answer: bytes | None, name: str) -> Picture | None:
        """Return the picture in an answer; None after the last page."""
        kind, content = (answer[:1], answer[1:]) if answer else (b"", b"")
        if kind == DECODED:
            return _unpack(content)
        if kind == END:
            return None
        if kind in (REFUSED, MISSING):
            message = content.decode(errors="replace")
            raise PictureError(message) if kind == REFUSED else MissingError(message)
        self.kill()
        memory = f"crashed or ran out of memory (at most {self._limits.mebibytes:,} MiB)"
        reason = f"took over {self._limits.seconds:g} s" if self._timed_out else memory
        raise PictureError(f"{name}: decoding {reason}; give a simpler picture")

    def _exchange(self, messages: tuple[bytes, ...], seconds: float) -> bytes | None:
        """Send the messages, if any, and receive one; None if the process has ended or took too long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            for message in messages:
                _send(self._process.stdin, message)
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


def _answers(request: bytes, data: bytes, limits: Limits) -> Iterator[tuple[bytes, bytes]]:
    """Decode a file and yield the answers to the request."""
    kind, name = request[:1], request[1:].decode(errors="surrogateescape")
    try:
        if kind == FIRST_PAGE:
            yield DECODED, _pack(load_picture(data, max_pixels=limits.max_pixels))
            return
        for picture in load_pages(io.BytesIO(data), name, limits.max_pixels):
            yield DECODED, _pack(picture)
        yield END, b""
    except PictureError as error:
        too_large = f"{name}: decoding needed over {limits.mebibytes:,} MiB of memory; give a simpler picture"
        message = too_large if isinstance(error.__cause__, MemoryError) else str(error)
        yield REFUSED, message.encode(errors="replace")
    except MissingError as error:
        yield MISSING, str(error).encode(errors="replace")


def _run(limits: Limits) -> None:
    """Run in the decoding process: decode one picture after the other, until the caller closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    _set_limits(limits.mebibytes)
    _send(sys.stdout.buffer, READY)
    while (request := _receive(sys.stdin.buffer, sys.maxsize)) is not None:
        data = _receive(sys.stdin.buffer, sys.maxsize)
        if data is None:
            return
        _self_destruct_after(SELF_DESTRUCT_FACTOR * limits.seconds)
        for answer in _answers(request, data, limits):
            _self_destruct_after(0)  # the caller may take any time to receive it
            _send(sys.stdout.buffer, *answer)
            _self_destruct_after(SELF_DESTRUCT_FACTOR * limits.seconds)
        _self_destruct_after(0)


def _self_destruct_after(seconds: float) -> None:
    """End this process in so many seconds; 0 cancels that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    seconds, mebibytes, max_pixels = sys.argv[1:]
    _run(Limits(float(seconds), int(mebibytes), int(max_pixels)))
