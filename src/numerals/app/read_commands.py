"""The commands of the half that reads: parse, call, print. Each imports what it needs within; none needs PyTorch."""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from numerals.errors import InputError

if TYPE_CHECKING:
    from numerals.app import reading


AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The head of a Ray cluster, from a machine of it. Left out: this machine's cores.",
        show_default=False,
    ),
]


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
    with contextlib.closing(track(names, len(names))) as tracked:
        pages = reading.read_all(Reader(model), tracked, annotated)
        parts = reading.FORMS[form](reading.reported(pages, len(names), failed, complain), len(names) > 1)
        _print_all(parts)
    if failed:
        raise typer.Exit(1)


def _print_all(parts: "reading.Parts") -> None:
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


def read_many(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with all below it, a glob in quotes, a .parquet table (or a folder or glob that ends so), "
            "or one of these in a bucket: s3://bucket/scans.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the records go, as Parquet files.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Readers at a time, a core each. Left out: all cores.", show_default=False),
    ] = None,
    address: AddressOption = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="As read takes it.", show_default=False)
    ] = None,
    column: Annotated[
        str, typer.Option(metavar="NAME", help="Of a table: the column with the bytes of the picture files.")
    ] = "picture",
    part: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="At most so many pictures to a Parquet file, and to a worker's turn."),
    ] = 500,
) -> None:
    """Read an archive of pictures on Ray: a record a picture, with picture, text, confidence, rows and error.

    Ended at any time and started again, it reads what is missing: each picture is there once. What cannot be read is a
    record with its error; files that are no pictures by their suffix are counted and left alone.

    Needs the extra scale.
    """
    from numerals.app import cluster
    from numerals.app.show import counted
    from numerals.read import weights

    with cluster.connected(address, workers) as cores:
        from numerals.app import read_many as many

        request = many.Request(source, column, part, weights.load(model) if model else None)
        job, listed = many.prepare(request, out)
        pictures = unreadable = 0
        try:
            with counted(listed.pictures, "reading") as count:
                count(job.read_before(listed))
                for done in many.read_parts(job, listed, request, workers or cores):
                    pictures, unreadable = pictures + done.pictures, unreadable + done.unreadable
                    count(done.pictures)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"what was read is in {out}; the same command goes on") from error
    print(
        f"{pictures:,} pictures read, {unreadable:,} of them not readable (column error); "
        f"{listed.pictures - pictures:,} were there before; {listed.skipped:,} files are no pictures",
        file=sys.stderr,
    )
    print(out)


def doctor() -> None:
    """Say what is installed, which device trains, whether data and model verify. Exits with 1 if something is wrong."""
    from numerals.app.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.what:{width}s}  {finding.says}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def complain(message: str) -> None:
    """One line on stderr, as every error of ours looks."""
    print(f"numerals: {message}", file=sys.stderr)
