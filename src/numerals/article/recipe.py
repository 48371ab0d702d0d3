"""Recipes: every number of a training, read from TOML.

The built-in recipes are in `recipes/*.toml`; article.toml explains each number and the article's section that sets it.
Your own file may leave keys out, which then keep the values of article.toml. Unknown keys and invalid values are
errors that name the key.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from numerals.errors import RecipeError
from numerals.files import read_plain
from numerals.spec import SIDE

MAX_BYTES = 2**20  # of a recipe's file

Fraction = Annotated[float, Field(gt=0, lt=1)]
FractionOrZero = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Side = Annotated[int, Field(ge=1, le=SIDE)]
Sides = Annotated[  # one side for all convolutions, or a list with one for each
    tuple[Side, ...],
    Field(strict=False),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    PlainSerializer(lambda sides: sides[0] if len(sides) == 1 else sides),
]
LearningRate = Annotated[float, Field(gt=0, le=10)]


class Table(BaseModel):
    """A TOML table: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SplitSettings(Table):
    validation: Fraction
    random_state: Annotated[int, Field(ge=0, lt=2**32)]


class AugmentSettings(Table):
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: FractionOrZero
    width_shift: FractionOrZero
    height_shift: FractionOrZero
    flip_horizontal: bool = False  # the checkpoints of earlier versions lack both flips
    flip_vertical: bool = False

    @property
    def is_on(self) -> bool:
        """Whether it changes any digit."""
        return any(value for _, value in self)


