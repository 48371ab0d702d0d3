"""Runs many trainings on Ray Tune: one recipe with several seeds, or a search for better settings.

Each trial is an ordinary run folder. The test digits decide nothing: the search, the early stopping of hopeless trials
(ASHA, Li et al. 2020) and the choice of the best trial use val_loss alone.

Tune's own state is pickles, and unpickling runs code. So it lives in a temporary folder that only this call uses; an
interrupted sweep continues from its run folders and the JSON beside them (trials.py): Tune gets only the trials that
are missing, and Optuna and ASHA are told how the others went.
"""

import json
import logging
import math
import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from numerals.errors import InputError, RunError
from numerals.files import write_atomically
from numerals.processes import scratch_folder
from numerals.scale.cluster import cause_of
from numerals.scale.search_space import Range, SearchSpace, as_options
from numerals.scale.trials import (
    Plan,
    Progress,
    Trial,
    as_csv,
    begun_settings,
    load_stopped,
    load_trials,
    write_stopped,
)

LOG = logging.getLogger(__name__)
MIN_EPOCHS = 2  # of each trial, before ASHA may stop it
REDUCTION_FACTOR = 3  # ASHA lets one of this many trials continue


def run_all(plan: Plan, cores: int) -> list[Trial]:
    """Run the trials that are missing and write results.csv.

    Args:
        plan: what to train, and the output folder.
        cores: number of CPU cores of the cluster; trials that run at the same time share them.

    Returns:
        All trials, the best by val_loss first.

    Raises:
        InputError: the output folder belongs to another sweep.
        FailureError: a trial failed; the others are saved, and the same command continues.
        KeyboardInterrupt: interrupted; the message says how many trials have ended.
    """
    plan.folder().claim()
    ended = load_trials(plan)
    if len(ended) < plan.trials:
        _run_missing(plan, cores, ended)
        ended = load_trials(plan)
    if len(ended) < plan.trials:  # Tune returns after Ctrl-C as if nothing had happened
        raise KeyboardInterrupt(f"{len(ended)} of {plan.trials} trainings have ended")
    write_atomically(plan.out / "results.csv", as_csv(ended).encode())
    return ended


