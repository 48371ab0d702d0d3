"""Inspect a model file from elsewhere before it is opened, without running anything in it.

onnxruntime follows file paths that a model names and runs any operator that it knows. So a model that did not come with
numerals is first parsed with the package onnx, and refused unless it consists of what `numerals export` writes.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numerals.errors import ModelError

MAX_FILE_BYTES = 200_000_000
MAX_TENSOR_ELEMENTS = 100_000_000
MAX_COMPUTED_ELEMENTS = 500_000_000  # of all tensors that a model computes from one batch: 2 GB of float32
BATCHES = {  # sizes to compute with, by the number of open dimensions
    1: (256,),  # digits
    2: (8, 1600),  # strips and their width
    3: (1, 1024, 1024),  # pages, their height and width
}
OPERATORS = {  # that numerals export writes; none contains a graph
    "Add", "BatchNormalization", "Cast", "Constant", "Conv", "Div", "Flatten", "Gather", "Gemm", "Identity", "MatMul",
    "MaxPool", "Mul", "ReduceLogSumExp", "Relu", "Resize", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "TopK",
    "Transpose", "Unsqueeze",
}  # fmt: skip
OTHER_FORMATS = {  # first bytes of formats that may run code when opened, or that need another program
    b"PK\x03\x04": "a zip file, as PyTorch's .pt and Keras's .keras are",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras's .h5 are",
    b"\x80\x02": "a pickle", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
}  # fmt: skip


def check_file(path: Path) -> None:
    """Check what can be known of a model file without opening it.

    Raises:
        ModelError: the name does not end in .onnx, or the file is a link, too large or not a plain file.
    """
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path}: not opened, since other formats may run code; give an ONNX file (.onnx) or a run folder"
        )
    if path.is_symlink():
        raise ModelError(f"{path}: a symbolic link; give the file itself")
    if not path.exists():
        return  # reading it will report that
    if not path.is_file():
        raise ModelError(f"{path}: not a plain file; give an .onnx file")
    status = path.stat()
    if status.st_nlink > 1:
        raise ModelError(f"{path}: one of {status.st_nlink} hard links to a file; give a copy")
    if status.st_size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def check_content(content: bytes, name: str) -> None:
    """Check what is in a model file.

    Args:
        content: of the file.
        name: what error messages call it.

    Raises:
        ModelError: the content is not ONNX; or it has data in other files, functions, operators that numerals export
            does not write, impossible tensors, or tensors whose size is not known or too large.
    """
    for start, description in OTHER_FORMATS.items():
        if content.startswith(start):
            raise ModelError(f"{name}: {description}, not ONNX; export the run with numerals export")
    import onnx  # here, because reading with the included models does not need it

    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf raises errors of several kinds
        raise ModelError(f"{name}: not ONNX, or damaged ({str(error).splitlines()[0][:100]})") from error
    objection = _objection(model)
    if objection:
        raise ModelError(f"{name}: {objection}; only models that numerals export wrote are opened")


def _objection(model: Any) -> str | None:
    """Return why the model is refused; None if it is accepted."""
    if not model.graph.node:
        return "not an ONNX model, it has no graph"
    for each in (*model.graph.input, *model.graph.output):
        sides = each.type.tensor_type.shape.dim
        if not all(isinstance(name, str) for name in (each.name, *(side.dim_param for side in sides))):
            return "a name in it is not UTF-8"  # protobuf gives bytes then
    if model.functions:
        return f"it has functions of its own ({len(model.functions)})"
    if model.training_info:
        return "it has a training graph"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            domain = f"{node.domain}." if node.domain else ""
            return f"it uses the operator {domain}{node.op_type}"[:80]
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.ref_attr_name:
                return f"its operator {node.op_type} contains a graph"
    return next(filter(None, map(_tensor_objection, _tensors(model.graph))), None) or _size_objection(model)


def _size_objection(model: Any) -> str | None:
    """Return why the tensors that the model would compute are refused; changes the model.

    A broadcast, or padding, makes gigabytes out of a file of a few hundred bytes.
    """
    from onnx import shape_inference

    opened = [side for each in model.graph.input for side in each.type.tensor_type.shape.dim if not side.dim_value]
    if len(opened) not in BATCHES:
        return f"its inputs have {len(opened)} dimensions of any size"
    for side, size in zip(opened, BATCHES[len(opened)], strict=True):
        side.dim_value = size
    del model.graph.value_info[:]  # what the file says of its tensors may be wrong
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # noqa: BLE001  onnx raises errors of several kinds
        return f"its tensors do not fit together ({(str(error).splitlines() or [''])[0][:80]})"
    shapes = {each.name: each.type.tensor_type.shape.dim for each in (*graph.value_info, *graph.output)}
    elements = 0
    for name in (name for node in graph.node for name in node.output if name):
        if name not in shapes or not all(side.HasField("dim_value") for side in shapes[name]):
            return f"the size of its tensor {name!r:.60} is not known beforehand"
        elements += math.prod(side.dim_value for side in shapes[name])
    if elements > MAX_COMPUTED_ELEMENTS:
        return f"it would compute tensors of {elements:,} elements; at most {MAX_COMPUTED_ELEMENTS:,} are computed"
    return None


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of the graph; operators that contain graphs have already been refused."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _tensor_objection(tensor: Any) -> str | None:
    if tensor.external_data or tensor.data_location:
        external = {entry.key: entry.value for entry in tensor.external_data}
        return f"its data are in another file ({external.get('location', 'which it does not name')!r:.80})"
    elements = 1
    for side in tensor.dims:
        elements *= side
        if side < 0 or elements > MAX_TENSOR_ELEMENTS:
            return f"a tensor has an impossible size ({', '.join(map(str, tensor.dims))[:60]})"
    return None
