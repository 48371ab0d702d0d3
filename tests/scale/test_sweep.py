"""Sweeps: the space file, and parallel trainings that continue after an interruption."""

import csv
import json
import os
import pickle
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerals.article.recipe import Recipe
from numerals.errors import InputError
from numerals.runs.folder import RunFolder
from numerals.scale import search_space
from numerals.scale.trials import Plan, load_trials
from tests.conftest import NUMERALS, make_huge, run_quietly
from tests.helpers.clusters import interrupt, kill
from tests.helpers.commands import assert_one_line, call

SMALL = """epochs = 4
[model]
convolutions = [4, 8]
dense = 16
[early_stopping]
patience = 9
[tensorboard]
enabled = false
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A recipe that trains within a second."""
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"


def written(folder: Path, text: str) -> Path:
    (folder / "space.toml").write_text(text)
    return folder / "space.toml"


def test_a_space_varies_settings_by_dotted_key(tmp_path: Path) -> None:
    space = search_space.load(
        written(
            tmp_path,
            "trials = 5\nseed = 3\n[space]\nbatch_size = [32, 64]\nmodel.convolutions = [[8], [8, 16]]\n"
            "model.dense = {low = 16, high = 256, log = true}\noptimizer.learning_rate = {low = 1e-4, high = 1e-2}\n",
        )
    )
    assert (space.recipe, space.trials, space.seed) == (Recipe.load("article"), 5, 3)
    assert set(space.varied) == {"batch_size", "model.convolutions", "model.dense", "optimizer.learning_rate"}
    dense = space.varied["model.dense"]
    assert isinstance(dense, search_space.Range) and dense.is_integer and dense.log
    changed = space.apply({"batch_size": 64, "model.dense": 20})
    assert changed == space.recipe.change(batch_size=64, model={"dense": 20})


@given(st.dictionaries(st.sampled_from(["epochs", "batch_size", "model.dense", "model.kernel"]), st.integers(1, 3)))
def test_dotted_keys_change_these_settings_only(settings: dict[str, int]) -> None:
    recipe = Recipe.load("article")
    changed = search_space.SearchSpace(recipe, 1, 0, {}).apply(settings)
    before, after = _dotted(recipe.model_dump()), _dotted(changed.model_dump())
    assert {key: after[key] for key in settings} == settings
    assert {key: value for key, value in after.items() if key not in settings} == {
        key: value for key, value in before.items() if key not in settings
    }


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), make_huge])
def test_a_space_that_is_no_plain_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "space.toml")
    with pytest.raises(InputError, match=r"cannot be read \((not a plain file|larger than 1 MiB)\)"):
        search_space.load(tmp_path / "space.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[space", "not TOML"),
        ("trials = " + "[" * 10_000, "not TOML"),
        ("trials = 3", "the table space is missing"),
        ("trials = 0\n[space]\nepochs = [1]", "trials = 0: must be an integer"),
        ("tries = 1\n[space]\nepochs = [1]", "unknown key tries"),
        ("[space]\nepoch = [1]", "did you mean epochs"),
        ("[space]\nmodel.dropout = [0.1, 1.5]", "model.dropout = 1.5"),
        ("[space]\nmodel.dropout = 0.1", "must be a list"),
        ("[space]\nmodel.dropout = {low = 0.5, high = 0.1}", "must be under"),
        ("[space]\nmodel.dropout = {low = 0, high = 0.1, log = true}", "over 0"),
        ("[space]\nmodel.dropout = {low = 0.1}", "must have low and high"),
        ('recipe = "rows"\n[space]\nepochs = [1]', "use numerals train-reader"),
    ],
)
def test_a_mistake_in_a_space_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        search_space.load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seeds", "2", "--resume", "runs/a"), "--seeds does not go with --resume"),
        (("--seeds", "2", "--every-steps", "9"), "--seeds does not go with --every-steps"),
        (("--address", "h:1"), "--address h:1 needs --seeds"),
        (("--recipe", "rows", "--seeds", "2"), "use numerals train-reader"),
        (("--seeds", "2", "--data", "nowhere"), "nowhere"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    options: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, "train", *options)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, words)
    assert list(tmp_path.iterdir()) == []


def names(out: Path, pattern: str) -> set[str]:
    return {path.parent.name for path in out.glob(pattern)}