def _run_missing(plan: Plan, cores: int, ended: Sequence[Trial]) -> None:
    """Run the trials that have not ended, those first that have begun."""
    threads = max(1, cores // min(plan.trials, cores))
    trainable = tune.with_resources(tune.with_parameters(TrialTraining, plan=plan, threads=threads), {"cpu": threads})
    names = {trial.name for trial in ended}
    missing = {name: settings for name, settings in begun_settings(plan).items() if name not in names}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if plan.space is None:
        param_space = {"seed": tune.grid_search([settings["seed"] for settings in missing.values()])}
        config = tune.TuneConfig(search_alg=BasicVariantGenerator())
    else:
        histories = {trial.name: _val_losses(plan.out / trial.name) for trial in ended}
        param_space = {}
        config = tune.TuneConfig(
            num_samples=plan.trials - len(ended),
            search_alg=_Search(plan, plan.space, missing, ended, histories),
            scheduler=_scheduler(plan, histories),
        )
    with scratch_folder("numerals-tune-") as state:
        run_config = tune.RunConfig(
            storage_path=str(state),
            name="tune",
            verbose=0,
            callbacks=[_RecordTrials(plan.out, len(ended), load_stopped(plan.out))],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the run folders have their own
        )
        try:
            results = tune.Tuner(trainable, param_space=param_space, tune_config=config, run_config=run_config).fit()
        except tune.TuneError as error:
            raise cause_of(error, "Ray Tune failed") from error
    if results.errors:
        raise cause_of(results.errors[0], "a training failed")


class _Search(OptunaSearch):
    """Suggests the settings of the trials that have begun, then new ones; each with the name of its run folder.

    Args:
        plan: of the sweep.
        space: of the sweep too.
        begun: settings of the trials to continue, by name.
        ended: the trials that Optuna learns from.
        histories: val_loss of each of their epochs, by name.
    """

    def __init__(
        self,
        plan: Plan,
        space: SearchSpace,
        begun: dict[str, dict[str, Any]],
        ended: Sequence[Trial],
        histories: dict[str, list[float]],
    ) -> None:
        known = len(begun) + len(ended)
        super().__init__(
            {key: _domain(values) for key, values in space.varied.items()},
            metric="val_loss",
            mode="min",
            points_to_evaluate=list(begun.values()),
            seed=(plan.seed + known) % 2**32,  # with the same seed again, it would draw the same settings again
        )
        for trial in ended:
            self.add_evaluated_point(trial.settings, histories[trial.name][-1])
        numbered = (f"trial-{number:04}" for number in range(known + plan.trials))
        free = [
            name for name in numbered if not any(map(os.path.lexists, (plan.out / name, plan.out / f"{name}.json")))
        ]
        self._names = [*begun, *free]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        settings = super().suggest(trial_id)
        return None if settings is None else {"run": self._names.pop(0), **settings}


class TrialTraining(tune.Trainable):
    """A trial. The training runs in its own thread, which waits after each epoch until Tune asks for the next one.

    A trial that Tune stops therefore ends like any training, with its metrics and its curves.
    """

    def setup(self, config: dict[str, Any], plan: Plan, threads: int) -> None:  # type: ignore[override]
        self._reports: queue.Queue[Any] = queue.Queue()  # dictionaries for Tune, or the exception of the thread
        self._continue: queue.Queue[bool] = queue.Queue()
        self._last_report: dict[str, Any] = {}
        name = config.pop("run") if plan.space else f"seed-{config['seed']}"
        self._thread = threading.Thread(target=self._train, args=(config, plan, threads, name), daemon=True)
        self._name, self._started = name, False

    def step(self) -> dict[str, Any]:
        """Train one epoch."""
        if self._started:
            self._continue.put(True)
        else:
            self._started = True
            self._thread.start()
        report = self._reports.get()
        if isinstance(report, BaseException):
            raise report
        self._last_report = self._last_report | report
        return self._last_report

    def cleanup(self) -> None:
        self._continue.put(False)
        if self._started:
            self._thread.join()

    def _train(self, config: dict[str, Any], plan: Plan, threads: int, name: str) -> None:
        try:
            _train(config, plan, threads, name, self)
            self._reports.put({"done": True, "trained": True})
        except BaseException as error:  # noqa: BLE001  `step` raises it in Tune's thread
            self._reports.put(error)

    def report(self, epoch: int, val_loss: float, val_accuracy: float) -> None:
        """Report the last epoch of the training."""
        self._reports.put({"run": self._name, "epoch": epoch, "val_loss": val_loss, "val_accuracy": val_accuracy})

    def wait_for_decision(self) -> bool:
        """Wait until Tune continues the trial (True) or stops it (False)."""
        return self._continue.get()


def _train(config: dict[str, Any], plan: Plan, threads: int, name: str, training: TrialTraining) -> None:
    """Train one trial, from its last checkpoint if an earlier call began it."""
    import torch

    from numerals.article.callbacks import Epoch
    from numerals.article.device import keep_freed_memory
    from numerals.article.fit import Callback
    from numerals.article.state import TrainingState
    from numerals.runs.resume import resume
    from numerals.runs.train import train

    torch.set_num_threads(threads)
    keep_freed_memory()

    class ReportToTune(Callback):
        def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
            training.report(epoch.epoch, epoch.val_loss, epoch.val_accuracy)
            state.stop_training = not training.wait_for_decision()

    run, callbacks = plan.out / name, [ReportToTune()]
    if plan.space is None:
        recipe, seed = plan.recipe, config["seed"]
    else:
        write_atomically(plan.out / f"{name}.json", json.dumps(config).encode())
        settings = {key: json.loads(value) if _has_lists(plan.space, key) else value for key, value in config.items()}
        recipe, seed = plan.space.apply(settings), plan.seed
    if (run / "checkpoint").is_dir():
        resume(run, recipe=recipe, seed=seed, data=plan.data, device=plan.device, callbacks=callbacks)
    else:
        train(recipe, plan.data, out=run, seed=seed, device=plan.device, callbacks=callbacks)


class _RecordTrials(tune.Callback):
    """Logs one line for each trial that ends, and records those that ASHA stopped. Tune does not call it after Ctrl-C.

    Args:
        out: the folder of the sweep.
        ended: number of trials that have ended already.
        stopped: those of them that ASHA stopped.
    """

    def __init__(self, out: Path, ended: int, stopped: dict[str, Progress]) -> None:
        self._out, self._ended, self._stopped = out, ended, stopped

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        if "val_loss" not in last:
            return
        self._ended += 1
        if not last.get("trained"):
            self._stopped[last["run"]] = Progress(last["run"], last["epoch"], last["val_loss"], last["val_accuracy"])
            write_stopped(self._out, self._stopped)
        settings = _format_settings(trial.config)
        LOG.info("%d ended: epoch %d, val_loss %.4f, %s", self._ended, last["epoch"], last["val_loss"], settings)


def _val_losses(run: Path) -> list[float]:
    """The val_loss of each epoch of a trial that has ended."""
    from numerals.runs.load import read_history

    try:
        losses = [epoch.val_loss for epoch in read_history(run / "history.csv")]
        if not all(map(math.isfinite, losses)):
            raise RunError(f"{run / 'history.csv'}: damaged (a val_loss is not finite)")
    except RunError as error:
        raise InputError(f"{error}; delete the folder {run.name} to train it again") from error
    return losses


def _domain(values: Range | list[Any]) -> Any:
    if isinstance(values, list):
        return tune.choice(as_options(values))
    if values.is_integer:
        draw: Any = tune.lograndint if values.log else tune.randint
        return draw(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _has_lists(space: SearchSpace, key: str) -> bool:
    values = space.varied[key]
    return isinstance(values, list) and isinstance(values[0], list)


def _scheduler(plan: Plan, histories: dict[str, list[float]]) -> Any:
    """ASHA, which compares new trials with the ones that have ended too.

    Args:
        plan: what to train.
        histories: val_loss of each epoch of the trials that have ended, by name.
    """
    asha = ASHAScheduler(
        metric="val_loss",
        mode="min",
        time_attr="epoch",
        max_t=max(plan.recipe.epochs, 2) + 1,
        grace_period=MIN_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
    )
    controller: Any = None  # ASHA uses neither it nor more of a trial than its id
    for name, losses in histories.items():
        trial: Any = SimpleNamespace(trial_id=name)
        asha.on_trial_add(controller, trial)
        for epoch, loss in enumerate(losses, 1):
            asha.on_trial_result(controller, trial, {"epoch": epoch, "val_loss": loss})
    return asha


def _format_settings(config: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in config.items()
    )
