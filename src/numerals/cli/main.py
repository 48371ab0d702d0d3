"""The command line `numerals`: the list of commands, and one line on stderr for every failure.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failure, 2 mistake in the call or the input,
130 interrupted.

Each group of commands has a module: train_commands, run_commands, read_commands and tool_commands.
"""

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

import numerals
from numerals.cli import hints, read_commands, run_commands, tool_commands, train_commands
from numerals.cli.options import READ, RUNS, TOOLS, TRAIN
from numerals.cli.terminal import print_error
from numerals.errors import MissingError, NumeralsError
from numerals.files import storage_error

INTERRUPTED = 130  # the exit code that shells expect after Ctrl-C


class _FlagsWithoutType:
    """Shows flags without a type in the help, where Typer alone writes <bool>."""

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)  # type: ignore[misc]  # of the Typer class that this one is mixed into
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class _Command(_FlagsWithoutType, TyperCommand):
    """One of the commands."""


class _Commands(_FlagsWithoutType, TyperGroup):
    """Prints what was saved when a command is interrupted; Typer alone prints nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _exit(f"interrupted; {str(error) or 'nothing was saved'}", INTERRUPTED, error)


app = typer.Typer(
    name="numerals",
    cls=_Commands,
    help="Train the classic MNIST convolutional network step by step, and read handwritten digits in pictures.",
    epilog="Exit codes: 0 done, 1 failure, 2 mistake in the call or the input, 130 interrupted.\n\n"
    "Set NUMERALS_TRACEBACK=1 to see where an error comes from.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"numerals {numerals.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def _unwrap(docstring: str) -> str:
    """The docstring as help: one line per paragraph, which the terminal wraps, and brackets that are no markup."""
    return escape("\n\n".join(" ".join(paragraph.split()) for paragraph in docstring.split("\n\n")))


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    TRAIN: (train_commands.train, train_commands.train_reader, train_commands.adapt, train_commands.sweep),
    RUNS: (run_commands.evaluate, run_commands.predict, run_commands.report, run_commands.export),
    READ: (read_commands.read, read_commands.read_many, read_commands.serve),
    TOOLS: (tool_commands.benchmark, tool_commands.doctor),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(cls=_Command, help=_unwrap(command.__doc__ or ""), rich_help_panel=panel)(command)


def main() -> NoReturn:
    """Run the command line; end every failure with one line on stderr instead of a traceback."""
    _open_closed_streams()
    if not os.environ.get("NUMERALS_TRACEBACK"):
        threading.excepthook = lambda _: None  # the main thread raises what fails in TensorBoard's thread again
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may not have the characters of a file's name
    try:
        try:
            code = app(standalone_mode=False, prog_name="numerals") or 0
        finally:
            sys.stdout.flush()  # here, because a failure when Python ends is a traceback
        sys.exit(code)
    except NumeralsError as error:
        _exit(str(error), error.exit_code, error)
    except ModuleNotFoundError as error:
        missing = MissingError(f"training needs {error.name}, which is not installed; pip install 'numerals[train]'")
        _exit(str(missing), missing.exit_code, error)
    except BrokenPipeError:  # nobody reads our output any more
        _discard_output()
        sys.exit(1)
    except OSError as error:  # errors of our own files are handled where they are written; this is stdout
        _discard_output()
        failure = storage_error(error, Path(error.filename or "standard output"))
        _exit(str(failure), failure.exit_code, error)
    except Exception as error:
        if hasattr(error, "format_message"):  # a mistake in the call; versions of Typer differ in the name of the class
            _exit(_explain(error), getattr(error, "exit_code", 2), error)
        bug = f"bug: {type(error).__name__}: {error}; set NUMERALS_TRACEBACK=1 to see where, and please report it"
        _exit(bug, 1, error)


def _discard_output() -> None:
    """Keep Python from failing again when it flushes what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_opened: list[IO[str]] = []  # so that they stay open


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that the caller has closed, as with `2>&-`.

    Python would print errors on stdout instead, and the next file to be opened would get the stream's number and with
    it what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115 (for the rest of the process)
            os.set_inheritable(stream.fileno(), True)
            _opened.append(stream)
            if name != "stdin":  # which `read -` refuses if it was closed
                setattr(sys, name, stream)


def _explain(error: Any) -> str:
    """One line about a mistake in the call, with a hint if an option is unknown."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ != "NoSuchOption" or context is None or context.parent is None:
        return f"{error.format_message()} (see {context.command_path if context else 'numerals'} --help)"
    known = {name: _options(command) for name, command in context.parent.command.commands.items()}
    options = known.pop(context.info_name)
    return hints.unknown_option(error.option_name, context.info_name, options, known)


def _options(command: Any) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts if name.startswith("--")]


def _exit(message: str, code: int, error: BaseException) -> NoReturn:
    if os.environ.get("NUMERALS_TRACEBACK"):
        raise error
    print_error(" ".join(message.split()))
    sys.exit(code)
