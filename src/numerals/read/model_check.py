"""Whether a model file from elsewhere may be opened: looked at, and nothing in it run. Knows nothing about reading.

onnxruntime follows paths that a model names and runs whatever operators it has; so a model that did not come with the
package is taken apart first, by the package onnx, which only parses it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numerals.errors import MissingError, ModelError

MOST_BYTES = 200_000_000
OPERATORS = {  # which numerals export writes; none has a graph within it, or makes much out of little
    "Add", "BatchNormalization", "Cast", "Constant", "Conv", "Div", "Flatten", "Gather", "Gemm", "Identity", "MatMul",
    "MaxPool", "Mul", "ReduceLogSumExp", "Relu", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "TopK", "Transpose",
    "Unsqueeze",
}  # fmt: skip
OTHERS = {  # how files begin that run code when they are opened, or need a program of their own
    b"PK\x03\x04": "a zip file, as PyTorch's .pt and Keras's .keras are",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras's .h5 are",
    b"\x80\x02": "a pickle", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
}  # fmt: skip
LARGEST = 100_000_000  # elements that a tensor may announce


def check_file(path: Path) -> None:
    """What can be known of a model file without opening it.

    Raises:
        ModelError: not named as an ONNX file, a link, too large, or no plain file.
    """
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path}: not opened: of models only ONNX files (.onnx) are, and run folders; pickles may run code"
        )
    if path.is_symlink():
        raise ModelError(f"{path}: a symbolic link; give the file itself")
    if not path.exists():
        return  # which is said by whoever reads it
    if not path.is_file():
        raise ModelError(f"{path}: no plain file; give an .onnx")
    facts = path.stat()
    if facts.st_nlink > 1:
        raise ModelError(f"{path}: one of {facts.st_nlink} hard links to a file; give a copy")
    if facts.st_size > MOST_BYTES:
        raise ModelError(f"{path}: {facts.st_size:,} bytes; at most {MOST_BYTES:,} are read")


def check_content(content: bytes, name: str) -> None:
    """What is in an ONNX file; `name` is what messages call it.

    Raises:
        ModelError: no ONNX, data in other files, functions, operators that no export of ours uses, impossible tensors.
        MissingError: onnx is not installed.
    """
    for start, what in OTHERS.items():
        if content.startswith(start):
            raise ModelError(f"{name}: {what}, not ONNX; it is not opened")
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingError(
            f"{name}: looking into a model from elsewhere needs the package onnx; pip install 'numerals[train]'"
        ) from error
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's own, of several kinds
        raise ModelError(f"{name}: not ONNX, or damaged ({str(error).splitlines()[0][:100]})") from error
    why = _objection(model)
    if why:
        raise ModelError(f"{name}: {why}; only models as numerals export writes them are opened")


def _objection(model: Any) -> str | None:
    """What speaks against the model; None if nothing does."""
    if not model.graph.node:
        return "no ONNX model, it has no graph"
    if model.functions:
        return f"it has functions of its own ({len(model.functions)})"
    if model.training_info:
        return "it has a training in it"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            return f"it uses the operator {(node.domain + '.' if node.domain else '') + node.op_type:.60}"
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.ref_attr_name:
                return f"its operator {node.op_type} has a graph within it"
    return next(filter(None, map(_tensor_objection, _tensors(model.graph))), None)


def _tensors(graph: Any) -> Iterator[Any]:
    """All that the graph has; operators with graphs within them were refused before."""
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
        places = {entry.key: entry.value for entry in tensor.external_data}
        return f"its data are in another file ({places.get('location', 'which it does not name')!r:.80})"
    elements = 1
    for side in tensor.dims:
        elements *= side
        if side < 0 or elements > LARGEST:
            return f"a tensor of impossible size ({', '.join(map(str, tensor.dims))[:60]})"
    return None
