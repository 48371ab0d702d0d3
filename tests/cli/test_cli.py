"""cli.py, from outside: the real command in a process of its own, what it prints, leaves behind and exits with."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import numerals
from numerals.article.data import TEST_LABELS
from numerals.cli import doctor, main
from tests.conftest import NUMERALS, mounts, run_on_full_disk, run_quietly

RESULT = re.compile(r"Test Accuracy: 0\.\d{4}, Test Loss: \d+\.\d{4}\n")
Trained = tuple[Path, "subprocess.CompletedProcess[str]"]
KEPT = {"recipe.toml", "model.safetensors", "history.csv", "curves.svg", "metrics.json", "test_probabilities.npz"}
KEPT |= {"checkpoint", "SHA256SUMS"}  # to go on from; to check by


def assert_one_line(stderr: str, *words: object) -> None:
    assert stderr.startswith("numerals: ")
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    for word in words:
        assert str(word) in stderr


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without TensorBoard, which is a second at every start."""
    path = tmp_path_factory.mktemp("recipe") / "plain.toml"
    path.write_text("[tensorboard]\nenabled = false\n")
    return path


@pytest.fixture(scope="session")
def tiny(plain: Path) -> Path:
    """The same with a network that takes no time."""
    path = plain.with_name("tiny.toml")
    path.write_text(plain.read_text() + "[model]\nconvolutions = [4, 4]\ndense = 8\n")
    return path


@pytest.fixture(scope="session")
def trained(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The article's own recipe for an epoch: the run folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_quietly((*NUMERALS, "train", "--data", small_npz, "--epochs", 1, "--device", "cpu"), cwd=folder)
    return folder / "runs" / "article-1", done


def call(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The command in this process, where PyTorch is loaded once for all of them: exit code, stdout, stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["numerals", *map(str, arguments)])
        patch.setattr("threading.excepthook", None)  # `main` sets it for good
        with pytest.raises(SystemExit) as ended:
            main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capfd.readouterr()


# Help


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ["train", "evaluate", "doctor", "--version", "--help"]),
        (
            ("train",),
            [
                "--recipe",
                "--epochs",
                "--seed",
                "--device",
                "--data",
                "--out",
                "--quiet",
                "--json",
                "--resume",
                "--every-steps",
                "--anyway",
                "FILE.toml",
                "auto|cpu|cuda",
            ],
        ),
        (("evaluate",), ["RUN", "--data", "--robustness", "--all", "--json", "--help"]),
        (("report",), ["RUN...", "--out", "--robustness", "--open", "McNemar"]),
        (("doctor",), ["--help"]),
    ],
)
def test_help_names_every_option(command: tuple[str, ...], words: list[str]) -> None:
    done = run_quietly((*NUMERALS, *command, "--help"))
    assert (done.returncode, done.stderr) == (0, "")
    for word in words:
        assert word in done.stdout


