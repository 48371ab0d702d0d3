"""Compare the inference speed of the article's network: exported to ONNX, in PyTorch, and Keras's predict, in turn.

    numerals train && numerals export runs/article-1
    python -m benchmarks.inference runs/article-1

For each batch size: digits per second over many batches, and milliseconds per call. numerals starts from uint8; Keras
from prepared float32 in [0, 1], which favours it a little. int8 is ONNX Runtime's static quantisation, calibrated on
training digits. Accuracies are on the validation digits. Keras's network is untrained, which does not change its speed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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

from benchmarks.engines import popen_options
from benchmarks.machine import ROOT, Record, append_record, conditions
from benchmarks.run import KERAS
from benchmarks.speed import medians_in_turn
from numerals.article import datasets
from numerals.article.model import as_input
from numerals.cli.benchmark import latencies
from numerals.errors import FailureError, NumeralsError
from numerals.read.pixels import DigitImages
from numerals.runs.folder import RunFolder
from numerals.spec import MODEL_INPUT, MODEL_OUTPUTS

BATCHES = {1: 1_000, 32: 10_000, 256: 10_000}  # batch size: digits for one timing of the throughput
CALLS = {1: 500, 32: 200, 256: 50}  # batch size: number of calls that are timed one by one
CALIBRATION_DIGITS = 512  # for int8
RECORD = ROOT / "runs" / "inference.jsonl"

Predict = Callable[[DigitImages], npt.NDArray[np.float32]]  # digits (n, 28, 28) -> probabilities (n, 10)


@dataclass(frozen=True)
class Backend:
    """A way to run the network."""

    predict: Predict
    threads: int  # threads that call `predict`, each with its own batches


def backends(run: Path) -> dict[str, Backend]:
    """The backends for a run's network, by name.

    Raises:
        NumeralsError: the run has no model.onnx, or it is damaged.
    """
    model = run / "model.onnx"
    if not model.is_file():
        raise FailureError(f"{run} has no model.onnx; run `numerals export {run}` first")
    float32 = onnx_predict(model)
    with tempfile.TemporaryDirectory() as folder:
        int8 = onnx_predict(quantise(model, Path(folder)))
    return {
        "ONNX Runtime, one thread": Backend(float32, 1),
        "ONNX Runtime, two threads": Backend(float32, 2),
        "ONNX Runtime, int8, one thread": Backend(int8, 1),
        "PyTorch, eager": Backend(torch_predict(run), 1),
    }


def onnx_predict(model: Path) -> Predict:
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(model.read_bytes(), options, ["CPUExecutionProvider"])
    return lambda digits: np.asarray(session.run(list(MODEL_OUTPUTS)[:1], {MODEL_INPUT: digits})[0], np.float32)


def torch_predict(run: Path) -> Predict:
    """Uses PyTorch's default number of threads."""
    network = RunFolder.open(run).network()

    def predict(digits: DigitImages) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(as_input(digits, torch.device("cpu"))).softmax(1).numpy(), np.float32)

    return predict


class _CalibrationDigits(CalibrationDataReader):  # type: ignore[misc]
    """One batch of training digits."""

    def __init__(self) -> None:
        self._batches = iter([{MODEL_INPUT: datasets.load(None).train[0][:CALIBRATION_DIGITS]}])

    def get_next(self) -> dict[str, DigitImages] | None:
        return next(self._batches, None)


