"""Search for the settings that do best on validation speakers. Test clips take no part.

python -m studies.tune conf/tune/STUDY.yaml [--workers N] [--recipe NAME]

The file says what every trial begins with (`base`), which settings are tried in which range
(`parameters`) and how many trials are made (`trials`); Optuna chooses them. What validates are the
speakers that each fold takes from its training side, so `split.validation` must not be 0. Settings
of `model.network` and `train`, and options of `train/schedule`, are tried on the caches of the last
run, which must be that of `base`; for others each trial is an experiment of its own, run by
`dvc exp run --temp`. A trial that is behind the median of the others after a fold is stopped. The
study is kept in models/tune/STUDY.journal: an interrupted one goes on, and several commands may
work on it at a time. Writes reports/tune/STUDY/: trials.csv, history and importance as PNG and SVG,
and best.yaml, the best setting as a recipe; with --recipe also as conf/experiment/NAME.yaml.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import optuna
import pandas as pd
from joblib import Parallel, delayed
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stages.reporting.drawing import encode_all, style
from stages.running.outputs import complete
from stages.running.settings import load_params, plain, processes
from stages.splits.leaks import protocol_in_words
from studies import study as studies
from studies.experiment import Experiment, read_experiment
from studies.study import Study
from studies.trials import importance_figure, trials_figure

JOURNALS, REPORTS, RECIPES = Path("models/tune"), Path("reports/tune"), Path("conf/experiment")
_FOR_IMPORTANCE = 4  # trials with different results


def last_run(study: Study) -> Experiment:
    """What the last run made, if it is that of the study's base.

    Raises
    ------
    FileNotFoundError, ValueError
        saying what differs, and the command that makes it
    """
    flags = " ".join(f"-S '{item}'" for item in study.base)
    advice = f"run `{' '.join(['dvc exp run', flags]).strip()}` first"
    params = load_params()
    now, wanted = plain(params), plain(studies.compose_params(study.base))
    if now != wanted:
        names = [name for name in wanted if now.get(name) != wanted[name]]
        raise ValueError(f"params.yaml: differs from base in {', '.join(names)}; {advice}")
    try:
        experiment = read_experiment(params)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error}; {advice}") from error
    studies.validation_only(experiment.split)
    return experiment


def trial_table(opened: optuna.Study) -> pd.DataFrame:
    """One row per trial: number, state, validation_ua (so far, if stopped), its settings."""
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "validation_ua": trial.value
            if trial.state == TrialState.COMPLETE
            else trial.intermediate_values.get(trial.last_step or 0),
            **trial.params,
            "error": trial.user_attrs.get("error", ""),
        }
        for trial in studies.counted(opened)
    ]
    return pd.DataFrame(rows)


def recipe(study: Study, opened: optuna.Study) -> str:
    """The base and the best setting as a file of conf/experiment."""
    best, made = opened.best_trial, len(studies.counted(opened))
    choices: list[str] = []
    settings = OmegaConf.create()
    marked = "".join(f", {words}" for words in study.shared)
    for key, value in [item.split("=", 1) for item in study.base] + list(best.params.items()):
        name = key.lstrip("+")
        if name == "experiment":  # before what overrides it
            choices.insert(0, f"  - {value}\n")
        elif Path("conf", name).is_dir():
            place = "features@_global_.features" if name == "features" else name
            choices.append(f"  - override /{place}: {value}\n")
        else:
            parsed = OmegaConf.create(f"value: {value}").value if isinstance(value, str) else value
            OmegaConf.update(settings, name, parsed)
    return (
        "# @package _global_\n"
        f"# Best of {made} trials of the study {study.name}. Claimed: validation UA "
        f"{best.value:.3f}, mean over folds{marked}.\n"
        "# Leaks: who validates in one fold is tested in another, which favours it there.\n"
        + ("defaults:\n" + "".join(choices) if choices else "")
        + OmegaConf.to_yaml(settings)
    )


def write(study: Study, opened: optuna.Study, *, output: Path) -> None:
    """Write and print what the study has found so far."""
    params = studies.compose_params(study.base)
    protocol = protocol_in_words(params.split.name, study.shared)
    table = trial_table(opened).assign(protocol=protocol)
    heading = f"Study {study.name}: {len(table)} trials"
    notes = study.shared + ["synthetic demo speech"] * (params.data.name == "demo")
    with style():
        drawn = {"history": trials_figure(table, heading=heading, notes=notes)}
        if importance := importances(opened):
            drawn["importance"] = importance_figure(importance, heading=heading, notes=notes)
        files = encode_all(drawn)
    files["trials.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
    files["best.yaml"] = recipe(study, opened).encode()
    with complete(output) as folder:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    best = opened.best_trial
    print(
        f"{heading}; best: trial {best.number}, validation UA {best.value:.3f} "
        f"({', '.join([params.split.name, *notes])})"
    )
    overrides = [*study.base, *(studies.override(*item) for item in best.params.items())]
    print("dvc exp run " + " ".join(f"-S {shlex.quote(item)}" for item in overrides))


def importances(opened: optuna.Study) -> dict[str, float]:
    """Share of the differences between trials that each setting explains; {} of too few."""
    values = {trial.value for trial in opened.get_trials(states=(TrialState.COMPLETE,))}
    if len(values) < _FOR_IMPORTANCE:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(opened, evaluator=evaluator)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="conf/tune/STUDY.yaml")
    parser.add_argument("--workers", type=int, help="processes (default: one per core; DVC: one)")
    parser.add_argument("--recipe", help="write the best as conf/experiment/NAME.yaml, a new file")
    arguments = parser.parse_args()
    written = RECIPES / f"{arguments.recipe}.yaml" if arguments.recipe else None
    if written and written.exists():
        sys.exit(f"{written}: is there already, want a new name")
    try:
        study = studies.read_study(arguments.study)
        experiment = last_run(study) if study.here else None
        opened = tune(study, experiment, workers=arguments.workers)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    if not opened.get_trials(states=(TrialState.COMPLETE,)):
        reason = opened.trials[-1].user_attrs.get("error")
        sys.exit(f"{arguments.study}: none of its trials has ended well; the last one: {reason}")
    write(study, opened, output=REPORTS / study.name)
    if written:
        with complete(written) as part:
            part.write_text(recipe(study, opened), encoding="utf-8")
        print(f"dvc exp run -S +experiment={arguments.recipe}")


def tune(study: Study, experiment: Experiment | None, *, workers: int | None) -> optuna.Study:
    """Make all trials that are left, in so many processes."""
    tables = [experiment.clips, experiment.split] if experiment else []
    journal = JOURNALS / f"{study.name}.journal"
    opened = studies.open_study(study, journal, tables=tables)
    studies.retry_interrupted(opened)
    number = workers or (processes(study.trials) if experiment else 1)
    Parallel(n_jobs=number)(
        delayed(studies.run_trials)(
            study, journal, worker=worker, experiment=experiment, tables=tables
        )
        for worker in range(1, number + 1)
    )
    return opened


if __name__ == "__main__":
    main()
