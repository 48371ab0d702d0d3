"""Recipe: every number of a training, read from TOML. Knows nothing about how they are used.

The values live in `recipes/*.toml`, with a comment each; here are only their names, types and bounds. A file of your
own may leave keys out: they keep the values of article.toml, or of reader.toml or rows.toml where it says
`network = "reader"` or "rows". An unknown key or an impossible value is refused by name.
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


class _Table(BaseModel):
    """Whole numbers are not text, unknown keys are mistakes, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Split(_Table):
    validation: Share
    random_state: Annotated[int, Field(ge=0, lt=2**32)]


class Augment(_Table):
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: ShareOrNone
    width_shift: ShareOrNone
    height_shift: ShareOrNone


class Model(_Table):
    convolutions: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)]
    kernel: Sides
    pool: Sides
    dense: Count
    dropout: ShareOrNone
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


class Optimizer(_Table):
    learning_rate: Rate
    beta_1: ShareOrNone
    beta_2: ShareOrNone
    epsilon: Share
    weight_decay: ShareOrNone


class Schedule(_Table):
    kind: Literal["plateau", "one-cycle"]
    warmup: Share


class EarlyStopping(_Table):
    patience: Count


class Plateau(_Table):
    patience: Count
    factor: Share
    minimum: Annotated[float, Field(ge=0, le=10)]
    min_delta: Annotated[float, Field(ge=0)]


class TensorBoard(_Table):
    enabled: bool


class _Whole(_Table):
    """What all recipes have: a name, and a packaged file, BASE, whose values a file keeps where it names none."""

    BASE: ClassVar[str]

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]  # a part of the run folder's name

    @classmethod
    def load(cls, recipe: str | Path) -> Self:
        """The recipe of that name in the package, or of that TOML file.

        Raises:
            RecipeError: no such recipe, not TOML, another network's, an unknown key, or an impossible value.
        """
        path = _find(str(recipe))
        own = _parse(path)
        if _kind(own, path) is not cls:
            raise RecipeError(
                f"recipe {recipe}: is for another network than {cls.BASE}.toml; use numerals train --recipe"
            )
        changes = {"name": re.sub(r"[^\w.-]+", "-", path.stem)} | own
        try:
            return cls.model_validate(_merge(_parse(_packaged(cls.BASE)), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {path}: {_explain(cls, error.errors()[0])}") from error

    def change(self, **changes: Any) -> Self:
        """The recipe with other numbers, checked: `recipe.change(epochs=2, augment={"zoom": 0.0})`.

        Raises:
            RecipeError: an unknown key or an impossible value.
        """
        try:
            return type(self).model_validate(_merge(self.model_dump(), changes))
        except ValidationError as error:
            raise RecipeError(f"recipe {self.name}: {_explain(type(self), error.errors()[0])}") from error

    def to_toml(self) -> str:
        """The whole recipe as TOML that `load` reads back the same."""
        return tomli_w.dumps(self.model_dump())


class Recipe(_Whole):
    """The article's network, all of it. `Recipe.load("article")`; `recipe.change(epochs=2)` changes a number."""

    BASE = "article"

    epochs: Count
    batch_size: Count
    training_share: Annotated[float, Field(gt=0, le=1)]
    precision: Literal["float32", "auto"]
    label_smoothing: ShareOrNone
    curves: bool
    split: Split
    augment: Augment
    model: Model
    optimizer: Optimizer
    schedule: Schedule
    early_stopping: EarlyStopping
    plateau: Plateau
    tensorboard: TensorBoard


class ReaderRecipe(_Whole):
    """The network that reads one digit a picture; `recipes/reader.toml` says what each number is."""

    BASE = "reader"

    network: Literal["reader"]
    steps: Count
    fresh: Count
    memory: Count
    learning_rate: Rate
    weight_decay: ShareOrNone
    smoothing: ShareOrNone
    stranger_loss: Annotated[float, Field(ge=0, le=10)]
    averaging: ShareOrNone
    split: Split


class RowRecipe(_Whole):
    """The network that reads a row of digits; `recipes/rows.toml` says what each number is."""

    BASE = "rows"

    network: Literal["rows"]
    rounds: Count
    rows: Count
    batch_size: Count
    learning_rate: Rate
    weight_decay: ShareOrNone
    averaging: ShareOrNone
    validation_rows: Count
    split: Split


AnyRecipe = Recipe | ReaderRecipe | RowRecipe
KINDS: dict[str | None, type[AnyRecipe]] = {None: Recipe, "reader": ReaderRecipe, "rows": RowRecipe}


def load(recipe: str | Path) -> AnyRecipe:
    """The recipe of that name in the package, or of that TOML file, of whichever network.

    Raises:
        RecipeError: as `Recipe.load`.
    """
    path = _find(str(recipe))
    return _kind(_parse(path), path).load(recipe)


def _kind(own: dict[str, Any], path: Path) -> type[AnyRecipe]:
    """Which network a recipe file is for, as its key `network` says; without one, the article's."""
    named = own.get("network")
    if not isinstance(named, str | None) or named not in KINDS:
        raise RecipeError(f"recipe {path}: network = {named!r}: must be reader or rows, or left out for the article's")
    return KINDS[named]


def _packaged(name: str) -> Path:
    return Path(str(resources.files("numerals"))) / "recipes" / f"{name}.toml"


def _find(recipe: str) -> Path:
    """The file that `recipe` names: one in the package by its bare name, else a path."""
    if recipe == Path(recipe).stem and os.path.isfile(_packaged(recipe)):
        return _packaged(recipe)
    if os.path.isfile(recipe):  # Path's own is_file raises on a name that is too long
        return Path(recipe)
    names = ", ".join(sorted(path.stem for path in _packaged(Recipe.BASE).parent.glob("*.toml")))
    raise RecipeError(f"recipe {recipe}: there is none of that name and no such file; the package has {names}")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are both ValueErrors
        raise RecipeError(f"recipe {path}: not TOML ({error})") from error


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes` over it, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both_tables else value
    return merged


def _explain(kind: type[_Table], error: ErrorDetails) -> str:
    """One of pydantic's findings in a line: the key, its value, what is wrong with it."""
    *tables, key = error["loc"]
    name = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{name} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
    known: Any = kind
    for table in tables:
        known = known.model_fields[table].annotation
    near = difflib.get_close_matches(str(key), known.model_fields, 1)
    return f"unknown key {name}; " + (
        f"do you mean {near[0]}?" if near else f"there are {', '.join(known.model_fields)}"
    )
