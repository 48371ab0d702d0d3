"""The options that several commands have. Knows nothing about what they do."""

from typing import Annotated

import typer

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SPEC",
        show_default="mnist",
        help="mnist, or a path: a folder of IDX files (gzipped or not), a Kaggle digit-recognizer .csv, an .npz with "
        "x_train and y_train, or a folder with a folder per class of 28x28 pictures, white ink on black; "
        "or corrections:FILE, what numerals serve keeps.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the metrics as JSON on stdout instead of the last line.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Nothing but the last line.")]
DeviceOption = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="auto takes a CUDA device where there is one.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The head of a Ray cluster, from a machine of it. Left out: this machine's cores.",
        show_default=False,
    ),
]
