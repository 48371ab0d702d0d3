"""The commands of the half that learns: parse, call, print. Each imports what it needs within."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from numerals.errors import InputError

if TYPE_CHECKING:
    from numerals.learn.evaluate import Metrics

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SPEC",
        show_default="mnist",
        help="mnist, or a path: a folder of IDX files (gzipped or not), a Kaggle digit-recognizer .csv, an .npz with "
        "x_train and y_train, or a folder with a folder per class of 28x28 pictures, white ink on black.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the metrics as JSON on stdout instead of the last line.")
]
DeviceOption = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="auto takes a CUDA device where there is one.")
]


def train(
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="article|instant|quick|reader|rows|FILE.toml",
            help="Every number of the training: the article's, two faster ones, two that read, or those of a file.",
            show_default="article",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, instead of the recipe's number; reader and rows have none."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The same seed, machine and number of threads give the same weights, bit for bit.",
            show_default="0",
        ),
    ] = None,
    device: DeviceOption = "auto",
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The run folder, which must not exist. Left out, it is runs/RECIPE-1, or -2, and so on.",
            show_default=False,
        ),
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option(
            "--init",
            metavar="RUN",
            help="A run whose weights to start from; recipes reader and rows only.",
            show_default=False,
        ),
    ] = None,
    resumed: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was killed or interrupted, with its recipe, seed and data; with more --epochs, "
            "also with one that has ended. Not for recipes reader and rows.",
            show_default=False,
        ),
    ] = None,
    every_steps: Annotated[
        int | None,
        typer.Option(
            "--every-steps",
            metavar="N",
            min=1,
            help="A checkpoint after so many steps too, beside that at the end of each epoch; not reader and rows.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="With --resume: although data, recipe or version differ, or it had stopped early."
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train so many times, with --seed and those after it, as many at a time as there are cores, and say "
            "mean and deviation; --out has a run folder for each, and goes on where it was interrupted. On Ray.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train one network on so many processes, each with its share of every batch. On Ray.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="For --seeds and --workers: the head of a Ray cluster, from a machine of it. Left out: this machine.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but the last line.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network, keep the run in a folder, and evaluate it once on the test digits.

    Ends with the article's own line: Test Accuracy: 0.99.., Test Loss: 0.0...

    In the article's recipe digits are rotated, zoomed and shifted as its code does. Its prose also says flips; its code
    has none, since a mirrored digit is another sign, and so has this.

    Ctrl-C ends it cleanly and keeps the best model so far; a second one ends it at once. However it ended, --resume
    goes on from the last checkpoint, and ends with the weights of a training that was never interrupted.
    """
    from numerals.app import training
    from numerals.learn import recipe as recipes

    if seeds is not None or workers is not None:
        odd = {"--init": initial, "--anyway": anyway}
        _train_on_ray(
            recipe, epochs, seed, device, data, out, resumed, every_steps, seeds, workers, address, quiet, as_json, odd
        )
        return
    if address is not None:
        raise InputError(f"--address {address}: is for --seeds and --workers")
    chosen = recipes.load(recipe or "article") if resumed is None else None
    if resumed is not None:
        if out is not None or initial is not None:
            raise InputError(f"--resume {resumed}: goes on in its own folder with its own weights; no --out, no --init")
        ended = training.resume_article(resumed, recipe, epochs, seed, device, data, quiet, every_steps, anyway)
    elif anyway:
        raise InputError("--anyway: is for --resume; give the run to go on with")
    elif isinstance(chosen, recipes.Recipe):
        if initial is not None:
            raise InputError(f"--init {initial}: recipe {chosen.name} starts from chance; reader and rows take it")
        ended = training.train_article(chosen, epochs, seed or 0, device, data, out, quiet, every_steps)
    elif chosen is not None:
        if every_steps is not None:
            raise InputError(f"--every-steps {every_steps}: recipe {chosen.name} keeps no checkpoints")
        ended = training.train_reading(chosen, epochs, seed or 0, device, data, out, quiet, initial)
    _print_result(ended.test, ended.metrics if as_json else None)


