"""Search for the settings with the best UA on validation speakers; test clips take no part.

python -m studies.tune conf/tune/STUDY.yaml [--workers N] [--recipe NAME]

The file gives the starting point of every trial (`base`), the settings to try with their ranges
(`parameters`), and the number of trials (`trials`). Optuna chooses the values. Each fold takes its
validation speakers from its training side, so `split.validation` must be above 0.

If all settings belong to `model.network`, `train` or `train/schedule`, the trials use the caches of
the last run, which must have had the settings of `base`. Otherwise `dvc exp run --temp` runs each
trial as an experiment of its own. A trial that falls behind the median of the others after a fold
is stopped. The study is kept in models/tune/STUDY.journal: an interrupted study resumes, and
several commands can work on it at once.

Writes reports/tune/STUDY/: trials.csv, history and importance as PNG and SVG, and best.yaml, the
best settings as a recipe. With --recipe, the recipe is also written to conf/experiment/NAME.yaml.
"""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stages.parallel.workers import spread
from stages.reporting.drawing import encode_all, style
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params, plain, processes
from stages.splits.leaks import protocol_in_words
from studies import search
from studies.composition import compose_params
from studies.experiment import Experiment, read_experiment
from studies.search import Study
from studies.trial_figures import importance_figure, trials_figure

JOURNALS, REPORTS, RECIPES = Path("models/tune"), Path("reports/tune"), Path("conf/experiment")
_FOR_IMPORTANCE = 4  # trials with different results


def last_run(study: Study) -> Experiment:
    """Read the last run, which must have had the settings of the study's base.

    Raises
    ------
    FileNotFoundError, ValueError
        naming the difference, and the command to run first
    """
    flags = " ".join(f"-S '{item}'" for item in study.base)
    advice = f"run `{' '.join(['dvc exp run', flags]).strip()}` first"
    params = load_params()
    now, wanted = plain(params), plain(compose_params(study.base))
    if now != wanted:
        names = [name for name in wanted if now.get(name) != wanted[name]]
        raise ValueError(f"params.yaml: differs from base in {', '.join(names)}; {advice}")
    try:
        experiment = read_experiment(params)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error}; {advice}") from error
    search.validation_only(experiment.split)
    return experiment


def trial_table(opened: optuna.Study) -> pd.DataFrame:
    """Tabulate the trials: number, state, validation_ua (so far, if stopped), settings, error."""
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
        for trial in search.counted(opened)
    ]
    return pd.DataFrame(rows)


def recipe(study: Study, opened: optuna.Study) -> str:
    """Return the base and the best settings as text for a file of conf/experiment."""
    best, made = opened.best_trial, len(search.counted(opened))
    choices: list[str] = []
    settings = OmegaConf.create()
    marked = "".join(f", {words}" for words in study.shared)
    for key, value in [item.split("=", 1) for item in study.base] + list(best.params.items()):
        name = key.lstrip("+")
        if name == "experiment":  # its settings may be overridden below
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
        "# Leaks: speakers who validate in one fold are tested in another, so UA is optimistic.\n"
        + ("defaults:\n" + "".join(choices) if choices else "")
        + OmegaConf.to_yaml(settings)
    )


def write(study: Study, opened: optuna.Study, *, output: Path) -> None:
    """Write the results of the study so far, and print the best."""
    params = compose_params(study.base)
    protocol = protocol_in_words(params.split, study.shared)
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
    overrides = [*study.base, *(search.override(*item) for item in best.params.items())]
    print("dvc exp run " + " ".join(f"-S {shlex.quote(item)}" for item in overrides))


def importances(opened: optuna.Study) -> dict[str, float]:
    """Return the fraction of the variance between trials that each setting explains; {} if few."""
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
    parser.add_argument(
        "--workers",
        type=int,
        help="processes (default: one per core; one with DVC)",
    )
    parser.add_argument("--recipe", help="write the best to conf/experiment/NAME.yaml too")
    arguments = parser.parse_args()
    written = RECIPES / f"{arguments.recipe}.yaml" if arguments.recipe else None
    if written and written.exists():
        raise ValueError(f"{written}: already exists, want a new name")
    study = search.read_study(arguments.study)
    experiment = last_run(study) if study.here else None
    opened = tune(study, experiment, workers=arguments.workers)
    if not opened.get_trials(states=(TrialState.COMPLETE,)):
        reason = opened.trials[-1].user_attrs.get("error")
        raise ValueError(
            f"{arguments.study}: got no successful trial, want at least one; the last: {reason}"
        )
    write(study, opened, output=REPORTS / study.name)
    if written:
        with complete(written) as part:
            part.write_text(recipe(study, opened), encoding="utf-8")
        print(f"dvc exp run -S +experiment={arguments.recipe}")


def tune(study: Study, experiment: Experiment | None, *, workers: int | None) -> optuna.Study:
    """Run the remaining trials in several processes."""
    tables = [experiment.clips, experiment.split] if experiment else []
    journal = JOURNALS / f"{study.name}.journal"
    opened = search.open_study(study, journal, tables=tables)
    search.retry_interrupted(opened)
    number = workers or (processes(study.trials) if experiment else 1)
    run = partial(search.run_trials, study, journal, experiment=experiment, tables=tables)
    calls = [partial(run, worker=worker) for worker in range(1, number + 1)]
    for _ in spread(calls, processes=number, client=None):
        pass
    return opened


if __name__ == "__main__":
    run_command(main)
