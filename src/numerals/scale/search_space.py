"""What a sweep tries, from its TOML file. Knows nothing about training, nor about Ray.

recipe = "article"                  # whose other numbers stay: a name or FILE.toml
trials = 20
seed = 0                            # of the search, and of every training
[space]
batch_size = [32, 64, 128]          # one of these
model.dropout = {low = 0.0, high = 0.5}
optimizer.learning_rate = {low = 1e-4, high = 1e-2, log = true}
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.article.recipe import Recipe
from numerals.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both possible; whole ones where both are."""

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


Choices = list[Any]


@dataclass(frozen=True)
class Space:
    """A sweep: a recipe, and what of it is varied, by dotted key."""

    recipe: Recipe
    trials: int
    seed: int
    keys: dict[str, Range | Choices]

    def change(self, chosen: dict[str, Any]) -> Recipe:
        """The recipe with those values, by dotted key.

        Raises:
            RecipeError: an unknown key or an impossible value.
        """
        changes: dict[str, Any] = {}
        for key, value in chosen.items():
            *tables, name = key.split(".")
            table = changes
            for each in tables:
                table = table.setdefault(each, {})
            table[name] = value
        return self.recipe.change(**changes)


def load(path: Path) -> Space:
    """The sweep of a file, each of its ends and choices checked.

    Raises:
        InputError: not TOML, an unknown key, or an impossible value.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    if unknown := set(found) - {"recipe", "trials", "seed", "space"}:
        raise InputError(f"{path}: unknown key {min(unknown)}; there are recipe, trials, seed and the table space")
    recipe = Recipe.load(found.get("recipe", "article"))
    trials, seed = found.get("trials", 10), found.get("seed", 0)
    for name, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if type(value) is not int or not least <= value < 2**32:
            raise InputError(f"{path}: {name} = {value!r}: must be a whole number, {least} or more")
    table = found.get("space", {})
    keys = dict(_leaves(table, "", path)) if isinstance(table, dict) else {}
    if not keys:
        raise InputError(f"{path}: the table space is missing; it names what is varied, as docs/scale.md shows")
    space = Space(recipe, trials, seed, keys)
    for key, values in keys.items():
        for value in [values.low, values.high] if isinstance(values, Range) else values:
            space.change({key: value})
    return space


def _leaves(table: dict[str, Any], before: str, path: Path) -> Iterator[tuple[str, Range | Choices]]:
    for name, value in table.items():
        key = before + name
        if isinstance(value, list) and value:
            yield key, value
        elif isinstance(value, dict) and "low" in value:
            yield key, _range(value, f"{path}: {key}")
        elif isinstance(value, dict):
            yield from _leaves(value, f"{key}.", path)
        else:
            raise InputError(f"{path}: {key} = {value!r}: must be a list, or {{low = ..., high = ..., log = true}}")


def _range(value: dict[str, Any], where: str) -> Range:
    low, high, log = value.get("low"), value.get("high"), value.get("log", False)
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (low, high))
    if set(value) - {"low", "high", "log"} or not numbers or not isinstance(log, bool):
        raise InputError(f"{where} = {value}: must have low and high, numbers, and may have log, true or false")
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low >= high or (log and low <= 0):
        raise InputError(f"{where}: low {low} must be under high {high}{', and over 0 where log is true' * log}")
    return Range(low, high, log)
