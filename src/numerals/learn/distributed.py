"""One training on several processes or machines: Ray Train starts them, torch.distributed joins them.

Each calls the `train` or `resume` that a single one calls; team.py gives it its share of every batch. The run is the
first one's; the others work in folders of their own that are thrown away. A lost process makes all of them start again
from the last checkpoint, on the machines that are left.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue
from torch import distributed

from numerals.errors import FailureError, NumeralsError
from numerals.learn import kernel
from numerals.learn.callbacks import Epoch
from numerals.learn.model import Layer
from numerals.learn.recipe import Recipe
from numerals.learn.resume import resume
from numerals.learn.train import Observer, train

LOST = 3  # processes that may be lost, one after the other
OFTEN = 0.5  # seconds between two steps that the observer is told of
ENDED = "ended"


def train_together(
    workers: int, cores: int, run: Path, options: dict[str, Any], observer: Observer, resumed: bool = False
) -> None:
    """Train on so many processes; the run folder has what came of it.

    Args:
        workers: how many; the recipe's batch_size must be a multiple, since each has the same share of every batch.
        cores: of the whole cluster; each process gets its part of them.
        run: the run folder, absolute, on a disk that every machine sees.
        options: of `train`, or of `resume` if `resumed`; but for `out`, `run` and `observer`.

    Raises:
        FailureError: processes were lost more than LOST times, or Ray failed.
        InputError, StorageError, FailureError: as `train` does.
        KeyboardInterrupt: interrupted; the last checkpoint stays.
    """
    each = max(1, cores // workers)
    gpu = options["device"] != "cpu" and ray.cluster_resources().get("GPU", 0) >= workers
    events = Queue(actor_options={"num_cpus": 0})
    with tempfile.TemporaryDirectory() as scratch:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"run": run, "options": options, "resumed": resumed, "threads": each, "events": events},
            scaling_config=ray_train.ScalingConfig(
                num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": each}
            ),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=ray_train.RunConfig(
                storage_path=scratch, failure_config=ray_train.FailureConfig(max_failures=LOST)
            ),
        )
        listener, failed = _Listener(events, observer), None
        try:
            trainer.fit()
        except ray_train.TrainingFailedError as error:
            failed = error
        except SystemExit as error:  # what Ray Train makes of Ctrl-C
            raise KeyboardInterrupt from error
        finally:
            listener.stop()
        if listener.error or failed:
            raise listener.error or _failure(failed) from failed


def _work(config: dict[str, Any]) -> None:
    """What each process does."""
    first = ray_train.get_context().get_world_rank() == 0
    torch.set_num_threads(config["threads"])
    kernel.keep_memory()
    run: Path = config["run"]
    options = config["options"] | {"observer": _Teller(config["events"]) if first else None}
    goes_on = (run / "checkpoint").is_dir()  # asked for, or somebody was lost
    with tempfile.TemporaryDirectory() as scratch:
        own = run if first else Path(scratch) / "run"
        if goes_on and not first:
            shutil.copytree(run / "checkpoint", own / "checkpoint")
        distributed.barrier()  # nobody writes before all have looked
        try:
            if not goes_on:
                train(**options, out=own)
            elif config["resumed"]:
                resume(own, **options)
            else:
                resume(own, **{name: options[name] for name in ("data", "device", "every_steps", "observer")})
        except NumeralsError as error:
            config["events"].put((ENDED, (not first, error)))
            if type(error) is not FailureError:  # which all have alike: the loss is no number any more
                raise
        distributed.barrier()  # those who are done first would be missed by the others


class _Teller:
    """An observer that puts what it is told into a queue."""

    def __init__(self, events: Queue) -> None:
        self._events = events
        self._last = 0.0

    def started(self, recipe: Recipe, layers: Sequence[Layer], facts: dict[str, Any]) -> None:
        self._events.put(("started", (recipe, layers, facts)))

    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float) -> None:
        if time.monotonic() - self._last > OFTEN:
            self._last = time.monotonic()
            self._events.put(("step", (epoch, step, steps, loss, accuracy)))

    def epoch(self, row: Epoch, best: bool) -> None:
        self._events.put(("epoch", (row, best)))


class _Listener:
    """Tells the real observer, in a thread beside the training."""

    def __init__(self, events: Queue, observer: Observer) -> None:
        self.error: NumeralsError | None = None
        self._events, self._observer, self._stopping = events, observer, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """After the last that was put into the queue."""
        self._stopping.set()
        self._thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                what, arguments = self._events.get(timeout=OFTEN)
            except (Empty, ray.exceptions.RayError):
                if self._stopping.is_set():
                    return
                continue
            if what == ENDED:
                others, error = arguments
                self.error = self.error if others and self.error else error
            else:
                getattr(self._observer, what)(*arguments)


def _failure(error: Exception | None) -> NumeralsError:
    text = str(error).strip().splitlines()
    return FailureError(f"Ray: {text[-1][:200] if text else type(error).__name__}; numerals train --resume goes on")
