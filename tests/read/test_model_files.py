"""Harmful model files are refused in one line, before anything in them is opened or run."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from numerals.article import model
from numerals.article.recipe import Recipe
from numerals.article.state import snapshot
from numerals.errors import ModelError, NumeralsError, RunError
from numerals.export import digit_model, onnx_graph
from numerals.read import model_check, model_files
from numerals.read.reader import Reader
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.runs import checkpoint
from numerals.runs.folder import RunFolder
from numerals.runs.train import train
from numerals.spec import MODEL_INPUT, MODEL_OUTPUTS
from tests.conftest import NUMERALS, make_huge, run_quietly

CARD = json.loads(model_files.shipped_path().with_suffix(".json").read_text())


class Trap:
    """An object whose pickle creates a file when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.trace}",)


def write_model(folder: Path, content: bytes, name: str = "model.onnx") -> Path:
    """Write a model and a card that names its hash."""
    path = folder / name
    path.write_bytes(content)
    card = CARD | {"sha256": hashlib.sha256(content).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def exported_network(**tables: Any) -> bytes:
    """The article's network with random weights, exported."""
    network = digit_model.CalibratedDigitModel(
        digit_model.WithIsDigit(model.build(Recipe.load("article").change(**tables).model)), 1.0
    ).eval()
    axes = {name: {0: "n"} for name in (MODEL_INPUT, *MODEL_OUTPUTS)}
    example = torch.zeros(2, 28, 28, dtype=torch.uint8)
    return onnx_graph.to_onnx(network, example, [MODEL_INPUT], MODEL_OUTPUTS, axes)


SMALL = {"model": {"convolutions": [4, 4], "dense": 8}}


@pytest.fixture(scope="module")
def small() -> bytes:
    return exported_network(**SMALL)


# Models that are opened


@pytest.mark.parametrize(
    "changes", [{}, {"pool_first": True}, {"batch_norm": False}, {"pool": 1}, {"convolutions": [8]}]
)
def test_every_export_of_the_articles_kind_is_opened(tmp_path: Path, changes: dict[str, Any]) -> None:
    content = exported_network(model={"convolutions": [4, 4], "dense": 8} | changes)
    recogniser = Recogniser(model_files.load(write_model(tmp_path, content)))
    assert recogniser(np.zeros((3, 28, 28), np.uint8)).probabilities.shape == (3, 10)


@pytest.mark.parametrize("name", [model_files.DIGIT_MODEL, model_files.ROW_MODEL])
def test_what_ships_has_nothing_that_is_refused(name: str) -> None:
    model_check.check_content(model_files.shipped_path(name).read_bytes(), name)


def test_reading_with_the_shipped_models_does_not_import_onnx() -> None:
    code = "import sys, numerals; numerals.Reader(); print('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# Files that are not ONNX


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".keras", ".h5", ".bin", ".ckpt", ".safetensors", ""])
@pytest.mark.parametrize("command", [("read", "--model"), ("evaluate",)])
def test_other_kinds_are_refused_by_name_and_not_opened(
    tmp_path: Path, suffix: str, command: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers.commands import call

    path, trace = tmp_path / f"model{suffix}", tmp_path / "trace"
    os.mkfifo(path) if suffix == ".pkl" else torch.save(Trap(trace), path)  # opening a pipe would wait forever
    pictures = [tmp_path / "absent.png"] if command[0] == "read" else []
    code, stdout, stderr = call(capfd, *command, path, *pictures)
    assert (code, stdout) == (2, "") and stderr.count("\n") == 1
    assert str(path) in stderr and not trace.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_by_another_name_is_not_opened(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    path = write_model(tmp_path, pickle.dumps(Trap(trace), protocol))
    with pytest.raises(ModelError, match="a pickle, not ONNX" if protocol > 1 else "not ONNX|no ONNX"):
        model_files.load(path)
    assert not trace.exists()


def test_a_zip_and_an_hdf5_by_another_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("config.json", "{}")
    hdf5 = b"\x89HDF\r\n\x1a\n" + bytes(99)
    for content, message in (((tmp_path / "zip").read_bytes(), "a zip file"), (hdf5, "HDF5")):
        with pytest.raises(ModelError, match=message):
            model_files.load(write_model(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(0) + b"\x3a\x02\x08"])
def test_noise_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match="ONNX"):
        model_files.load(write_model(tmp_path, content))


# Harmful content of ONNX files


def changed(content: bytes, change: Callable[[Any], object]) -> bytes:
    model = onnx.load_model_from_string(content)
    change(model)
    return bytes(model.SerializeToString())


def external_data(location: str) -> Callable[[Any], object]:
    """Move the first weights to another file."""

    def change(proto: Any) -> None:
        tensor = next(each for each in proto.graph.initializer if each.HasField("raw_data"))
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")

    return change


def external_data_in_an_attribute(proto: Any) -> None:
    tensor = TensorProto(dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def nested(depth: int) -> Callable[[Any], object]:
    """Add graphs within graphs."""

    def change(proto: Any) -> None:
        inner = helper.make_graph([], "g", [], [])
        for _ in range(depth):
            inner = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=inner)], "g", [], [])
        proto.graph.node.extend(inner.node)

    return change


