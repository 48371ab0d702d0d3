"""Options that a command does not have: the error names the recipe key, the option or the command that was meant."""

from pathlib import Path

import pytest

from tests.helpers.commands import assert_one_line, call


@pytest.mark.parametrize(
    ("option", "keys"),
    [
        ("--lr", "--set optimizer.learning_rate=VALUE"),
        ("--learning-rate", "--set optimizer.learning_rate=VALUE"),
        ("--learning_rate", "--set optimizer.learning_rate=VALUE"),
        ("--optimizer.learning_rate", "--set optimizer.learning_rate=VALUE"),
        ("--learnin-rate", "--set optimizer.learning_rate=VALUE"),
        ("--lr=0.1", "--set optimizer.learning_rate=VALUE"),
        ("--batch-size", "--set batch_size=VALUE"),
        ("--batch_size", "--set batch_size=VALUE"),
        ("--batchsize", "--set batch_size=VALUE"),
        ("--bs", "--set batch_size=VALUE"),
        ("--dropout", "--set model.dropout=VALUE"),
        ("--weight-decay", "--set optimizer.weight_decay=VALUE"),
        ("--patience", "--set early_stopping.patience=VALUE or --set plateau.patience=VALUE"),
        ("--validation-split", "--set split.validation=VALUE"),
        ("--filters", "--set model.convolutions=VALUE"),
        ("--rotation", "--set augment.rotation=VALUE"),
        ("--label-smoothing", "--set label_smoothing=VALUE"),
        ("--no-batch-norm", "--set model.batch_norm=VALUE"),
        (
            "--augment",
            "--set augment.KEY=VALUE (KEY: rotation, zoom, width_shift, height_shift, flip_horizontal, flip_vertical)",
        ),
        ("--optimizer", "--set optimizer.KEY=VALUE (KEY: learning_rate, beta_1, beta_2, epsilon, weight_decay)"),
        ("--early-stopping", "--set early_stopping.KEY=VALUE (KEY: patience)"),
    ],
)
def test_train_names_the_recipe_key(option: str, keys: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "train", option, "0.01")
    assert (code, stdout) == (2, "")
    name = option.partition("=")[0]
    assert stderr == f"numerals: train has no option {name}; use {keys}\n"


@pytest.mark.parametrize(
    ("command", "option", "hint"),
    [
        ("train-reader", "--lr", "use --set learning_rate=VALUE"),
        ("train-reader", "--epochs", "use --set steps=VALUE or --set rounds=VALUE"),
        ("adapt", "--lr", "use --set learning_rate=VALUE"),
        ("adapt", "--steps", "use --set steps=VALUE"),
        ("sweep", "--lr", "vary optimizer.learning_rate in the table [space] of SPACE.toml"),
        ("benchmark", "--batch-size", "set batch_size in a recipe file: numerals benchmark --recipe my.toml"),
        ("train", "--workers", "it uses all cores; set the environment variable OMP_NUM_THREADS for fewer threads"),
        ("train", "--threads", "it uses all cores; set the environment variable OMP_NUM_THREADS for fewer threads"),
        ("train", "--epoch", "did you mean --epochs?"),
        ("train", "--sed", "did you mean --seed?"),
        ("train", "--output-dir", "did you mean --out?"),
        ("train", "--gpu", "did you mean --device cuda?"),
        ("train-reader", "--device", "train, sweep and evaluate have it"),
        ("train", "--init", "train-reader and adapt have it"),
        ("read", "--modle", "did you mean --model?"),
        ("read", "--lr", "see numerals read --help"),
        ("train", "--zzz", "see numerals train --help"),
    ],
)
def test_the_error_says_what_was_meant(command: str, option: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, command, option, "3")
    assert (code, stdout) == (2, "")
    assert stderr == f"numerals: {command} has no option {option}; {hint}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--recipe", "digits"), "use numerals train-reader"),
        (("train", "--recipe", "adapt"), "use numerals adapt"),
        (("train-reader", "quick"), "use numerals train --recipe quick"),
        (("train-reader", "adapt"), "use numerals adapt CORRECTIONS"),
        (("adapt", "corrections.sqlite", "--recipe", "quick"), "use numerals train"),
        (("adapt", "corrections.sqlite", "--recipe", "rows"), "use numerals train-reader"),
        (("train", "--data", "corrections:file.sqlite"), "use numerals adapt file.sqlite"),
        (("train-reader", "digts"), "no built-in recipe or file named digts"),
        (("trian",), "train"),
    ],
)
def test_the_error_names_the_right_command(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, *arguments)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, words)
    assert list(tmp_path.iterdir()) == []
