"""A network -> the bytes of an ONNX file, and what such bytes take. Knows nothing about which network it is."""

import io
import warnings
from collections.abc import Sequence

import torch
from torch import nn

OPSET = 17
AGREEMENT = 1e-4  # of any probability, between torch and ONNX

Axes = dict[str, dict[int, str]]  # tensor -> axis -> its name; the axes that may be of any length


def to_onnx(
    module: nn.Module, example: torch.Tensor, inputs: Sequence[str], outputs: Sequence[str], axes: Axes
) -> bytes:
    """The graph that torch traces with the example; BatchNorm is folded into the convolutions on the way."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter needs no further package
        torch.onnx.export(
            module,
            (example,),
            buffer,  # type: ignore[arg-type]  # the older exporter takes a file
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    return buffer.getvalue()
