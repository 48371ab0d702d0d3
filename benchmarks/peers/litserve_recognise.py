"""The same ONNX file served by LitServe: its own batching, and its defaults otherwise.

python litserve_recognise.py MODEL.onnx PORT
"""

import base64
import sys
from itertools import pairwise
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt
import onnxruntime

Digits = npt.NDArray[np.uint8]  # (n, 28, 28)
Outputs = tuple[Any, Any]  # probabilities (n, 10), is_digit (n,)


class RecogniseAPI(litserve.LitAPI):  # type: ignore[misc]
    """Answers /predict like /v1/recognise of `numerals serve`."""

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> Digits:
        return np.frombuffer(base64.b64decode(request["digits"]), np.uint8).reshape(request["n"], 28, 28)

    def batch(self, inputs: list[Digits]) -> Digits:
        self.sizes = [len(digits) for digits in inputs]
        return np.concatenate(inputs)

    def predict(self, digits: Digits) -> Outputs:
        probabilities, is_digit = self.session.run(None, {"digits": digits})
        return probabilities, is_digit

    def unbatch(self, output: Outputs) -> list[Outputs]:
        probabilities, is_digit = output
        ends = np.cumsum([0, *self.sizes]).tolist()
        return [(probabilities[start:end], is_digit[start:end]) for start, end in pairwise(ends)]

    def encode_response(self, output: Outputs) -> dict[str, Any]:
        probabilities, is_digit = output
        digits = probabilities.argmax(1).tolist()
        return {"digits": digits, "probabilities": probabilities.tolist(), "is_digit": is_digit.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(RecogniseAPI(max_batch_size=64, batch_timeout=0.0), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error", num_api_servers=1
    )