class ModelSettings(Table):
    convolutions: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)]
    kernel: Sides
    pool: Sides
    dense: Count
    dropout: FractionOrZero
    dropout_before: FractionOrZero
    pool_first: bool
    batch_norm: bool
    batch_norm_momentum: FractionOrZero
    batch_norm_epsilon: Fraction

    @field_validator("kernel", "pool")
    @classmethod
    def _check_length(cls, sides: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        convolutions = info.data.get("convolutions", sides)
        if len(sides) not in (1, len(convolutions)):
            raise ValueError(f"must be one number, or a list of {len(convolutions)}: one for each convolution")
        return sides

    def blocks(self) -> list[tuple[int, int, int]]:
        """Filters, kernel side and pool side of each convolution, in order."""
        count = len(self.convolutions)
        kernels, pools = (sides * count if len(sides) == 1 else sides for sides in (self.kernel, self.pool))
        return list(zip(self.convolutions, kernels, pools, strict=True))


class OptimizerSettings(Table):
    learning_rate: LearningRate
    beta_1: FractionOrZero
    beta_2: FractionOrZero
    epsilon: Fraction
    weight_decay: FractionOrZero


class ScheduleSettings(Table):
    kind: Literal["plateau", "one-cycle"]
    warmup: Fraction


class EarlyStoppingSettings(Table):
    patience: Count


class PlateauSettings(Table):
    patience: Count
    factor: Fraction
    minimum: Annotated[float, Field(ge=0, le=10)]
    min_delta: Annotated[float, Field(ge=0)]


class TensorBoardSettings(Table):
    enabled: bool


class BaseRecipe(Table):
    """A named recipe. Keys that a file leaves out keep the values of the packaged file BASE."""

    BASE: ClassVar[str]
    NETWORK: ClassVar[str | None]  # the value of the key `network` in files of this kind; None: the key is absent

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]  # becomes part of the run folder's name

    @classmethod
    def load(cls, recipe: str | Path) -> Self:
        """Load a built-in recipe by name, or a TOML file.

        Raises:
            RecipeError: no such recipe, not TOML, a recipe for another network, an unknown key, or an invalid value.
        """
        path = find(str(recipe), cls.built_in())
        values = parse(path)
        if network_of(values) != cls.NETWORK:
            raise RecipeError(f"recipe {recipe}: trains another network than {cls.BASE}.toml; {_command(values)}")
        return cls.from_values(values, path)

    @classmethod
    def from_values(cls, values: dict[str, Any], path: Path) -> Self:
        """Check `values`, parsed from the TOML file at `path`, and complete them from BASE.

        Raises:
            RecipeError: an unknown key or an invalid value.
        """
        changes = {"name": re.sub(r"[^\w.-]+", "-", path.stem)} | values
        try:
            return cls.model_validate(_merge(parse(packaged(cls.BASE)), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {path}: {_explain(cls, error.errors()[0])}") from error

    @classmethod
    def built_in(cls) -> list[str]:
        """The names of the built-in recipes of this kind, BASE first."""
        names = sorted(path.stem for path in packaged(cls.BASE).parent.glob("*.toml"))
        own = [name for name in names if network_of(parse(packaged(name))) == cls.NETWORK]
        return sorted(own, key=lambda name: name != cls.BASE)

    def change(self, /, **changes: Any) -> Self:
        """Return a copy with other values, e.g. `recipe.change(epochs=2, augment={"zoom": 0.0})`.

        Raises:
            RecipeError: an unknown key or an invalid value.
        """
        try:
            return type(self).model_validate(_merge(self.model_dump(), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {self.name}: {_explain(type(self), error.errors()[0])}") from error

    def override(self, settings: Mapping[str, Any]) -> Self:
        """Return a copy with other values by dotted key, e.g. `recipe.override({"augment.zoom": 0.0})`.

        Raises:
            RecipeError: an unknown key or an invalid value.
        """
        changes: dict[str, Any] = {}
        for key, value in settings.items():
            changes = _merge(changes, reduce(lambda inner, name: {name: inner}, reversed(key.split(".")), value))
        return self.change(**changes)

    def to_toml(self) -> str:
        """Write the complete recipe as TOML; `load` reads back an equal recipe."""
        return tomli_w.dumps(self.model_dump())


class Recipe(BaseRecipe):
    """A recipe for the article's network: `Recipe.load("article")`. `recipes/article.toml` explains each number."""

    BASE = "article"
    NETWORK = None

    epochs: Count
    batch_size: Count
    training_share: Annotated[float, Field(gt=0, le=1)]
    precision: Literal["float32", "auto"]
    label_smoothing: FractionOrZero
    curves: bool
    split: SplitSettings
    augment: AugmentSettings
    model: ModelSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    early_stopping: EarlyStoppingSettings
    plateau: PlateauSettings
    tensorboard: TensorBoardSettings


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Parse settings such as "optimizer.learning_rate=3e-4": values as in TOML, but text needs no quotes.

    Raises:
        RecipeError: one of them is not KEY=VALUE.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise RecipeError(f"--set {setting}: must be KEY=VALUE, such as optimizer.learning_rate=3e-4")
        parsed[key] = _parse_value(value)
    return parsed


def _parse_value(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return values["value"] if len(values) == 1 else text


def network_of(values: dict[str, Any]) -> str | None:
    """The network that a parsed recipe trains: "digits", "rows", "detector" or "adapted"; None for the article's.

    Earlier versions called "digits" "reader".
    """
    network = values.get("network")
    return "digits" if network == "reader" else network


def _command(values: dict[str, Any]) -> str:
    """A hint which command takes the parsed recipe."""
    commands: dict[str | None, str] = {None: "numerals train", "adapted": "numerals adapt"}
    commands |= dict.fromkeys(("digits", "rows", "detector"), "numerals train-reader")
    network = network_of(values)
    if not isinstance(network, str | None) or network not in commands:
        return f"network = {network!r} must be digits, rows, detector or adapted, or left out for the article's network"
    return f"use {commands[network]}"


def packaged(name: str) -> Path:
    """The path of a built-in recipe."""
    return Path(str(resources.files("numerals"))) / "recipes" / f"{name}.toml"


def find(recipe: str, built_in: list[str]) -> Path:
    """The path of the built-in recipe, or the file, named `recipe`.

    Raises:
        RecipeError: neither exists; the message lists `built_in`.
    """
    if recipe == Path(recipe).stem and os.path.isfile(packaged(recipe)):
        return packaged(recipe)
    if os.path.isfile(recipe):  # Path.is_file raises when a name is too long
        return Path(recipe)
    raise RecipeError(f"no built-in recipe or file named {recipe}; built in: {', '.join(built_in)}")


def parse(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RecipeError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(read_plain(path, MAX_BYTES).decode())
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or not UTF-8
        raise RecipeError(f"recipe {path}: not TOML ({error})") from error


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` overridden by `changes`, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both_tables else value
    return merged


def _explain(schema: type[Table], error: ErrorDetails) -> str:
    """One of pydantic's errors in one line: the key, its value, what is wrong with it."""
    *tables, key = error["loc"]
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
    known: Any = schema
    for table in tables:
        known = known.model_fields[table].annotation
    close = difflib.get_close_matches(str(key), known.model_fields, 1)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known.model_fields)}"
    return f"unknown key {name}; {hint}"
