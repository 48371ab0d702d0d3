"""Decode untrusted pictures in separate processes, which may crash, hang or exhaust memory at the cost of one picture.

Limits of a decoding process, and why:

- Processor time per picture, and per page of a file with several, so that a busy machine does not make a good picture
  fail: the process is ended by a timer of its own. Not on Windows.
- Time by the clock, WALL_FACTOR times as much: the caller kills a process that takes longer, so one that hangs or is
  stopped blocks nobody. That is not the picture's fault. The process also ends itself after twice that time, in case
  its caller has died.
- Memory: the address space may grow by `mebibytes` above what the idle process has, so a file that unpacks to gigabytes
  fails there and not in the caller. Linux only.
- Pixels: larger pictures are refused before they are decoded.
- Files and network: once its modules are loaded, it can open nothing more, no file, socket or pipe (RLIMIT_NOFILE is
  0), write nothing to a file (RLIMIT_FSIZE is 0) and, unless it runs as root, start no process or thread (RLIMIT_NPROC
  is 0). A crash leaves no picture in a core dump (RLIMIT_CORE is 0). Linux only.
- Environment: only the variables in ENVIRONMENT, so no token or password of the caller.
- Messages: lengths and plain bytes over two pipes. Neither side unpickles anything, and the caller believes no message
  longer than the largest picture.

This guards against faulty decoders and excessive pictures, and takes from a decoder that is taken over what it needs
most. It is no boundary against every attack: the process may still send signals to other processes of its user, and as
root it may raise its limits. For such a boundary, run numerals as a user of its own, in a container.
"""

import codecs
import io
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image

from numerals.errors import FailureError, MissingError, NumeralsError, PictureError, printable
from numerals.read.pages import load_pages
from numerals.read.picture import MAX_SIDE, Picture, check_size, load_picture, open_source
from numerals.read.pixels import MAX_PIXELS

START_SECONDS = 30.0  # within which a process must be ready, also on a busy machine
WALL_FACTOR = 6.0  # times the processor time that a picture may take, for one that gets a sixth of a processor
SELF_DESTRUCT_FACTOR = 2.0  # times the caller's patience, after which a process ends itself
CPU_SIGNAL = getattr(signal, "SIGPROF", None)  # ends a process that has taken too much processor time
LENGTH = struct.Struct(">Q")  # before each message: how many bytes follow
HEADER = struct.Struct(">5I")  # before pixels: width and height of the original; rows, columns, channels (0: grey)
FIRST_PAGE, ALL_PAGES = b"1", b"*"  # first byte of a request; the name for errors follows, then the file
READY, RECEIVED = b"!", b"r"  # whole messages of a process: when it starts, and when it has a request
DECODED, END, REFUSED, MISSING = b"+", b".", b"-", b"?"  # first byte of an answer
# What file names, headers and metadata may be encoded in; Python imports each when it is first used.
ENCODINGS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "cp1252", "unicode_escape")
MAX_MESSAGE_BYTES = 1 + HEADER.size + 3 * MAX_SIDE**2
ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")  # without which Python may not start


@dataclass(frozen=True)
class Limits:
    """What decoding one picture may take."""

    seconds: float  # of processor time
    mebibytes: int
    max_pixels: int

    @property
    def wall_seconds(self) -> float:
        return WALL_FACTOR * self.seconds