@pytest.mark.slow
def test_interrupted_seeds_continue_to_the_same_weights(tmp_path: Path, small: Path, small_npz: Path) -> None:
    small.write_text(SMALL.replace("patience = 9", "patience = 99"))
    out = tmp_path / "out"
    options = ["--recipe", str(small), "--data", str(small_npz), "--epochs", "40"]
    command = [*map(str, NUMERALS), "train", "--seeds", "3", *options, "--out", str(out), "--json"]

    def halfway() -> bool:
        return bool(names(out, "seed-*/metrics.json")) and (out / "seed-2" / "history.csv").exists()

    message = interrupt(command, halfway)
    assert "of 3 trainings have ended" in message and "to continue, repeat the command" in message
    assert not (out / "results.csv").exists()
    before = {path.parent.name: json.loads(path.read_text()) for path in out.glob("seed-*/metrics.json")}
    ended = {name for name, metrics in before.items() if metrics["test"]}
    begun = names(out, "seed-*/history.csv") - ended
    assert ended and begun

    done = run_quietly(command)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test"]["runs"] == 3 and (out / "report.html").is_file()
    runs = [RunFolder.open(out / f"seed-{seed}") for seed in range(3)]
    assert [run.metrics()["seed"] for run in runs] == [0, 1, 2]
    assert all(run.sums() for run in runs)
    for name in ended:
        assert RunFolder(out / name).metrics() == before[name]  # not trained again
    accuracies = [run.metrics()["test"]["accuracy"] for run in runs]
    assert result["test"]["accuracy"] == pytest.approx(statistics.mean(accuracies))
    assert result["test"]["accuracy_deviation"] == pytest.approx(statistics.stdev(accuracies))
    best = min(runs, key=lambda run: run.metrics()["validation"]["loss"])
    assert result["best"]["run"] == best.path.name
    for name in sorted(begun)[:1]:  # the same weights as an uninterrupted training with that seed
        alone = tmp_path / "alone"
        train = run_quietly([*NUMERALS, "train", *options, "--seed", name.removeprefix("seed-"), "--out", alone])
        assert train.returncode == 0, train.stderr
        expected = RunFolder.open(alone).metrics()["weights_sha256"]
        assert RunFolder.open(out / name).metrics()["weights_sha256"] == expected


