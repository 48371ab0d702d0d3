"""The model card: the JSON in an exported model, and next to it, that says what it is and how to use its outputs."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from numerals.read.detector_reader import DetectorReaderSettings
from numerals.read.strip_reader import StripReaderSettings
from numerals.readers.recipes import AnyRecipe
from numerals.spec import CLASSES


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX model with what was fitted and measured on the digits it was not trained on."""

    content: bytes  # the ONNX file
    reads: Literal["digits", "rows", "pages"]
    input: str  # name, dtype, shape and polarity of the input tensor
    outputs: str  # the same for the output tensors
    preprocessing: str
    threshold: float  # in [0, 1]: reject a digit whose is_digit, or a row whose evidence, is lower
    accuracy: dict[str, float]  # by data set; in [0, 1]
    calibration_error: float | None = None  # expected, on the validation digits or rows; not of detectors
    temperature: float | None = None  # the logits are divided by it inside the graph; digit models only
    page_settings: DetectorReaderSettings | None = None  # how `DetectorReader` weighs and calibrates; detectors only
    settings: StripReaderSettings | None = None  # how `StripReader` weighs and calibrates the answers; row models only


@dataclass(frozen=True)
class ModelCard:
    """The exported model, and the run it comes from."""

    model: ExportedModel
    data: str  # name of the data set it was trained on
    parameters: int
    recipe: AnyRecipe
    seed: int | None  # None where the run folder does not have it
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The content of the card file: plain JSON values, in the order in which they are written."""
        model = self.model
        card: dict[str, Any] = {
            "sha256": hashlib.sha256(model.content).hexdigest(),
            "classes": list(CLASSES),
            "data": self.data,
            "reads": model.reads,
            "input": model.input,
            "outputs": model.outputs,
            "preprocessing": model.preprocessing,
        }
        if model.temperature is not None:
            card["temperature"] = model.temperature
        if model.settings is not None:
            card["opinion"] = {
                "named": model.settings.digit_exponent,
                "being": model.settings.is_digit_exponent,
            }
            card["calibration"] = {
                "digit": list(model.settings.digit_calibration),
                "row": list(model.settings.row_calibration),
            }
        if model.page_settings is not None:
            card["digit_exponent"] = model.page_settings.digit_exponent
            card["calibration"] = {
                "digit": list(model.page_settings.digit_calibration),
                "row": list(model.page_settings.row_calibration),
            }
        return card | {
            "threshold": model.threshold,
            "accuracy": model.accuracy,
            **({"calibration_error": model.calibration_error} if model.calibration_error is not None else {}),
            "parameters": self.parameters,
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "versions": self.versions,
        }