def node(operator: str, **arguments: Any) -> Callable[[Any], object]:
    return lambda proto: proto.graph.node.append(helper.make_node(operator, [MODEL_INPUT], ["more"], **arguments))


def function(proto: Any) -> None:
    body = [helper.make_node("f1", ["x"], ["y"], domain="own")]
    for number in range(30):
        opset = [helper.make_opsetid("own", 1)]
        proto.functions.append(helper.make_function("own", f"f{number}", ["x"], ["y"], body, opset))
        body = [helper.make_node(f"f{number}", ["x"], ["y"], domain="own")] * 2


def huge(proto: Any) -> None:
    proto.graph.initializer.append(TensorProto(name="huge", dims=[2**40, 2**20], data_type=1))


def sparse(proto: Any) -> None:
    values = TensorProto(name="s", dims=[1], data_type=1, float_data=[1.0])
    indices = numpy_helper.from_array(np.array([5], np.int64))
    values.data_location = TensorProto.EXTERNAL
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10]))


def broadcast(proto: Any) -> None:
    """Add a column to a row: a billion sums."""
    for name, dims in (("column", (32_000, 1)), ("line", (1, 32_000))):
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(dims, np.float32), name))
    proto.graph.node.append(helper.make_node("Add", ["column", "line"], ["more"]))


def padding(proto: Any) -> None:
    """Surround each digit with zeros."""
    first = next(each for each in proto.graph.node if each.op_type == "Conv")
    next(each for each in first.attribute if each.name == "pads").ints[:] = [600] * 4


