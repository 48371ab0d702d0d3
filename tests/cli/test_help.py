"""Help, version and shell completion."""

import re
from pathlib import Path

import pytest
import typer

import numerals
from numerals.cli.main import app
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.commands import call

GROUP = typer.main.get_command(app)
COMMANDS = list(GROUP.commands)  # type: ignore[attr-defined]


def flat(text: str) -> str:
    """Help without the borders of its panels and without line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def test_every_command_is_in_the_help() -> None:
    done = run_quietly((*NUMERALS, "--help"), COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(COMMANDS) == {
        *("train", "train-reader", "adapt", "sweep", "evaluate", "report", "export"),
        *("predict", "read", "read-many", "serve", "benchmark", "doctor"),
    }
    for name in (*COMMANDS, "--version", "--install-completion", "--show-completion", "--help"):
        assert re.search(rf"^│ {name} ", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_is_complete(command: str) -> None:
    done = run_quietly((*NUMERALS, command, "--help"), COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\033" not in done.stdout and "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = flat(done.stdout)
    for parameter in GROUP.commands[command].params:  # type: ignore[attr-defined]
        for name in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert name in text
        words = set(re.findall(r"[\w.-]+", parameter.help))
        assert words <= set(re.findall(r"[\w.-]+", text)), parameter.name
    for word in (GROUP.commands[command].help or "").replace("\\[", "[").split():  # type: ignore[attr-defined]
        assert word in text


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_flags_have_no_type_in_the_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app([*filter(None, [command]), "--help"])
    text = flat(capsys.readouterr().out)
    assert "--help -h Show this message" in text and "<bool>" not in text


@pytest.mark.parametrize(("command", "extra"), [("sweep", "scale"), ("read-many", "scale"), ("serve", "serve")])
def test_help_says_which_extra_is_needed(command: str, extra: str) -> None:
    assert f"pip install 'numerals[{extra}]'" in flat(run_quietly((*NUMERALS, command, "--help")).stdout)


def test_the_version() -> None:
    done = run_quietly((*NUMERALS, "--version"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"numerals {numerals.__version__}\n", "")


def test_without_a_command_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, _ = call(capfd)
    assert code == 2 and "train" in stdout and "doctor" in stdout


def test_completion_is_printed_and_installed(tmp_path: Path) -> None:
    explicit = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # tests may run in a shell without completion
    script = run_quietly((*NUMERALS, "--show-completion", "bash"), None, **explicit)
    assert script.returncode == 0 and "_NUMERALS_COMPLETE=complete_bash" in script.stdout
    done = run_quietly((*NUMERALS, "--install-completion", "bash"), None, HOME=str(tmp_path), **explicit)
    assert (done.returncode, done.stderr) == (0, "")
    [installed] = [path for path in tmp_path.rglob("*.sh") if str(path) in done.stdout.replace("\n", "")]
    assert installed.read_text().strip() == script.stdout.strip()


def test_the_shell_completes_commands_options_and_recipes() -> None:
    examples = {
        "numerals tr": ["train", "train-reader"],
        "numerals train --ep": ["--epochs"],
        "numerals train --recipe in": ["instant"],
        "numerals read --format j": ["json"],
    }
    for typed, expected in examples.items():
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        done = run_quietly(NUMERALS, None, _NUMERALS_COMPLETE="complete_bash", **words)
        assert (done.returncode, done.stdout.split()) == (0, expected), done.stderr
