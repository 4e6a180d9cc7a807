"""Everything the evaluate stage writes, worked out in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.reporting import figures, tables
from stages.reporting.corpora import CorpusReport, corpus_report
from stages.reporting.examples import Example, examples


@dataclass(frozen=True)
class Report:
    """The results of one experiment, before they are written.

    Attributes
    ----------
    metrics : dict
        flat: figures, and the string `protocol`
    tables, plots : dict of DataFrame
        for readers, and for `dvc plots`
    figures : dict of bytes
        file name -> PNG or SVG
    examples : list of Example
        a clip of each label; its figure is among the figures as example_<label>
    fates : DataFrame
        what became of every clip, see `tables.clip_fates`
    corpora : CorpusReport
        what the corpora are like
    labels : list of str
    leakage, settings : mapping
        as given
    dependent : bool
        whether speakers are shared between training and test
    """

    metrics: dict[str, float | int | str]
    tables: dict[str, pd.DataFrame]
    plots: dict[str, pd.DataFrame]
    figures: dict[str, bytes]
    examples: list[Example]
    fates: pd.DataFrame
    corpora: CorpusReport
    labels: list[str]
    leakage: Mapping[str, Any]
    settings: Mapping[str, Any]
    dependent: bool


def evaluate(
    predictions: tables.Predictions,
    *,
    clips: pd.DataFrame,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    training: pd.DataFrame,
    leakage: Mapping[str, Any],
    label_sets: Mapping[str, Mapping[str, str | None]],
    settings: Mapping[str, Any],
) -> Report:
    """Work out metrics, tables, plots and figures.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    clips : DataFrame
        the clip table
    store, caches : int16 [samples], and by feature float [frames, dimensions]
        all clips' samples and features, best memory-mapped: no more than a clip is held at a time
    training : DataFrame
        one row per job and epoch; `fold` is text
    leakage : mapping
        what the split stage proved; if it found the protocol to be speaker-dependent, all that is
        made here says so, whatever the settings claim
    label_sets : emotion -> label, by name
        those that there are, to show beside the one that the settings chose
    settings : mapping
        audio, corpora, data, features, labels, model, seeds, split of params.yaml

    Raises
    ------
    ValueError
        if the store or a cache does not fit the clip table or the settings
    """
    split, label_map = settings["split"], settings["labels"]["map"]
    dependent = bool(split["speaker_dependent"] or leakage["speaker_dependent"])
    protocol = f"{split['name']} (speaker-dependent)" if dependent else split["name"]
    notes = ["speaker-dependent"] * dependent
    notes += ["synthetic demo speech"] * (settings["data"]["name"] == "demo")

    metrics = {"protocol": protocol, **tables.headline(predictions)}
    rows = {
        "per_class": tables.per_class(predictions),
        "per_corpus": tables.per_corpus(predictions),
        "per_speaker": tables.per_speaker(predictions),
    }
    lines = {"ua": metrics["ua"], "chance": 1 / len(predictions.labels), "notes": notes}
    counts = tables.emotion_counts(clips, labels=predictions.labels, label_map=label_map)
    with figures.style():
        drawn = {
            "confusion": figures.confusion_figure(
                predictions.confusion().sum(0),
                labels=predictions.labels,
                n_seeds=predictions.n_seeds,
                notes=notes,
            ),
            "history": figures.history_figure(tables.held_out_jobs(training), notes=notes),
            "emotions": figures.emotions_figure(counts, notes=notes),
            "speakers": figures.speakers_figure(rows["per_speaker"], **lines),
            "recall": figures.recall_figure(rows["per_class"], **lines),
        }
        corpora, of_corpora = corpus_report(
            clips, store=store, label_sets=label_sets, settings=settings, notes=notes
        )
        files = {
            f"{name}.{kind}": figures.encode(figure, kind)
            for name, figure in (drawn | of_corpora).items()
            for kind in ("png", "svg")
        }
        shown, pictures = examples(
            predictions, clips=clips, store=store, caches=caches, settings=settings, notes=notes
        )
    return Report(
        metrics=metrics,
        tables={name: _first(frame, protocol=protocol) for name, frame in rows.items()},
        plots={
            "confusion": tables.confusion_rows(predictions),
            "learning_curves": tables.learning_curves(training),
        },
        figures=files | pictures,
        examples=shown,
        fates=tables.clip_fates(clips, predicted=predictions.clips["clip"], label_map=label_map),
        corpora=corpora,
        labels=predictions.labels,
        leakage=leakage,
        settings=settings,
        dependent=dependent,
    )


def _first(frame: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Put columns before those of a table."""
    return frame.assign(**columns)[[*columns, *frame]]
