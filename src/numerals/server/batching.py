"""Micro-batching: digits of requests that arrive at the same time are recognised as one batch.

No request waits for a batch to fill up: requests that arrive while a batch is in progress form the next one. Measured
on two cores with single digits from a hundred clients: see docs/log.md.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from numerals.read.pixels import DigitImages
from numerals.results import Recognition

MAX_BATCH_DIGITS = 256  # a larger request is a batch by itself: it gains nothing, and others would wait for it


@dataclass(frozen=True)
class _Pending:
    """Digits of one request, and where its result goes."""

    digits: DigitImages
    result: "asyncio.Future[Recognition]"


class MicroBatcher:
    """Recognises digits in batches, one batch at a time.

    Args:
        recognise: the model; uint8 (n, 28, 28) to n results.
        executor: runs `recognise`.
    """

    def __init__(self, recognise: Callable[[DigitImages], Recognition], executor: Executor) -> None:
        self._recognise, self._executor = recognise, executor
        self._pending: list[_Pending] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, digits: DigitImages) -> Recognition:
        """Recognise digits of one request: uint8 (n, 28, 28)."""
        loop = asyncio.get_running_loop()
        if len(digits) > MAX_BATCH_DIGITS:
            return await loop.run_in_executor(self._executor, self._recognise, digits)
        result: asyncio.Future[Recognition] = loop.create_future()
        self._pending.append(_Pending(digits, result))
        if self._worker is None:
            self._worker = loop.create_task(self._run_batches())
        return await result

    async def _run_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            try:
                digits = np.concatenate([pending.digits for pending in batch])
                recognition = await loop.run_in_executor(self._executor, self._recognise, digits)
            except Exception as error:  # noqa: BLE001 (every waiting request gets the error, whatever it is)
                for pending in batch:
                    if not pending.result.done():
                        pending.result.set_exception(error)
            else:
                parts = split_recognition(recognition, [len(pending.digits) for pending in batch])
                for pending, part in zip(batch, parts, strict=True):
                    if not pending.result.done():
                        pending.result.set_result(part)
        self._worker = None

    def _next_batch(self) -> list[_Pending]:
        """Take the oldest pending requests, as many as fit; skip those whose client has gone."""
        batch: list[_Pending] = []
        size = 0
        self._pending = [pending for pending in self._pending if not pending.result.done()]
        while self._pending and size + len(self._pending[0].digits) <= MAX_BATCH_DIGITS:
            size += len(self._pending[0].digits)
            batch.append(self._pending.pop(0))
        return batch


def split_recognition(recognition: Recognition, sizes: list[int]) -> list[Recognition]:
    """Split the results of a batch into those of its requests, which have `sizes` digits each."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        Recognition(
            recognition.digits[start:end],
            recognition.confidence[start:end],
            recognition.rejected[start:end],
            recognition.probabilities[start:end],
            recognition.is_digit[start:end],
        )
        for start, end in pairwise(ends)
    ]
