"""The commands evaluate, predict, report and export, which take a run folder."""

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from numerals.cli.options import OUTPUT, DeviceOption, JsonOption
from numerals.errors import InputError


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL.onnx", help="A run folder, as numerals train saves it, or an exported model."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="mnist|PATH",
            help="Evaluate on the test digits of other data (see numerals train) instead of the data that the run "
            "was trained on.",
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also evaluate under ten kinds of corruption at five severities, and save the result in the run.",
        ),
    ] = False,
    all_digits: Annotated[
        bool,
        typer.Option(
            "--all", help="With --robustness: use all test digits, not 1,000 of them; takes ten times as long."
        ),
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run or an exported model on test digits.

    Prints on stderr: the accuracy with its 95 % interval, with and without the digits of MNIST whose label is
    disputed; precision, recall and F1 per digit; the most frequent confusions; the calibration error; and the accuracy
    of the most confident answers.

    An exported model is evaluated on MNIST unless you pass --data.
    A model that reads rows is evaluated on rows composed of test digits: the share read without a mistake in one pass,
    which is lower than what numerals read achieves.
    """
    from numerals.cli import tables
    from numerals.cli.terminal import Result, score_line
    from numerals.readers.evaluate import load_model

    if all_digits and not robustness:
        raise InputError("--all needs --robustness")
    model = load_model(run, data, device)
    if robustness and model.predict is None:
        raise InputError(f"--robustness: {run} reads rows; pass a model that recognises single digits")
    metrics = model.evaluate()
    details = metrics.to_dict()
    if not as_json:
        tables.print_metrics(metrics)
    if robustness and model.predict is not None:
        from numerals.report.robustness import DEFAULT_COUNT, cached_robustness

        count = None if all_digits else DEFAULT_COUNT
        measured = cached_robustness(model.predict, model.test_digits, count, model.weights_sha256, model.folder)
        details["robustness"] = asdict(measured)
        if not as_json:
            tables.print_robustness(measured)
    Result(score_line(metrics.accuracy, metrics.loss), details).print(as_json)


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="A run folder, or an exported model.")],
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE...", help="Pictures of one digit each, folders of them, or - for stdin."),
    ],
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print a list of objects with digit, confidence, probabilities and error.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Name the digit in each picture, and show how probable the model finds each of the ten.

    A picture may have any size, colour and polarity; it is brought into MNIST's form first. For pictures of several
    digits, use numerals read.

    An exported model needs no PyTorch. Reports a picture that cannot be used, names the others, and exits with 1 (with
    2 if it was the only one).
    """
    from numerals.read.sandbox import Sandbox

    with contextlib.closing(Sandbox()) as sandbox:  # its process starts while this one loads the model
        from numerals.cli import predict, read_files
        from numerals.cli.terminal import print_error

        names, errors = read_files.list_sources(pictures), list[str]()
        with contextlib.closing(read_files.with_progress(names)) as tracked:
            predictions = predict.predict_all(predict.load(model), sandbox, tracked)
            reported = predict.report_errors(predictions, len(names), errors, print_error)
            chunks = read_files.as_json(reported) if as_json else predict.as_text(reported)
            read_files.print_all(chunks, "what was predicted is printed")
    if errors:
        raise typer.Exit(1)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run folder, or several to compare.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write to this file instead of report.html in the run folder (several runs: comparison.html in the "
            "first one).",
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Measure the robustness of runs that lack it; takes about half a minute for each."
        ),
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """Write one HTML file that shows what a run learned, or how several runs differ.

    One run: the recipe in words, the digits, the network, the learning curves, the metrics, every mistake, disputed
    labels, robustness if measured, what the network looks at, time and memory.
    Several runs: the differences between their recipes, their curves, and McNemar's test on their mistakes.
    The file works without a network connection.
    """
    from numerals.report.build import report as write_report

    path = write_report(runs, out, robustness)
    print(f"{path.stat().st_size / 1e6:.2f} MB; open it in any browser", file=sys.stderr)
    print(path)
    if open_it and typer.launch(str(path)) != 0:
        print("no browser could be started", file=sys.stderr)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder (see numerals train).")],
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="onnx|keras",
            help="Choose the file format: keras writes model.keras, for Keras's load_model.",
            autocompletion=lambda: ["onnx", "keras"],
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file instead of model.onnx or model.keras in the run folder."),
    ] = None,
) -> None:
    """Export a run's network as an ONNX file with preprocessing, calibration and its card inside.

    The card says what the model is, how it was trained and measured, and how to use it; it is saved next to the file
    (.json) too. The ONNX file alone is enough.

    Compares PyTorch and ONNX on every test digit (or on strips of rows) and fails if an answer differs.
    To read with the file: numerals read --model FILE.onnx.

    --format keras writes the article's network as a model of Keras's, with its layers and compile settings, and fails
    if a probability differs from PyTorch's. It needs the extra keras.
    """
    if file_format == "keras":
        from numerals.export.keras_model import export_keras

        path = export_keras(run, out)
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB; agrees with PyTorch", file=sys.stderr)
        print(path)
        return
    if file_format != "onnx":
        raise InputError(f"--format {file_format}: must be onnx or keras")
    from numerals.export.export import export as run_export

    path, card = run_export(run, out)
    figures = ", ".join(f"{name} {share:.4f}" for name, share in card.model.accuracy.items())
    size, beside = path.stat().st_size, path.with_suffix(".json").name
    print(f"{path}  {size / 1e6:.2f} MB, with its card, which is also in {beside}", file=sys.stderr)
    print(f"accuracy: {figures}; agrees with PyTorch", file=sys.stderr)
    print(path)
