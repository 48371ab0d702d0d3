"""Recipe: every number of a training, read from TOML.

The built-in recipes live in `recipes/*.toml`, with a comment on each number. A file of your own may leave keys out:
they keep the values of article.toml. Unknown keys and impossible values are refused by name.
"""

import difflib
import os
import re
import tomllib
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
from numerals.spec import SIDE

Share = Annotated[float, Field(gt=0, lt=1)]
ShareOrZero = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Side = Annotated[int, Field(ge=1, le=SIDE)]
Sides = Annotated[  # one number for all convolutions, or one for each
    tuple[Side, ...],
    Field(strict=False),
    BeforeValidator(lambda side: side if isinstance(side, list | tuple) else (side,)),
    PlainSerializer(lambda sides: sides[0] if len(sides) == 1 else sides),
]
Rate = Annotated[float, Field(gt=0, le=10)]  # a learning rate


class Table(BaseModel):
    """A table of settings: strict types, unknown keys refused, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SplitSettings(Table):
    validation: Share
    random_state: Annotated[int, Field(ge=0, lt=2**32)]


class AugmentSettings(Table):
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: ShareOrZero
    width_shift: ShareOrZero
    height_shift: ShareOrZero


class ModelSettings(Table):
    convolutions: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)]
    kernel: Sides
    pool: Sides
    dense: Count
    dropout: ShareOrZero
    dropout_before: ShareOrZero
    pool_first: bool
    batch_norm: bool
    batch_norm_momentum: ShareOrZero
    batch_norm_epsilon: Share

    @field_validator("kernel", "pool")
    @classmethod
    def _check_length(cls, sides: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        convolutions = info.data.get("convolutions", sides)
        if len(sides) not in (1, len(convolutions)):
            raise ValueError(f"must be one number, or {len(convolutions)}: one for each of convolutions")
        return sides

    def blocks(self) -> list[tuple[int, int, int]]:
        """(filters, kernel side, pool side) of each convolution, first layer first."""
        count = len(self.convolutions)
        kernels, pools = (sides * count if len(sides) == 1 else sides for sides in (self.kernel, self.pool))
        return list(zip(self.convolutions, kernels, pools, strict=True))


class OptimizerSettings(Table):
    learning_rate: Rate
    beta_1: ShareOrZero
    beta_2: ShareOrZero
    epsilon: Share
    weight_decay: ShareOrZero


class ScheduleSettings(Table):
    kind: Literal["plateau", "one-cycle"]
    warmup: Share


class EarlyStoppingSettings(Table):
    patience: Count


class PlateauSettings(Table):
    patience: Count
    factor: Share
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
            RecipeError: no such recipe, not TOML, a recipe for another network, an unknown key, or an impossible value.
        """
        path = find(str(recipe), cls.built_in())
        values = parse(path)
        if network_of(values) != cls.NETWORK:
            raise RecipeError(f"recipe {recipe}: trains another network than {cls.BASE}.toml; {_command(values)}")
        return cls.from_values(values, path)

    @classmethod
    def from_values(cls, values: dict[str, Any], path: Path) -> Self:
        """The recipe that the parsed TOML file at `path` describes.

        Raises:
            RecipeError: an unknown key or an impossible value.
        """
        changes = {"name": re.sub(r"[^\w.-]+", "-", path.stem)} | values
        try:
            return cls.model_validate(_merge(parse(packaged(cls.BASE)), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {path}: {_explain(cls, error.errors()[0])}") from error

    @classmethod
    def built_in(cls) -> list[str]:
        """The names of the packaged recipes of this kind, the base first."""
        names = sorted(path.stem for path in packaged(cls.BASE).parent.glob("*.toml"))
        mine = [name for name in names if network_of(parse(packaged(name))) == cls.NETWORK]
        return sorted(mine, key=lambda name: name != cls.BASE)

    def change(self, **changes: Any) -> Self:
        """A checked copy with other values: `recipe.change(epochs=2, augment={"zoom": 0.0})`.

        Raises:
            RecipeError: an unknown key or an impossible value.
        """
        try:
            return type(self).model_validate(_merge(self.model_dump(), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {self.name}: {_explain(type(self), error.errors()[0])}") from error

    def to_toml(self) -> str:
        """The complete recipe as TOML that `load` reads back unchanged."""
        return tomli_w.dumps(self.model_dump())


class Recipe(BaseRecipe):
    """A recipe for the article's network: `Recipe.load("article")`. `recipes/article.toml` explains each number."""

    BASE = "article"
    NETWORK = None

    epochs: Count
    batch_size: Count
    training_share: Annotated[float, Field(gt=0, le=1)]
    precision: Literal["float32", "auto"]
    label_smoothing: ShareOrZero
    curves: bool
    split: SplitSettings
    augment: AugmentSettings
    model: ModelSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    early_stopping: EarlyStoppingSettings
    plateau: PlateauSettings
    tensorboard: TensorBoardSettings


def network_of(values: dict[str, Any]) -> str | None:
    """Which network a parsed recipe trains: "digits", "rows" or "adapted"; None for the article's.

    "reader" is what earlier versions called "digits".
    """
    network = values.get("network")
    return "digits" if network == "reader" else network


def _command(values: dict[str, Any]) -> str:
    """Which command takes a recipe for that network."""
    commands = {None: "numerals train", "digits": "numerals train-reader", "rows": "numerals train-reader"}
    commands["adapted"] = "numerals adapt"
    network = network_of(values)
    if not isinstance(network, str | None) or network not in commands:
        return f"network = {network!r} must be digits, rows or adapted, or left out for the article's network"
    return f"use {commands[network]}"


def packaged(name: str) -> Path:
    """The path of a built-in recipe."""
    return Path(str(resources.files("numerals"))) / "recipes" / f"{name}.toml"


def find(recipe: str, built_in: list[str]) -> Path:
    """The path of a built-in recipe, given its bare name, or of a file.

    Raises:
        RecipeError: neither exists; the message lists `built_in`.
    """
    if recipe == Path(recipe).stem and os.path.isfile(packaged(recipe)):
        return packaged(recipe)
    if os.path.isfile(recipe):  # Path.is_file raises when a name is too long
        return Path(recipe)
    raise RecipeError(f"no built-in recipe or file named {recipe}; built in: {', '.join(built_in)}")


def parse(path: Path) -> dict[str, Any]:
    """The values in a TOML file.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are both ValueErrors
        raise RecipeError(f"recipe {path}: not TOML ({error})") from error


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` overridden by `changes`, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both_tables else value
    return merged


def _explain(kind: type[Table], error: ErrorDetails) -> str:
    """One of pydantic's errors in a line: the key, its value, what is wrong with it."""
    *tables, key = error["loc"]
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
    known: Any = kind
    for table in tables:
        known = known.model_fields[table].annotation
    near = difflib.get_close_matches(str(key), known.model_fields, 1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known.model_fields)}"
    return f"unknown key {name}; {hint}"
