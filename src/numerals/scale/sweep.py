"""Runs many trainings on Ray Tune: one recipe with several seeds, or a search for better settings.

Each trial is an ordinary run folder. The test digits decide nothing: the search, the early stopping of hopeless trials
(ASHA, Li et al. 2020) and the choice of the best trial use val_loss alone.
"""

import json
import logging
import queue
import threading
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from numerals.files import write_atomically
from numerals.scale.cluster import cause_of
from numerals.scale.search_space import Range
from numerals.scale.trials import Plan, Progress, Trial, as_csv, load_trials

LOG = logging.getLogger(__name__)
TUNE_FOLDER = "_tune"  # Ray Tune's own state, from which an interrupted sweep continues
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
    continues = plan.folder().claim()
    threads = max(1, cores // min(plan.trials, cores))
    trainable = tune.with_resources(tune.with_parameters(TrialTraining, plan=plan, threads=threads), {"cpu": threads})
    state = str(plan.out / TUNE_FOLDER)
    if continues and tune.Tuner.can_restore(state):
        tuner = tune.Tuner.restore(
            state, trainable, resume_unfinished=True, restart_errored=True, param_space=_param_space(plan)
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_param_space(plan),
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=plan.trials if plan.space else 1,
                search_alg=OptunaSearch(seed=plan.seed) if plan.space else BasicVariantGenerator(),
                scheduler=_scheduler(plan),
            ),
            run_config=tune.RunConfig(
                storage_path=str(plan.out),
                name=TUNE_FOLDER,
                verbose=0,
                callbacks=[_LogTrials()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the run folders have their own
            ),
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results = tuner.fit()
    if results.errors:
        raise cause_of(results.errors[0], "a training failed")
    reports = [results[number].metrics or {} for number in range(len(results))]
    ended = [_progress(report) for report in reports if report.get("done")]
    if len(ended) < plan.trials:  # Tune returns after Ctrl-C as if nothing had happened
        raise KeyboardInterrupt(f"{len(ended)} of {plan.trials} trainings have ended")
    trials = load_trials(plan.out, ended)
    write_atomically(plan.out / "results.csv", as_csv(trials).encode())
    return trials


class TrialTraining(tune.Trainable):
    """A trial. The training runs in its own thread, which waits after each epoch until Tune asks for the next one.

    A trial that Tune stops therefore ends like any training, with its metrics and its curves.
    """

    def setup(self, config: dict[str, Any], plan: Plan, threads: int) -> None:  # type: ignore[override]
        self._reports: queue.Queue[Any] = queue.Queue()  # dictionaries for Tune, or the exception of the thread
        self._continue: queue.Queue[bool] = queue.Queue()
        self._last_report: dict[str, Any] = {}
        name = f"seed-{config['seed']}" if plan.space is None else f"trial-{self.trial_id.rpartition('_')[2]}"
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
            self._reports.put({"done": True})
        except BaseException as error:  # noqa: BLE001  `step` raises it in Tune's thread
            self._reports.put(error)

    def report(self, epoch: int, val_loss: float, val_accuracy: float) -> None:
        """Report the last epoch of the training."""
        self._reports.put({"run": self._name, "epoch": epoch, "val_loss": val_loss, "val_accuracy": val_accuracy})

    def wait_for_decision(self) -> bool:
        """Wait until Tune continues the trial (True) or stops it (False)."""
        return self._continue.get()


def _train(config: dict[str, Any], plan: Plan, threads: int, name: str, training: TrialTraining) -> None:
    """Train one trial, from its last checkpoint if it has one: Tune asks again for a trial that Ctrl-C stopped."""
    import torch

    from numerals.article.callbacks import Epoch
    from numerals.article.device import keep_freed_memory
    from numerals.article.fit import Callback
    from numerals.article.state import TrainingState
    from numerals.runs.folder import RunFolder
    from numerals.runs.resume import resume
    from numerals.runs.train import train

    torch.set_num_threads(threads)
    keep_freed_memory()

    class ReportToTune(Callback):
        def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
            training.report(epoch.epoch, epoch.val_loss, epoch.val_accuracy)
            state.stop_training = not training.wait_for_decision()

    run = plan.out / name
    metrics = RunFolder(run).metrics()
    if metrics.get("test"):  # it ended before the sweep was interrupted
        training.report(metrics["epochs"], metrics["validation"]["loss"], metrics["validation"]["accuracy"])
    elif (run / "checkpoint").is_dir():
        resume(run, data=plan.data, device=plan.device, callbacks=[ReportToTune()])
    else:
        settings = {key: json.loads(value) if _has_lists(plan, key) else value for key, value in config.items()}
        seed = settings.pop("seed") if plan.space is None else plan.seed
        write_atomically(plan.out / f"{name}.json", json.dumps(config).encode())
        recipe = plan.space.apply(settings) if plan.space else plan.recipe
        train(recipe, plan.data, out=run, seed=seed, device=plan.device, callbacks=[ReportToTune()])


class _LogTrials(tune.Callback):
    """Logs one line for each trial that ends. It has no attributes, because Tune pickles it."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        ended = sum(each.is_finished() for each in trials)
        if "val_loss" in last:
            settings = _format_settings(trial.config)
            LOG.info("%d ended: epoch %d, val_loss %.4f, %s", ended, last["epoch"], last["val_loss"], settings)


def _progress(report: dict[str, Any]) -> Progress:
    return Progress(report["run"], report["epoch"], report["val_loss"], report["val_accuracy"])


def _param_space(plan: Plan) -> dict[str, Any]:
    if plan.space is None:
        return {"seed": tune.grid_search(list(range(plan.seed, plan.seed + plan.trials)))}
    return {key: _domain(values) for key, values in plan.space.varied.items()}


def _domain(values: Range | list[Any]) -> Any:
    if isinstance(values, list):
        return tune.choice([json.dumps(value) if isinstance(value, list) else value for value in values])
    if values.is_integer:
        draw: Any = tune.lograndint if values.log else tune.randint
        return draw(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _has_lists(plan: Plan, key: str) -> bool:
    """Whether the choices for a key are lists (as for convolutions). Optuna takes them only as text."""
    values = plan.space.varied.get(key) if plan.space else None
    return isinstance(values, list) and isinstance(values[0], list)


def _scheduler(plan: Plan) -> Any:
    if plan.space is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        max_t=max(plan.recipe.epochs, 2) + 1,
        grace_period=MIN_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
    )


def _format_settings(config: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in config.items()
    )
