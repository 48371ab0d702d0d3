"""The commands train, train-reader, adapt and sweep. The work is in training.py and ray_jobs.py."""

from pathlib import Path
from typing import Annotated

import typer

from numerals.cli.options import (
    RAY,
    SAVING,
    AddressOption,
    DataOption,
    DeviceOption,
    JsonOption,
    OutOption,
    QuietOption,
    RecipeOption,
    SeedOption,
    SetOption,
    TrainOptions,
)

InitOption = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="RUN|shipped",
        help="Start from the weights of a run, or from those of the shipped model of single digits.",
    ),
]


def train(
    recipe: RecipeOption = None,
    settings: SetOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Maximum number of epochs (overrides the recipe)."),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    data: DataOption = None,
    out: OutOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Continue an interrupted run with its own recipe, seed and data. With a higher --epochs, also "
            "continue a finished run.",
            rich_help_panel=SAVING,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --resume: continue even if data, recipe or versions changed, or after early stopping.",
            rich_help_panel=SAVING,
        ),
    ] = False,
    every_steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Save a checkpoint every N steps too, not only after each epoch.",
            rich_help_panel=SAVING,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Train N times, with --seed and the numbers after it, on all cores at once, and print mean and "
            "standard deviation. --out gets one run folder per seed. To continue, repeat the command.",
            rich_help_panel=RAY,
        ),
    ] = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the article's network and evaluate it once on the test digits.

    Prints the article's last line: Test Accuracy: 0.99.., Test Loss: 0.0...

    The run folder gets the weights, the history, the metrics and a checkpoint.

    Ctrl-C stops the training and keeps the best model so far; a second Ctrl-C stops it at once. Either way, --resume
    continues from the last checkpoint and gives the same weights as a training without interruption.

    All other settings are in the recipe. To change some, pass --set, or write a file with only these keys and pass it
    with --recipe.
    """
    from numerals.cli import training

    options = TrainOptions(
        recipe=recipe,
        settings=settings or (),
        epochs=epochs,
        seed=seed,
        device=device,
        data=data,
        out=out,
        resume=resume,
        every_steps=every_steps,
        force=force,
        seeds=seeds,
        address=address,
        quiet=quiet,
    )
    training.train(options).print(as_json)


def train_reader(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="digits|rows|detector|FILE.toml",
            help="The network to train: digits recognises one digit per picture and rejects non-digits; rows reads a "
            "whole row, also where digits touch; detector finds the digits on a page. Or a recipe file of your own.",
            autocompletion=lambda: ["digits", "rows", "detector"],
            show_default=False,
        ),
    ] = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    data: DataOption = None,
    initial: InitOption = None,
    out: OutOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Continue an interrupted training of the detector.",
            rich_help_panel=SAVING,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train one of the networks that read pictures, on handwriting synthesised from MNIST.

    Digits and rows train on the CPU, within an hour on two cores. The detector takes hours there, and uses a GPU if
    there is one. Then numerals export writes the model.

    Ctrl-C stops the training and keeps the last weights. The detector's continues with --resume RUN.
    """
    from numerals.cli import training

    options = {"--seed": seed, "--data": data, "--init": initial, "--out": out, "--set": settings, "RECIPE": recipe}
    if resume is not None:
        result = training.resume_reader(resume, [name for name, value in options.items() if value is not None], quiet)
    else:
        result = training.train_reader(
            recipe, settings or (), seed=seed or 0, data=data, initial=initial, out=out, quiet=quiet
        )
    result.print(as_json)


def adapt(
    corrections: Annotated[
        Path, typer.Argument(metavar="CORRECTIONS", help="The file in which numerals serve saves corrected digits.")
    ],
    initial: InitOption = None,
    seed: SeedOption = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="FILE.toml", help='Train with your own recipe file (network = "adapted").'),
    ] = "adapt",
    settings: SetOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Adapt the model of single digits to one person's handwriting, from corrections made in numerals serve.

    Holds some of the corrections out, and prints the accuracy on them and on MNIST before and after.
    """
    from numerals.cli import training

    result = training.adapt(corrections, recipe, settings or (), seed=seed or 0, initial=initial, out=out, quiet=quiet)
    result.print(as_json)


def sweep(
    space: Annotated[
        Path, typer.Argument(metavar="SPACE.toml", help="What to vary and how often to try; see docs/scale.md.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Save a run folder per trial and results.csv here. To continue, repeat the command.",
            rich_help_panel=SAVING,
        ),
    ],
    device: DeviceOption = "auto",
    data: DataOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for better recipe settings with many trainings on Ray.

    Optuna chooses the settings; ASHA stops hopeless trials early. The validation loss alone decides which trial is
    best, and the last line is that trial's.

    Needs the extra scale: pip install 'numerals[scale]'.
    """
    from numerals.cli import ray_jobs

    ray_jobs.sweep(space, out, device=device, data=data, address=address, quiet=quiet).print(as_json)