ATTACKS: dict[str, tuple[Callable[[Any], object], str]] = {
    "external data": (external_data("weights.bin"), "its data are in another file .'weights.bin'"),
    "a path upwards": (external_data("../../etc/passwd"), "another file .'../../etc/passwd'"),
    "an absolute path": (external_data("/etc/passwd"), "another file .'/etc/passwd'"),
    "external, in an attribute": (external_data_in_an_attribute, "another file .'/etc/passwd'"),
    "external, sparse": (sparse, "another file"),
    "a graph within": (nested(1), "the operator If"),
    "graphs deep within": (nested(20), "the operator If"),
    "a loop": (node("Loop"), "the operator Loop"),
    "much out of little": (node("Expand"), "the operator Expand"),
    "a broadcast": (broadcast, "it would compute tensors of 1,0.*; at most 500,000,000"),
    "padding": (padding, "do not fit together|it would compute tensors"),
    "another domain": (node("Relu", domain="com.microsoft"), "the operator com.microsoft.Relu"),
    "an operator of Python": (node("PyOp", domain="ai.onnx.contrib"), "the operator ai.onnx.contrib.PyOp"),
    "a graph where none belongs": (node("Relu", body=helper.make_graph([], "g", [], [])), "Relu contains a graph"),
    "functions": (function, "functions of its own .30"),
    "a training": (lambda proto: proto.training_info.add(), "a training graph"),
    "a huge tensor": (huge, "impossible size"),
    "nothing": (lambda proto: proto.ClearField("graph"), "no graph"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_none_of_ours_has_is_refused_before_a_session_is_made(
    tmp_path: Path, small: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = ATTACKS[name]
    monkeypatch.setattr("onnxruntime.InferenceSession", None)  # calling it would raise another error
    with pytest.raises(ModelError, match=message) as caught:
        Recogniser(model_files.load(write_model(tmp_path, changed(small, change))))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path))


def test_nesting_too_deep_for_the_parser_is_refused(tmp_path: Path, small: bytes) -> None:
    """The file is built by hand, since protobuf itself refuses to write it."""
    inner = b""
    for _ in range(300):
        body = b"\x0a" + varint(len(inner)) + inner  # a graph with a node
        attribute = b"\x32" + varint(len(body)) + body  # an attribute with that graph
        inner = b"\x2a" + varint(len(attribute)) + attribute  # a node with that attribute
    content = b"\x3a" + varint(len(inner) + 1 + len(varint(len(inner)))) + b"\x0a" + varint(len(inner)) + inner
    with pytest.raises(ModelError):
        model_files.load(write_model(tmp_path, content))


def varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded, number = encoded + bytes([number & 127 | 128]), number >> 7
    return encoded + bytes([number])


def test_links_and_large_files_are_refused(tmp_path: Path, small: bytes) -> None:
    path = write_model(tmp_path, small)
    (tmp_path / "soft.onnx").symlink_to(path)
    with pytest.raises(ModelError, match="a symbolic link; give the file itself"):
        model_files.load(tmp_path / "soft.onnx")
    os.link(path, tmp_path / "hard.onnx")
    with pytest.raises(ModelError, match="one of 2 hard links"):
        model_files.load(tmp_path / "hard.onnx")
    with open(tmp_path / "large.onnx", "wb") as file:
        file.truncate(200_000_001)
    with pytest.raises(ModelError, match="200,000,001 bytes; at most 200,000,000 are read"):
        model_files.load(tmp_path / "large.onnx")


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-" + "9" * 310, "NaN", "1e999", "[" * 100_000, '"x"', "{}"])
@pytest.mark.parametrize("key", ["threshold", "calibration", "opinion", "whole"])
@pytest.mark.parametrize("name", ["reader.onnx", "rows.onnx"])
def test_a_card_with_any_number_is_refused_in_a_line(tmp_path: Path, name: str, key: str, number: str) -> None:
    shutil.copy(model_files.shipped_path(name), tmp_path)
    card = json.loads(model_files.shipped_path(name).with_suffix(".json").read_text())
    if key not in (*card, "whole"):
        return
    nested = {"calibration": '{"digit": [NUMBER, 1], "row": [1, 1]}', "opinion": '{"named": NUMBER, "being": 1}'}
    value = nested.get(key, "NUMBER").replace("NUMBER", number)
    text = value if key == "whole" else json.dumps(card | {key: "HERE"}).replace('"HERE"', value)
    (tmp_path / name).with_suffix(".json").write_text(text)
    with pytest.raises(ModelError) as refused:
        Reader(tmp_path / name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", "{}", json.dumps(CARD | {"threshold": float("nan")}), " " * 2**20 + "{}"]
)
def test_a_wrong_card_inside_the_model_is_refused_in_a_line(tmp_path: Path, small: bytes, text: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_files.with_card(small, text))
    with pytest.raises(ModelError, match=r"model\.onnx: .*card inside") as refused:
        model_files.load(path)
    assert "\n" not in str(refused.value)


def test_a_model_without_a_card_or_with_one_that_is_no_text_is_refused_in_a_line(tmp_path: Path, small: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small)
    with pytest.raises(ModelError, match=r"model\.onnx: no card in it, and no model\.json next to it"):
        model_files.load(path)
    utf_16 = json.dumps(CARD).encode("utf-16")
    path.write_bytes(model_files.with_card(small, "?" * len(utf_16)).replace(b"?" * len(utf_16), utf_16))
    with pytest.raises(ModelError, match=r"model\.onnx: the card inside is not UTF-8"):
        model_files.load(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), make_huge])
def test_a_card_that_is_no_plain_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = Path(shutil.copy(model_files.shipped_path(), tmp_path))
    make(path.with_suffix(".json"))
    with pytest.raises(ModelError, match=r"reader\.json: cannot be read \((not a plain file|larger than 1 MiB)\)"):
        model_files.load(path)


