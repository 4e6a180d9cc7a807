"""Measure how much the split inflates UA: retrain the last model under other protocols.

python -m studies.leakage

Run it after `dvc repro` or `dvc exp run`. It trains the model of params.yaml with speakers held
out, with a random split, with speakers and sentences held out, and, given several corpora, with
whole corpora held out. Settings come from conf/split; for the protocol of the last run they
come from params.yaml, and its predictions are reused. The validation fraction is always that of
params.yaml. A protocol that does not suit the clips is skipped with a warning. The comparison uses
the clips that all protocols test. An interrupted run resumes.

Writes reports/inflation.csv, reports/inflation.png and reports/inflation.svg: UA with its interval,
and the paired difference to the split with speakers held out, which is the inflation.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from stages.reporting.predictions import Predictions
from stages.running.entry import run_command
from stages.settings.loading import bind, load_params
from stages.splits.assignment import split_clips
from stages.splits.labels import label_clips
from stages.splits.leaks import RULES, leakage_report, protocol_in_words, shared_in_words
from stages.splits.split_table import ALL, folds_of
from studies import experiment

log = logging.getLogger(__name__)
#: The first is the reference of the others.
PROTOCOLS = ("speaker", "random", "speaker_sentence", "corpus")
CONF, OUTPUT = Path("conf/split"), Path("reports/inflation")


def protocols(params: DictConfig) -> dict[str, DictConfig]:
    """Return the settings of each protocol by name."""
    found = {
        name: params.split if params.split.name == name else OmegaConf.load(CONF / f"{name}.yaml")
        for name in PROTOCOLS
    }
    return {
        name: cast(DictConfig, OmegaConf.merge(settings, {"validation": params.split.validation}))
        for name, settings in found.items()
    }


def make_splits(
    last: experiment.Experiment, wanted: Mapping[str, DictConfig], *, params: DictConfig
) -> tuple[dict[str, pd.DataFrame], dict[str, list[str]]]:
    """Split the clips by each protocol that suits them, and check each split for leakage.

    Returns
    -------
    splits : dict of DataFrame
        split table by protocol
    shared : dict of list of str
        overlap of training and test in words, by protocol

    Raises
    ------
    ValueError
        if the clips do not suit the first protocol, or if the split of params.yaml differs from
        that of the last run
    """
    clips = label_clips(last.clips, name=params.labels.name, mapping=params.labels.map)
    splits, shared = {}, {}
    for name, settings in wanted.items():
        rules = {rule: settings[rule] for rule in RULES}
        try:
            split = split_clips(
                clips,
                protocol=bind(settings.protocol, "protocols"),
                **rules,
                validation=settings.validation,
                train_only=params.split.train_only,
            )
            report = leakage_report(clips, split, name=name, **rules)
        except ValueError as error:
            if name == PROTOCOLS[0]:
                raise
            log.warning("leakage: %s is skipped: %s", name, error)
            continue
        splits[name], shared[name] = split, shared_in_words(settings, report)
    own = splits.get(params.split.name)
    if own is not None and not own.astype("str").equals(last.split.astype("str")):
        raise ValueError(
            f"{experiment.SPLIT}: differs from the split {params.split.name} of params.yaml; "
            "run `dvc repro` first"
        )
    return splits, shared


def in_common(found: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Keep the predictions of the clips that every protocol tests."""
    shared = set.intersection(*(set(predictions.clips["clip"]) for predictions in found.values()))
    result = {}
    for name, predictions in found.items():
        chosen = predictions.clips["clip"].isin(shared).to_numpy()
        if not chosen.all():
            log.info(
                "leakage: %s: %d clips are left out, because another protocol does not test them",
                name,
                (~chosen).sum(),
            )
        result[name] = predictions.select(chosen)
    return result


def trained_clips(splits: Iterable[pd.DataFrame]) -> list[int]:
    """Count the clips that train or validate, as a mean over the folds of each split."""
    return [
        round(
            split[[fold for fold in folds_of(split) if fold != ALL]]
            .isin(["train", "validation"])
            .sum()
            .mean()
        )
        for split in splits
    ]


def main() -> None:
    """Run the command."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    params = load_params()
    try:
        last = experiment.read_experiment(params)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error}; run `dvc repro` first") from error
    wanted = protocols(params)
    splits, shared = make_splits(last, wanted, params=params)
    found, plans = {}, []
    for number, (name, split) in enumerate(splits.items(), start=1):
        log.info("leakage: %s (%d of %d)", name, number, len(splits))
        if name == params.split.name:
            found[name] = last.predictions
            continue
        plan, found[name] = experiment.train(
            last, split=split, features=list(params.features), name=name
        )
        plans.append(plan)
    marked = {
        protocol_in_words(
            {"name": name, "train_only": params.split.train_only}, shared[name]
        ): predictions
        for name, predictions in in_common(found).items()
    }
    table = experiment.tabulate(marked, column="protocol")
    table.insert(1, "folds", [predictions.n_folds for predictions in found.values()])
    table.insert(2, "trained_clips", trained_clips(splits.values()))
    corpora = ", ".join(sorted(set(last.predictions.clips["corpus"])))
    experiment.write(
        table,
        OUTPUT,
        title=experiment.heading(
            f"Effect of the split on {params.model.name}", table, second_line=corpora
        ),
        reference=PROTOCOLS[0],
        kinds=[0, *(1 if words else 2 for words in list(shared.values())[1:])],
        chance=1 / len(last.labels),
        notes=["synthetic demo speech"] * (params.data.name == "demo"),
    )
    print(table.drop(columns=["clips", "speakers", "seeds"]).to_string(index=False))
    experiment.clean_up(plans)


if __name__ == "__main__":
    run_command(main)
