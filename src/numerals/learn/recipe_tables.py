"""The tables of a recipe and the numbers in them: names, types and bounds. Knows nothing about files.

The values live in `recipes/*.toml`, with a comment each.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo, field_validator

from numerals.spec import SIDE

Share = Annotated[float, Field(gt=0, lt=1)]
ShareOrNone = Annotated[float, Field(ge=0, lt=1)]  # none is 0
Count = Annotated[int, Field(ge=1, le=10**6)]
Side = Annotated[int, Field(ge=1, le=SIDE)]
Sides = Annotated[  # a number for all convolutions, or one for each
    tuple[Side, ...],
    Field(strict=False),
    BeforeValidator(lambda side: side if isinstance(side, list | tuple) else (side,)),
    PlainSerializer(lambda sides: sides[0] if len(sides) == 1 else sides),
]
Rate = Annotated[float, Field(gt=0, le=10)]  # a learning rate


class Table(BaseModel):
    """Whole numbers are not text, unknown keys are mistakes, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Split(Table):
    validation: Share
    random_state: Annotated[int, Field(ge=0, lt=2**32)]


class Augment(Table):
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: ShareOrNone
    width_shift: ShareOrNone
    height_shift: ShareOrNone


class Model(Table):
    convolutions: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)]
    kernel: Sides
    pool: Sides
    dense: Count
    dropout: ShareOrNone
    dropout_before: ShareOrNone
    pool_first: bool
    batch_norm: bool
    batch_norm_momentum: ShareOrNone
    batch_norm_epsilon: Share

    @field_validator("kernel", "pool")
    @classmethod
    def _one_or_one_for_each(cls, sides: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        convolutions = info.data.get("convolutions", sides)
        if len(sides) not in (1, len(convolutions)):
            raise ValueError(f"must be one number, or {len(convolutions)}: one for each of convolutions")
        return sides

    def blocks(self) -> list[tuple[int, int, int]]:
        """Filters, kernel and pool of each convolution, from the picture on."""
        count = len(self.convolutions)
        kernels, pools = (sides * count if len(sides) == 1 else sides for sides in (self.kernel, self.pool))
        return list(zip(self.convolutions, kernels, pools, strict=True))


class Optimizer(Table):
    learning_rate: Rate
    beta_1: ShareOrNone
    beta_2: ShareOrNone
    epsilon: Share
    weight_decay: ShareOrNone


class Schedule(Table):
    kind: Literal["plateau", "one-cycle"]
    warmup: Share


class EarlyStopping(Table):
    patience: Count


class Plateau(Table):
    patience: Count
    factor: Share
    minimum: Annotated[float, Field(ge=0, le=10)]
    min_delta: Annotated[float, Field(ge=0)]


class TensorBoard(Table):
    enabled: bool
