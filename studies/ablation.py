"""Measure the contribution of each feature: retrain without each one, and with each one alone.

python -m studies.ablation

Run it after `dvc repro` or `dvc exp run`. It retrains the model of params.yaml with fewer features,
on the same folds and seeds. The row for all features reuses data/predictions.csv. An interrupted
run resumes.

Writes reports/ablation.csv, reports/ablation.png and reports/ablation.svg: UA with its interval,
and the paired difference to all features.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from stages.running.entry import run_command
from stages.settings.loading import load_params
from stages.splits.leaks import protocol_in_words, shared_in_words
from studies import experiment

log = logging.getLogger(__name__)
OUTPUT = Path("reports/ablation")


def variants(features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the features of each variant by its name, first all features.

    Raises
    ------
    ValueError
        if there are fewer than two features
    """
    if len(features) < 2:
        raise ValueError(
            f"params.yaml: features: got {list(features)}, an ablation wants at least 2"
        )
    without = {f"without {name}": tuple(f for f in features if f != name) for name in features}
    return {"all": tuple(features)} | without | {f"only {name}": (name,) for name in features}


def write(table: pd.DataFrame, found: experiment.Experiment, *, params: DictConfig) -> None:
    """Write the table and its figure, and print the table."""
    split, predictions = params.split, found.predictions
    leakage = json.loads(experiment.LEAKAGE.read_text(encoding="utf-8"))
    shared = shared_in_words(split, leakage)
    notes = shared + ["synthetic demo speech"] * (params.data.name == "demo")
    corpora = ", ".join(sorted(set(predictions.clips["corpus"])))
    title = experiment.heading(
        f"Features of {params.model.name}", table, second_line=f"{corpora}: {split.title}"
    )
    kinds, _ = pd.factorize(table["variant"].str.partition(" ")[0])
    experiment.write(
        table.assign(protocol=protocol_in_words(split, shared)),
        OUTPUT,
        title=title,
        reference="all features",
        kinds=kinds,
        chance=1 / len(predictions.labels),
        notes=notes,
    )
    print(table.drop(columns=["features", "clips", "speakers", "seeds"]).to_string(index=False))


def main() -> None:
    """Run the command."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    params = load_params()
    wanted = variants(list(params.features))
    try:
        last = experiment.read_experiment(params)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error}; run `dvc repro` first") from error
    names: dict[tuple[str, ...], list[str]] = {}  # with two features, `only a` is `without b`
    for name, features in wanted.items():
        names.setdefault(features, []).append(name)
    found, plans = {wanted["all"]: last.predictions}, []
    todo = [features for features in names if features not in found]
    for number, features in enumerate(todo, start=1):
        log.info("ablation: %s (%d of %d)", ", ".join(names[features]), number, len(todo))
        plan, found[features] = experiment.train(
            last, split=last.split, features=features, name="+".join(features)
        )
        plans.append(plan)
    table = experiment.tabulate(
        {name: found[features] for name, features in wanted.items()}, column="variant"
    )
    table.insert(1, "features", ["+".join(features) for features in wanted.values()])
    write(table, last, params=params)
    experiment.clean_up(plans)


if __name__ == "__main__":
    run_command(main)
