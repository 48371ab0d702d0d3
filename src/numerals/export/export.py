"""Export a run: write its network as an ONNX file, `model.onnx`, with a model card in it and next to it, `model.json`.

`digit_model`, `row_model` and `detector_model` turn their kind of network into ONNX, check it against PyTorch and
calibrate it.
"""

import json
from dataclasses import replace
from pathlib import Path

from numerals.article.data import Dataset
from numerals.errors import InputError
from numerals.export.detector_model import export_detector
from numerals.export.digit_model import export_digit_model
from numerals.export.model_card import ModelCard
from numerals.export.row_model import export_row_model
from numerals.files import read_plain, storage_error, write_atomically
from numerals.read.model_files import MAX_CARD_BYTES, with_card
from numerals.readers.detector_network import DetectorNetwork
from numerals.readers.evaluate import open_run
from numerals.readers.row_network import RowNetwork
from numerals.runs.folder import RunFolder
from numerals.runs.load import load_dataset
from numerals.runs.profiling import versions


def export(run: str | Path, out: str | Path | None = None, digits: Dataset | None = None) -> tuple[Path, ModelCard]:
    """Export the trained network of a run to ONNX, with preprocessing and calibration inside the graph.

    The temperature, thresholds and weights of the card are fitted on the validation digits of the run. The test
    digits are only used to compare ONNX with PyTorch and to measure the accuracy.

    Args:
        run: a run folder of any kind: the article's network, or one of those that read.
        out: the model file, ending in .onnx; `model.onnx` in the run folder by default. The card is in it, and next
            to it under the same name with the suffix .json. Existing files are replaced.
        digits: as for `load_dataset`.

    Returns:
        The path of the model file, and the card.

    Raises:
        RunError, RecipeError, DataError, InputError: the run, its data or `out` cannot be used; nothing is written.
        FailureError: ONNX and PyTorch disagree; nothing is written.
        StorageError: the disk is full or read-only.
    """
    folder = RunFolder.open(run)
    path = Path(out) if out is not None else folder.path / "model.onnx"
    if path.suffix != ".onnx":
        raise InputError(f"--out {path}: the name of a model file must end in .onnx")
    _check_writable(path)
    (recipe, network), dataset = open_run(folder), load_dataset(folder, digits)
    validation = dataset.split(recipe.split.validation, recipe.split.random_state)[1]
    if isinstance(network, DetectorNetwork):
        model = export_detector(network, validation)
    elif isinstance(network, RowNetwork):
        model = export_row_model(network, validation)
    else:
        model = export_digit_model(network, validation, dataset.test)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = ModelCard(model, dataset.name, parameters, recipe, folder.seed(), versions())
    content = with_card(model.content, json.dumps(card.to_dict()))
    card = replace(card, model=replace(model, content=content))  # the card next to the file has the hash of all of it
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), (json.dumps(card.to_dict(), indent=1) + "\n").encode())
    return path, card


def _check_writable(path: Path) -> None:
    """Create the folder, and refuse to replace a .json that is not a model card, before minutes of work."""
    card = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not card.exists():
            return
    except OSError as error:
        raise storage_error(error, path.parent) from error
    try:
        replaceable = {"sha256", "reads"} <= set(json.loads(read_plain(card, MAX_CARD_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        replaceable = False
    if not replaceable:
        raise InputError(f"--out {path}: {card} exists and is not a model card; choose another name")
