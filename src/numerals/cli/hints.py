"""Hints for mistakes in the options.

train has no option --lr; use --set optimizer.learning_rate=VALUE
train has no option --epoch; did you mean --epochs?
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numerals.article.recipe import Table

RECIPE_ALIASES = {  # a key or a table of a recipe -> how other programs call it; without "-" and "_"
    "learning_rate": ("lr", "rate", "maxlr"),
    "batch_size": ("batch", "bs"),
    "weight_decay": ("wd", "decay", "l2"),
    "epsilon": ("eps",),
    "optimizer": ("opt", "adam"),
    "early_stopping": ("earlystop",),
    "schedule": ("scheduler", "lrscheduler"),
    "warmup": ("warmupsteps",),
    "augment": ("augmentation",),
    "rotation": ("rotate",),
    "validation": ("valsplit", "validationsplit", "valsize"),
    "convolutions": ("filters", "channels", "layers"),
    "kernel": ("kernelsize",),
    "pool": ("poolsize",),
    "dense": ("hidden", "hiddensize", "units"),
    "batch_norm": ("batchnorm",),
    "label_smoothing": ("smoothing",),
    "precision": ("amp", "bf16", "fp16", "dtype"),
    "tensorboard": ("logdir",),
}
READER_ALIASES = {"epochs": ("steps", "rounds"), "iterations": ("steps", "rounds")}
OTHER_OPTIONS = {  # numerals's option -> its names in other programs, without "-" and "_"
    "--device cuda": ("gpu", "cuda"),
    "--device cpu": ("cpu",),
    "--out": ("output", "outputdir", "save", "savedir"),
    "--data": ("dataset",),
    "--resume": ("checkpoint",),
    "--seed": ("randomseed", "randomstate"),
    "--quiet": ("silent",),
}
THREADS = {"workers", "numworkers", "threads", "numthreads", "jobs", "njobs", "cores"}
WITH_SET = "use {}"  # which stands for --set KEY=VALUE
RECIPE_COMMANDS = {  # command -> what to do with the key
    "train": WITH_SET,
    "train-reader": WITH_SET,
    "adapt": WITH_SET,
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
    alias = next((ours for ours, others in OTHER_OPTIONS.items() if name in others), "")
    near = [alias] if alias.split(" ")[0] in options else difflib.get_close_matches(option, options, 1, 0.7)
    if near:
        return f"did you mean {near[0]}?"
    if command in RECIPE_COMMANDS:
        keys_by_name = {_squash(key.rpartition(".")[2]): key for key, _ in _keys(command)}
        for close in difflib.get_close_matches(name, keys_by_name, 1, 0.8):
            return RECIPE_COMMANDS[command].format(_described(keys_by_name[close], [], command))
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
        wanted |= {spelling, *(_squash(key) for key, aliases in RECIPE_ALIASES.items() if spelling in aliases)}
    for key, keys_of_table in _keys(command):
        if _squash(key) in wanted or _squash(key.rpartition(".")[2]) in wanted:
            yield _described(key, keys_of_table, command)


def _described(key: str, keys_of_table: list[str], command: str) -> str:
    if RECIPE_COMMANDS[command] == WITH_SET:
        return f"--set {key}.KEY=VALUE (KEY: {', '.join(keys_of_table)})" if keys_of_table else f"--set {key}=VALUE"
    return f"the keys of [{key}] ({', '.join(keys_of_table)})" if keys_of_table else key


def _keys(command: str) -> Iterator[tuple[str, list[str]]]:
    """Each dotted key of the command's recipes; for a table, with the keys in it."""
    try:
        from numerals.readers.recipes import AdaptRecipe, DetectorRecipe, DigitRecipe, Recipe, RowRecipe
    except ModuleNotFoundError:  # an installation that only reads
        return
    kinds: dict[str, tuple[type[Table], ...]]
    kinds = {"train-reader": (DigitRecipe, RowRecipe, DetectorRecipe), "adapt": (AdaptRecipe,)}
    found: dict[str, list[str]] = {}
    for kind in kinds.get(command, (Recipe,)):
        for key, field in kind.model_fields.items():
            table: Any = field.annotation
            inner = list(getattr(table, "model_fields", ()))
            found |= {key: inner} | {f"{key}.{name}": [] for name in inner}
    yield from found.items()


def _squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(".", "")
