"""Request and response bodies in JSON, as Pydantic models that validate requests and describe the API in OpenAPI."""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from numerals.errors import InputError
from numerals.server.settings import MAX_DIGITS_PER_REQUEST
from numerals.spec import PIXELS, SIDE


def _integral(value: Any) -> Any:
    """JSON has one type of number, so accept 7.0 as the integer 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


DigitClass = Annotated[int, Field(ge=0, le=9), BeforeValidator(_integral)]
Probability = Annotated[float, Field(ge=0, le=1)]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
NETWORK_INPUT = "The network's input: 28x28 bytes in base64, white ink on black, as /v1/read?seen=true returns it"


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorOut(BaseModel):
    """Why a request failed, in one line."""

    detail: Annotated[str, Field(description="What is wrong, where, and what to do")]


class BoxOut(BaseModel):
    """A bounding box in pixels of the picture, after turning it as its EXIF orientation says."""

    left: int
    top: int
    width: int
    height: int


class DigitOut(BaseModel):
    """One digit of a row."""

    digit: DigitClass
    confidence: Annotated[Probability, Field(description="Probability that this digit is correct")]
    box: BoxOut
    seen: Annotated[
        str | None,
        Field(description="Only with ?seen=true: the network's input, 28x28 bytes in base64, white ink on black"),
    ] = None


class RowOut(BaseModel):
    """One row of digits, from left to right."""

    text: Annotated[str, Field(description="The digits as text")]
    confidence: Annotated[Probability, Field(description="Probability that the whole row is correct")]
    box: BoxOut
    digits: list[DigitOut]


class PageOut(BaseModel):
    """All rows of digits in a picture, from top to bottom; no rows if it has no digits."""

    text: Annotated[str, Field(description="The rows as lines of text")]
    width: Annotated[int, Field(description="Width of the picture in pixels, after its EXIF orientation")]
    height: Annotated[int, Field(description="Height of the picture in pixels, after its EXIF orientation")]
    turn: Annotated[
        int, Field(description="Degrees by which the picture was turned counterclockwise to read it: 0, 90, 180 or 270")
    ]
    rows: list[RowOut]


class RecogniseIn(_RequestBody):
    """Pictures of single digits, 28x28 pixels each, light ink on dark or dark ink on light."""

    digits: Annotated[
        Base64, Field(description="The pixels in base64: n x 28 x 28 bytes, picture by picture, row by row")
    ]
    n: Annotated[
        int, Field(ge=1, le=MAX_DIGITS_PER_REQUEST, description="Number of pictures"), BeforeValidator(_integral)
    ]


class RecognitionOut(BaseModel):
    """One entry per picture in each list."""

    digits: Annotated[list[DigitClass], Field(description="The most probable digit, also for rejected pictures")]
    confidence: Annotated[list[Probability], Field(description="Probability of that digit")]
    rejected: Annotated[list[bool], Field(description="Whether the picture does not look like a digit")]
    probabilities: Annotated[list[list[float]], Field(description="Probability of each digit from 0 to 9")]
    is_digit: Annotated[list[Probability], Field(description="How much the picture looks like a digit at all")]


class ExplainIn(_RequestBody):
    """A digit as the network saw it, and the class to explain."""

    seen: Annotated[Base64, Field(description=NETWORK_INPUT)]
    digit: Annotated[DigitClass, Field(description="The class to explain; it need not be the one that was read")]


class ExplanationOut(BaseModel):
    """Class probabilities and an occlusion heat map."""

    probabilities: Annotated[
        list[float], Field(description="Probability of each digit from 0 to 9, by the model of single digits alone")
    ]
    is_digit: Annotated[Probability, Field(description="How much the picture looks like a digit at all")]
    heat: Annotated[
        list[list[float]],
        Field(description="28x28: positive where the ink makes the class more probable, negative where less"),
    ]


class CorrectionIn(_RequestBody):
    """A misread digit and its correct class."""

    picture: Annotated[Base64, Field(description="A picture file of this digit alone, in base64")]
    digit: Annotated[DigitClass, Field(description="The correct digit")]
    read: Annotated[DigitClass | None, Field(description="The digit that was read")] = None
    seen: Annotated[str | None, Field(description=NETWORK_INPUT)] = None


class CorrectionOut(BaseModel):
    """A saved correction."""

    id: int
    at: Annotated[str, Field(description="When it was saved: ISO 8601, UTC")]
    digit: Annotated[DigitClass, Field(description="The correct digit")]
    read: Annotated[DigitClass | None, Field(description="The digit that was read")]
    picture: Annotated[str, Field(description="PNG in base64")]


class CorrectionIdOut(BaseModel):
    """The id of the new correction."""

    id: int


class CorrectionsOut(BaseModel):
    """Saved corrections, newest first."""

    count: Annotated[int, Field(description="Number of all saved corrections")]
    file: Annotated[str, Field(description="Path of their file on the server")]
    corrections: list[CorrectionOut]


class ModelOut(BaseModel):
    """The version of numerals and the cards of its two models."""

    version: str
    digits: Annotated[dict[str, Any], Field(description="Card of the model of single digits")]
    rows: Annotated[dict[str, Any], Field(description="Card of the model of rows")]


class StatusOut(BaseModel):
    """State of the server."""

    status: str


def decode_digits(text: str, count: int, field: str) -> npt.NDArray[np.uint8]:
    """Decode base64 to uint8 (count, 28, 28).

    Args:
        text: value of the field.
        count: number of digits it must hold.
        field: name of the JSON field, for errors.

    Raises:
        InputError: the text is not base64 or has another number of bytes.
    """
    content = decode_base64(text, field)
    if len(content) != count * PIXELS:
        raise InputError(
            f"{field}: {len(content)} bytes, expected {count * PIXELS}; send {count} x {SIDE} x {SIDE} bytes in base64"
        )
    return np.frombuffer(content, np.uint8).reshape(count, SIDE, SIDE)


def decode_base64(text: str, field: str) -> bytes:
    """Decode the base64 in a JSON field.

    Raises:
        InputError: the text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{field}: not valid base64 ({error})") from error


def encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
