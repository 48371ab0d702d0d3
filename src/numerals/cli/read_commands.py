"""The commands of the half that reads: parse, call, print. Each imports what it needs within; none needs PyTorch."""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from numerals.errors import InputError, MissingError

if TYPE_CHECKING:
    from numerals.cli import read_files


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
    from numerals.cli import read_files
    from numerals.cli.progress import track
    from numerals.read.reader import Reader

    if form not in read_files.FORMS:
        raise InputError(f"--format {form}: must be one of {', '.join(read_files.FORMS)}")
    warnings.simplefilter("ignore")  # Pillow's, of odd files, in lines of their own; what is bad is said below
    names, failed = read_files.sources(pictures), list[str]()
    with contextlib.closing(track(names, len(names))) as tracked:
        pages = read_files.read_all(Reader(model), tracked, annotated)
        parts = read_files.FORMS[form](read_files.reported(pages, len(names), failed, complain), len(names) > 1)
        _print_all(parts)
    if failed:
        raise typer.Exit(1)


def _print_all(parts: "read_files.Parts") -> None:
    """Each part as it comes; where Ctrl-C falls, the parts may end what they began.

    Raises:
        KeyboardInterrupt: it says that what was read is printed.
    """
    try:
        for part in parts:
            print(part, end="", flush=True)
    except KeyboardInterrupt as error:
        with contextlib.suppress(KeyboardInterrupt, StopIteration):
            print(parts.throw(error), end="", flush=True)
        raise KeyboardInterrupt("what was read is printed") from error


def serve(
    host: Annotated[
        str, typer.Option(help="The address to answer at; others than this machine's own need a --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer, each with its own models.")] = 1,
    queue: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests that may wait in a process; more get 503 at once.")
    ] = 256,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="NUMERALS_TOKEN",
            help="What requests must have as Authorization: Bearer TOKEN; the page asks for it once.",
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines in without a token.")] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="A further name under which it is reached, as behind a proxy; may be repeated."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="An exported model, as read takes it.", show_default=False)
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where corrections are kept; left out, in your data folder.", show_default=False
        ),
    ] = None,
) -> None:
    """Answer at http://127.0.0.1:8000: a page to draw on, and an HTTP interface (/docs).

    Only this machine is answered, unless --host names an address that others reach. Ctrl-C or SIGTERM ends it: what was
    accepted is answered first. Needs the extra serve.
    """
    try:
        from numerals.server.run import serve as answer
        from numerals.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        hint = "pip install 'numerals[serve]'"
        raise MissingError(f"serving needs {error.name}, which is not installed; {hint}") from error

    warnings.simplefilter("ignore")
    settings = ServerSettings(
        host=host,
        port=port,
        workers=workers,
        queue_size=queue,
        token=token,
        insecure=insecure,
        host_names=tuple(name or ()),
        model=model,
        corrections=corrections,
    )
    answer(settings, lambda line: print(f"numerals: {line}", file=sys.stderr, flush=True))


def doctor() -> None:
    """Say what is installed, which device trains, whether data and model verify. Exits with 1 if something is wrong."""
    from numerals.cli.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what:{width}s}  {finding.says}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def complain(message: str) -> None:
    """One line on stderr, as every error of ours looks."""
    print(f"numerals: {message}", file=sys.stderr)
