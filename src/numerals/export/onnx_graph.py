"""Convert a PyTorch module to the bytes of an ONNX file."""

import io
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from numerals.errors import FailureError

OPSET = 17
MAX_DIFFERENCE = 1e-4  # of any probability, between PyTorch and ONNX

DynamicAxes = dict[str, dict[int, str]]  # tensor name -> axis -> name of its length; all other axes have a fixed length


def to_onnx(
    module: nn.Module, example: torch.Tensor, inputs: Sequence[str], outputs: Sequence[str], dynamic_axes: DynamicAxes
) -> bytes:
    """Trace a module with an example input. BatchNorm is folded into a convolution directly before it.

    Args:
        module: in evaluation mode.
        example: one input of the right dtype and shape.
        inputs, outputs: names of the graph's tensors.
        dynamic_axes: which axes may have any length.

    Returns:
        The ONNX file.
    """
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
            dynamic_axes=dynamic_axes,
        )
    return buffer.getvalue()


def check_difference(difference: float, maximum: float) -> None:
    """Raise FailureError if the outputs of PyTorch and ONNX are more than `maximum` apart, or one is no number."""
    if not difference <= maximum:  # `not` so that NaN fails too
        raise FailureError(f"ONNX and PyTorch disagree: outputs up to {difference:.1e} apart (at most {maximum:.0e})")
