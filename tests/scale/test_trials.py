"""The files in a sweep's folder: which trials have begun and ended, and the errors about damaged ones."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numerals.article.callbacks import Epoch
from numerals.article.recipe import Recipe
from numerals.errors import InputError
from numerals.scale.search_space import Range, SearchSpace
from numerals.scale.trials import Plan, begun_settings, load_stopped, load_trials
from tests.scale.test_folder import DAMAGES, damage

SPACE: dict[str, Any] = {
    "batch_size": Range(16, 64, False),
    "model.dropout": Range(0.0, 0.5, False),
    "model.convolutions": [[4], [4, 8]],
}
POINT = {"batch_size": 32, "model.dropout": 0.25, "model.convolutions": "[4, 8]"}
METRICS = {
    "ended": "all epochs",
    "epochs": 3,
    "validation": {"loss": 0.25, "accuracy": 0.9},
    "test": {"loss": 0.5, "accuracy": 0.8},
}
LAST = {"epoch": 2, "val_loss": 0.75, "val_accuracy": 0.5}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=9), values, max_size=3),
    max_leaves=9,
)


def sweep(out: Path) -> Plan:
    """A sweep of three trials: one was tested, ASHA stopped one, one was interrupted."""
    recipe = Recipe.load("article")
    plan = Plan(recipe, "mnist", "auto", 4, 0, SearchSpace(recipe, 4, 0, SPACE), out)
    for name, metrics in {"tested": METRICS, "stopped": {}, "interrupted": METRICS | {"test": None}}.items():
        (out / f"trial-{name}").mkdir(parents=True)
        (out / f"trial-{name}.json").write_text(json.dumps(POINT))
        (out / f"trial-{name}" / "metrics.json").write_text(json.dumps(metrics))
    (out / "stopped.json").write_text(json.dumps({"trial-stopped": LAST}))
    return plan


def test_tested_and_stopped_trials_have_ended_and_interrupted_ones_not(tmp_path: Path) -> None:
    plan = sweep(tmp_path)
    trials = load_trials(plan)
    assert [(trial.name, trial.ended, trial.epochs) for trial in trials] == [
        ("trial-tested", "all epochs", 3),
        ("trial-stopped", "stopped", 2),
    ]
    assert trials[1].validation.loss == 0.75 and trials[1].test is None
    assert begun_settings(plan) == dict.fromkeys(["trial-interrupted", "trial-stopped", "trial-tested"], POINT)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["trial-tested.json", "stopped.json"])
def test_a_damaged_file_is_named_in_one_line(name: str, kind: str, tmp_path: Path) -> None:
    plan = sweep(tmp_path)
    damage(tmp_path / name, kind)
    with pytest.raises(InputError, match=r"damaged .*; delete it") as caught:
        load_trials(plan)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_trial_without_readable_metrics_has_not_ended(kind: str, tmp_path: Path) -> None:
    plan = sweep(tmp_path)
    damage(tmp_path / "trial-tested" / "metrics.json", kind)
    assert [trial.name for trial in load_trials(plan)] == ["trial-stopped"]


def test_a_trial_elsewhere_is_refused(tmp_path: Path) -> None:
    plan = sweep(tmp_path / "out")
    (plan.out / "trial-interrupted").rename(tmp_path / "elsewhere")
    (plan.out / "trial-interrupted").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="trial-interrupted: a symbolic link, which no sweep makes; delete it"):
        load_trials(plan)


@pytest.mark.parametrize("content", ["", "epoch,val_loss\n1,0.5\n", "\0", "nan"])
def test_a_damaged_history_is_named_in_one_line(content: str, tmp_path: Path) -> None:
    sweep_module = pytest.importorskip("numerals.scale.sweep")
    names = [field.name for field in fields(Epoch)]
    if content == "nan":
        content = ",".join(names) + "\n" + ",".join("1" if name == "epoch" else "nan" for name in names)
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(InputError, match=f"; delete the folder {tmp_path.name} to train it again") as caught:
        sweep_module._val_losses(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "history.csv")) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"test": {"loss": 0.5}},
        {"test": 7},
        {"test": {"loss": "0.5", "accuracy": 0.8}},
        {"validation": {"loss": float("nan"), "accuracy": 0.9}},
        {"validation": []},
        {"epochs": "many"},
        {"epochs": float("inf")},
    ],
)
def test_foreign_metrics_are_named_in_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    plan = sweep(tmp_path)
    path = tmp_path / "trial-tested" / "metrics.json"
    path.write_text(json.dumps(METRICS | change))
    with pytest.raises(InputError, match="damaged; delete the folder trial-tested to train it again") as caught:
        load_trials(plan)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 65},
        {"batch_size": 32.0},
        {"batch_size": True},
        {"model.dropout": float("nan")},
        {"model.dropout": "0.25"},
        {"model.convolutions": [4, 8]},
        {"model.convolutions": "[4, 8, 16]"},
        {"epochs": 3},
    ],
)
def test_settings_outside_the_space_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    plan = sweep(tmp_path)
    (tmp_path / "trial-tested.json").write_text(json.dumps(POINT | change))
    with pytest.raises(InputError, match=r"trial-tested\.json: damaged \(not settings of this sweep\)"):
        begun_settings(plan)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=JSON)
@pytest.mark.parametrize(
    ("name", "nest", "load"),
    [
        ("trial-x.json", lambda value: value, begun_settings),
        ("trial-x.json", lambda value: POINT | {"model.convolutions": value}, begun_settings),
        ("stopped.json", lambda value: {"trial-x": value}, lambda plan: load_stopped(plan.out)),
        ("stopped.json", lambda value: {"trial-x": LAST | {"epoch": value}}, lambda plan: load_stopped(plan.out)),
        ("trial-tested/metrics.json", lambda value: METRICS | {"test": value}, load_trials),
        ("trial-tested/metrics.json", lambda value: METRICS | {"validation": value}, load_trials),
    ],
)
def test_any_json_is_read_or_refused(
    name: str, nest: Callable[[Any], Any], load: Callable[[Plan], Any], content: Any, tmp_path: Path
) -> None:
    plan = sweep(Path(tempfile.mkdtemp(dir=tmp_path)))
    (plan.out / name).write_text(json.dumps(nest(content)))
    try:
        load(plan)
    except InputError as error:
        assert "damaged" in str(error) and "\n" not in str(error)
