"""The experiment of the last run: checked for consistency, and retrained with other settings.

studies.ablation, studies.leakage and studies.tune share this module.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from stages.clips.clip_table import read_clips
from stages.clips.feature_files import open_caches
from stages.learning.checkpoints import SECTIONS, read_checkpoint
from stages.learning.jobs import all_jobs, run_jobs
from stages.learning.learner import described
from stages.learning.results import gather
from stages.learning.training_plan import Plan, make_plan
from stages.reporting.drawing import (
    COLOURS,
    MAIN,
    REFERENCE,
    encode_all,
    label_right,
    new_figure,
    reference_lines,
    set_title,
    style,
)
from stages.reporting.predictions import Predictions, arrange, read_predictions
from stages.reporting.systems import ua_row
from stages.running.outputs import complete, locked
from stages.settings.loading import plain
from stages.splits.labels import label_order
from stages.splits.split_table import ALL, folds_of, read_split

CLIPS, CACHES, SPLIT = Path("data/merged/clips.csv"), Path("data/features"), Path("data/split.csv")
LEAKAGE, PREDICTIONS = Path("reports/leakage.json"), Path("data/predictions.csv")
MODELS, SCRATCH, LOGS = Path("models/folds"), Path("models/unfinished"), Path("logs")
_KINDS = ((REFERENCE, "D"), (MAIN, "o"), (COLOURS[2], "s"))  # colours and markers of rows, in turn


@dataclass(frozen=True)
class Experiment:
    """Outputs of the pipeline that belong together.

    clips, split : clip table and split table
    labels : labels that occur, in the order of the label set
    seeds : of the jobs
    settings : sections audio, features, model and train of the parameters
    predictions : of the held-out clips
    """

    clips: pd.DataFrame
    split: pd.DataFrame
    labels: list[str]
    seeds: list[int]
    settings: Mapping[str, Any]
    predictions: Predictions


def read_experiment(params: DictConfig) -> Experiment:
    """Read the outputs of the pipeline, and check that they belong to the parameters.

    Raises
    ------
    FileNotFoundError
        naming the missing files
    ValueError
        naming the difference
    """
    seeds, features = list(params.seeds), list(params.features)
    checkpoint = MODELS / f"fold_0-seed_{seeds[0]}.pt"
    caches = [CACHES / f"{name}.npy" for name in features]
    wanted = [CLIPS, *caches, SPLIT, LEAKAGE, PREDICTIONS, checkpoint]
    if missing := [str(path) for path in wanted if not path.is_file()]:
        raise FileNotFoundError(f"missing: {', '.join(missing)}")
    clips, split = read_clips(CLIPS), read_split(SPLIT)
    labels = label_order(params.labels.map, split["label"])
    settings = plain(OmegaConf.masked_copy(params, list(SECTIONS)))
    frames = open_caches(CACHES, names=features, frames=int(clips["frames"].sum()))
    kept = described(settings)
    inputs = {name: frames[name].shape[1] for name in kept["features"]}
    check_checkpoint(checkpoint, settings={**kept, "labels": labels, "inputs": inputs})
    predictions = read_predictions(PREDICTIONS, known=clips["clip"])
    if predictions.labels != labels:
        raise ValueError(f"{PREDICTIONS}: labels: got {predictions.labels}, want {labels}")
    check_predictions(PREDICTIONS, clips=clips, split=split, seeds=seeds)
    return Experiment(clips, split, labels, seeds, settings, predictions)


def check_checkpoint(path: Path, *, settings: Mapping[str, Any]) -> None:
    """Check that a model was trained with these settings.

    Parameters
    ----------
    path : Path
        models/folds/<job>.pt
    settings : mapping
        settings of Experiment, with `labels` and `inputs` (dimensions by feature)

    Raises
    ------
    ValueError
        naming every setting that differs
    """
    checkpoint = read_checkpoint(path)
    trained = {name: checkpoint.get(name, "missing") for name in settings}
    if lines := _differing(trained, settings, name=""):
        raise ValueError(f"{path}: {'; '.join(lines)}")


def _differing(trained: Any, now: Any, *, name: str) -> list[str]:
    """List every setting below a name that differs."""
    if isinstance(trained, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in dict.fromkeys([*trained, *now])
            for line in _differing(
                trained.get(key, "missing"), now.get(key, "missing"), name=f"{name}.{key}"
            )
        ]
    return [] if trained == now else [f"{name[1:]}: got {trained} in training, want {now}"]


def check_predictions(
    path: Path, *, clips: pd.DataFrame, split: pd.DataFrame, seeds: Sequence[int]
) -> None:
    """Check that a table of predictions belongs to a clip table, a split and seeds.

    Parameters
    ----------
    path : Path
        data/predictions.csv
    clips, split : DataFrame
        clip table and split table
    seeds : sequence of int

    Raises
    ------
    ValueError
        naming the difference and the first clip with it
    """
    keys, facts = ["clip", "fold", "seed"], ["label", "corpus", "speaker"]
    predicted = pd.read_csv(path, usecols=[*keys, *facts], dtype="str", keep_default_na=False)
    tested = [
        split.loc[split[fold] == "test", ["clip", "label"]].assign(fold=fold, seed=str(seed))
        for fold in folds_of(split)
        if fold != ALL
        for seed in seeds
    ]
    tested = pd.concat(tested).merge(clips[["clip", "corpus", "speaker"]], on="clip")
    both = predicted.merge(tested, on=keys, how="outer", suffixes=("", "_now"), indicator="side")
    rules = {
        "predicted, but not tested": both["side"] == "left_only",
        "tested, but not predicted": both["side"] == "right_only",
        **{f"different {fact}": both[fact] != both[f"{fact}_now"] for fact in facts},
    }
    for rule, broken in rules.items():
        if broken.any():
            row = both[broken].iloc[0]
            place = f"{row['clip']}, fold {row['fold']}, seed {row['seed']}"
            raise ValueError(
                f"{path}: {place}: {rule} according to params.yaml, {SPLIT} and {CLIPS}; "
                f"{broken.sum()} such rows"
            )


def train(
    experiment: Experiment, *, split: pd.DataFrame, features: Sequence[str], name: str
) -> tuple[Plan, Predictions]:
    """Train every fold and seed on other folds or fewer features, and predict the held-out clips.

    Parameters
    ----------
    experiment : Experiment
    split : DataFrame
        split table of its clips
    features : names
        some of its features, or all
    name : str
        name of the predictions in errors

    Returns
    -------
    Plan
        its scratch folder keeps the finished jobs until `clean_up`, so that a later run can resume
    Predictions
    """
    settings = experiment.settings
    plan = make_plan(
        experiment.clips,
        split,
        labels=experiment.labels,
        caches=CACHES,
        scratch=SCRATCH,
        logs=LOGS,
        settings={**settings, "features": {name: settings["features"][name] for name in features}},
    )
    jobs = [job for job in all_jobs(split, experiment.seeds) if job.fold != ALL]
    with locked(plan.scratch):
        run_jobs(jobs, plan)
        predictions, _ = gather(jobs, plan)
    described = experiment.clips[["clip", "corpus", "speaker", "sex"]]
    table = described.merge(predictions, on="clip", validate="one_to_many")
    return plan, arrange(table, known=experiment.clips["clip"], name=name)


def tabulate(systems: Mapping[str, Predictions], *, column: str) -> pd.DataFrame:
    """Tabulate the UA of each system, and the difference to the first one.

    Parameters
    ----------
    systems : mapping
        predictions by name, all for the same clips
    column : str
        name of the first column

    Returns
    -------
    DataFrame
        one row per system: <column>, clips, speakers, seeds, ua, ua_low, ua_high, difference,
        difference_low, difference_high, interval_unit
    """
    reference = next(iter(systems.values()))
    rows = [
        {
            column: name,
            "clips": predictions.clips["clip"].nunique(),
            "speakers": predictions.clips["speaker"].nunique(),
            "seeds": predictions.n_seeds,
            **ua_row(predictions.predicted, reference=reference.predicted, **reference.tested),
        }
        for name, predictions in systems.items()
    ]
    return pd.DataFrame(rows).rename(columns={"interval": "interval_unit"}).round(6)


def heading(title: str, table: pd.DataFrame, *, second_line: str) -> str:
    """Return the title of a figure, with its clips, speakers and seeds."""
    first = table.iloc[0]
    seeds = f", {first['seeds']} seeds" if first["seeds"] > 1 else ""
    counts = f"{first['clips']} clips, {first['speakers']} speakers{seeds}"
    return f"{title}: {counts}\n{second_line}"


def write(
    table: pd.DataFrame,
    output: Path,
    *,
    title: str,
    reference: str,
    kinds: Sequence[int],
    chance: float,
    notes: Sequence[str],
) -> None:
    """Write a table as CSV and its figure as PNG and SVG, under one name; print the title.

    See `systems_figure` for the other parameters.
    """
    with style():
        figure = systems_figure(
            table, heading=title, reference=reference, kinds=kinds, chance=chance, notes=notes
        )
        files = encode_all({output.name: figure})
    files[f"{output.name}.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
    for name, content in files.items():
        with complete(output.with_name(name)) as part:
            part.write_bytes(content)
    print("\n".join([title, *notes, ""]))


def systems_figure(
    table: pd.DataFrame,
    *,
    heading: str,
    reference: str,
    kinds: Sequence[int],
    chance: float,
    notes: Sequence[str],
) -> Figure:
    """Draw the UA of several systems with its 95 % interval, one row each.

    Each row states its difference to the first row, because overlapping intervals say little about
    two systems that were tested on the same speakers.

    Parameters
    ----------
    table : DataFrame
        names of the systems in the first column; ua, ua_low, ua_high, difference, difference_low,
        difference_high; the reference in the first row
    heading : str
        title of the figure
    reference : str
        name of the reference
    kinds : int [rows]
        0 for the first row, then rising to at most 2; rows of a kind stand together
    chance : float
        chance level, drawn as a line
    notes : list of str
        lines below the title
    """
    kind = np.asarray(kinds)
    places = np.arange(len(table)) + 0.5 * kind
    figure, axes = new_figure(7, 2.1 + 0.27 * places[-1])
    for number, (colour, marker) in enumerate(_KINDS):
        rows, heights = table[kind == number], places[kind == number]
        axes.hlines(heights, rows["ua_low"], rows["ua_high"], color=colour, linewidth=1.6)
        axes.scatter(rows["ua"], heights, color=colour, marker=marker, s=36, zorder=3)
    axes.set_yticks(places, table.iloc[:, 0])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    texts = [
        f"{row.difference:+z.3f} ({row.difference_low:+z.3f} to {row.difference_high:+z.3f})"
        for row in table.iloc[1:].itertuples()
    ]
    label_right(axes, places, [f"difference to {reference}, 95 % interval", *texts])
    name = f"UA of {reference}"
    reference_lines(axes, axes.axvline, ua=table["ua"].iloc[0], chance=chance, name=name)
    set_title(axes, heading, notes)
    return figure


def clean_up(plans: Sequence[Plan]) -> None:
    """Remove the finished jobs from which an interrupted run would resume."""
    for plan in plans:
        if plan.scratch.is_dir():  # none if the settings were refused
            shutil.rmtree(plan.scratch)
    for folder in [*(plan.scratch.parent for plan in plans), SCRATCH]:
        with suppress(OSError):  # another run needs it
            folder.rmdir()
