"""Digits or strips in form -> probabilities. The only user of onnxruntime. Knows nothing about pictures."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from numerals.errors import ModelError
from numerals.read import model_files
from numerals.read.model_files import ModelFile
from numerals.spec import MODEL_INPUT, MODEL_OUTPUTS, ROWS_INPUT, ROWS_OUTPUT, SIDE

THREADS = 2  # batches at the same time, a thread each: two threads within one batch wait for each other at every layer
BATCH = 256  # digits at a time: what the network makes of them stays in the processor's cache


class DigitPredictions(NamedTuple):
    """What the digit model says of n pictures."""

    probabilities: npt.NDArray[np.float32]  # (n, 10), each row sums to 1
    is_digit: npt.NDArray[np.float32]  # (n,) in [0, 1]: how much it looks like a digit at all


class Recogniser:
    """A model that reads one digit a picture, opened once. Any number of threads may call it at the same time.

    Args:
        model: as `weights.load` gives it; None for the one that ships.

    Raises:
        ModelError: no such model, or not one of ours.
    """

    def __init__(self, model: ModelFile | None = None, threads: int = THREADS) -> None:
        self.model = model or model_files.load()
        self._session = _open(self.model, [MODEL_INPUT], list(MODEL_OUTPUTS))
        _check_digit_input(self._session.get_inputs()[0], self.model.name)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="recognise")

    def __call__(self, digits: npt.NDArray[np.uint8]) -> DigitPredictions:
        """uint8 (n, 28, 28), white ink on black -> probabilities float32 (n, 10) and is_digit float32 (n,)."""
        parts = [digits[start : start + BATCH] for start in range(0, len(digits), BATCH)]
        if len(parts) < 2:
            return self._answer(digits)
        probabilities, is_digit = zip(*self._pool.map(self._answer, parts), strict=True)
        return DigitPredictions(np.concatenate(probabilities), np.concatenate(is_digit))

    def _answer(self, digits: npt.NDArray[np.uint8]) -> DigitPredictions:
        probabilities, is_digit = self._session.run(list(MODEL_OUTPUTS), {MODEL_INPUT: np.ascontiguousarray(digits)})
        return DigitPredictions(probabilities, is_digit)


class RowRecogniser:
    """A model that reads whole rows, opened once. Any number of threads may call it at the same time.

    Args:
        model: as `weights.load` gives it; None for the one that ships.

    Raises:
        ModelError: no such model, or not one of ours.
    """

    def __init__(self, model: ModelFile | None = None, threads: int = THREADS) -> None:
        self.model = model or model_files.load(name=model_files.ROW_MODEL)
        self._session = _open(self.model, [ROWS_INPUT], [ROWS_OUTPUT], threads)

    def __call__(self, strips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Strips uint8 (n, 1, 40, w), ink bright -> float32 (n, ceil(w / 2), 11), each step's sum 1, blank first."""
        return np.asarray(self._session.run([ROWS_OUTPUT], {ROWS_INPUT: np.ascontiguousarray(strips)})[0], np.float32)


def _open(model: ModelFile, inputs: list[str], outputs: list[str], threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # else idle threads keep a core from decoding
    try:
        session = onnxruntime.InferenceSession(model.content, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{model.name}: onnxruntime cannot open it ({str(error)[:100]})") from error
    found = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if found != (inputs, outputs):
        raise ModelError(f"{model.name}: its inputs and outputs are {found}, not those of a model of ours")
    return session


def _check_digit_input(declared: onnxruntime.NodeArg, name: str) -> None:
    """Raise ModelError unless the model declares its input as uint8 (n, 28, 28) with any n."""
    count, *sides = declared.shape or (0,)
    if declared.type != "tensor(uint8)" or isinstance(count, int) or sides != [SIDE, SIDE]:
        shape = ", ".join(map(str, [count, *sides]))
        raise ModelError(f"{name}: takes {declared.type} of shape ({shape}) instead of uint8 (n, {SIDE}, {SIDE})")
