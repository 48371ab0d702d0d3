"""The commands of the half that learns: parse, call, print. Each imports what it needs within."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from numerals.cli.options import AddressOption, DataOption, DeviceOption, JsonOption, QuietOption
from numerals.errors import InputError
from numerals.files import readable_json

if TYPE_CHECKING:
    from numerals.article.metrics import Metrics


def train(
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="article|instant|quick|best|digits|rows|adapt|FILE.toml",
            help="Every number: the article's, two faster ones, a better one, two that read, one that adapts to "
            "corrections, or those of a file. Left out, it is article, or adapt for corrections.",
            show_default=False,
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
            metavar="RUN|shipped",
            help="A run whose weights to start from, or the model of single digits that ships; recipes reader, rows "
            "and adapt only.",
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
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network, keep the run in a folder, and evaluate it once on the test digits.

    Ends with the article's own line: Test Accuracy: 0.99.., Test Loss: 0.0...

    In the article's recipe digits are rotated, zoomed and shifted as its code does. Its prose also says flips; its code
    has none, since a mirrored digit is another sign, and so has this.

    Ctrl-C ends it cleanly and keeps the best model so far; a second one ends it at once. However it ended, --resume
    goes on from the last checkpoint, and ends with the weights of a training that was never interrupted.
    """
    from numerals.cli import training
    from numerals.readers import recipes

    if seeds is not None:
        from numerals.cli.scaling import Asked, train_seeds

        asked = Asked(recipe, epochs, seed, device, data, out, resumed, every_steps, anyway)
        train_seeds(asked, seeds, address, quiet).print(as_json)
        return
    if address is not None:
        raise InputError(f"--address {address}: is for --seeds")
    corrected = data is not None and data.startswith(training.CORRECTIONS)
    chosen = recipes.load(recipe or ("adapt" if corrected else "article")) if resumed is None else None
    if resumed is not None:
        if out is not None or initial is not None:
            raise InputError(f"--resume {resumed}: goes on in its own folder with its own weights; no --out, no --init")
        ended = training.resume_article(resumed, recipe, epochs, seed, device, data, quiet, every_steps, anyway)
    elif anyway:
        raise InputError("--anyway: is for --resume; give the run to go on with")
    elif isinstance(chosen, recipes.AdaptRecipe):
        if epochs is not None or every_steps is not None or device not in ("auto", "cpu"):
            raise InputError(f"recipe {chosen.name} has no epochs and no checkpoints, and trains on the CPU")
        ended = training.train_adapted(chosen, seed or 0, data or "mnist", out, quiet, initial)
    elif corrected:
        raise InputError(f"--data {data}: recipe adapt learns from corrections; {recipe} does not")
    elif isinstance(chosen, recipes.Recipe):
        if initial is not None:
            raise InputError(f"--init {initial}: recipe {chosen.name} starts from chance; reader and rows take it")
        ended = training.train_article(chosen, epochs, seed or 0, device, data, out, quiet, every_steps)
    elif chosen is not None:
        if every_steps is not None:
            raise InputError(f"--every-steps {every_steps}: recipe {chosen.name} keeps no checkpoints")
        ended = training.train_reading(chosen, epochs, seed or 0, device, data, out, quiet, initial)
    _print_result(ended.test, ended.metrics if as_json else None)


