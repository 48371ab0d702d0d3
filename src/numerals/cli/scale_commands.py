"""The commands that run on Ray: parse, call, print. Each imports what it needs within."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from numerals.cli.options import AddressOption, DataOption, DeviceOption, JsonOption, QuietOption


def read_many(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with all below it, a glob in quotes, a .parquet table (or a folder or glob ending so), or "
            "one of these in a bucket: s3://bucket/scans.",
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
    from numerals.cli.progress import counted
    from numerals.read import model_files
    from numerals.scale import cluster

    cluster.check(address)
    from numerals.scale import read_many as many

    request = many.Request(source, column, part, model_files.load(model) if model else None)
    job, listed = many.prepare(request, out)
    with cluster.connected(address, workers) as cores:
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


def sweep(
    space: Annotated[Path, typer.Argument(metavar="SPACE.toml", help="What is varied, as docs/scale.md shows.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A run folder for each trial, and results.csv; goes on where it was.")
    ],
    device: DeviceOption = "auto",
    data: DataOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for better numbers of a recipe: many trainings on Ray, chosen by Optuna, hopeless ones stopped by ASHA.

    The best is chosen by validation alone, and the last line is its. Ended at any time and started again, it goes on.

    Needs the extra scale.
    """
    from numerals.cli import scaling

    scaling.search(space, out, device, data, address, quiet).print(as_json)
