"""What goes over the wire, as OpenAPI describes it. The answers mirror `results`; nothing here computes."""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from numerals.errors import InputError
from numerals.spec import PIXELS, SIDE

MOST_DIGITS = 1000  # in one request: where all are doubtful, about two seconds


def _whole(value: Any) -> Any:
    """JSON's 7.0 is the whole number 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Class = Annotated[int, Field(ge=0, le=9), BeforeValidator(_whole)]
Share = Annotated[float, Field(ge=0, le=1)]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """Why a request was refused: one line."""

    detail: str


class BoxOut(BaseModel):
    """In pixels of the picture, turned as its EXIF says."""

    left: int
    top: int
    width: int
    height: int


class DigitOut(BaseModel):
    digit: Class
    confidence: Share
    box: BoxOut
    seen: Annotated[str | None, Field(description="With ?seen=true: 28x28 bytes in base64, white ink on black")] = None


class RowOut(BaseModel):
    text: str
    confidence: Share
    box: BoxOut
    digits: list[DigitOut]


class PageOut(BaseModel):
    """What is written in one picture; no rows where there are no digits."""

    text: str
    width: int
    height: int
    turn: Annotated[int, Field(description="Degrees against the clock by which it was turned to be read")]
    rows: list[RowOut]


class RecogniseIn(_Asked):
    """Pictures of one digit each, 28x28, either polarity."""

    digits: Annotated[Base64, Field(description="uint8, n x 28 x 28, row by row, in base64")]
    n: Annotated[int, Field(ge=1, le=MOST_DIGITS), BeforeValidator(_whole)]


class RecognitionOut(BaseModel):
    digits: list[Class]
    confidence: list[Share]
    rejected: Annotated[list[bool], Field(description="It is no digit")]
    probabilities: list[list[float]]
    is_digit: list[Share]


class ExplainIn(_Asked):
    """One digit as the network saw it, and the digit to speak for."""

    seen: Annotated[Base64, Field(description="28x28 bytes in base64, white ink on black, as /v1/read?seen=true gives")]
    digit: Class


class ExplanationOut(BaseModel):
    probabilities: Annotated[list[float], Field(description="Of the ten digits, by the model of single digits alone")]
    is_digit: Share
    heat: Annotated[
        list[list[float]], Field(description="28x28: over 0 where the ink spoke for the digit, below where against")
    ]


class CorrectionIn(_Asked):
    """A digit that was misread, and what it is."""

    picture: Annotated[Base64, Field(description="A picture file of the one digit, in base64")]
    digit: Annotated[Class, Field(description="The right one")]
    read: Annotated[Class | None, Field(description="What was read")] = None
    seen: Annotated[str | None, Field(description="28x28 bytes in base64, as /v1/read?seen=true gives")] = None


class CorrectionOut(BaseModel):
    id: int
    at: Annotated[str, Field(description="When, UTC")]
    digit: Class
    read: Class | None
    picture: Annotated[str, Field(description="PNG in base64")]


class Kept(BaseModel):
    id: int


class CorrectionsOut(BaseModel):
    """Kept corrections, the newest first, and how many there are."""

    count: int
    file: str
    corrections: list[CorrectionOut]


class ModelOut(BaseModel):
    """The cards of both models."""

    version: str
    digits: dict[str, Any]
    rows: dict[str, Any]


class Status(BaseModel):
    status: str


def digits_of(text: str, count: int) -> npt.NDArray[np.uint8]:
    """Base64 as uint8 (count, 28, 28). Raises InputError where it is not so."""
    content = decoded(text, "digits")
    if len(content) != count * PIXELS:
        raise InputError(f"digits: {len(content)} bytes; {count} of {SIDE}x{SIDE} are {count * PIXELS}")
    return np.frombuffer(content, np.uint8).reshape(count, SIDE, SIDE)


def decoded(text: str, what: str) -> bytes:
    """Raises InputError where the text is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{what}: not base64 ({error})") from error


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