def test_the_version() -> None:
    done = run_quietly((*NUMERALS, "--version"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"numerals {numerals.__version__}\n", "")


# Train and evaluate


def test_train_prints_one_line_and_shows_the_layers(
    trained: Trained,
) -> None:
    _, done = trained
    assert done.returncode == 0, done.stderr
    assert RESULT.fullmatch(done.stdout)
    for layer, parameters in [
        ("Conv 32, 3x3", 320),
        ("Conv 64, 3x3", 18496),
        ("Dense 128", 204928),
        ("Dense 10", 1290),
    ]:
        assert re.search(rf"{layer} .* {parameters:,}\n", done.stderr)
    assert "225,418 parameters" in done.stderr
    assert re.search(r"epoch 1/1  loss \d\.\d{4}  accuracy 0\.\d{4}  val_loss", done.stderr)
    assert "Traceback" not in done.stderr


def test_the_run_folder_has_what_its_docstring_lists(
    trained: Trained,
) -> None:
    folder, done = trained
    assert {path.name for path in folder.iterdir()} == KEPT | {"tensorboard"}
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    with open(folder / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    metrics = json.loads((folder / "metrics.json").read_text())
    test = metrics["test"]
    assert done.stdout == f"Test Accuracy: {test['accuracy']:.4f}, Test Loss: {test['loss']:.4f}\n"
    with np.load(folder / "test_probabilities.npz") as kept:
        assert kept["probabilities"].shape == (100, 10)
        assert np.mean(kept["probabilities"].argmax(1) == kept["labels"]) == pytest.approx(test["accuracy"])


def test_evaluate_gives_the_line_that_train_gave(trained: Trained, small_npz: Path) -> None:
    folder, trained_so = trained
    done = run_quietly((*NUMERALS, "evaluate", folder, "--data", small_npz))
    assert (done.returncode, done.stdout) == (0, trained_so.stdout)
    errors = json.loads((folder / "metrics.json").read_text())["test"]["errors"]
    assert f"{errors} mistakes in 100 digits; 95 % interval" in done.stderr
    assert re.search(r"^digit +count +precision +recall +F1$", done.stderr, re.MULTILINE)


def test_evaluate_for_machines(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(trained[0], tmp_path / "run"))
    code, stdout, stderr = call(capfd, "evaluate", folder, "--robustness", "--json")
    found, kept = json.loads(stdout), json.loads((folder / "robustness.json").read_text())
    assert code == 0 and RESULT.fullmatch(stderr)
    tried = found.pop("robustness")
    told = json.loads((folder / "metrics.json").read_text())["test"]
    assert found.keys() == told.keys() and found["confusion"] == told["confusion"]
    assert found["loss"] == pytest.approx(told["loss"], abs=1e-6)  # with as many threads it would be the same bits
    assert kept.items() >= tried.items() and len(tried["corruptions"]) == 10
    code, stdout, stderr = call(capfd, "evaluate", folder, "--robustness")
    assert code == 0 and RESULT.fullmatch(stdout)
    assert re.search(r"^occlusion +0\.\d{3}", stderr, re.MULTILINE)
    code, stdout, stderr = call(capfd, "evaluate", folder, "--all")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "--robustness")


def test_report_prints_where_it_is(trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    code, stdout, stderr = call(capfd, "report", trained[0], "--out", page)
    assert (code, stdout) == (0, f"{page}\n") and "MB" in stderr
    assert "225,418 parameters" in page.read_text()


def test_quiet_leaves_stderr_empty(
    small_npz: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, stdout, stderr = call(
        capfd, "train", "--data", small_npz, "--recipe", tiny, "--epochs", 1, "--quiet", "--out", out
    )
    assert (code, stderr) == (0, "")
    assert RESULT.fullmatch(stdout)
    assert {path.name for path in out.iterdir()} == KEPT


def test_json_is_what_the_run_folder_keeps(
    small_npz: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, stdout, stderr = call(
        capfd, "train", "--data", small_npz, "--recipe", tiny, "--epochs", 1, "--quiet", "--json", "--out", out
    )
    assert code == 0
    assert RESULT.fullmatch(stderr)
    assert json.loads(stdout) == json.loads((out / "metrics.json").read_text())


# Mistakes in the call or the input


def test_a_mistake_is_one_line_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    done = run_quietly((*NUMERALS, "train", "--data", "absent.npz"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "absent.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_an_out_that_exists_is_left_as_it_is(
    kind: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    if kind == "folder":
        out.mkdir()
        (out / "kept").write_text("content")
    elif kind == "file":
        out.write_text("content")
    else:
        out.symlink_to(tmp_path / "absent")
    before = sorted(map(str, tmp_path.rglob("*")))
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--epochs", 1, "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, out, "choose another --out")
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("out", ["/dev/null/run", "/proc/run", "file/run", "x" * 300])
def test_an_out_that_cannot_be_made(
    out: str, small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("content")
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--epochs", 1, "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "did you mean epochs?"),
        ("epochs = 0", "epochs = 0"),
        ("[augment]\nzoom = nan", "augment.zoom = nan"),
        ("[model]\nconvolutions = [8, 8, 8, 8, 8]", "nothing is left"),
        ("[split]\nvalidation = 0.9999", "cannot be split"),
        ("{}", "not TOML"),
    ],
)
def test_a_mistake_in_a_recipe(
    text: str, words: str, small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    out = tmp_path / "new" / "run"
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--recipe", tmp_path / "mine.toml", "--out", out)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, words)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("mistake", ["absent", "cut", "flipped", "label 10", "27x27", "fewer labels", "empty folder"])
def test_a_mistake_in_the_data(
    command: str,
    mistake: str,
    small_npz: Path,
    trained: Trained,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "some.npz"
    content = small_npz.read_bytes()
    if mistake == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif mistake == "flipped":
        path.write_bytes(content[:9999] + bytes([content[9999] ^ 1]) + content[10000:])
    elif mistake == "empty folder":
        path.mkdir()
    elif mistake != "absent":
        side, count = 27 if mistake == "27x27" else 28, 9 if mistake == "fewer labels" else 10
        np.savez(path, x=np.zeros((10, side, side), np.uint8), y=np.arange(count) + (mistake == "label 10"))
    out = tmp_path / "run"
    arguments = ["train", "--out", out] if command == "train" else ["evaluate", trained[0]]
    code, stdout, stderr = call(capfd, *arguments, "--data", path)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, path)
    assert not out.exists()


def test_a_run_that_is_none(tmp_path: Path, small_npz: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "evaluate", tmp_path, "--data", small_npz)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, tmp_path, "not a run folder")


@pytest.mark.parametrize("damage", ["cut", "flipped head", "empty"])
def test_a_damaged_model(
    damage: str,
    trained: Trained,
    tmp_path: Path,
    small_npz: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "flipped head": b"\xff" + content[1:], "empty": b""}[damage])
    code, stdout, stderr = call(capfd, "evaluate", tmp_path / "run", "--data", small_npz)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, path)


def test_a_device_that_is_none(small_npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--device", "tpu", "--out", tmp_path / "run")
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, "auto, cpu or cuda")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("train", "--epochs", 0), "--epochs"),
        (("train", "--seed", -1), "--seed"),
        (("train", "--epoch", 3), "--epoch"),
        (("train", "extra"), "extra"),
        (("trian",), "trian"),
        (("evaluate",), "RUN"),
        (("train", "--epochs", 10**12), "epochs"),
        (("train", "--seed", 2**63), "seed"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    arguments: tuple[object, ...], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, stdout, stderr = call(capfd, *arguments)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, word)


