"""The experiment of the last run, proven to belong together, and trained again in another way.

studies.ablation, studies.leakage and studies.tune share this module.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from stages.clips.cache import open_caches
from stages.clips.clip_table import read_clips
from stages.learning.checkpoints import SECTIONS, read_checkpoint
from stages.learning.jobs import all_jobs, run_jobs
from stages.learning.results import gather
from stages.learning.training_plan import Plan, make_plan
from stages.metrics import counts as metrics
from stages.reporting import choice_figures, drawing, tables
from stages.reporting.predictions import Predictions, arrange, read_predictions
from stages.running.outputs import complete
from stages.running.settings import plain
from stages.splits.folds import ALL, folds_of, read_split
from stages.splits.labels import label_order

CLIPS, CACHES, SPLIT = Path("data/merged/clips.csv"), Path("data/features"), Path("data/split.csv")
LEAKAGE, PREDICTIONS = Path("reports/leakage.json"), Path("data/predictions.csv")
MODELS, SCRATCH, LOGS = Path("models/folds"), Path("models/unfinished"), Path("logs")


@dataclass(frozen=True)
class Experiment:
    """What the pipeline made, proven to belong together.

    clips, split : clip table and split table
    labels : the label set's labels that occur, in its order
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
    """Read what the pipeline made, and prove that it belongs to the parameters.

    Raises
    ------
    FileNotFoundError
        naming the files that are missing
    ValueError
        saying what differs
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
    inputs = {name: cache.shape[1] for name, cache in frames.items()}
    check_checkpoint(checkpoint, settings=settings | {"labels": labels, "inputs": inputs})
    predictions = read_predictions(PREDICTIONS, known=clips["clip"])
    if predictions.labels != labels:
        raise ValueError(f"{PREDICTIONS}: labels: got {predictions.labels}, want {labels}")
    check_predictions(PREDICTIONS, clips=clips, split=split, seeds=seeds)
    return Experiment(clips, split, labels, seeds, settings, predictions)


def check_checkpoint(path: Path, *, settings: Mapping[str, Any]) -> None:
    """Prove that a model was trained with these settings.

    Parameters
    ----------
    path : Path
        models/folds/<job>.pt
    settings : mapping
        those of Experiment, and `labels` and `inputs` (dimensions by feature)

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
    """Every setting below a name that differs, a line each."""
    if isinstance(trained, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in dict.fromkeys([*trained, *now])
            for line in _differing(
                trained.get(key, "missing"), now.get(key, "missing"), name=f"{name}.{key}"
            )
        ]
    return [] if trained == now else [f"{name[1:]} was {trained} in training, is {now} now"]


def check_predictions(
    path: Path, *, clips: pd.DataFrame, split: pd.DataFrame, seeds: Sequence[int]
) -> None:
    """Prove that a table of predictions belongs to a clip table, a split and seeds.

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
        saying what differs, with the first clip of which it does
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
        "is predicted, but not tested": both["side"] == "left_only",
        "is tested, but not predicted": both["side"] == "right_only",
        **{f"has another {fact}": both[fact] != both[f"{fact}_now"] for fact in facts},
    }
    for rule, broken in rules.items():
        if broken.any():
            row = both[broken].iloc[0]
            place = f"{row['clip']}, fold {row['fold']}, seed {row['seed']}"
            raise ValueError(
                f"{path}: {place}: {rule} by params.yaml, {SPLIT} and {CLIPS}; "
                f"{broken.sum()} such rows"
            )


def train(
    experiment: Experiment, *, split: pd.DataFrame, features: Sequence[str], name: str
) -> tuple[Plan, Predictions]:
    """Train every fold and seed, on other folds or with fewer features; predict held-out clips.

    Parameters
    ----------
    experiment : Experiment
    split : DataFrame
        a split table of its clips
    features : names
        some of its features, or all
    name : str
        what to call the predictions in an error

    Returns
    -------
    Plan
        whose scratch folder holds the finished jobs, for a run that is interrupted later on
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
    run_jobs(jobs, plan)
    predictions, _ = gather(jobs, plan)
    described = experiment.clips[["clip", "corpus", "speaker", "sex"]]
    table = described.merge(predictions, on="clip", validate="one_to_many")
    return plan, arrange(table, known=experiment.clips["clip"], name=name)


def compare(found: Mapping[str, Predictions], *, column: str) -> pd.DataFrame:
    """One row per system: its UA, and its difference to the first system.

    Parameters
    ----------
    found : mapping
        predictions by name, all of the same clips and seeds
    column : str
        of the names
    """
    reference = next(iter(found.values()))
    rows = []
    for name, predictions in found.items():
        headline = tables.headline(predictions)
        difference, interval = metrics.paired_difference(
            statistic=metrics.unweighted_accuracy,
            truth=reference.truth,
            predicted=predictions.predicted,
            reference=reference.predicted,
            speakers=reference.clips["speaker"].to_numpy(),
            n_classes=len(reference.labels),
        )
        rows.append(
            {
                column: name,
                "clips": headline["n_clips"],
                "speakers": headline["n_speakers"],
                "seeds": headline["n_seeds"],
                "ua": headline["ua"],
                "ua_low": headline["ua_low"],
                "ua_high": headline["ua_high"],
                "difference": difference,
                "difference_low": interval.low,
                "difference_high": interval.high,
                "interval_unit": interval.unit,
            }
        )
    return pd.DataFrame(rows).round(6)


def heading(title: str, table: pd.DataFrame, *, second_line: str) -> str:
    """What a figure compares, and on what."""
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

    For the table and what is not explained here see `choice_figures.differences_figure`.
    """
    with drawing.style():
        figure = choice_figures.differences_figure(
            table, heading=title, reference=reference, kinds=kinds, chance=chance, notes=notes
        )
        drawn = {kind: drawing.encode(figure, kind) for kind in ("png", "svg")}
    for kind, content in drawn.items():
        with complete(output.with_suffix(f".{kind}")) as part:
            part.write_bytes(content)
    with complete(output.with_suffix(".csv")) as part:
        table.to_csv(part, index=False, lineterminator="\n")
    print("\n".join([title, *notes, ""]))


def clean_up(plans: Sequence[Plan]) -> None:
    """Remove what an interrupted run would have gone on from."""
    for plan in plans:
        if plan.scratch.is_dir():  # not where settings were refused
            shutil.rmtree(plan.scratch)
    for folder in [*(plan.scratch.parent for plan in plans), SCRATCH]:
        if folder.is_dir() and not any(folder.iterdir()):  # else another run may go on
            folder.rmdir()