def _train_on_ray(
    recipe: str | None,
    epochs: int | None,
    seed: int | None,
    device: str,
    data: str | None,
    out: Path | None,
    resumed: Path | None,
    every_steps: int | None,
    seeds: int | None,
    workers: int | None,
    address: str | None,
    quiet: bool,
    as_json: bool,
    odd: dict[str, Any],
) -> None:
    """`train` with --seeds or --workers."""
    from numerals.app import scaling
    from numerals.learn import recipe as recipes

    chosen = None
    if resumed is None:
        found = recipes.load(recipe or "article")
        if not isinstance(found, recipes.Recipe):
            raise InputError(f"recipe {found.name}: is trained once, by one process; no --seeds, no --workers")
        chosen = found if epochs is None else found.change(epochs=epochs)
    if chosen is not None and seeds is not None:
        scaling.check_alone(odd | {"--workers": workers, "--every-steps": every_steps}, "--seeds")
        result = scaling.train_seeds(chosen, seeds, seed or 0, device, data, out, address, quiet)
        test = result["test"]
        line = f"Test Accuracy: {test['accuracy']:.4f} ± {test['accuracy_deviation']:.4f}"
        _print_trials(result, f"{line}, Test Loss: {test['loss']:.4f} ± {test['loss_deviation']:.4f}", as_json)
        return
    scaling.check_alone(odd | {"--seeds": seeds, "--out with --resume": resumed and out}, "--workers")
    options = {"device": device, "data": data, "every_steps": every_steps}
    options |= {"seed": seed or 0} if resumed is None else {"epochs": epochs, "recipe": recipe, "seed": seed}
    ended = scaling.train_workers(workers or 1, chosen, resumed or out, options, address, quiet)
    _print_result(ended.test, ended.metrics if as_json else None)


def sweep(
    space: Annotated[Path, typer.Argument(metavar="SPACE.toml", help="What is varied, as docs/scale.md shows.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A run folder for each trial, and results.csv; goes on where it was.")
    ],
    device: DeviceOption = "auto",
    data: DataOption = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The head of a Ray cluster, from a machine of it.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but the last line.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search for better numbers of a recipe: many trainings on Ray, chosen by Optuna, hopeless ones stopped by ASHA.

    The best is chosen by validation alone, and the last line is its. Ended at any time and started again, it goes on.

    Needs the extra scale.
    """
    from numerals.app import scaling

    result = scaling.search(space, out, device, data, address, quiet)
    best = f"Test Accuracy: {result['best']['test_accuracy']:.4f}, Test Loss: {result['best']['test_loss']:.4f}"
    _print_trials(result, best, as_json)


def _print_trials(result: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2))
        print(line, file=sys.stderr)
    else:
        print(line)


def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="A run folder, as train keeps it, or an exported model.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SPEC", help="As train takes it. Left out: what the run was trained on."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a kept run on the test digits of what it was trained on; with --data, of other data.

    An exported model is evaluated on MNIST's test digits where --data names no other. The models that read rows are
    evaluated on rows written with the test digits: the share that is read without a mistake at one look, which is less
    than numerals read does with them.
    """
    from numerals.learn.scoring import score_kept

    metrics = score_kept(run, data, device)
    _print_result(metrics, metrics.to_dict() if as_json else None)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train keeps it.")],
    form: Annotated[str, typer.Option("--format", metavar="onnx", help="The kind of file.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="Left out, it is model.onnx in the run folder.", show_default=False),
    ] = None,
) -> None:
    """Write a run's network as an ONNX file, preprocessing and calibration inside, and its card (.json) beside it.

    PyTorch and ONNX must agree in every test digit, or in strips of rows, else it fails. Read with it: numerals read
    --model FILE.onnx.
    """
    from numerals.learn.export import export as run_export

    if form != "onnx":
        raise InputError(f"--format {form}: must be onnx")
    path, card = run_export(run, out)
    figures = ", ".join(f"{name} {share:.4f}" for name, share in card["accuracy"].items())
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB, and its card {path.with_suffix('.json').name}", file=sys.stderr)
    print(f"accuracy: {figures}; agrees with PyTorch", file=sys.stderr)
    print(path)


def _print_result(test: "Metrics", as_json: dict[str, Any] | None) -> None:
    """The article's line on stdout; or JSON there and the line on stderr."""
    line = f"Test Accuracy: {test.accuracy:.4f}, Test Loss: {test.loss:.4f}"
    if as_json is None:
        print(line)
    else:
        print(json.dumps(as_json, indent=2))
        print(line, file=sys.stderr)
