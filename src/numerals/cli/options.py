"""Options that several commands share, the panels of the help, and `TrainOptions`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from numerals.article.recipe import Recipe

RECIPES = ("article", "instant", "quick", "best")  # built in, for `numerals train`
DEVICES = ("auto", "cpu", "cuda")

# Panels of `numerals --help`
TRAIN, RUNS, READ, TOOLS = "Train", "Evaluate and export", "Read and serve", "Tools"
# Panels of `numerals COMMAND --help`
SAVING, RAY, OUTPUT, ACCESS = "Run folder", "Run on Ray", "Output", "Access"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of `numerals train`; None stands for an option that was not given."""

    recipe: str | None
    settings: Sequence[str]
    epochs: int | None
    seed: int | None
    device: str
    data: str | None
    out: Path | None
    resume: Path | None
    every_steps: int | None
    force: bool
    seeds: int | None
    address: str | None
    quiet: bool

    def load_recipe(self) -> "Recipe":
        """The recipe with the values that --set and --epochs change.

        Raises:
            RecipeError: an unknown recipe or key, or an invalid value.
        """
        from numerals.article.recipe import Recipe, parse_settings

        recipe = Recipe.load(self.recipe or RECIPES[0]).override(parse_settings(self.settings))
        return recipe if self.epochs is None else recipe.change(epochs=self.epochs)


RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE.toml",
        help=f"Train with a built-in recipe ({', '.join(RECIPES)}) or with your own file.",
        show_default=RECIPES[0],
        autocompletion=lambda: list(RECIPES),
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the recipe: optimizer.learning_rate=3e-4, model.convolutions=[16,32]. Can be repeated.",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Seed all random numbers. The same seed, machine and number of threads give the same weights, bit for "
        "bit.",
        show_default="0",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="mnist|PATH",
        show_default="mnist",
        help="Use other digits: a folder of IDX files, a .csv of Kaggle's digit-recognizer, an .npz with x_train and "
        "y_train, or a folder with one folder of 28x28 pictures per class (white ink on black).",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(DEVICES),
        help="Choose the device; auto uses a CUDA GPU if there is one.",
        autocompletion=lambda: list(DEVICES),
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Save to this new run folder instead of runs/RECIPE-1, runs/RECIPE-2, ...",
        rich_help_panel=SAVING,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Run on the Ray cluster with this head node, instead of on the cores of this machine.",
        rich_help_panel=RAY,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print only the last line.", rich_help_panel=OUTPUT)]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the metrics as JSON, and the last line on stderr.", rich_help_panel=OUTPUT),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE.onnx",
        help="Read with an exported model of your own: one that reads rows, or one that recognises single digits.",
    ),
]
