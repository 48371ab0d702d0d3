"""The article's network asked for answers: ours as ONNX, in PyTorch, and Keras's predict, in turns.

    numerals train && numerals export runs/article-1
    python -m benchmarks.inference runs/article-1

For each size of batch: digits a second over many batches, and the milliseconds of one call. Ours start from uint8;
Keras from float32 in [0, 1] that is ready, which favours it a little. int8 is ONNX Runtime's static quantisation, its
scales chosen on training digits. Accuracies are of the validation digits; Keras's network is untrained, which does not
change how long it takes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.engines import where
from benchmarks.machine import ROOT, conditions, keep
from benchmarks.run import KERAS
from numerals.article import datasets
from numerals.article.model import as_input
from numerals.cli.benchmark import latencies
from numerals.errors import FailureError, NumeralsError
from numerals.runs.folder import RunFolder
from numerals.spec import MODEL_INPUT, MODEL_OUTPUTS

BATCHES = {1: 1_000, 32: 10_000, 256: 10_000}  # digits a batch, and in how many digits the throughput is timed
CALLS = {1: 500, 32: 200, 256: 50}  # calls that are timed one by one
CALIBRATION = 512  # digits that int8's scales are chosen on
RECORD = ROOT / "runs" / "inference.jsonl"

Digits = npt.NDArray[np.uint8]  # (n, 28, 28)
Answer = Callable[[Digits], npt.NDArray[np.float32]]  # -> probabilities (n, 10)
Figures = dict[str, float]


def ways(run: Path) -> dict[str, tuple[Answer, int]]:
    """How ours can be asked, and in how many threads a batch each.

    Raises:
        NumeralsError: the run has no model.onnx, or it is damaged.
    """
    model = run / "model.onnx"
    if not model.is_file():
        raise FailureError(f"{run}: no model.onnx in it; `numerals export {run}` makes it")
    exact = onnx_answer(model)
    with tempfile.TemporaryDirectory() as folder:
        coarse = onnx_answer(int8(model, Path(folder)))
    return {
        "ONNX Runtime, one thread": (exact, 1),
        "ONNX Runtime, two threads": (exact, 2),
        "ONNX Runtime, int8, one thread": (coarse, 1),
        "PyTorch, eager": (torch_answer(run), 1),
    }


def onnx_answer(model: Path) -> Answer:
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(model.read_bytes(), options, ["CPUExecutionProvider"])
    return lambda digits: np.asarray(session.run(list(MODEL_OUTPUTS)[:1], {MODEL_INPUT: digits})[0], np.float32)


def torch_answer(run: Path) -> Answer:
    """On as many threads as PyTorch takes by itself."""
    network = RunFolder.open(run).network()

    def answer(digits: Digits) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(as_input(digits, torch.device("cpu"))).softmax(1).numpy(), np.float32)

    return answer


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Training digits, one batch."""

    def __init__(self) -> None:
        self._batches = iter([{MODEL_INPUT: datasets.load(None).train[0][:CALIBRATION]}])

    def get_next(self) -> dict[str, Digits] | None:
        return next(self._batches, None)