def test_names_that_are_no_text_are_refused_in_a_line(
    tmp_path: Path, small: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of operators, and of tensors, which onnxruntime's errors mention."""
    graph = onnx.load_from_string(small).graph
    open_side = graph.input[0].type.tensor_type.shape.dim[0].dim_param.encode()
    for name in (b"Softmax", b"digits", b"probabilities", b"is_digit", b"\x12" + bytes([len(open_side)]) + open_side):
        assert name in small
        path = write_model(tmp_path, small.replace(name, name[:-1] + b"\xff"))
        with pytest.raises(ModelError) as refused:
            Recogniser(model_files.load(path))
        assert "\n" not in str(refused.value)
    assert capfd.readouterr().out == ""


def test_a_row_model_of_another_height_is_refused(tmp_path: Path) -> None:
    def change(proto: Any) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 79

    path = write_model(tmp_path, changed(model_files.shipped_path(model_files.ROW_MODEL).read_bytes(), change))
    rows = model_files.ModelFile(path.read_bytes(), {}, str(path))
    with pytest.raises(ModelError, match=r"onnxruntime cannot (open|run) it") as refused:
        RowRecogniser(rows)
    assert "\n" not in str(refused.value)


def test_a_digit_model_of_other_classes_is_refused(tmp_path: Path, small: bytes) -> None:
    def change(proto: Any) -> None:
        first, second = (each.name for each in proto.graph.output)
        for node in proto.graph.node:
            for number, name in enumerate(node.output):
                node.output[number] = {first: second, second: first}.get(name, name)
        for value in proto.graph.output:
            value.type.tensor_type.ClearField("shape")

    with pytest.raises(ModelError, match=r"answers with shapes \[\(2,\), \(2, 10\)\] instead of"):
        Recogniser(model_files.load(write_model(tmp_path, changed(small, change))))


def test_a_hash_unlike_its_cards_is_refused_before_it_is_parsed(
    tmp_path: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path, small)
    path.write_bytes(small[:-1] + bytes([small[-1] ^ 1]))
    monkeypatch.setattr(model_check, "check_content", None)
    with pytest.raises(ModelError, match="not the file that its card names"):
        model_files.load(path)


# Harmful safetensors and checkpoints


def tensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(**changes: Any) -> bytes:
    return json.dumps({"0.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}).encode()


HOSTILE = {
    "empty": b"",
    "cut in the length": b"\x08\0\0",
    "a header longer than the file": tensors(b"{}", length=2**20),
    "a header of exabytes": tensors(b"{}", length=2**63),
    "a header of all ones": b"\xff" * 64,
    "a header over a hundred megabytes": tensors(b" " * 100_000_001),
    "no JSON": tensors(b"{'a': 1}"),
    "a list": tensors(b"[]"),
    "no UTF-8": tensors(b'{"\xff": 1}'),
    "deeply nested": tensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "the same name twice": tensors(b"{" + one()[1:-1] + b"," + one()[1:-1] + b"}", bytes(8)),
    "overlapping": tensors(
        json.dumps({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}).encode(), bytes(8)
    ),
    "a hole": tensors(one(data_offsets=[8, 16]), bytes(16)),
    "bytes that belong to none": tensors(one(), bytes(99)),
    "past the end": tensors(one(data_offsets=[0, 80], shape=[20]), bytes(8)),
    "backwards": tensors(one(data_offsets=[8, 0]), bytes(8)),
    "negative": tensors(one(data_offsets=[-8, 0]), bytes(8)),
    "a negative side": tensors(one(shape=[-2]), bytes(8)),
    "a shape that overflows": tensors(one(shape=[2**62, 8, 2**62]), bytes(8)),
    "a shape unlike its bytes": tensors(one(shape=[3]), bytes(8)),
    "an unknown type": tensors(one(dtype="F33"), bytes(8)),
    "another type": tensors(one(dtype="I64", shape=[1]), bytes(8)),
    "a type of no size": tensors(one(dtype="", shape=[2]), bytes(8)),
    "metadata of another kind": tensors(b'{"__metadata__": {"a": [1]}}'),
    "other tensors": tensors(one(), bytes(8)),
    "none": tensors(b"{}"),
    "a pickle": pickle.dumps({"a": 1}),
}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run, without the list of hashes, which would reveal every change."""
    run = tmp_path_factory.mktemp("small") / "run"
    recipe = Recipe.load("article").change(**SMALL)
    folder = RunFolder.create(run, "small", {"recipe.toml": recipe.to_toml().encode()})
    folder.write_model(snapshot(model.build(recipe.model)))
    assert isinstance(folder.network(), nn.Module)
    return run


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors_are_refused_in_a_line(tmp_path: Path, small_run: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "model.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(RunError, match=r"model\.safetensors: ") as caught:
        RunFolder.open(run).network()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_weights_of_another_type_or_shape_are_refused(tmp_path: Path, small_run: Path) -> None:
    import safetensors.torch

    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    weights = safetensors.torch.load((run / "model.safetensors").read_bytes())
    for name, each in {"0.weight": torch.zeros(1), "0.bias": torch.zeros(2**20)}.items():
        (run / "model.safetensors").write_bytes(safetensors.torch.save(weights | {name: each}))
        with pytest.raises(RunError, match="damaged, or not the weights of its recipe"):
            RunFolder.open(run).network()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sha256": 1, "content": 2}', b"[" * 100_000])
def test_hostile_checkpoints_are_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    from numerals.runs.resume import resume

    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "start.json").write_bytes(content)
    with pytest.raises(RunError, match="train again in a new folder"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", "x"), ("files", {"recipe.toml": 1}), ("events", {"a": [-1, ""]}), ("events", {"a": "ab"}),
        ("tensors", 7), ("state", None), ("state.history", []), ("state.history", [1]), ("state.best_epoch", 7),
        ("state.best_epoch", None), ("state.epoch", "2"), ("state.epoch", 10**9), ("state.step", -1),
        ("state.optimizer", {}), ("state.early_stopping", {"best": None, "wait": None, "best_epoch": 0}),
        ("state.seconds", "soon"),
    ],
)  # fmt: skip
def test_a_checkpoint_with_any_value_is_refused_in_a_line(
    tmp_path: Path, small_npz: Path, interrupted_run: Path, key: str, value: Any
) -> None:
    from numerals.runs.resume import resume

    run = Path(shutil.copytree(interrupted_run, tmp_path / "run"))
    (path,) = run.glob("checkpoint/0*.json")
    content = checkpoint.unsealed(path)
    *tables, last = key.split(".")
    reduce(getitem, tables, content)[last] = value
    path.write_bytes(checkpoint.sealed(content))
    (run / "checkpoint" / "start.json").unlink()
    with pytest.raises(RunError, match="not a checkpoint of numerals") as refused:
        resume(run)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def interrupted_run(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, from which it may continue."""
    recipe = Recipe.load("article").change(
        epochs=1, model={"convolutions": (4, 4), "dense": 8}, curves=False, tensorboard={"enabled": False}
    )
    return train(recipe, str(small_npz), out=tmp_path_factory.mktemp("runs") / "run", device="cpu").folder


@pytest.mark.parametrize(
    "about", [{}, {"recipe": {}}, {"recipe": Recipe.load("article").model_dump(mode="json"), "seed": "0"}, [], None, 7]
)
def test_sealed_nonsense_is_refused_in_a_line(tmp_path: Path, about: Any) -> None:
    from numerals.runs.resume import resume

    (tmp_path / "checkpoint").mkdir()
    sealed = checkpoint.sealed({"form": checkpoint.FORMAT, "about": about})
    (tmp_path / "checkpoint" / "start.json").write_bytes(sealed)
    with pytest.raises(NumeralsError, match="not a checkpoint of numerals") as caught:
        resume(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_command_refuses_a_harmful_model_in_one_line(tmp_path: Path, small: bytes) -> None:
    path = write_model(tmp_path, changed(small, external_data("/etc/passwd")))
    done = run_quietly((*NUMERALS, "read", "--model", path, tmp_path / "absent.png"))
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1 and "/etc/passwd" in done.stderr
