"""An exported model gives the outputs of PyTorch, or the export fails."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn

from numerals.article import model
from numerals.article.metrics import evaluate
from numerals.article.state import snapshot
from numerals.errors import FailureError, InputError, ModelError, RunError
from numerals.export import digit_model, onnx_graph, row_model
from numerals.export.export import export
from numerals.read import model_files
from numerals.read.reader import Reader
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strips import STRIP_HEIGHT
from numerals.readers import recipes
from numerals.readers.digit_network import DigitNetwork, predict_logits
from numerals.readers.evaluate import load_model
from numerals.readers.row_network import RowNetwork
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.spec import CLASSES, MODEL_INPUT, MODEL_OUTPUTS
from tests.helpers.pictures import some_digits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def save_run(folder: Path, name: str, network: nn.Module, data: Path) -> Path:
    """Make a run folder of the built-in recipe `name` with the weights of an untrained network."""
    run = RunFolder.create(folder / name, name)
    run.write("recipe.toml", recipes.load(name).to_toml())
    run.write_model(snapshot(network))
    run.write_metrics({"data": {"source": str(data)}, "weights_sha256": weights_sha256(snapshot(network))})
    return run.path


def test_the_network_of_the_article(small_npz: Path, tmp_path: Path) -> None:
    network = model.build(recipes.Recipe.load("article").model)
    path, card = export(save_run(tmp_path, "article", network, small_npz))
    assert path == tmp_path / "article" / "model.onnx"
    onnx.checker.check_model(onnx.load(path))
    written = json.loads(path.with_suffix(".json").read_text())
    assert written == card.to_dict()
    assert (written["reads"], written["classes"], written["recipe"]["epochs"]) == ("digits", list(CLASSES), 10)
    images, _ = some_digits()
    probabilities, is_digit = Recogniser(model_files.load(path))(images)
    logits = np.log(model.predictor(network.eval())(images)) / card.to_dict()["temperature"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, expected, atol=1e-4)
    uncalibrated_confidence = model.predictor(network)(images).max(axis=1)
    assert np.allclose(is_digit, uncalibrated_confidence, atol=1e-4)


def test_the_model_file_alone_has_its_card(small_npz: Path, tmp_path: Path) -> None:
    path, _ = export(save_run(tmp_path, "article", model.build(recipes.Recipe.load("article").model), small_npz))
    beside = model_files.load(path)
    assert beside.card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").unlink()
    assert model_files.load(path) == beside
    onnx.checker.check_model(onnx.load(path))
    moved = path.rename(tmp_path / "moved.onnx")
    assert Reader(moved).cards["digits"] == beside.card
    content = bytearray(moved.read_bytes())
    content[len(content) // 2] ^= 1  # among the weights
    moved.write_bytes(content)
    with pytest.raises(ModelError, match=r"moved\.onnx: not the file that its card names"):
        model_files.load(moved)


def test_the_digit_network(small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_model, "SYNTHETIC_SAMPLES", 200)
    network = DigitNetwork().eval()
    path, card = export(save_run(tmp_path, "digits", network, small_npz), tmp_path / "own.onnx")
    assert path == tmp_path / "own.onnx"
    onnx.checker.check_model(onnx.load(path))
    images, _ = some_digits()
    logits, is_digit_logits = predict_logits(network, images)
    probabilities, is_digit = Recogniser(model_files.load(path))(images)
    scaled = np.exp(logits / card.to_dict()["temperature"])
    assert np.allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-4)
    assert np.allclose(is_digit, 1 / (1 + np.exp(-is_digit_logits)), atol=1e-4)


def test_a_run_of_an_earlier_version_that_calls_the_digit_network_reader(
    small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digit_model, "SYNTHETIC_SAMPLES", 200)
    run = save_run(tmp_path, "digits", DigitNetwork(), small_npz)
    recipe = (run / "recipe.toml").read_text()
    assert 'network = "digits"' in recipe
    (run / "recipe.toml").write_text(recipe.replace('network = "digits"', 'network = "reader"'))
    path, card = export(run)
    assert card.to_dict()["recipe"]["network"] == "digits"
    assert load_model(path, str(small_npz)).evaluate().count == 100


def test_the_row_network(small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_model, "VALIDATION_ROWS", 12)
    monkeypatch.setattr(row_model, "NON_DIGIT_ROWS", 3)
    path, card = export(save_run(tmp_path, "rows", RowNetwork(), small_npz))
    assert card.model.reads == "rows"
    assert json.loads(path.with_suffix(".json").read_text()) == card.to_dict()
    probabilities = RowRecogniser(model_files.load(path))(np.zeros((2, 1, STRIP_HEIGHT, 51), np.uint8))
    assert probabilities.shape == (2, 26, 11)
    assert np.allclose(probabilities.sum(axis=2), 1, atol=1e-5)


def test_the_export_fails_when_onnx_and_pytorch_disagree() -> None:
    images, _ = some_digits()
    network = digit_model.CalibratedDigitModel(DigitNetwork().eval(), 1.0).eval()

    def shifted(digits: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        probabilities, is_digit = predict_logits(network, digits)
        return probabilities + np.float32(0.001), is_digit

    with pytest.raises(FailureError, match="another class for 0 of 200"):
        digit_model.check_agreement(network, shifted, images)
    other_network = row_model.row_network_to_onnx(RowNetwork())
    assert row_model.max_difference(row_model.RowModel(RowNetwork().eval()), other_network) > onnx_graph.MAX_DIFFERENCE


@pytest.mark.parametrize(
    ("dtype", "shape", "words"),
    [
        (torch.uint8, (2, 32, 32), "(n, 32, 32)"),
        (torch.float32, (2, 28, 28), "float"),
        (torch.uint8, (2, 1, 28, 28), "(n, 1, 28, 28)"),
    ],
)
def test_a_model_of_another_shape_is_refused(
    dtype: torch.dtype, shape: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    class Other(nn.Module):
        def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = digits.float().flatten(1)
            return flat[:, :10].softmax(1), flat[:, 0]

    axes = {name: {0: "n"} for name in (MODEL_INPUT, *MODEL_OUTPUTS)}
    content = onnx_graph.to_onnx(Other(), torch.zeros(shape, dtype=dtype), [MODEL_INPUT], MODEL_OUTPUTS, axes)
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    card = {"sha256": hashlib.sha256(content).hexdigest(), "threshold": 0.5, "reads": "digits"}
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelError) as caught:
        load_model(path, None)
    assert str(path) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)
    renamed = content.replace(MODEL_INPUT.encode(), b"pixels")
    path.write_bytes(renamed)
    path.with_suffix(".json").write_text(json.dumps(card | {"sha256": hashlib.sha256(renamed).hexdigest()}))
    with pytest.raises(ModelError, match="inputs and outputs"):
        load_model(path, None)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"no card in it, and no other\.json next to it"):
        load_model(path, None)


def test_invalid_runs_and_file_names_are_refused(small_npz: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"recipe\.toml"):
        export(tmp_path)
    run = save_run(tmp_path, "article", model.build(recipes.Recipe.load("article").model), small_npz)
    with pytest.raises(InputError, match=r"\.onnx"):
        export(run, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json exists and is not a model card"):
        export(run, tmp_path / "metrics.onnx")
    assert (tmp_path / "metrics.json").read_text() == "{}"
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("pipe", "device", "deep"):
        with pytest.raises(InputError, match=rf"{name}\.json exists and is not a model card"):
            export(run, tmp_path / f"{name}.onnx")


def test_the_shipped_models_match_their_cards_and_recipes() -> None:
    for name, recipe_name, name_in_card, network in (
        (model_files.DIGIT_MODEL, "digits", "reader", DigitNetwork()),  # exported before the recipe was renamed
        (model_files.ROW_MODEL, "rows", "rows", RowNetwork()),
    ):
        shipped, recipe = model_files.load(name=name), recipes.load(recipe_name)
        assert shipped.card["recipe"]["name"] == name_in_card
        assert type(recipe)(**shipped.card["recipe"] | {"name": recipe_name}) == recipe
        assert shipped.card["parameters"] == sum(parameter.numel() for parameter in network.parameters())
        assert len(shipped.content) < 1.5e6


def test_the_shipped_digit_model_is_as_good_as_its_card_says() -> None:
    shipped = model_files.load()
    images, labels = some_digits(2000)
    metrics = evaluate(lambda batch: Recogniser(shipped)(batch)[0], images, labels)
    assert shipped.card["accuracy"]["test"] >= 0.995
    assert abs(metrics.accuracy - shipped.card["accuracy"]["test"]) < 0.006