class Sandbox:
    """A pool of processes that decode pictures as `load_picture` and `pages` do.

    Any number of threads may call it; each waits for a free process.

    Args:
        seconds: of processor time that decoding one picture, or one page, may take. The default is for 100 megapixels.
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
            PictureError: as `load_picture`; the decoder crashed or took too much; or the sandbox is closed.
            FailureError: no process can be started, or it gets too little processor time.
        """
        name = f"{len(data)} bytes"
        with self._asked(FIRST_PAGE, name, data) as decoder:
            picture = decoder.result(name)
            assert picture is not None  # END follows only pages
            return picture

    def pages(self, source: str | Path | bytes) -> Generator[Picture, None, None]:
        """Load the pages of a file, one after the other, as `pages.pages` does.

        Close the generator if you leave it before its end; it occupies a process.

        Args:
            source: a path, or the bytes of a file.

        Raises:
            PictureError: as `pages.pages`; the file is over MAX_FILE_BYTES; or as `decode`.
            MissingError: the file is a PDF, and pypdfium2 is not installed.
            FailureError: as `decode`.
        """
        with open_source(source) as (file, name):
            try:
                check_size(file, name)
                data = file.read()
            except OSError as error:
                raise PictureError(f"{name}: cannot be read ({error.strerror})") from error
        with self._asked(ALL_PAGES, name, data) as decoder:
            yield from decoder.pages(name)

    def is_ready(self) -> bool:
        """Whether pictures can be decoded. Starts a process if the one for the next picture has ended."""
        try:
            index = self._free.get_nowait()
        except queue.Empty:  # all are decoding
            return True
        try:
            return self._living(index).is_ready()
        except FailureError:
            return False
        finally:
            self._put_back(index)

    @contextmanager
    def _asked(self, kind: bytes, name: str, data: bytes) -> Iterator["_Decoder"]:
        """Yield a process that nobody else uses and that has received the request, if one does at all.

        Of a process that ended while it was idle, the next request is lost; so a second process gets it.
        """
        index = self._free.get()
        try:
            decoder = self._living(index)
            if not decoder.ask(kind, name, data):
                decoder = self._living(index)
                if not decoder.ask(kind, name, data) and not decoder.has_started and not self._closed:
                    raise FailureError("the process that decodes pictures does not start; try again later")
            yield decoder
        finally:
            self._put_back(index)

    def _living(self, index: int) -> "_Decoder":
        """The process at a place; one that has ended is replaced first."""
        with self._lock:
            if not self._decoders[index].is_alive() and not self._closed:
                self._decoders[index].close()
                self._decoders[index] = _Decoder(self._limits)
            return self._decoders[index]

    def _put_back(self, index: int) -> None:
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
    """The caller's side of one decoding process, for one thread at a time.

    Attributes:
        has_started: the process has imported its modules; it may have ended since.
    """

    def __init__(self, limits: Limits) -> None:
        # The process imports from the caller's paths, and never from the folder that a service was started in.
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        try:
            with ExitStack() as pipes:  # Popen's own pipes stay open if there are descriptors for some of them only
                requests, self._requests = _open_pipe(pipes)
                self._answers, answers = _open_pipe(pipes)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "numerals.read.sandbox", *map(str, astuple(limits))],
                    stdin=requests,
                    stdout=answers,
                    stderr=subprocess.DEVNULL,  # decoders print about odd files
                    env=kept | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                )
                requests.close()
                answers.close()
                pipes.pop_all()
        except OSError as error:
            reason = error.strerror or error
            raise FailureError(
                f"no process that decodes pictures can be started ({reason}); try again later"
            ) from error
        self.has_started = False
        self._limits, self._timed_out = limits, False
        self._answer: bytes | None = None  # the last one received

    def is_ready(self) -> bool:
        """Whether the process accepts requests; waits until it has started."""
        self.has_started = self.has_started or self._exchange((), START_SECONDS) == [READY]
        return self.has_started and self.is_alive()

    def ask(self, kind: bytes, name: str, data: bytes) -> bool:
        """Send a request and receive its first answer.

        Args:
            kind: FIRST_PAGE or ALL_PAGES.
            name: what error messages call the file.
            data: the bytes of the file.

        Returns:
            False if the process had ended before it received the request.
        """
        self._answer = None
        if not self.is_ready():
            self.kill()
            return False
        request = (kind + name.encode(errors="surrogateescape"), data)
        received, self._answer = [*self._exchange(request, self._limits.wall_seconds, answers=2), None, None][:2]
        if received == RECEIVED or self._timed_out:
            return True
        self.kill()
        return False

    def result(self, name: str) -> Picture | None:
        """The picture in the answer, None after the last page; after an error the process may have ended.

        Raises:
            PictureError, FailureError: as `Sandbox.pages`.
        """
        kind, content = (self._answer[:1], self._answer[1:]) if self._answer else (b"", b"")
        self._answer = None
        if kind == DECODED:
            return _unpack(content)
        if kind == END:
            return None
        if kind in (REFUSED, MISSING):
            message = content.decode(errors="replace")
            raise PictureError(message) if kind == REFUSED else MissingError(message)
        self.kill()
        if self._timed_out:
            seconds = self._limits.wall_seconds
            raise FailureError(
                f"{printable(name)}: not decoded within {seconds:g} s; try again when the machine is less busy"
            )
        memory = f"crashed or ran out of memory (at most {self._limits.mebibytes:,} MiB)"
        took_too_long = CPU_SIGNAL is not None and self._process.returncode == -CPU_SIGNAL
        reason = f"took over {self._limits.seconds:g} s of processor time" if took_too_long else memory
        raise PictureError(f"{name}: decoding {reason}; give a simpler picture")

    def pages(self, name: str) -> Iterator[Picture]:
        """Load the pages of the file; after an error, or if not all are loaded, the process may have ended.

        Args:
            name: what error messages call the file.
        """
        picture = None
        try:
            picture = self.result(name)
            while picture:
                yield picture
                self._answer = next(iter(self._exchange((), self._limits.wall_seconds)), None)
                picture = self.result(name)
        except NumeralsError:  # the answer is complete
            picture = None
            raise
        finally:
            if picture:  # the caller left, and the process would send the other pages
                self.kill()

    def _exchange(self, messages: tuple[bytes, ...], seconds: float, answers: int = 1) -> list[bytes]:
        """Send the messages, if any, and receive answers; fewer if the process ends or takes too long."""
        received: list[bytes] = []
        timer = threading.Timer(seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            for message in messages:
                _send(self._requests, message)
            while len(received) < answers and (answer := _receive(self._answers, MAX_MESSAGE_BYTES)) is not None:
                received.append(answer)
        except (OSError, ValueError):  # ValueError: the pipe was closed in the meantime
            pass
        finally:
            timer.cancel()
        return received

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
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # data that could not be sent
                pipe.close()


def _open_pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Open the two ends of a pipe, for reading and for writing; the stack closes them."""
    reading, writing = os.pipe()
    return stack.enter_context(os.fdopen(reading, "rb")), stack.enter_context(os.fdopen(writing, "wb"))


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
    """Limit this process's memory to `mebibytes` more than it has now; forbid it files, connections and processes."""
    if sys.platform != "linux":
        return
    import resource

    _load_decoders()
    with open("/proc/self/statm") as statm:
        current = int(statm.read().split()[0]) * resource.getpagesize()
    maximum = current + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (maximum, maximum))
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        resource.setrlimit(kind, (0, 0))