def test_without_a_command_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, _ = call(capfd)
    assert code == 2 and "train" in stdout and "doctor" in stdout


def test_a_path_with_odd_characters_is_shown_as_it_is(
    small_npz: Path, plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "an [/1] odd :key: ü run"
    code, stdout, stderr = call(capfd, "train", "--data", small_npz, "--recipe", plain, "--epochs", 1, "--out", out)
    assert code == 0 and RESULT.fullmatch(stdout)
    assert f"Kept in {out}: " in stderr


def test_evaluate_uses_the_digits_that_the_run_was_trained_with(
    trained: Trained, small_npz: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, done = trained
    assert call(capfd, "evaluate", folder, "--device", "cpu")[:2] == (0, done.stdout)


# A full disk


@pytest.mark.parametrize("kibibytes", [4, 64])  # too small for TensorBoard's first line; for the model
def test_a_full_disk_leaves_nothing_half_written(kibibytes: int, small_npz: Path, tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    if kibibytes == 4 and not mounts():
        assert "CI" not in os.environ, "CI can mount"
        pytest.skip("needs a disk of its own; the limit on a file's size does not reach so low")
    done = run_on_full_disk(
        (*NUMERALS, "train", "--quiet", "--data", small_npz, "--epochs", 1, "--out", disk / "run"),
        disk,
        kept,
        kibibytes,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, disk / "run", "the disk is full" if mounts() else "cannot be written")
    assert list(kept.iterdir()) == []


def test_a_disk_that_fills_up_later_keeps_whole_files_only(small_npz: Path, plain: Path, tmp_path: Path) -> None:
    """There is room for the first epoch's checkpoint and model, and not for a second checkpoint."""
    if not mounts():
        assert "CI" not in os.environ, "CI can mount"
        pytest.skip("needs a disk of its own")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    arguments = ("--quiet", "--data", small_npz, "--recipe", plain, "--epochs", 9, "--out", disk / "run")
    done = run_on_full_disk((*NUMERALS, "train", *arguments), disk, kept, 5600)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, disk / "run" / "checkpoint" / "00002-000000.safetensors", "the disk is full")
    names = {"recipe.toml", "model.safetensors", "history.csv", "checkpoint"}
    assert {path.name for path in (kept / "run").iterdir()} == names
    assert len(safetensors.numpy.load_file(kept / "run" / "model.safetensors")) > 10
    resumed = run_quietly((*NUMERALS, "train", "--quiet", "--json", "--resume", kept / "run", "--epochs", 2))
    whole = ("--quiet", "--json", "--data", small_npz, "--recipe", plain, "--epochs", 2, "--out", tmp_path / "whole")
    wanted = json.loads(run_quietly((*NUMERALS, "train", *whole)).stdout)
    assert json.loads(resumed.stdout)["weights_sha256"] == wanted["weights_sha256"], "with room again, it goes on"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_answer_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*NUMERALS, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert_one_line(done.stderr, "standard output: the disk is full")


# Ctrl-C


def heeds_sigint() -> None:
    """A shell starts what runs in its background with SIGINT ignored, the tests too; not so a command at a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(arguments: tuple[object, ...], when: str) -> tuple[int, str, str]:
    """The command in a process group of its own, which gets SIGINT, as from a terminal, when a line has those words."""
    process = subprocess.Popen(
        [*NUMERALS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heeds_sigint,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert process.stderr
    try:
        before = ""
        while when not in before:
            line = process.stderr.readline()
            assert line, before
            before += line
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        stdout, after = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stdout, after


def test_ctrl_c_keeps_the_best_model_so_far(small_npz: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--data", small_npz, "--recipe", plain, "--epochs", 500, "--out", out)
    code, stdout, stderr = interrupted(arguments, "epoch   1/500")
    assert (code, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert f"numerals evaluate {out}" in stderr
    assert f"Kept in {out}" in stderr
    assert {path.name for path in out.iterdir()} == KEPT - {"test_probabilities.npz"}
    assert sum(array.size for array in safetensors.numpy.load_file(out / "model.safetensors").values()) >= 225_418
    with open(out / "history.csv", newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert epochs == [str(epoch) for epoch in range(1, len(epochs) + 1)]
    assert epochs
    assert f"Interrupted after {len(epochs)} epoch" in stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["ended"], metrics["test"], metrics["epochs"]) == ("interrupted", None, len(epochs))


def test_ctrl_c_says_where_the_model_is_even_quietly(small_npz: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--quiet", "--data", small_npz, "--recipe", plain, "--epochs", 500, "--out", out)
    command = [*NUMERALS, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds_sigint
    ) as process:
        deadline = time.monotonic() + 120
        while not (out / "history.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (130, "")
    assert_one_line(stderr, "interrupted; the best model so far, of epoch", out)


def test_ctrl_c_before_the_first_epoch_ended_keeps_what_was_learnt(small_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text("batch_size = 1\n[tensorboard]\nenabled = false\n")  # some seconds an epoch
    out = tmp_path / "run"
    arguments = ("train", "--data", small_npz, "--recipe", tmp_path / "long.toml", "--out", out)
    code, stdout, stderr = interrupted(arguments, "Recipe long")
    assert (code, stdout) == (130, "")
    assert_one_line(stderr, "interrupted; what was learnt is kept in", out, "numerals train --resume goes on")
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint", "recipe.toml"]


# A part that is missing, a part that is damaged, a reader that has gone


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    done = run_quietly((*NUMERALS, "train"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "torch", "pip install 'numerals[train]'")
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["sitecustomize.py"]


def test_the_doctor_finds_nothing() -> None:
    done = run_quietly((*NUMERALS, "doctor"))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("numerals", "torch", "device", TEST_LABELS, "verified", "cache"):
        assert words in done.stdout
    assert "BAD" not in done.stdout


def test_the_doctor_tells_a_light_installation_from_a_broken_one() -> None:
    missing = [doctor.package("no-such-package", always) for always in (False, True)]
    assert [finding.ok for finding in missing] == [True, False]
    assert "only training needs it" in missing[0].says and "install numerals again" in missing[1].says


@pytest.mark.parametrize("damaged", [f"mnist/{TEST_LABELS}.gz", "weights/reader.onnx"])
def test_the_doctor_finds_a_damaged_file(damaged: str, tmp_path: Path) -> None:
    shutil.copytree(Path(numerals.__file__).parent, tmp_path / "numerals")
    path = tmp_path / "numerals" / damaged
    content = path.read_bytes()
    path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    done = run_quietly((*NUMERALS, "doctor"), PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    [bad] = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    assert str(path) in bad
    assert re.search("install (numerals|it) again", bad)


@pytest.mark.parametrize("command", [("--help",), ("--version",)])
def test_a_reader_that_has_gone_is_no_news(command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run([*NUMERALS, *command], stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
