"""A study: which settings validate best, asked of Optuna, kept in a file, answered by training.

What is maximised is the unweighted accuracy on validation speakers, mean over folds and seeds. Test
clips take no part: in trials that are trained here they are not even predicted.
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
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
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
from stages.learning.results import gather
from stages.learning.training_plan import make_plan
from stages.running.settings import plain
from stages.splits.folds import ALL, folds_of
from stages.splits.leaks import shared_in_words
from studies.experiment import CACHES, LOGS, SCRATCH, Experiment, clean_up

log = logging.getLogger(__name__)
TRAINING = "reports/training.csv"
#: Sections of params.yaml whose settings can be tuned. The others decide which clips validate, and
#: as what: over them, figures could not be compared.
TUNED = ("audio", "features", "model", "train", "variants")
_HERE = ("model.network.", "train.", "train/")  # settings that leave the caches as they are
_STARTED = 5  # trials that are never stopped early, to have something to compare with


@dataclass(frozen=True)
class Study:
    """What conf/tune/<name>.yaml says.

    name : str
    base : overrides that every trial begins with, as `dvc exp run -S` takes them
    trials : how many are to be made, over all runs
    parameters : distribution by setting
    """

    name: str
    base: list[str]
    trials: int
    parameters: dict[str, BaseDistribution]

    @property
    def here(self) -> bool:
        """Whether trials are trained in this process, on caches that are there."""
        return all(name.startswith(_HERE) for name in self.parameters)

    @property
    def shared(self) -> list[str]:
        """What training and test share in every trial, in words, such as "speaker-dependent"."""
        params = compose_params(self.base)
        independent = bool(params.variants) and params.split.variants == "independent"
        of_settings = {"speaker_dependent": False, "variants_shared": independent}
        return shared_in_words(params.split, of_settings)


def read_study(path: Path) -> Study:
    """Read and check the description of a study.

    Raises
    ------
    ValueError
        naming the file, the entry, what it is and what it should be
    """
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    wanted = {"base": list, "trials": int, "parameters": dict}
    if not isinstance(content, dict) or set(content) != set(wanted):
        raise ValueError(f"{path}: got {content}, want the entries {', '.join(wanted)}")
    for name, kind in wanted.items():
        if not isinstance(content[name], kind) or (name != "base" and not content[name]):
            raise ValueError(f"{path}: {name}: got {content[name]!r}, want a {kind.__name__}")
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
    """{choices: [...]}, or {low: a, high: b} with step or log: whole numbers if both ends are."""
    keys = set(spec) if isinstance(spec, dict) else set()
    if keys == {"choices"} and spec["choices"]:
        return CategoricalDistribution(spec["choices"])
    if {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
        whole = all(isinstance(spec[end], int) for end in ("low", "high"))
        return (IntDistribution if whole else FloatDistribution)(**spec)
    raise ValueError(
        f"parameters.{name}: got {spec}, want {{choices: [...]}}, or {{low: , high: }} with "
        "`log: true` or `step: ` if wanted"
    )


def _check_setting(name: str, params: DictConfig) -> None:
    if re.split("[./]", name)[0] not in TUNED:
        raise ValueError(
            f"parameters.{name}: want a setting of {', '.join(TUNED)}: with others, validation "
            "figures of two trials are not of the same clips and labels"
        )
    if Path("conf", name).is_dir():  # a group, whose options are tried
        return
    *sections, last = name.split(".")
    parent = OmegaConf.select(params, ".".join(sections)) if sections else params
    if not isinstance(parent, DictConfig) or last not in parent:
        raise ValueError(f"parameters.{name}: no such setting in params.yaml")
    if isinstance(parent[last], DictConfig):
        raise ValueError(f"parameters.{name}: a section, want one of its settings, or a group")


def compose_params(overrides: Sequence[str]) -> DictConfig:
    """params.yaml as `dvc exp run -S ...` composes it.

    Raises
    ------
    ValueError
        for an override that conf/ does not know
    """
    try:
        with initialize_config_dir(str(Path("conf").resolve()), version_base=None):
            return compose("config", list(overrides))
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from error


def open_storage(path: Path) -> JournalStorage:
    """The file that a study is kept in, which several processes may use at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def open_study(
    study: Study, path: Path, *, worker: int = 0, tables: Sequence[pd.DataFrame] = ()
) -> optuna.Study:
    """Begin a study, or go on with it.

    Parameters
    ----------
    study : Study
    path : Path
        the file it is kept in
    worker : int
        sets what this process draws
    tables : DataFrames
        clip and split table, where trials are trained on them

    Raises
    ------
    ValueError
        if the study was begun with other settings
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = optuna.create_study(
        study_name=study.name,
        storage=open_storage(path),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTED),
    )
    # Those that go on draw anew; several at a time keep away from what the others are trying.
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
            f"{path}: the study was begun with other {differing}; move the file away, or give "
            "conf/tune/ a file of another name"
        )
    return opened


def retry_interrupted(opened: optuna.Study) -> None:
    """Try again what a process of this machine was trying that is no more."""
    for trial in opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, process = trial.user_attrs.get("by", ["", 0])
        if host == socket.gethostname() and not psutil.pid_exists(process):
            opened.tell(trial.number, state=TrialState.FAIL)
            attributes = {"again": trial.number, "first": _first(trial)}
            opened.enqueue_trial(trial.params, user_attrs=attributes)


def _first(trial: Trial | FrozenTrial) -> int:
    """Number of a trial, or of the one that it makes again."""
    return trial.user_attrs.get("first", trial.number)


def counted(opened: optuna.Study) -> list[FrozenTrial]:
    """The trials that have begun; one that is made again, or will be, counts only there."""
    trials = opened.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials}
    return [t for t in trials if t.number not in again and t.state != TrialState.WAITING]


def run_trials(
    study: Study, path: Path, *, worker: int, experiment: Experiment | None, tables: Sequence
) -> None:
    """Make trials until there are as many as wanted; several processes may do so at a time.

    Parameters
    ----------
    study : Study
    path : Path
    worker : int
        number of this process
    experiment : Experiment or None
        what to train on; None: `dvc exp run --temp` makes each trial
    tables : see open_study

    Raises
    ------
    ValueError
        if no clip validates
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
    """Training with these settings came to nothing."""


