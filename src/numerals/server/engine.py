"""The models, reader threads, decoding process and corrections of one server process.

Models are loaded once. Uploaded pictures are decoded in a sandboxed process and read in READER_THREADS threads; single
digits are recognised in one thread, in batches.
"""

import asyncio
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.errors import StorageError
from numerals.read.normalise import MAX_SIDE
from numerals.read.occlusion import DigitExplanation
from numerals.read.pixels import shrink
from numerals.read.reader import Reader
from numerals.read.sandbox import Sandbox
from numerals.results import Page
from numerals.server.batching import MicroBatcher
from numerals.server.corrections import CorrectionStore
from numerals.server.metrics import ServerMetrics
from numerals.server.middleware import RequestQueue
from numerals.server.settings import (
    DECODE_SECONDS,
    MAX_DECODER_MEBIBYTES,
    MAX_PICTURE_PIXELS,
    MAX_WAITING_CORRECTIONS,
    READ_TIMEOUT_SECONDS,
    READER_THREADS,
    RESPONSE_TIMEOUT_SECONDS,
    ServerSettings,
)

T = TypeVar("T")


class ReadingEngine:
    """Does the work behind the routes, off the event loop.

    Attributes:
        reader: the models.
        queue: limits how many requests use the engine at the same time; take a slot before you call a method.
        recognise: coroutine function; uint8 (n, 28, 28) to a Recognition of n digits.
    """

    def __init__(self, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self.reader = Reader(settings.model)
        self._corrections = CorrectionStore(settings.corrections_file, settings.corrections_megabytes)
        self._corrections_thread = ThreadPoolExecutor(1, thread_name_prefix="corrections")
        self._waiting_corrections = 0  # requests
        self.queue = RequestQueue(settings.queue_size, metrics)
        self._sandbox = Sandbox(DECODE_SECONDS, MAX_DECODER_MEBIBYTES, max_pixels=MAX_PICTURE_PIXELS)
        self._page_threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="read")
        self._digit_thread = ThreadPoolExecutor(1, thread_name_prefix="single")
        self.recognise = MicroBatcher(self.reader.recognise, self._digit_thread)

    async def is_ready(self) -> bool:
        """Whether pictures can be decoded."""
        return await asyncio.to_thread(self._sandbox.is_ready)

    async def read(self, picture: bytes, drawn: bool) -> Page:
        """Read the rows of digits in an encoded picture.

        Args:
            picture: contents of a picture file.
            drawn: the picture is a drawing on an empty pad: upright, and a straight stroke is a 1.
        """
        deadline = time.monotonic() + RESPONSE_TIMEOUT_SECONDS  # after which nobody waits for the answer
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._page_threads, self._read, picture, drawn, deadline)

    async def reencode(self, picture: bytes) -> bytes:
        """Decode an uploaded picture of one digit and return it as a PNG of bounded size, without any metadata."""
        return await asyncio.get_running_loop().run_in_executor(self._page_threads, self._reencode, picture)

    async def use_corrections(self, action: Callable[[CorrectionStore], T]) -> T:
        """Run an action on the file of corrections.

        It runs in a thread of its own, and few requests may wait for it, so that a file that another process has locked
        delays nothing else.

        Raises:
            DamagedError, FullError, StorageError: as the store's methods; the last one also if too many requests wait.
        """
        if self._waiting_corrections >= MAX_WAITING_CORRECTIONS:
            raise StorageError("too many requests for the corrections at once; try again in a second")
        self._waiting_corrections += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._corrections_thread, action, self._corrections)
        finally:
            self._waiting_corrections -= 1

    async def explain(self, digit: npt.NDArray[np.uint8], label: int) -> DigitExplanation:
        """Explain how much each part of a digit's ink supports a label.

        Args:
            digit: uint8 (28, 28), white ink on black.
            label: the class to explain, 0 to 9.
        """
        return await asyncio.get_running_loop().run_in_executor(self._digit_thread, self.reader.explain, digit, label)

    def _read(self, picture: bytes, drawn: bool, deadline: float) -> Page:
        decoded = self._sandbox.decode(picture)
        return self.reader.read(decoded, drawn, timeout=min(READ_TIMEOUT_SECONDS, deadline - time.monotonic()))

    def _reencode(self, picture: bytes) -> bytes:
        file = io.BytesIO()
        Image.fromarray(shrink(self._sandbox.decode(picture).pixels, MAX_SIDE)).save(file, "PNG")
        return file.getvalue()

    def close(self) -> None:
        """End the decoding process and the threads; drop what they have not begun."""
        self._sandbox.close()
        for threads in (self._page_threads, self._digit_thread, self._corrections_thread):
            threads.shutdown(wait=False, cancel_futures=True)
