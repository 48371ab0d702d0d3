"""Run the exported models on digit images, strips and pages. The only user of onnxruntime."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numerals.errors import ModelError
from numerals.read import model_files
from numerals.read.model_files import ModelFile
from numerals.read.pixels import DigitImages
from numerals.read.strips import STRIP_HEIGHT
from numerals.spec import (
    CLASSES,
    DETECTOR_INPUT,
    DETECTOR_OUTPUT,
    MODEL_INPUT,
    MODEL_OUTPUTS,
    ROWS_INPUT,
    ROWS_OUTPUT,
    SIDE,
)

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import: else it writes a device id and looks up Microsoft's host
import onnxruntime

onnxruntime.disable_telemetry_events()

THREADS = 2  # batches run in parallel, one thread each; threads within a batch would wait for each other at every layer
BATCH_SIZE = 256  # digits; their activations stay in the processor's cache


class DigitPredictions(NamedTuple):
    """The digit model's outputs for n images."""

    probabilities: npt.NDArray[np.float32]  # (n, 10), calibrated; each row sums to 1
    is_digit: npt.NDArray[np.float32]  # (n,) in [0, 1]: how much the image looks like a digit at all


class Recogniser:
    """A digit model, opened once. It is thread-safe.

    Args:
        model: as `model_files.load` returns it; None for the digit model that comes with numerals.
        threads: how many batches run in parallel.

    Raises:
        ModelError: onnxruntime cannot open the model, or its inputs and outputs are not those of a digit model.
    """

    def __init__(self, model: ModelFile | None = None, threads: int = THREADS) -> None:
        self.model = model or model_files.load()
        self._session = _open_session(self.model, [MODEL_INPUT], list(MODEL_OUTPUTS))
        _check_digit_input(self._session.get_inputs()[0], self.model.name)
        digits = np.zeros((2, SIDE, SIDE), np.uint8)
        _try(self._session, self.model.name, digits, dict(zip(MODEL_OUTPUTS, [(2, len(CLASSES)), (2,)], strict=True)))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="recognise")

    def __call__(self, digits: DigitImages) -> DigitPredictions:
        """Recognise digit images.

        Args:
            digits: uint8 (n, 28, 28), white ink on black, in MNIST's form; see `normalise`.
        """
        batches = [digits[start : start + BATCH_SIZE] for start in range(0, len(digits), BATCH_SIZE)]
        if len(batches) < 2:
            return self._predict(digits)
        probabilities, is_digit = zip(*self._pool.map(self._predict, batches), strict=True)
        return DigitPredictions(np.concatenate(probabilities), np.concatenate(is_digit))

    def _predict(self, digits: DigitImages) -> DigitPredictions:
        return DigitPredictions(*self._session.run(list(MODEL_OUTPUTS), {MODEL_INPUT: np.ascontiguousarray(digits)}))


class RowRecogniser:
    """A row model, opened once. It is thread-safe.

    Args:
        model: as `model_files.load` returns it; None for the row model that comes with numerals.
        threads: how many threads compute one batch.

    Raises:
        ModelError: onnxruntime cannot open the model, or its inputs and outputs are not those of a row model.
    """

    def __init__(self, model: ModelFile | None = None, threads: int = THREADS) -> None:
        self.model = model or model_files.load(name=model_files.ROW_MODEL)
        self._session = _open_session(self.model, [ROWS_INPUT], [ROWS_OUTPUT], threads)
        strips = np.zeros((2, 1, STRIP_HEIGHT, 50), np.uint8)
        _try(self._session, self.model.name, strips, {ROWS_OUTPUT: (2, 25, 1 + len(CLASSES))})

    def __call__(self, strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the class probabilities at each step along the strips.

        Args:
            strips: uint8 (n, 1, 40, w), bright ink on black; see `strips`.

        Returns:
            float32 (n, ceil(w / 2), 11), blank first, then the digits 0 to 9; each step sums to 1. See `ctc`.
        """
        return np.asarray(self._session.run([ROWS_OUTPUT], {ROWS_INPUT: np.ascontiguousarray(strips)})[0], np.float32)


class PageDetector:
    """A detector, opened once. It is thread-safe.

    Args:
        model: as `model_files.load` returns it.
        threads: how many threads compute one page.

    Raises:
        ModelError: onnxruntime cannot open the model, or its inputs and outputs are not those of a detector.
    """

    def __init__(self, model: ModelFile, threads: int = THREADS) -> None:
        self.model = model
        self._session = _open_session(self.model, [DETECTOR_INPUT], [DETECTOR_OUTPUT], threads)
        planes = np.zeros((1, 2, 32, 64), np.uint8)
        _try(self._session, self.model.name, planes, {DETECTOR_OUTPUT: (1, 15, 8, 16)})

    def __call__(self, planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return what the detector says about each cell of 4x4 pixels of a page.

        Args:
            planes: uint8 (2, h, w), sides multiples of 32; see `page_contrast`.

        Returns:
            float32 (15, h / 4, w / 4); see `detect.decode`.
        """
        inputs = {DETECTOR_INPUT: np.ascontiguousarray(planes[None])}
        return np.asarray(self._session.run([DETECTOR_OUTPUT], inputs)[0][0], np.float32)


def _open_session(
    model: ModelFile, inputs: list[str], outputs: list[str], threads: int = 1
) -> onnxruntime.InferenceSession:
    """Open a model and check the names of its inputs and outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle threads would otherwise spin, and take a core from decoding
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model.content, options, ["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise ModelError(f"{model.name}: onnxruntime cannot open it ({_one_line(error)})") from error
    found = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if found != (inputs, outputs):
        raise ModelError(
            f"{model.name}: its inputs and outputs are {found} instead of {(inputs, outputs)}; "
            "give a model that numerals export wrote"
        )
    return session


def _try(
    session: onnxruntime.InferenceSession,
    name: str,
    example: npt.NDArray[np.uint8],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise ModelError unless the model answers an example with outputs of these shapes."""
    try:
        found = [each.shape for each in session.run(list(shapes), {session.get_inputs()[0].name: example})]
    except Exception as error:
        raise ModelError(f"{name}: onnxruntime cannot run it ({_one_line(error)})") from error
    if found != list(shapes.values()):
        raise ModelError(
            f"{name}: answers with shapes {found} instead of {list(shapes.values())}; "
            "give a model that numerals export wrote"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _check_digit_input(declared: onnxruntime.NodeArg, name: str) -> None:
    """Raise ModelError unless the model declares its input as uint8 (n, 28, 28) with any n."""
    count, *sides = declared.shape or (0,)
    if declared.type != "tensor(uint8)" or isinstance(count, int) or sides != [SIDE, SIDE]:
        shape = ", ".join(map(str, [count, *sides]))
        raise ModelError(f"{name}: takes {declared.type} of shape ({shape}) instead of uint8 (n, {SIDE}, {SIDE})")
