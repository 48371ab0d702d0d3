"""One training on several processes: the same result, whoever is lost, and on however many it goes on."""

import csv
import os
import signal
import subprocess
import time
from multiprocessing import Manager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from numerals.learn import kernel, team
from numerals.learn.batches import batches
from numerals.learn.recipe import Recipe
from tests.clusters import below, cluster, interrupted, of_token
from tests.conftest import NUMERALS, run_quietly

RECIPE = """epochs = 4
[model]
convolutions = [4, 8]
dense = 16
dropout = 0.0
[tensorboard]
enabled = false
"""
WORKER = "RayTrainWorker"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Small, and without dropout, whose chance each process has its own of."""
    (tmp_path / "small.toml").write_text(RECIPE)
    return tmp_path / "small.toml"


def train(*options: object, **env: str) -> "subprocess.CompletedProcess[str]":
    done = run_quietly([*NUMERALS, "train", *options], None, **env)
    assert done.returncode == 0, done.stderr
    return done


def history(run: Path) -> list[dict[str, float]]:
    with open(run / "history.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def assert_same(one: Path, other: Path) -> None:
    """As far as the order of sums allows."""
    for ours, theirs in zip(history(one), history(other), strict=True):
        assert ours["learning_rate"] == theirs["learning_rate"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.01)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=0.02)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_shares_of_a_team_are_the_batches_of_one(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("article").change(batch_size=8)
    digits = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8), np.arange(50, dtype=np.uint8)
    whole = [truth for _, truth in batches(digits, recipe, 3, 1, torch.device("cpu"))]
    shares = []
    monkeypatch.setattr(team, "size", lambda: size)
    for rank in range(size):
        monkeypatch.setattr(team, "rank", lambda rank=rank: rank)
        shares.append([truth for _, truth in batches(digits, recipe, 3, 1, torch.device("cpu"))])
    assert len({tuple(map(len, share)) for share in shares}) == 1  # all the same
    for step, batch in enumerate(whole):
        found = sorted(int(each) for share in shares if step < len(share) for each in share[step])
        assert found == sorted(batch.tolist()[: len(batch) // size * size])


def _normalise(rank: int, size: int, port: int, function: Any, results: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=size)
    maps, weight, bias = _maps()
    own = maps[rank::size].clone().requires_grad_()
    normalised, mean, variance = function(own, weight, bias, 1e-3)
    (normalised * _target(maps, normalised)[rank::size]).sum().backward()
    assert own.grad is not None and weight.grad is not None and bias.grad is not None
    results[rank] = [each.detach().numpy() for each in (normalised, mean, variance, own.grad, weight.grad, bias.grad)]
    distributed.barrier()
    distributed.destroy_process_group()


def _maps() -> tuple[torch.Tensor, ...]:
    drawn = torch.Generator().manual_seed(1)
    maps = torch.randn(8, 3, 5, 5, generator=drawn)
    return maps, *(torch.rand(3, generator=drawn).requires_grad_() for _ in range(2))


def _target(maps: torch.Tensor, normalised: torch.Tensor) -> torch.Tensor:
    """What the whole batch's output is multiplied with."""
    return torch.randn((len(maps), *normalised.shape[1:]), generator=torch.Generator().manual_seed(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "twin"),
    [(kernel.batch_norm, kernel.batch_norm_plain), (kernel.rectify_norm_pool, kernel.rectify_norm_pool_plain)],
)
def test_batch_normalisation_is_that_of_the_whole_batch(function: Any, twin: Any) -> None:
    maps, weight, bias = _maps()
    maps.requires_grad_()
    normalised, mean, variance = twin(maps, weight, bias, 1e-3)
    (normalised * _target(maps, normalised)).sum().backward()
    with Manager() as manager:
        results = manager.dict()
        start_processes(_normalise, (2, 29531 + os.getpid() % 1000, function, results), 2, start_method="spawn")
        ours = dict(results)
    assert maps.grad is not None and weight.grad is not None and bias.grad is not None
    for rank in range(2):
        np.testing.assert_allclose(ours[rank][0], normalised.detach()[rank::2], atol=1e-5)
        np.testing.assert_allclose(ours[rank][1], mean, atol=1e-6)
        np.testing.assert_allclose(ours[rank][2], variance, atol=1e-6)
        np.testing.assert_allclose(ours[rank][3], maps.grad[rank::2], atol=1e-5)
    np.testing.assert_allclose(ours[0][4] + ours[1][4], weight.grad, atol=1e-4)
    np.testing.assert_allclose(ours[0][5] + ours[1][5], bias.grad, atol=1e-4)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_four_go_on(tmp_path: Path, recipe: Path, small_npz: Path) -> None:
    options = ("--recipe", recipe, "--data", small_npz)
    train(*options, "--out", tmp_path / "one")
    done = train(*options, "--out", tmp_path / "two", "--workers", 2, "--epochs", 2)
    assert done.stdout.startswith("Test Accuracy: ") and "epoch 2/2" in done.stderr
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}
    train("--resume", tmp_path / "two", "--epochs", 3, "--workers", 4)
    train("--resume", tmp_path / "two", "--epochs", 4)  # and one alone
    assert_same(tmp_path / "one", tmp_path / "two")
    uneven = run_quietly([*NUMERALS, "train", *options, "--workers", 3, "--out", tmp_path / "three"])
    assert uneven.returncode == 2 and "batch_size, 32, must be a multiple" in uneven.stderr
    assert not (tmp_path / "three").exists()


@pytest.mark.slow
def test_a_lost_process_is_no_error(tmp_path: Path, recipe: Path, small_npz: Path) -> None:
    options = ("--recipe", recipe, "--data", small_npz, "--epochs", "12")
    train(*options, "--out", tmp_path / "one")
    command = [*map(str, NUMERALS), "train", *map(str, options), "--workers", "2", "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        while job.poll() is None and not list((tmp_path / "two").glob("checkpoint/*-*.json")):
            time.sleep(0.02)
        lost = below(job.pid, WORKER)
        os.kill(lost[-1], signal.SIGKILL)
        printed, says = job.communicate(timeout=100)
    assert lost and job.returncode == 0, says
    assert len(printed.splitlines()) == 1 and "raylet" not in says  # it is no error, so Ray says nothing of it
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_several_processes_interrupted_go_on(tmp_path: Path, recipe: Path, small_npz: Path) -> None:
    options = ("--recipe", recipe, "--data", small_npz, "--epochs", "12")
    train(*options, "--out", tmp_path / "one")
    two = tmp_path / "two"
    command = [*map(str, NUMERALS), "train", *map(str, options), "--workers", "2", "--out", str(two)]
    says = interrupted(command, lambda: len(list(two.glob("checkpoint/*-*.json"))) > 1)
    assert says == f"numerals: interrupted; numerals train --resume {two} goes on"
    train("--resume", two, "--workers", 2)
    assert_same(tmp_path / "one", two)


@pytest.mark.slow
def test_machines_of_a_cluster_train_together(tmp_path: Path, recipe: Path, small_npz: Path) -> None:
    options = ("--recipe", recipe, "--data", small_npz, "--epochs", "2")
    train(*options, "--out", tmp_path / "one")
    with cluster(2) as (address, _):
        train(*options, "--workers", 2, "--address", address, "--out", tmp_path / "two", **of_token())
    assert_same(tmp_path / "one", tmp_path / "two")
