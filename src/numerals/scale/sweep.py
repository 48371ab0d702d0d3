"""Many trainings at a time on Ray Tune: several seeds, or a search for better numbers. Each is an ordinary run folder.

Knows nothing about how to train. Nothing is chosen by the test digits: the search, the early
end of hopeless trials (ASHA, Li et al. 2020) and the best one go by val_loss alone.
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

from numerals.errors import FailureError, NumeralsError
from numerals.files import write_atomically
from numerals.scale.search_space import Range
from numerals.scale.trials import Plan, Trial, as_csv, claim, trials

LOG = logging.getLogger(__name__)
STATE = "_tune"  # Ray Tune's own folder, from which an interrupted sweep goes on
GRACE = 2  # epochs that each trial may have
SHARE = 3  # of this many trials that came as far, one goes on


def run_all(plan: Plan, cores: int) -> list[Trial]:
    """Trains what is missing, and gives all trials, the best by val_loss first; results.csv has them too.

    Raises:
        InputError: `plan.out` belongs to another sweep.
        FailureError: a trial failed; the others are kept, and the same command goes on.
        KeyboardInterrupt: it says how many have ended.
    """
    goes_on = claim(plan)
    each = max(1, cores // min(plan.trials, cores))
    trainable = tune.with_resources(tune.with_parameters(Training, plan=plan, threads=each), {"cpu": each})
    callbacks: list[tune.Callback] = [_Progress()]
    if goes_on and tune.Tuner.can_restore(str(plan.out / STATE)):
        tuner = tune.Tuner.restore(
            str(plan.out / STATE), trainable, resume_unfinished=True, restart_errored=True, param_space=_space(plan)
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_space(plan),
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=plan.trials if plan.space else 1,
                search_alg=OptunaSearch(seed=plan.seed) if plan.space else BasicVariantGenerator(),
                scheduler=_scheduler(plan),
            ),
            run_config=tune.RunConfig(
                storage_path=str(plan.out),
                name=STATE,
                verbose=0,
                callbacks=callbacks,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the run folders have their own
            ),
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results = tuner.fit()
    if results.errors:
        raise _failure(results.errors[0])
    reports = [results[number].metrics or {} for number in range(len(results))]
    ended = [report for report in reports if report.get("done")]
    if len(ended) < plan.trials:  # Tune itself says nothing of Ctrl-C
        raise KeyboardInterrupt(f"{len(ended)} of {plan.trials} trainings have ended")
    found = trials(plan.out, ended)
    write_atomically(plan.out / "results.csv", as_csv(found).encode())
    return found


class Training(tune.Trainable):
    """A trial: the training in a thread of its own, which waits after each epoch until Tune wants another.

    So that a trial that is stopped ends as a training does, with its metrics and its curves.
    """

    def setup(self, config: dict[str, Any], plan: Plan, threads: int) -> None:  # type: ignore[override]
        self._rows: queue.Queue[Any] = queue.Queue()
        self._more: queue.Queue[bool] = queue.Queue()
        self._last: dict[str, Any] = {}
        name = f"seed-{config['seed']}" if plan.space is None else f"trial-{self.trial_id.rpartition('_')[2]}"
        self._thread = threading.Thread(target=self._train, args=(config, plan, threads, name), daemon=True)
        self._name, self._begun = name, False

    def step(self) -> dict[str, Any]:
        """One epoch."""
        if self._begun:
            self._more.put(True)
        else:
            self._begun = True
            self._thread.start()
        what = self._rows.get()
        if isinstance(what, BaseException):
            raise what
        self._last = self._last | what
        return self._last

    def cleanup(self) -> None:
        self._more.put(False)
        if self._begun:
            self._thread.join()

    def _train(self, config: dict[str, Any], plan: Plan, threads: int, name: str) -> None:
        try:
            _train(config, plan, threads, name, self)
            self._rows.put({"done": True})
        except BaseException as error:  # noqa: BLE001  it is raised again in Tune's own thread
            self._rows.put(error)

    def ended_before(self, metrics: dict[str, Any]) -> None:
        """The run had ended when the sweep was interrupted."""
        loss, accuracy = metrics["validation"]["loss"], metrics["validation"]["accuracy"]
        self._rows.put({"run": self._name, "epoch": metrics["epochs"], "val_loss": loss, "val_accuracy": accuracy})

    def started(self, recipe: Any, layers: Any, facts: Any) -> None: ...

    def epoch(self, row: Any, best: bool) -> None:
        """The training's observer: Tune has the figures, and says whether to go on."""
        from numerals.article.callbacks import Stopped

        self._rows.put(
            {"run": self._name, "epoch": row.epoch, "val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
        )
        if not self._more.get():
            raise Stopped


class _Watch:
    """An Observer of the training; Trainable's own `step` has another meaning."""

    def __init__(self, training: Training) -> None:
        self.started, self.epoch = training.started, training.epoch

    def step(self, *_: Any) -> None: ...


def _train(config: dict[str, Any], plan: Plan, threads: int, name: str, training: Training) -> None:
    """From its last checkpoint, if the trial was begun before; also if Ctrl-C stopped it, since Tune asks again."""
    import torch

    from numerals.article.device import keep_freed_memory
    from numerals.runs.folder import RunFolder
    from numerals.runs.resume import resume
    from numerals.runs.train import train

    torch.set_num_threads(threads)
    keep_freed_memory()
    run, watch = plan.out / name, _Watch(training)
    metrics = RunFolder(run).metrics()
    if metrics.get("test"):
        training.ended_before(metrics)
    elif (run / "checkpoint").is_dir():
        resume(run, data=plan.data, device=plan.device, observer=watch)
    else:
        chosen = {key: json.loads(value) if _is_list(plan, key) else value for key, value in config.items()}
        seed = chosen.pop("seed") if plan.space is None else plan.seed
        write_atomically(plan.out / f"{name}.json", json.dumps(config).encode())
        recipe = plan.space.change(chosen) if plan.space else plan.recipe
        train(recipe, plan.data, out=run, seed=seed, device=plan.device, observer=watch)


class _Progress(tune.Callback):
    """Logs a line for each trial that ends. It has no attributes, because Tune pickles it."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        done = sum(each.is_finished() for each in trials)
        if "val_loss" in last:
            settings = _short(trial.config)
            LOG.info("%d ended: epoch %d, val_loss %.4f, %s", done, last["epoch"], last["val_loss"], settings)


def _space(plan: Plan) -> dict[str, Any]:
    if plan.space is None:
        return {"seed": tune.grid_search(list(range(plan.seed, plan.seed + plan.trials)))}
    return {key: _domain(each) for key, each in plan.space.keys.items()}


def _domain(values: Range | list[Any]) -> Any:
    if isinstance(values, list):
        return tune.choice([json.dumps(each) if isinstance(each, list) else each for each in values])
    if values.whole:
        draw: Any = tune.lograndint if values.log else tune.randint
        return draw(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _is_list(plan: Plan, key: str) -> bool:
    """Whether the choices are lists, as of convolutions, which Optuna takes as text only."""
    values = plan.space.keys.get(key) if plan.space else None
    return isinstance(values, list) and isinstance(values[0], list)


def _scheduler(plan: Plan) -> Any:
    if plan.space is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch", max_t=max(plan.recipe.epochs, 2) + 1, grace_period=GRACE, reduction_factor=SHARE
    )


def _short(config: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in config.items()
    )


def _failure(error: Any) -> NumeralsError:
    inner: Any = error
    while inner is not None:
        inner = getattr(inner, "cause", None) or inner.__cause__
        if isinstance(inner, NumeralsError):
            return type(inner)(str(inner))
    return FailureError(f"a training failed: {str(error).strip().splitlines()[-1][:200]}; the same command goes on")
