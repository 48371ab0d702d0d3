"""The command line: its commands, and one line to the user whatever happens.

Results go to stdout, everything else to stderr. Exit codes: 0, 1 a failure, 2 a mistake in the call or the input,
130 interrupted.
"""

import io
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import numerals
from numerals.cli import read_commands as read
from numerals.cli import scale_commands as scale
from numerals.cli import train_commands as learn
from numerals.cli.read_commands import complain
from numerals.errors import MissingError, NumeralsError
from numerals.files import storage_error

INTERRUPTED = 130  # what a shell expects of a program ended by Ctrl-C


class _Commands(TyperGroup):
    """Typer by itself ends without a word when it is interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _end(f"interrupted; {str(error) or 'nothing was kept'}", INTERRUPTED, error)


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


for command in (
    learn.train,
    scale.sweep,
    learn.evaluate,
    learn.report,
    learn.export,
    read.read,
    read.serve,
    scale.read_many,
    learn.benchmark,
    read.doctor,
):
    app.command()(command)


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
    complain(" ".join(message.split()))
    sys.exit(code)
