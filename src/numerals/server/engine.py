"""What answers the interface: models, corrections, threads, the process that decodes. Knows nothing about HTTP's words.

Models are opened once. Pictures are decoded by the sandbox, in a process of its own, and read in READERS threads.
"""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.read.normalise import MAX_SIDE
from numerals.read.occlusion import Explanation
from numerals.read.pixels import shrink
from numerals.read.reader import Reader
from numerals.read.sandbox import Sandbox
from numerals.results import Page
from numerals.server.batching import Batches
from numerals.server.corrections import CorrectionStore
from numerals.server.metrics import Metrics
from numerals.server.middleware import Queue
from numerals.server.settings import MOST_PIXELS, READERS, ServerSettings

SECONDS, MEBIBYTES = 1.5, 192  # that decoding a picture may take
READING = 8.0  # seconds after which reading one is given up: else it would go on after its answer is due


class Work:
    """All that a process has to answer with."""

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        self.reader = Reader(settings.model)
        self.corrections = CorrectionStore(settings.corrections_file)
        self.queue = Queue(settings.queue_size, metrics)
        self._sandbox = Sandbox(SECONDS, MEBIBYTES, max_pixels=MOST_PIXELS)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self._single = ThreadPoolExecutor(1, thread_name_prefix="single")
        self.recognise = Batches(self.reader.recognise, self._single)

    async def read(self, picture: bytes, drawn: bool) -> Page:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, picture, drawn)

    async def digit(self, picture: bytes) -> bytes:
        """A strange picture of a digit as a PNG of our own, of bounded size."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._digit, picture)

    async def explain(self, digit: npt.NDArray[np.uint8], named: int) -> Explanation:
        return await asyncio.get_running_loop().run_in_executor(self._single, self.reader.explain, digit, named)

    def _read(self, picture: bytes, drawn: bool) -> Page:
        return self.reader.read(self._sandbox.decode(picture), drawn, timeout=READING)

    def _digit(self, picture: bytes) -> bytes:
        file = io.BytesIO()
        Image.fromarray(shrink(self._sandbox.decode(picture).pixels, MAX_SIDE)).save(file, "PNG")
        return file.getvalue()

    def close(self) -> None:
        self._sandbox.close()
        for threads in (self._threads, self._single):
            threads.shutdown(wait=False, cancel_futures=True)
