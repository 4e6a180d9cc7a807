"""Search for settings: Optuna proposes them, training evaluates them, a journal file keeps them.

The search maximises the unweighted accuracy on validation speakers, averaged over folds and seeds.
Test clips take no part: trials that are trained here do not even predict them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
import optuna
import pandas as pd
import psutil
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from stages.learning.checkpoints import SECTIONS
from stages.learning.jobs import all_jobs, run_jobs
from stages.learning.learner import described
from stages.learning.results import gather
from stages.learning.training_plan import make_plan
from stages.settings.loading import plain, read_settings
from stages.splits.leaks import shared_in_words
from stages.splits.split_table import ALL, folds_of
from studies.composition import compose_params
from studies.experiment import CACHES, LOGS, SCRATCH, Experiment, clean_up

log = logging.getLogger(__name__)
TRAINING = "reports/training.csv"
#: Sections of params.yaml whose settings can be tuned. The others decide which clips validate under
#: which labels, so figures of trials that differ in them cannot be compared.
TUNED = ("audio", "features", "model", "train", "variants")
_HERE = ("model.network.", "train.", "train/")  # settings that do not change the caches
_STARTED = 5  # trials that never stop early, because the others are compared with them


@dataclass(frozen=True)
class Study:
    """Settings of conf/tune/<name>.yaml.

    name : str
    base : overrides of every trial, as `dvc exp run -S` takes them
    trials : number of trials, over all runs of the study
    parameters : distribution by setting
    """

    name: str
    base: list[str]
    trials: int
    parameters: dict[str, BaseDistribution]

    @property
    def here(self) -> bool:
        """Whether this process can train the trials on the existing caches."""
        return all(name.startswith(_HERE) for name in self.parameters)

    @property
    def shared(self) -> list[str]:
        """Overlap of training and test in every trial, in words, such as "speaker-dependent"."""
        params = compose_params(self.base)
        independent = bool(params.variants) and params.split.variants == "independent"
        of_settings = {"speaker_dependent": False, "variants_shared": independent}
        return shared_in_words(params.split, of_settings)


def read_study(path: Path) -> Study:
    """Read and check the file of a study.

    Raises
    ------
    ValueError
        naming the file, the entry, the value and the expected value
    """
    content = plain(read_settings(path, want="the settings of a study"))
    wanted = {
        "base": (list, "a list of overrides"),
        "trials": (int, "a number above 0"),
        "parameters": (dict, "a mapping of settings to ranges"),
    }
    if not isinstance(content, dict) or set(content) != set(wanted):
        raise ValueError(f"{path}: got {content}, want the entries {', '.join(wanted)}")
    for name, (kind, words) in wanted.items():
        if not isinstance(content[name], kind) or (name != "base" and not content[name]):
            raise ValueError(f"{path}: {name}: got {content[name]!r}, want {words}")
    try:
        parameters = {
            name: _distribution(name, spec) for name, spec in content["parameters"].items()
        }
        study = Study(path.stem, content["base"], content["trials"], parameters)
        params = compose_params(study.base)
        for name in parameters:
            _check_setting(name, params)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return study


def _distribution(name: str, spec: Any) -> BaseDistribution:
    """Read {choices: [...]}, or {low: a, high: b}; two integer ends give integers."""
    keys = set(spec) if isinstance(spec, dict) else set()
    if keys == {"choices"} and spec["choices"]:
        return CategoricalDistribution(spec["choices"])
    if {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
        whole = all(isinstance(spec[end], int) for end in ("low", "high"))
        return (IntDistribution if whole else FloatDistribution)(**spec)
    raise ValueError(
        f"parameters.{name}: got {spec}, want {{choices: [...]}}, or {{low: , high: }} and "
        "optionally `log: true` or `step: `"
    )


def _check_setting(name: str, params: DictConfig) -> None:
    if re.split("[./]", name)[0] not in TUNED:
        raise ValueError(
            f"parameters.{name}: want a setting of {', '.join(TUNED)}; any other changes the "
            "validation clips or labels, so trials could not be compared"
        )
    if Path("conf", name).is_dir():  # a group: the trials try its options
        return
    *sections, last = name.split(".")
    parent = OmegaConf.select(params, ".".join(sections)) if sections else params
    if not isinstance(parent, DictConfig) or last not in parent:
        raise ValueError(f"parameters.{name}: no such setting in params.yaml")
    if isinstance(parent[last], DictConfig):
        raise ValueError(f"parameters.{name}: got a section, want one of its settings, or a group")


def open_storage(path: Path) -> JournalStorage:
    """Open the journal file of a study, which several processes can use at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def open_study(
    study: Study, path: Path, *, worker: int = 0, tables: Sequence[pd.DataFrame] = ()
) -> optuna.Study:
    """Create a study, or resume it.

    Parameters
    ----------
    study : Study
    path : Path
        journal file of the study
    worker : int
        number of this process, which seeds its sampler
    tables : DataFrames
        clip and split table, if trials are trained on them

    Raises
    ------
    ValueError
        if the study was created with other settings
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = optuna.create_study(
        study_name=study.name,
        storage=open_storage(path),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTED),
    )
    # A resumed study draws new values; parallel workers avoid values that others are trying.
    opened.sampler = optuna.samplers.TPESampler(
        seed=1000 * worker + len(opened.trials), constant_liar=True
    )
    settings = {
        "params": plain(compose_params(study.base)),
        "parameters": {name: repr(values) for name, values in study.parameters.items()},
        "tables": [hashlib.sha256(t.to_csv(index=False).encode()).hexdigest() for t in tables],
    }
    begun = opened.user_attrs.get("settings")
    if begun is None:
        opened.set_user_attr("settings", settings)
    elif begun != settings:
        differing = ", ".join(name for name in settings if settings[name] != begun[name])
        raise ValueError(
            f"{path}: the study was created with other {differing}; move the file away, or rename "
            "the study's file in conf/tune/"
        )
    return opened


def retry_interrupted(opened: optuna.Study) -> None:
    """Queue the running trials of this machine's dead processes again."""
    for trial in opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, process = trial.user_attrs.get("by", ["", 0])
        if host == socket.gethostname() and not psutil.pid_exists(process):
            opened.tell(trial.number, state=TrialState.FAIL)
            attributes = {"again": trial.number, "first": _first(trial)}
            opened.enqueue_trial(trial.params, user_attrs=attributes)


