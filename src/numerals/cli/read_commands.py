"""The commands read, read-many and serve, none of which needs PyTorch.

The work of read is in read_files.py, that of read-many in ray_jobs.py, and that of serve in the package `server`.
"""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from numerals.cli.options import ACCESS, RAY, AddressOption, ModelOption
from numerals.errors import InputError, MissingError


def read(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE...",
            help="Pictures, PDFs (with the extra pdf), folders of them (not of their subfolders), or - for stdin.",
        ),
    ],
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="text|json|csv",
            help="Choose what to print; json and csv include boxes and confidences.",
            autocompletion=lambda: ["text", "json", "csv"],
        ),
    ] = "text",
    annotated: Annotated[
        Path | None,
        typer.Option(
            "--annotate",
            metavar="DIR",
            help="Save each picture to this folder, with boxes, digits and the input of the network drawn on it.",
        ),
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Mark rows whose confidence, from 0 to 1, is lower: with a ? in text, as review in json and csv.",
        ),
    ] = 0.5,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a row is marked.")] = False,
    model: ModelOption = None,
) -> None:
    """Read handwritten digits in photographs, scans and drawings.

    Prints one line per row of digits, top to bottom, as soon as each picture is read. Reads the first picture of an
    animation and every page of a TIFF or PDF, up to 100 megapixels (WebP: 40).

    Reports a picture without digits on stderr. Reports a picture that cannot be read, reads the others, and exits with
    1 (with 2 if it was the only one).
    """
    from numerals.read.sandbox import Sandbox

    with contextlib.closing(Sandbox()) as sandbox:  # its process starts while this one imports and opens the models
        from numerals.cli import read_files
        from numerals.cli.terminal import print_error
        from numerals.read.reader import Reader

        if output_format not in read_files.FORMATS:
            raise InputError(f"--format {output_format}: must be one of {', '.join(read_files.FORMATS)}")
        if not 0 <= min_confidence <= 1:
            raise InputError(f"--min-confidence {min_confidence}: must be from 0 to 1")
        names, problems = read_files.list_sources(pictures), read_files.Problems()
        with contextlib.closing(read_files.with_progress(names)) as tracked:
            readings = read_files.read_all(Reader(model), sandbox, tracked, annotated, min_confidence)
            reported = read_files.report_problems(readings, len(names), problems, print_error)
            read_files.print_all(
                read_files.FORMATS[output_format](reported, len(names) > 1), "what was read is printed"
            )
    marked = problems.rows_to_review if strict else 0
    if marked:
        print_error(f"{marked} of {problems.rows} rows are below --min-confidence {min_confidence}; check those marked")
    if marked or problems.errors:
        raise typer.Exit(1)


def read_many(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with its subfolders, a glob in quotes, a .parquet table (or a folder or glob that ends in "
            ".parquet), or any of these in a bucket: s3://bucket/scans.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Write the records to this folder, as Parquet files. To continue, repeat the command."
        ),
    ],
    model: ModelOption = None,
    column: Annotated[
        str, typer.Option(metavar="NAME", help="For tables: read the picture files in this column.")
    ] = "picture",
    part: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Maximum number of pictures per Parquet file; a worker reads one such part at a time.",
        ),
    ] = 500,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of readers that work in parallel, one core each.",
            show_default="all cores",
            rich_help_panel=RAY,
        ),
    ] = None,
    address: AddressOption = None,
) -> None:
    """Read an archive of pictures on Ray and save one record per picture.

    A record has picture, text, confidence, rows and error. A picture that cannot be read gets a record with its error;
    files whose suffix is not that of a picture are counted and skipped.

    After an interruption, the same command reads what is missing; no picture is recorded twice.

    Needs the extra scale: pip install 'numerals[scale]'.
    """
    from numerals.cli import ray_jobs

    ray_jobs.read_many(source, out, model=model, column=column, part=part, workers=workers, address=address)


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Listen on this address. An address that other machines can reach needs --token.",
            rich_help_panel=ACCESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=65535, help="Listen on this port; 0 picks a free one.", rich_help_panel=ACCESS
        ),
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="NUMERALS_TOKEN",
            help="Require this token: requests send Authorization: Bearer TOKEN, and the page asks for it once.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept other machines without a token.", rich_help_panel=ACCESS)
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Accept this host name too, for example behind a proxy. Can be repeated.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Trust X-Forwarded-For of the proxy with this address or network, so that limits hold for each of its "
            "clients. Can be repeated.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Number of processes that answer, each with its own models.")
    ] = 1,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Maximum number of requests that wait in one process; further requests get status 503. One client "
            "gets at most three quarters, so that something is free for others.",
        ),
    ] = 256,
    connections: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Maximum number of connections to one process; fewer where the system lets it open few files. One "
            "client gets at most three quarters.",
        ),
    ] = 1000,
    access_log: Annotated[
        str,
        typer.Option(
            metavar="text|json|off",
            help="Write a line on stderr for each request: time, client, method, path, status, seconds.",
            autocompletion=lambda: ["text", "json", "off"],
        ),
    ] = "text",
    model: ModelOption = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save corrected digits to this file.",
            show_default="in your data folder",
        ),
    ] = None,
    corrections_size: Annotated[
        int,
        typer.Option(
            metavar="MB",
            min=1,
            max=1_000_000,
            help="Maximum size of that file; when it is full, corrections get status 507.",
        ),
    ] = 1000,
) -> None:
    """Serve a web page to draw on and an HTTP API (documented at /docs), at http://127.0.0.1:8000.

    Answers only this machine unless --host names an address that others can reach. Ctrl-C, SIGTERM or SIGHUP stops the
    server after it has answered the requests it accepted; a second Ctrl-C or SIGTERM stops it at once.

    Needs the extra serve: pip install 'numerals[serve]'.
    """
    try:
        from numerals.server.run import serve as run_server
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
        max_connections=connections,
        proxies=tuple(proxy or ()),
        access_log=access_log,
        token=token,
        insecure=insecure,
        host_names=tuple(name or ()),
        model=model,
        corrections=corrections,
        corrections_megabytes=corrections_size,
    )
    run_server(settings, lambda line: print(f"numerals: {line}", file=sys.stderr, flush=True))