class Hostile:
    """A pickle of it makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def plant_pickles(out: Path, marker: Path) -> None:
    """Write hostile pickles under all names from which Ray Tune restores."""
    content = pickle.dumps(Hostile(marker))
    in_json = json.dumps({"_type": "CLOUDPICKLE_FALLBACK", "value": content.hex()}).encode()
    for folder in (out, out / "_tune", out / "tune"):
        folder.mkdir(exist_ok=True)
        for name in ("tuner.pkl", "trainable.pkl", "searcher-state-2026-01-01_00-00-00.pkl"):
            (folder / name).write_bytes(content)
        (folder / "search_gen_state-2026-01-01_00-00-00.json").write_bytes(content)
        (folder / "experiment_state-2026-01-01_00-00-00.json").write_bytes(in_json)


@pytest.mark.slow
def test_seeds_open_no_pickle_in_the_folder(tmp_path: Path, small: Path, small_npz: Path) -> None:
    out, marker = tmp_path / "out", tmp_path / "executed"
    assert not Plan(Recipe.load(small), str(small_npz), "auto", 2, 5, None, out).folder().claim()
    plant_pickles(out, marker)
    options = ["--recipe", small, "--data", small_npz, "--seed", "5", "--seeds", "2"]
    done = run_quietly([*NUMERALS, "train", *options, "--out", out, "--json"])
    assert not marker.exists()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["runs"] == 2
    assert [RunFolder.open(out / f"seed-{seed}").metrics()["seed"] for seed in (5, 6)] == [5, 6]
    assert {path.name for path in out.rglob("*.pkl")} == {
        "tuner.pkl",
        "trainable.pkl",
        "searcher-state-2026-01-01_00-00-00.pkl",
    }


@pytest.mark.slow
def test_a_sweep_opens_no_pickle_and_continues_a_folder_of_an_earlier_version(
    tmp_path: Path, small: Path, small_npz: Path
) -> None:
    out, marker = tmp_path / "out", tmp_path / "executed"
    file = written(tmp_path, f'recipe = "{small}"\ntrials = 3\n[space]\nmodel.dropout = {{low = 0.1, high = 0.2}}\n')
    space = search_space.load(file)
    plan = Plan(space.recipe, str(small_npz), "auto", 3, 0, space, out)
    plan.folder().claim()
    (out / "trial-0a1b2c3d.json").write_text('{"model.dropout": 0.125}')
    plant_pickles(out, marker)
    command = [*NUMERALS, "sweep", file, "--data", small_npz, "--out", out]
    done = run_quietly(command)
    assert not marker.exists()
    assert done.returncode == 0, done.stderr
    with open(out / "results.csv", newline="") as results:
        rows = {row["run"]: float(row["model.dropout"]) for row in csv.DictReader(results)}
    assert len(rows) == len(set(rows.values())) == 3 and rows["trial-0a1b2c3d"] == 0.125
    assert RunFolder.open(out / "trial-0a1b2c3d").recipe().model.dropout == 0.125
    before = {trial.name: trial for trial in load_trials(plan)}

    lost = next(name for name in rows if name != "trial-0a1b2c3d")
    (out / "results.csv").unlink()
    (out / f"{lost}.json").unlink()
    (out / lost).rename(tmp_path / "lost")
    done = run_quietly(command)
    assert done.returncode == 0, done.stderr
    after = {trial.name: trial for trial in load_trials(plan)}
    assert len(after) == 3 and before.keys() - {lost} <= after.keys()
    assert len({trial.settings["model.dropout"] for trial in after.values()}) == 3, "new settings, not the same again"
    assert all(after[name] == before[name] for name in before.keys() - {lost})


@pytest.mark.slow
def test_a_killed_sweep_continues_every_trial(tmp_path: Path, small: Path, small_npz: Path) -> None:
    small.write_text(SMALL.replace("patience = 9", "patience = 99").replace("epochs = 4", "epochs = 40"))
    sweep = written(tmp_path, f'recipe = "{small}"\ntrials = 3\n[space]\nmodel.dropout = [0.1, 0.2]\n')
    out = tmp_path / "out"
    command = [*map(str, NUMERALS), "sweep", str(sweep), "--data", str(small_npz), "--out", str(out)]
    kill(command, lambda: len(list(out.glob("trial-*/checkpoint/*-*.json"))) >= 2)
    begun = names(out, "trial-*/history.csv")
    epochs = {name: len((out / name / "history.csv").read_text().splitlines()) for name in begun}
    done = run_quietly(command)
    assert done.returncode == 0, done.stderr
    with open(out / "results.csv", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert begun and begun <= rows.keys() and len(rows) == 3 == len(names(out, "trial-*/metrics.json"))
    for name, count in epochs.items():
        assert int(rows[name]["epochs"]) >= count - 1


@pytest.mark.slow
def test_an_interrupted_sweep_runs_all_trials_and_chooses_by_validation(
    tmp_path: Path, small: Path, small_npz: Path
) -> None:
    sweep = written(
        tmp_path,
        f'recipe = "{small}"\ntrials = 6\n[space]\nmodel.convolutions = [[4, 8], [4]]\n'
        "optimizer.learning_rate = {low = 1e-6, high = 1e-2, log = true}\n",
    )
    out = tmp_path / "out"
    command = [*map(str, NUMERALS), "sweep", str(sweep), "--data", str(small_npz), "--out", str(out)]
    interrupt(command, lambda: len(names(out, "trial-*/history.csv")) >= 3)
    done = run_quietly(command)
    assert done.returncode == 0, done.stderr
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 == len(names(out, "trial-*/metrics.json"))
    ended = [row["ended"] for row in rows]
    assert "stopped" in ended and set(ended) <= {"stopped", "all epochs", "early"}
    for row in rows:
        run = RunFolder.open(out / row["run"])
        assert (row["test_loss"] == "") == (row["ended"] == "stopped")  # only finished trainings are tested
        assert row["ended"] != "stopped" or int(row["epochs"]) < 4
        rate = run.recipe().model_dump()["optimizer"]["learning_rate"]
        assert rate == pytest.approx(float(row["optimizer.learning_rate"]))
        assert int(row["epochs"]) == len((run.path / "history.csv").read_text().splitlines()) - 1
    finished = [row for row in rows if row["ended"] != "stopped"]
    assert rows[0] == min(finished, key=lambda row: float(row["val_loss"]))
    assert f"{float(rows[0]['test_accuracy']):.4f}" in done.stdout
    other = run_quietly([*NUMERALS, "sweep", sweep, "--out", out])
    assert other.returncode == 2 and "belongs to another sweep" in other.stderr


def _dotted(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one dictionary with dotted keys."""
    values: dict[str, Any] = {}
    for key, value in tables.items():
        values |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values
