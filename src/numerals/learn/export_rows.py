"""The row network to ONNX, checked: `python -m numerals.learn.export_rows --weights FILE.safetensors --out FILE.onnx`.

Input `strips`, uint8 (n, 1, 40, w); output `probabilities`, float32 (n, ceil(w / 2), 11), blank first.
"""

import argparse
import io
import warnings
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from numerals.errors import FailureError
from numerals.files import write_atomically
from numerals.learn.rownet import RowNet
from numerals.read.recognise import RowRecogniser
from numerals.read.strips import STRIP

TOLERANCE = 1e-4  # in probability, between torch and ONNX


class _Probabilities(nn.Module):
    """The network with its last step: what is exported."""

    def __init__(self, network: RowNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(strips)
        return logits.softmax(2)


def export_rows(weights: Path, out: Path) -> float:
    """Write the ONNX file; the largest difference from torch in probability.

    Raises:
        FailureError: the two do not agree.
    """
    network = RowNet()
    network.load_state_dict(safetensors.torch.load(weights.read_bytes()))
    model = _Probabilities(network).eval()
    content = io.BytesIO()
    example = torch.zeros((1, 1, STRIP, 64), dtype=torch.uint8)
    axes = {"strips": {0: "n", 3: "w"}, "probabilities": {0: "n", 1: "steps"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new exporter needs onnxscript and makes the same
        torch.onnx.export(
            model,
            (example,),
            content,  # type: ignore[arg-type]  # a buffer serves too
            input_names=["strips"],
            output_names=["probabilities"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    apart = difference(model, content.getvalue())
    if apart > TOLERANCE:
        raise FailureError(f"{out}: torch and ONNX differ by {apart:.2g} in probability; not written")
    write_atomically(out, content.getvalue())
    return apart


def difference(model: nn.Module, content: bytes) -> float:
    """The largest difference in probability over strips of noise of many widths."""
    recogniser = RowRecogniser(content)
    chance, apart = np.random.default_rng(0), 0.0
    for width in (8, 33, 64, 150, 401):
        strips = chance.integers(0, 256, (2, 1, STRIP, width), dtype=np.uint8)
        with torch.inference_mode():
            ours = model(torch.from_numpy(strips)).numpy()
        apart = max(apart, float(np.abs(ours - recogniser(strips)).max()))
    return apart


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the row network to ONNX.")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    export_rows(options.weights, options.out)


if __name__ == "__main__":
    main()