def int8(model: Path, folder: Path) -> Path:
    """The model with weights and maps of 8 bits."""
    ready, path = folder / "ready.onnx", folder / "int8.onnx"
    quant_pre_process(onnx.load(model), ready, skip_symbolic_shape=True)
    quantize_static(
        ready,
        path,
        _Calibration(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return path


def throughput(answer: Answer, threads: int, batch: int, digits: Digits) -> float:
    """Seconds for all the digits in batches; each thread takes its share of them."""

    def share(mine: Digits) -> None:
        for start in range(0, len(mine), batch):
            answer(mine[start : start + batch])

    started = time.perf_counter()
    if threads == 1:
        share(digits)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(share, np.array_split(digits, threads)))
    return time.perf_counter() - started


@contextmanager
def keras(images: Digits) -> Iterator[Callable[[str, int, int], Any]]:
    """Keras with the article's network in a process of its own, as `peers.keras_predict` says.

    Raises:
        FailureError: it does not run.
    """
    command = [str(KERAS), "-m", "benchmarks.peers.keras_predict", str(len(images))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, **where(command[0])) as process:
        assert process.stdin and process.stdout
        process.stdin.write(images.tobytes())

        def ask(what: str, batch: int, count: int) -> Any:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps([what, batch, count]).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise FailureError("Keras does not run; `make .venv-keras-tensorflow/done` installs it anew")
            return json.loads(line)

        yield ask
        process.stdin.close()


def measure(run: Path, runs: int) -> Iterator[dict[str, Any]]:
    """A line for each way and size of batch; the ways take turns, and the first turn does not count."""
    asked = ways(run)
    dataset, recipe = datasets.load(None), RunFolder.open(run).recipe()
    images, (_, validation) = dataset.test[0], dataset.split(recipe.split.validation, recipe.split.random_state)
    accuracies: dict[str, float | None] = {
        name: float((answer(validation[0]).argmax(1) == validation[1]).mean()) for name, (answer, _) in asked.items()
    }
    with keras(images) as ask:
        for batch, count in BATCHES.items():
            timed: dict[str, Callable[[], float]] = {
                name: partial(throughput, answer, threads, batch, images[:count])
                for name, (answer, threads) in asked.items()
            }
            timed["Keras, predict"] = partial(ask, "throughput", batch, count)
            seconds: dict[str, list[float]] = {name: [] for name in timed}
            for turn in range(runs + 1):
                for name, way in timed.items():
                    seconds[name] += [way()][: turn and 1]
            for name in timed:
                calls = CALLS[batch]
                one = (
                    latencies(partial(asked[name][0], images[:batch]), batch, calls)
                    if name in asked
                    else ask("latencies", batch, calls)
                )
                speed = round(count / statistics.median(seconds[name]))
                yield {
                    "way": name,
                    "batch": batch,
                    "per_second": speed,
                    **{key: one[key] for key in ("p50_ms", "p99_ms")},
                    "validation_accuracy": accuracies.get(name),
                    "runs": runs,
                    "calls": calls,
                }


def table(lines: list[dict[str, Any]]) -> str:
    """A row for each way, in order; three columns for each batch."""
    batches = sorted({line["batch"] for line in lines})
    heads = [f"{batch} a batch: digits/s, p50, p99" for batch in batches]
    rows = ["| way | " + " | ".join(heads) + " | validation accuracy |", "| --- " * (len(heads) + 2) + "|"]
    for way in dict.fromkeys(line["way"] for line in lines):
        mine = {line["batch"]: line for line in lines if line["way"] == way}
        cells = [
            f"{mine[batch]['per_second']:,}, {mine[batch]['p50_ms']:.2f} ms, {mine[batch]['p99_ms']:.2f} ms"
            for batch in batches
        ]
        accuracy = next(iter(mine.values()))["validation_accuracy"]
        rows.append(f"| {way} | {' | '.join(cells)} | {f'{100 * accuracy:.2f} %' if accuracy else 'untrained'} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of the article's recipe with its model.onnx")
    parser.add_argument("--runs", type=int, default=5, help="turns; medians are told")
    parser.add_argument("--record", type=Path, default=RECORD, help="the file that a line a way and batch is added to")
    parser.add_argument("--note", default="", help="conditions worth knowing, e.g. what else ran")
    options = parser.parse_args()
    lines = []
    try:
        for line in measure(options.run, options.runs):
            lines.append(line | conditions(options.note))
            keep(options.record, lines[-1])
            print(f"{line['way']}, {line['batch']} a batch: {line['per_second']:,} digits a second", file=sys.stderr)
    except NumeralsError as error:
        parser.error(str(error))
    print(table(lines))


if __name__ == "__main__":
    main()
