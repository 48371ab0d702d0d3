"""The command line: parse, call, print; nothing else.

Results go to stdout, everything else to stderr. Exit codes: 0, 1 a failure, 2 a mistake in the call or the input,
130 interrupted.
"""

import io
import json
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import numerals
from numerals.errors import InputError, MissingError, NumeralsError
from numerals.files import storage_error

if TYPE_CHECKING:
    from numerals.learn.evaluate import Metrics

INTERRUPTED = 130  # what a shell expects of a program ended by Ctrl-C


class _Commands(TyperGroup):
    """Typer by itself ends without a word when it is interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _end(f"interrupted; {error or 'nothing was kept'}", INTERRUPTED, error)


app = typer.Typer(
    name="numerals",
    cls=_Commands,
    help="Train the classic MNIST convolutional network, step by step as the article has it, "
    "and read handwritten digits in pictures.",
    epilog="Exit codes: 0 done, 1 a failure, 2 a mistake in the call or the input, 130 interrupted. "
    "NUMERALS_TRACEBACK=1 in the environment shows where an error comes from.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SPEC",
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


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"numerals {numerals.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Option(
            metavar="article|instant|quick|reader|rows|FILE.toml",
            help="Every number of the training: the article's, two faster ones, two that read, or those of a file.",
        ),
    ] = "article",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, instead of the recipe's number; reader and rows have none."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="The same seed, machine and number of threads give the same weights, bit for bit."),
    ] = 0,
    device: DeviceOption = "auto",
    data: DataOption = "mnist",
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but the last line.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network, keep the run in a folder, and evaluate it once on the test digits.

    Ends with the article's own line: Test Accuracy: 0.99.., Test Loss: 0.0...

    In the article's recipe digits are rotated, zoomed and shifted as its code does. Its prose also says flips; its code
    has none, since a mirrored digit is another sign, and so has this.

    Ctrl-C ends it cleanly and keeps the best model so far.
    """
    from numerals.app import training
    from numerals.learn import recipe as recipes

    chosen = recipes.load(recipe)
    if isinstance(chosen, recipes.Recipe):
        if initial is not None:
            raise InputError(f"--init {initial}: recipe {chosen.name} starts from chance; reader and rows take it")
        ended = training.train_article(chosen, epochs, seed, device, data, out, quiet)
    else:
        ended = training.train_reading(chosen, epochs, seed, device, data, out, quiet, initial)
    _print_result(ended.test, ended.metrics if as_json else None)


@app.command()
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


@app.command()
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


@app.command()
def read(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE...", help="Pictures, PDFs (with the extra pdf), folders of them, or - for stdin."
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="text|json|csv", help="What is printed; json and csv have the boxes.")
    ] = "text",
    annotated: Annotated[
        Path | None,
        typer.Option(
            "--annotate", metavar="DIR", help="Keep each picture there with boxes, digits and what the network saw."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.onnx",
            help="An exported model instead of one that ships: of rows, or of one digit a picture, which then names "
            "the digits.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read handwritten digits in photographs, scans and drawings: rows from top to bottom, a line each.

    Each is printed as it is read. A picture without digits prints nothing, and stderr says so. A picture that cannot be
    read is reported, the others are read, and the exit code is 1; where it is the only one, 2. Folders within a folder
    are left alone.

    Of an animation the first picture is read, of TIFF and PDF every page. At most 100 megapixels (WebP: 40).
    """
    from numerals.app import reading
    from numerals.app.show import track
    from numerals.read.reader import Reader

    if form not in reading.FORMS:
        raise InputError(f"--format {form}: must be one of {', '.join(reading.FORMS)}")
    warnings.simplefilter("ignore")  # Pillow's, of odd files, in lines of their own; what is bad is said below
    names, failed = reading.sources(pictures), list[str]()
    pages = reading.read_all(Reader(model), track(names, len(names)), annotated)
    try:
        for part in reading.FORMS[form](reading.reported(pages, len(names), failed, _complain), len(names) > 1):
            print(part, end="", flush=True)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("what was read is printed") from error
    if failed:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Say what is installed, which device trains, whether data and model verify. Exits with 1 if something is wrong."""
    from numerals.app.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what:{width}s}  {finding.says}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _complain(message: str) -> None:
    print(f"numerals: {message}", file=sys.stderr)


def _print_result(test: "Metrics", as_json: dict[str, Any] | None) -> None:
    """The article's line on stdout; or JSON there and the line on stderr."""
    line = f"Test Accuracy: {test.accuracy:.4f}, Test Loss: {test.loss:.4f}"
    if as_json is None:
        print(line)
    else:
        print(json.dumps(as_json, indent=2))
        print(line, file=sys.stderr)


def main() -> NoReturn:
    """Run the command line: whatever happens, the user sees one line about it, not a traceback."""
    if not os.environ.get("NUMERALS_TRACEBACK"):
        threading.excepthook = lambda _: None  # what fails in TensorBoard's thread is raised again in ours
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may have what the terminal cannot show
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except NumeralsError as error:
        _end(str(error), error.exit_code, error)
    except ModuleNotFoundError as error:
        missing = MissingError(f"training needs {error.name}, which is not installed; pip install 'numerals[train]'")
        _end(str(missing), missing.exit_code, error)
    except BrokenPipeError:  # whoever read our output has gone; a second failure at Python's end is nobody's news
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # every file of ours is looked after where it is written
        failure = storage_error(error, Path(error.filename or "standard output"))
        _end(str(failure), failure.exit_code, error)
    except Exception as error:
        if isinstance(error, typer.TyperException):  # an unknown option, a value out of its range
            _end(f"{error.format_message()} (numerals --help)", error.exit_code, error)
        _end(f"a bug: {type(error).__name__}: {error}; set NUMERALS_TRACEBACK=1 to see where, and tell us", 1, error)


def _end(message: str, code: int, error: BaseException) -> NoReturn:
    if os.environ.get("NUMERALS_TRACEBACK"):
        raise error
    _complain(" ".join(message.split()))
    sys.exit(code)