def _load_decoders() -> None:
    """Import now what decoding would import later, when no file can be opened."""
    Image.init()
    with suppress(ModuleNotFoundError):
        import pypdfium2  # noqa: F401
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    cv2.setNumThreads(1)


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
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # sent to all processes of a terminal or a service: for the caller
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _set_limits(limits.mebibytes)
    _send(sys.stdout.buffer, READY)
    while (request := _receive(sys.stdin.buffer, sys.maxsize)) is not None:
        data = _receive(sys.stdin.buffer, sys.maxsize)
        if data is None:
            return
        _send(sys.stdout.buffer, RECEIVED)
        _set_timers(limits)
        for answer in _answers(request, data, limits):
            _set_timers(None)  # the caller may take any time to receive it
            _send(sys.stdout.buffer, *answer)
            _set_timers(limits)
        _set_timers(None)


def _set_timers(limits: Limits | None) -> None:
    """End this process when it has taken as much time as it may, counted from now; None cancels that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, limits.seconds if limits else 0)
        signal.setitimer(signal.ITIMER_REAL, SELF_DESTRUCT_FACTOR * limits.wall_seconds if limits else 0)


if __name__ == "__main__":
    seconds, mebibytes, max_pixels = sys.argv[1:]
    _run(Limits(float(seconds), int(mebibytes), int(max_pixels)))
