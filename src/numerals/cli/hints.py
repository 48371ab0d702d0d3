"""Hints for mistakes in the options.

train has no option --lr; set optimizer.learning_rate in a recipe file: numerals train --recipe my.toml
train has no option --epoch; did you mean --epochs?
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numerals.article.recipe import Table

RECIPE_ALIASES = {  # names that other programs give to keys and tables of a recipe; without "-" and "_"
    "lr": "learning_rate",
    "rate": "learning_rate",
    "maxlr": "learning_rate",
    "batch": "batch_size",
    "bs": "batch_size",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "l2": "weight_decay",
    "eps": "epsilon",
    "opt": "optimizer",
    "adam": "optimizer",
    "earlystop": "early_stopping",
    "scheduler": "schedule",
    "lrscheduler": "schedule",
    "warmupsteps": "warmup",
    "augmentation": "augment",
    "rotate": "rotation",
    "valsplit": "validation",
    "validationsplit": "validation",
    "valsize": "validation",
    "filters": "convolutions",
    "channels": "convolutions",
    "layers": "convolutions",
    "kernelsize": "kernel",
    "poolsize": "pool",
    "hidden": "dense",
    "hiddensize": "dense",
    "units": "dense",
    "batchnorm": "batch_norm",
    "smoothing": "label_smoothing",
    "amp": "precision",
    "bf16": "precision",
    "fp16": "precision",
    "dtype": "precision",
    "logdir": "tensorboard",
}
READER_ALIASES = {"epochs": ("steps", "rounds"), "iterations": ("steps", "rounds")}
OTHER_OPTIONS = {  # names that other programs give to these options; without "-" and "_"
    "gpu": "--device cuda",
    "cuda": "--device cuda",
    "cpu": "--device cpu",
    "output": "--out",
    "outputdir": "--out",
    "save": "--out",
    "savedir": "--out",
    "dataset": "--data",
    "checkpoint": "--resume",
    "randomseed": "--seed",
    "randomstate": "--seed",
    "silent": "--quiet",
}
THREADS = {"workers", "numworkers", "threads", "numthreads", "jobs", "njobs", "cores"}
RECIPE_COMMANDS = {  # command -> what to do with the key
    "train": "set {} in a recipe file: numerals train --recipe my.toml",
    "train-reader": "set {} in a recipe file: numerals train-reader my.toml",
    "adapt": "set {} in a recipe file: numerals adapt CORRECTIONS --recipe my.toml",
    "benchmark": "set {} in a recipe file: numerals benchmark --recipe my.toml",
    "sweep": "vary {} in the table [space] of SPACE.toml",
}


def unknown_option(option: str, command: str, options: Sequence[str], others: Mapping[str, Sequence[str]]) -> str:
    """One line about an option that a command does not have.

    Args:
        option: the unknown option as typed: "--lr".
        command: the name of the command: "train".
        options: the options that it has: ["--epochs", "--seed", ...].
        others: the other commands with their options.
    """
    hint = _hint(option, command, options) or _other_command(option, others)
    return f"{command} has no option {option}; {hint or f'see numerals {command} --help'}"


def _hint(option: str, command: str, options: Sequence[str]) -> str | None:
    name = _squash(option)
    if command in RECIPE_COMMANDS:
        if keys := " or ".join(_matching_keys(name, command)):
            return RECIPE_COMMANDS[command].format(keys)
        if name in THREADS:
            return "it uses all cores; set the environment variable OMP_NUM_THREADS for fewer threads"
    alias = OTHER_OPTIONS.get(name, "")
    near = [alias] if alias.split(" ")[0] in options else difflib.get_close_matches(option, options, 1, 0.7)
    if near:
        return f"did you mean {near[0]}?"
    if command in RECIPE_COMMANDS:
        keys_by_name = {_squash(key.rpartition(".")[2]): key for key, _ in _keys(command)}
        for close in difflib.get_close_matches(name, keys_by_name, 1, 0.8):
            return RECIPE_COMMANDS[command].format(keys_by_name[close])
    return None


def _other_command(option: str, others: Mapping[str, Sequence[str]]) -> str | None:
    *commands, last = [command for command, options in others.items() if option in options] or [""]
    if commands:
        return f"{', '.join(commands)} and {last} have it"
    return f"{last} has it" if last else None


def _matching_keys(name: str, command: str) -> Iterator[str]:
    """The keys of the command's recipes with this name, as a hint names them."""
    wanted = {_squash(alias) for alias in READER_ALIASES.get(name, ())} if command == "train-reader" else set()
    for spelling in (name, name.removeprefix("no")):
        wanted |= {spelling, _squash(RECIPE_ALIASES.get(spelling, ""))} - {""}
    for key, keys_of_table in _keys(command):
        if _squash(key) in wanted or _squash(key.rpartition(".")[2]) in wanted:
            yield f"the keys of [{key}] ({', '.join(keys_of_table)})" if keys_of_table else key


def _keys(command: str) -> Iterator[tuple[str, list[str]]]:
    """Each dotted key of the command's recipes; for a table, with the keys in it."""
    try:
        from numerals.readers.recipes import AdaptRecipe, DigitRecipe, Recipe, RowRecipe
    except ModuleNotFoundError:  # an installation that only reads
        return
    kinds: dict[str, tuple[type[Table], ...]]
    kinds = {"train-reader": (DigitRecipe, RowRecipe), "adapt": (AdaptRecipe,)}
    found: dict[str, list[str]] = {}
    for kind in kinds.get(command, (Recipe,)):
        for key, field in kind.model_fields.items():
            table: Any = field.annotation
            inner = list(getattr(table, "model_fields", ()))
            found |= {key: inner} | {f"{key}.{name}": [] for name in inner}
    yield from found.items()


def _squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(".", "")