def written(settings: Mapping[str, Any]) -> str:
    """Settings as `dvc exp run -S` takes them."""
    return " ".join(override(name, value) for name, value in settings.items())


def override(name: str, value: Any) -> str:
    """One setting as `dvc exp run -S` takes it."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _overrides(trial: Trial, study: Study) -> list[str]:
    """Overrides of the base, then those of a trial."""
    return [*study.base, *(override(*item) for item in trial.params.items())]


def _train(trial: Trial, study: Study, experiment: Experiment) -> float:
    """Mean validation UA over folds and seeds, each reported when it has ended."""
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
        # Of its own: another process may be trying the same settings.
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
        value = validated(history, patience=params.train.patience)
        trial.report(value, number)
        if trial.should_prune():
            clean_up([plan])
            raise optuna.TrialPruned
    clean_up([plan])
    return value


def validation_only(split: pd.DataFrame) -> pd.DataFrame:
    """A split table without its test clips: nothing is predicted that could be looked at.

    Raises
    ------
    ValueError
        if in a fold no clip validates
    """
    split = split.copy()
    for fold in folds_of(split):
        if fold != ALL:
            if not (split[fold] == "validation").any():
                raise ValueError(f"split: in fold {fold} no clip validates, want split.validation")
            split[fold] = split[fold].where(split[fold] != "test", "")
    return split


def _run(trial: Trial, study: Study) -> float:
    """The same of an experiment that DVC runs apart from the workspace."""
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
    """Mean over jobs of the validation UA of the epoch that is kept.

    Parameters
    ----------
    history : DataFrame
        fold, seed, epoch, validation_ua; see stages.learning.results.gather
    patience : int or None
        None: the last epoch is kept; otherwise the best one

    Raises
    ------
    ValueError
        if no clip validates
    """
    jobs = history.sort_values("epoch").groupby(["fold", "seed"])["validation_ua"]
    kept = jobs.last() if patience is None else jobs.max()
    if kept.isna().any():
        raise ValueError("no clip validates, want split.validation above 0")
    return float(kept.mean())