def _first(trial: Trial | FrozenTrial) -> int:
    """Number of a trial, or of the trial that it repeats."""
    return trial.user_attrs.get("first", trial.number)


def counted(opened: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have started; a repeated trial counts once, as its repetition."""
    trials = opened.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials}
    return [t for t in trials if t.number not in again and t.state != TrialState.WAITING]


def run_trials(
    study: Study, path: Path, *, worker: int, experiment: Experiment | None, tables: Sequence
) -> None:
    """Run trials until the study has its number of trials; several processes can do so at once.

    Parameters
    ----------
    study : Study
    path : Path
        journal file of the study
    worker : int
        number of this process
    experiment : Experiment or None
        data to train on; None: `dvc exp run --temp` runs each trial
    tables : see open_study

    Raises
    ------
    ValueError
        if there are no validation clips
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    opened = open_study(study, path, worker=worker, tables=tables)
    stages, level = logging.getLogger("stages"), logging.getLogger("stages").level
    stages.setLevel(logging.WARNING)
    try:
        _run_trials(opened, study, experiment=experiment)
    finally:
        stages.setLevel(level)


def _run_trials(opened: optuna.Study, study: Study, *, experiment: Experiment | None) -> None:
    while len(counted(opened)) < study.trials:
        trial = opened.ask(fixed_distributions=study.parameters)
        trial.set_user_attr("by", [socket.gethostname(), os.getpid()])
        try:
            value = _train(trial, study, experiment) if experiment else _run(trial, study)
        except optuna.TrialPruned:
            opened.tell(trial, state=TrialState.PRUNED)
            said = "stopped early"
        except _Failed as error:
            trial.set_user_attr("error", str(error))
            opened.tell(trial, state=TrialState.FAIL)
            said = f"failed: {error}"
        else:
            opened.tell(trial, value)
            said = f"validation UA {value:.3f}"
        log.info("trial %d: %s: %s", trial.number, written(trial.params), said)


class _Failed(Exception):
    """Training with the settings of a trial failed."""


def written(settings: Mapping[str, Any]) -> str:
    """Write settings as `dvc exp run -S` takes them."""
    return " ".join(override(name, value) for name, value in settings.items())


def override(name: str, value: Any) -> str:
    """Write one setting as `dvc exp run -S` takes it."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _overrides(trial: Trial, study: Study) -> list[str]:
    """Return the overrides of the base, then those of a trial."""
    return [*study.base, *(override(*item) for item in trial.params.items())]


def _train(trial: Trial, study: Study, experiment: Experiment) -> float:
    """Train every fold and seed, report each to the pruner, and return the mean validation UA."""
    try:
        params = compose_params(_overrides(trial, study))
    except ValueError as error:
        raise _Failed(str(error)) from error
    settings = plain(params)
    plan = make_plan(
        experiment.clips,
        validation_only(experiment.split),
        labels=experiment.labels,
        caches=CACHES,
        # Separate: another process may be trying the same settings.
        scratch=SCRATCH / f"{study.name}-{_first(trial)}",
        logs=LOGS,
        settings={name: settings[name] for name in SECTIONS},
    )
    jobs = [job for job in all_jobs(experiment.split, experiment.seeds) if job.fold != ALL]
    for number in range(len(jobs)):
        try:
            run_jobs(jobs[number : number + 1], plan)
        except (ValueError, RuntimeError) as error:
            clean_up([plan])
            raise _Failed(str(error)) from error
        _, history = gather(jobs[: number + 1], plan)
        value = validated(history, patience=described(settings)["train"]["patience"])
        trial.report(value, number)
        if trial.should_prune():
            clean_up([plan])
            raise optuna.TrialPruned
    clean_up([plan])
    return value


def validation_only(split: pd.DataFrame) -> pd.DataFrame:
    """Remove the test clips from a split table, so that they are not predicted.

    Raises
    ------
    ValueError
        if a fold has no validation clips
    """
    split = split.copy()
    for fold in folds_of(split):
        if fold != ALL:
            if not (split[fold] == "validation").any():
                raise ValueError(
                    f"split: fold {fold}: got no validation clips, want split.validation above 0"
                )
            split[fold] = split[fold].where(split[fold] != "test", "")
    return split


def _run(trial: Trial, study: Study) -> float:
    """Let DVC run a trial outside the workspace, and return its mean validation UA."""
    name = f"{study.name}-{trial.number}"
    overrides = _overrides(trial, study)
    flags = [part for override in overrides for part in ("-S", override)]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        lines = f"{result.stdout}\n{result.stderr}".strip().splitlines()
        raise _Failed(" / ".join(lines[-3:]))
    with dvc.api.open(TRAINING, rev=name) as file:
        history = pd.read_csv(file, dtype={"fold": "str"})
    patience = OmegaConf.select(compose_params(overrides), "train.patience")
    return validated(history[history["fold"] != ALL], patience=patience)


def validated(history: pd.DataFrame, *, patience: int | None) -> float:
    """Average the validation UA of the kept epoch over jobs.

    Parameters
    ----------
    history : DataFrame
        fold, seed, epoch, validation_ua; see stages.learning.results.gather
    patience : int or None
        None: the last epoch is kept; otherwise the best one

    Raises
    ------
    ValueError
        if there are no validation clips
    """
    jobs = history.sort_values("epoch").groupby(["fold", "seed"])["validation_ua"]
    kept = jobs.last() if patience is None else jobs.max()
    if kept.isna().any():
        raise ValueError("got no validation clips, want split.validation above 0")
    return float(kept.mean())
