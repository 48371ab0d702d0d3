"""The TOML file of a sweep: which settings of a recipe vary, and over which values.

recipe = "article"                  # the recipe for all other settings: a name or FILE.toml
trials = 20
seed = 0                            # of the search, and of every training
[space]
batch_size = [32, 64, 128]          # one of these
model.dropout = {low = 0.0, high = 0.5}
optimizer.learning_rate = {low = 1e-4, high = 1e-2, log = true}
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.recipe import MAX_BYTES, Recipe
from numerals.errors import InputError
from numerals.files import read_plain

KEYS = {"recipe", "trials", "seed", "space"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are."""

    low: float
    high: float
    log: bool  # draw uniformly in the logarithm

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: object) -> bool:
        kinds = int if self.is_integer else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high


Choices = list[Any]


def as_options(choices: Choices) -> list[Any]:
    """Choices as Optuna takes them: a list, as for convolutions, is JSON text."""
    return [json.dumps(value) if isinstance(value, list) else value for value in choices]


@dataclass(frozen=True)
class SearchSpace:
    """A sweep: a recipe, and the values to try for its settings."""

    recipe: Recipe
    trials: int
    seed: int
    varied: dict[str, Range | Choices]  # by dotted key: "model.dropout"

    def apply(self, settings: dict[str, Any]) -> Recipe:
        """The recipe with these settings, by dotted key.

        Raises:
            RecipeError: an unknown key or an impossible value.
        """
        return self.recipe.override(settings)

    def has(self, settings: dict[str, Any]) -> bool:
        """Whether these settings, with lists as JSON text, are a point of the space."""
        return settings.keys() == self.varied.keys() and all(
            settings[key] in values
            if isinstance(values, Range)
            else (type(settings[key]), settings[key]) in [(type(option), option) for option in as_options(values)]
            for key, values in self.varied.items()
        )


def load(path: Path) -> SearchSpace:
    """Load the TOML file of a sweep, and check each choice and both ends of each range.

    Raises:
        InputError: not TOML, an unknown key, or an impossible value.
    """
    try:
        content = tomllib.loads(read_plain(path, MAX_BYTES).decode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    if unknown := set(content) - KEYS:
        raise InputError(f"{path}: unknown key {min(unknown)}; known are recipe, trials, seed and the table space")
    recipe = Recipe.load(content.get("recipe", "article"))
    trials = _integer(content, "trials", 10, minimum=1, path=path)
    seed = _integer(content, "seed", 0, minimum=0, path=path)
    table = content.get("space", {})
    varied = dict(_varied(table, "", path)) if isinstance(table, dict) else {}
    if not varied:
        raise InputError(f"{path}: the table space is missing; it names the settings to vary, see docs/scale.md")
    space = SearchSpace(recipe, trials, seed, varied)
    for key, values in varied.items():
        for value in [values.low, values.high] if isinstance(values, Range) else values:
            space.apply({key: value})
    return space


def _integer(content: dict[str, Any], key: str, default: int, minimum: int, path: Path) -> int:
    value = content.get(key, default)
    if type(value) is not int or not minimum <= value < 2**32:
        raise InputError(f"{path}: {key} = {value!r}: must be an integer, at least {minimum}")
    return value


def _varied(table: dict[str, Any], prefix: str, path: Path) -> Iterator[tuple[str, Range | Choices]]:
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, list) and value:
            yield key, value
        elif isinstance(value, dict) and "low" in value:
            yield key, _range(value, f"{path}: {key}")
        elif isinstance(value, dict):
            yield from _varied(value, f"{key}.", path)
        else:
            raise InputError(f"{path}: {key} = {value!r}: must be a list, or {{low = ..., high = ..., log = true}}")


def _range(value: dict[str, Any], location: str) -> Range:
    low, high, log = value.get("low"), value.get("high"), value.get("log", False)
    are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if set(value) - {"low", "high", "log"} or not are_numbers or not isinstance(log, bool):
        raise InputError(f"{location} = {value}: must have low and high, both numbers; may have log, true or false")
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low >= high or (log and low <= 0):
        raise InputError(f"{location}: low {low} must be under high {high}{', and over 0 where log is true' * log}")
    return Range(low, high, log)