def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="A run folder, as train keeps it, or an exported model.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SPEC", help="As train takes it. Left out: what the run was trained on."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also on digits spoilt in ten ways, five severities each; reckoned once and kept in the run.",
        ),
    ] = False,
    all_digits: Annotated[
        bool,
        typer.Option("--all", help="--robustness on all test digits, not on 1,000 of them; takes ten times as long."),
    ] = False,
    device: DeviceOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON on stdout, the last line on stderr.")
    ] = False,
) -> None:
    """Evaluate a kept run on the test digits of what it was trained on; with --data, of other data.

    On stderr: the accuracy with its 95 % interval, with and without the digits of MNIST whose label is disputed,
    precision, recall and F1 by digit, the worst confusions, calibration, and the accuracy of the surest answers.

    An exported model is evaluated on MNIST's test digits where --data names no other. The models that read rows are
    evaluated on rows written with the test digits: the share that is read without a mistake at one look, which is less
    than numerals read does with them.
    """
    from numerals.cli import tables
    from numerals.readers.evaluate import load_model

    if all_digits and not robustness:
        raise InputError("--all: goes with --robustness")
    model = load_model(run, data, device)
    if robustness and model.predict is None:
        raise InputError(f"--robustness: {run} reads rows; it is for models that name one digit a picture")
    metrics = model.evaluate()
    found = metrics.to_dict()
    if not as_json:
        tables.show_metrics(metrics)
    if robustness and model.predict is not None:
        from numerals.report.robustness import DEFAULT_COUNT, cached_robustness

        count = None if all_digits else DEFAULT_COUNT
        tried = cached_robustness(model.predict, model.test_digits, count, model.weights_sha256, model.folder)
        found["robustness"] = tried.to_dict()
        if not as_json:
            tables.show_robustness(tried)
    _print_result(metrics, found if as_json else None)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="One run folder, or several to set side by side.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Left out, it is report.html in the run folder; of several runs, comparison.html in the first one's.",
            show_default=False,
        ),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Reckon the robustness where the run has none yet; half a minute.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write one HTML file that shows what a run learned; of several runs, what sets them apart.

    One run: the recipe in words, the digits, the network, the curves, the score, every mistake, disputed labels,
    robustness where it is kept, what the network looks at, time and memory. Several: their recipes' differences,
    curves, and McNemar's test on their mistakes. The file needs no network and nothing beside it.
    """
    from numerals.report.build import report as write_report

    path = write_report(runs, out, robustness)
    print(f"{path.stat().st_size / 1e6:.2f} MB, to be opened in any browser", file=sys.stderr)
    print(path)
    if open_it and typer.launch(str(path)) != 0:
        print("no browser could be started", file=sys.stderr)


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
    from numerals.export.export import export as run_export

    if form != "onnx":
        raise InputError(f"--format {form}: must be onnx")
    path, card = run_export(run, out)
    figures = ", ".join(f"{name} {share:.4f}" for name, share in card.model.accuracy.items())
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB, and its card {path.with_suffix('.json').name}", file=sys.stderr)
    print(f"accuracy: {figures}; agrees with PyTorch", file=sys.stderr)
    print(path)


def benchmark(
    recipe: Annotated[
        str, typer.Option(metavar="article|instant|quick|best|FILE.toml", help="Which recipe is trained.")
    ] = "instant",
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings, with seeds 0, 1, ...")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure this machine: a recipe's whole trainings with one thread and with two, and the speed of recognising.

    Each training is a new process, from a cold start to a saved and evaluated model; they run in turn, and nothing is
    kept. Other work on the machine spoils the figures. Beside other programs: make bench, in the source.
    """
    from numerals.cli import benchmark as measure
    from numerals.cli.progress import say
    from numerals.readers import recipes

    if not isinstance(chosen := recipes.load(recipe), recipes.Recipe):
        raise InputError(
            f"--recipe {recipe}: {chosen.name} takes most of an hour; article, quick and instant are measured"
        )
    trained = measure.trainings(recipe, seeds, say(quiet=False))
    recognised = measure.recognising()
    if as_json:
        print(readable_json({"trainings": trained, "recognising": recognised}), end="")
    else:
        print("\n".join(measure.lines(trained, recognised)))


def _print_result(test: "Metrics", as_json: dict[str, Any] | None) -> None:
    """The article's line on stdout; or JSON there and the line on stderr."""
    from numerals.cli.progress import last_line

    last_line(f"Test Accuracy: {test.accuracy:.4f}, Test Loss: {test.loss:.4f}", as_json)
