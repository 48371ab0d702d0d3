"""Digits of requests that arrive together, recognised as one batch. Knows nothing about HTTP.

Nobody waits for company: what comes while a batch is at work is the next one. Measured on two cores with single digits
from a hundred clients: see docs/log.md.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from numerals.results import Recognition

TOGETHER = 256  # digits of a batch; a request of more is one by itself: it gains nothing, and others would wait for it

Digits = npt.NDArray[np.uint8]  # (n, 28, 28)
Waiting = tuple[Digits, "asyncio.Future[Recognition]"]


class Batches:
    """Asks `recognise`, one batch after the other, in threads of `pool`."""

    def __init__(self, recognise: Callable[[Digits], Recognition], pool: Executor) -> None:
        self._recognise, self._pool = recognise, pool
        self._waiting: list[Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, digits: Digits) -> Recognition:
        loop = asyncio.get_running_loop()
        if len(digits) > TOGETHER:
            return await loop.run_in_executor(self._pool, self._recognise, digits)
        answer: asyncio.Future[Recognition] = loop.create_future()
        self._waiting.append((digits, answer))
        if self._working is None:
            self._working = loop.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            try:
                digits = np.concatenate([each for each, _ in batch])
                found = await loop.run_in_executor(self._pool, self._recognise, digits)
            except Exception as error:  # noqa: BLE001 (whatever it is, those who wait are told)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                parts = split(found, [len(each) for each, _ in batch])
                for (_, future), part in zip(batch, parts, strict=True):
                    if not future.done():
                        future.set_result(part)
        self._working = None

    def _next(self) -> list[Waiting]:
        """The first of those that wait, as many as fit; who has gone meanwhile is left out."""
        batch: list[Waiting] = []
        self._waiting = [each for each in self._waiting if not each[1].done()]
        while self._waiting and sum(len(each) for each, _ in [*batch, self._waiting[0]]) <= TOGETHER:
            batch.append(self._waiting.pop(0))
        return batch


def split(found: Recognition, sizes: list[int]) -> list[Recognition]:
    """A batch's answers as those of so many pictures each."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        Recognition(
            found.digits[start:end],
            found.confidence[start:end],
            found.rejected[start:end],
            found.probabilities[start:end],
            found.is_digit[start:end],
        )
        for start, end in pairwise(ends)
    ]
