"""Recipes of the reading networks: digits, rows, pages, adaptation to one person's writing; loading any recipe."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from numerals.article.recipe import (
    AugmentSettings,
    BaseRecipe,
    Count,
    Fraction,
    FractionOrZero,
    LearningRate,
    SplitSettings,
    find,
    network_of,
    parse,
)
from numerals.article.recipe import (
    Recipe as Recipe,
)
from numerals.errors import RecipeError

LossWeight = Annotated[float, Field(ge=0, le=10)]


def _current_name(network: Any) -> Any:
    """Replace the name that earlier versions wrote."""
    return network_of({"network": network})


class DigitRecipe(BaseRecipe):
    """A recipe for the network that reads one digit per picture; `recipes/digits.toml` explains each number."""

    BASE = "digits"
    NETWORK = "digits"

    network: Annotated[Literal["digits"], BeforeValidator(_current_name)]
    steps: Count
    fresh: Count
    memory: Count
    learning_rate: LearningRate
    weight_decay: FractionOrZero
    smoothing: FractionOrZero
    stranger_loss: LossWeight
    averaging: FractionOrZero
    split: SplitSettings


class RowRecipe(BaseRecipe):
    """A recipe for the network that reads a row of digits; `recipes/rows.toml` explains each number."""

    BASE = "rows"
    NETWORK = "rows"

    network: Literal["rows"]
    rounds: Count
    rows: Count
    batch_size: Count
    learning_rate: LearningRate
    weight_decay: FractionOrZero
    averaging: FractionOrZero
    validation_rows: Count
    split: SplitSettings


class DetectorRecipe(BaseRecipe):
    """A recipe for the network that finds digits on a page; `recipes/detector.toml` explains each number."""

    BASE = "detector"
    NETWORK = "detector"

    network: Literal["detector"]
    steps: Count
    batch_size: Count
    learning_rate: LearningRate
    weight_decay: FractionOrZero
    averaging: FractionOrZero
    class_loss: LossWeight
    box_loss: LossWeight
    smoothing: FractionOrZero
    precision: Literal["auto", "float32"]
    split: SplitSettings


class AdaptRecipe(BaseRecipe):
    """A recipe for adapting the digit network to one person's writing; `recipes/adapt.toml` explains each number."""

    BASE = "adapt"
    NETWORK = "adapted"

    network: Literal["adapted"]
    steps: Count
    batch_size: Count
    own: Fraction
    made: Count
    held_out: Fraction
    learning_rate: LearningRate
    weight_decay: FractionOrZero
    smoothing: FractionOrZero
    stranger_loss: LossWeight
    augment: AugmentSettings
    split: SplitSettings


ReaderRecipe = DigitRecipe | RowRecipe | DetectorRecipe
AnyRecipe = Recipe | DigitRecipe | RowRecipe | DetectorRecipe | AdaptRecipe
RECIPE_TYPES: tuple[type[AnyRecipe], ...] = (Recipe, DigitRecipe, RowRecipe, DetectorRecipe, AdaptRecipe)


def load(recipe: str | Path) -> AnyRecipe:
    """Load a recipe of any kind: a built-in one by name, or a TOML file.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown network or key, or an impossible value.
    """
    path = find(str(recipe), [name for recipe_type in RECIPE_TYPES for name in recipe_type.built_in()])
    values = parse(path)
    for recipe_type in RECIPE_TYPES:
        if network_of(values) == recipe_type.NETWORK:
            return recipe_type.from_values(values, path)
    raise RecipeError(
        f"recipe {path}: network = {values['network']!r} must be digits, rows, detector or adapted, "
        "or left out for the article's network"
    )