def quantise(model: Path, folder: Path) -> Path:
    """Quantise the model's weights and activations to int8, into a new file in the folder."""
    preprocessed, path = folder / "preprocessed.onnx", folder / "int8.onnx"
    quant_pre_process(onnx.load(model), preprocessed, skip_symbolic_shape=True)
    quantize_static(
        preprocessed,
        path,
        _CalibrationDigits(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return path


def throughput(predict: Predict, threads: int, batch: int, digits: DigitImages) -> float:
    """Seconds to predict all digits in batches; each thread takes an equal share of them."""

    def predict_in_batches(share: DigitImages) -> None:
        for start in range(0, len(share), batch):
            predict(share[start : start + batch])

    started = time.perf_counter()
    if threads == 1:
        predict_in_batches(digits)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(predict_in_batches, np.array_split(digits, threads)))
    return time.perf_counter() - started


@contextmanager
def keras(images: DigitImages) -> Iterator[Callable[[str, int, int], Any]]:
    """Start `peers.keras_predict` and yield a function (measure, batch, count) that sends it a request.

    Raises:
        FailureError: Keras failed.
    """
    command = [str(KERAS), "-m", "benchmarks.peers.keras_predict", str(len(images))]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, **popen_options(command[0])
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(images.tobytes())

        def request(measure: str, batch: int, count: int) -> Any:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps([measure, batch, count]).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise FailureError("Keras failed; run `make .venv-keras-tensorflow/done` to install it")
            return json.loads(line)

        yield request
        process.stdin.close()


def measure(run: Path, runs: int) -> Iterator[Record]:
    """Yield a record for each backend and batch size; the backends take turns, and the first turn does not count."""
    ours = backends(run)
    dataset, recipe = datasets.load(None), RunFolder.open(run).recipe()
    images, (_, validation) = dataset.test[0], dataset.split(recipe.split.validation, recipe.split.random_state)
    accuracies: dict[str, float | None] = {
        name: float((backend.predict(validation[0]).argmax(1) == validation[1]).mean())
        for name, backend in ours.items()
    }
    with keras(images) as request:
        for batch, count in BATCHES.items():
            timed: dict[str, Callable[[], float]] = {
                name: partial(throughput, backend.predict, backend.threads, batch, images[:count])
                for name, backend in ours.items()
            }
            timed["Keras, predict"] = partial(request, "throughput", batch, count)
            calls = CALLS[batch]
            for name, seconds in medians_in_turn(timed, runs).items():
                latency = (
                    asdict(latencies(partial(ours[name].predict, images[:batch]), batch, calls))
                    if name in ours
                    else request("latencies", batch, calls)
                )
                yield {
                    "way": name,
                    "batch": batch,
                    "per_second": round(count / seconds),
                    **{key: latency[key] for key in ("p50_ms", "p99_ms")},
                    "validation_accuracy": accuracies.get(name),
                    "runs": runs,
                    "calls": calls,
                }


def table(records: list[Record]) -> str:
    """A row per backend, a column per batch size."""
    batches = sorted({record["batch"] for record in records})
    heads = [f"batch {batch}: digits/s, p50, p99" for batch in batches]
    rows = ["| backend | " + " | ".join(heads) + " | validation accuracy |", "| --- " * (len(heads) + 2) + "|"]
    for name in dict.fromkeys(record["way"] for record in records):
        by_batch = {record["batch"]: record for record in records if record["way"] == name}
        cells = [
            f"{by_batch[batch]['per_second']:,}, {by_batch[batch]['p50_ms']:.2f} ms, {by_batch[batch]['p99_ms']:.2f} ms"
            for batch in batches
        ]
        accuracy = next(iter(by_batch.values()))["validation_accuracy"]
        rows.append(f"| {name} | {' | '.join(cells)} | {f'{100 * accuracy:.2f} %' if accuracy else 'untrained'} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of the article's recipe with its model.onnx")
    parser.add_argument("--runs", type=int, default=5, help="timings of each backend; the median counts")
    parser.add_argument("--record", type=Path, default=RECORD, help="file to append a line per backend and batch to")
    parser.add_argument("--note", default="", help="conditions to record, e.g. what else ran")
    options = parser.parse_args()
    records = []
    try:
        for line in measure(options.run, options.runs):
            records.append(line | conditions(options.note))
            append_record(options.record, records[-1])
            print(f"{line['way']}, batch {line['batch']}: {line['per_second']:,} digits per second", file=sys.stderr)
    except NumeralsError as error:
        parser.error(str(error))
    print(table(records))


if __name__ == "__main__":
    main()
