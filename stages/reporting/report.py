"""Everything the evaluate stage writes, worked out in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.metrics import probabilities as scores
from stages.reporting import calibration, corpus_figures, drawing, fairness, figures, tables
from stages.reporting.corpus_facts import CorpusReport, corpus_report
from stages.reporting.examples import Example, examples
from stages.reporting.fold_networks import Embedding, FoldNetworks, embedding
from stages.reporting.predictions import Predictions, check_jobs
from stages.reporting.references import references
from stages.splits.leaks import protocol_in_words, shared_in_words


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
    embedding : Embedding or None
        some clips in the network's last layer; their figure is among the figures as embedding
    fates : DataFrame
        what became of every clip, see `tables.clip_fates`
    corpora : CorpusReport
        what the corpora are like
    robustness : DataFrame
        as given; its figure is `robustness`, if it has a row
    labels : list of str
    leakage, settings : mapping
        as given
    shared : list of str
        what training and test share, in words, such as "speaker-dependent"
    """

    metrics: dict[str, float | int | str]
    tables: dict[str, pd.DataFrame]
    plots: dict[str, pd.DataFrame]
    figures: dict[str, bytes]
    examples: list[Example]
    embedding: Embedding | None
    fates: pd.DataFrame
    corpora: CorpusReport
    robustness: pd.DataFrame
    labels: list[str]
    leakage: Mapping[str, Any]
    settings: Mapping[str, Any]
    shared: list[str]

    @property
    def folders(self) -> dict[str, dict[str, bytes]]:
        """Content by file name, of the folders tables, plots and figures."""
        csv = {
            name: {
                f"{stem}.csv": frame.to_csv(index=False, lineterminator="\n").encode()
                for stem, frame in frames.items()
            }
            for name, frames in (("tables", self.tables), ("plots", self.plots))
        }
        return csv | {"figures": self.figures}


def evaluate(
    predictions: Predictions,
    *,
    validation: pd.DataFrame,
    clips: pd.DataFrame,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    checkpoints: Path,
    training: pd.DataFrame,
    leakage: Mapping[str, Any],
    robustness: pd.DataFrame,
    label_sets: Mapping[str, Mapping[str, str | None]],
    settings: Mapping[str, Any],
) -> Report:
    """Work out metrics, tables, plots and figures.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    validation : DataFrame
        what the same jobs answered for their validation clips; without a row there are no
        calibrated figures
    clips : DataFrame
        the clip table
    store, caches : int16 [samples], and by feature float [frames, dimensions]
        all clips' samples and features, best memory-mapped: no more than a clip is held at a time,
        or some that a network is given
    checkpoints : Path
        folder of what the training jobs kept
    training : DataFrame
        one row per job and epoch; `fold` is text
    leakage : mapping
        what the split stage proved; if it found the protocol to be speaker-dependent, all that is
        made here says so, whatever the settings claim
    robustness : DataFrame
        of degraded clips, see `robustness.robustness_table`; without a row where none was chosen
    label_sets : emotion -> label, by name
        those that there are, to show beside the one that the settings chose
    settings : mapping
        audio, corpora, data, features, labels, model, seeds, split of params.yaml

    Raises
    ------
    ValueError
        if the store or a cache does not fit the clip table or the settings, predictions of a fold
        or seed are missing, or a checkpoint does not fit them
    FileNotFoundError
        naming the checkpoint that is missing
    """
    check_jobs(predictions, folds=leakage["folds"], seeds=settings["seeds"])
    split, label_map = settings["split"], settings["labels"]["map"]
    shared = shared_in_words(split, leakage)
    protocol = protocol_in_words(split["name"], shared)
    notes = shared + ["synthetic demo speech"] * (settings["data"]["name"] == "demo")

    metrics = {"protocol": protocol, **tables.headline(predictions)}
    overall = tables.overall(predictions)
    before_after = {"as they are": predictions}
    if len(validation):
        jobs = calibration.temperatures(validation, labels=predictions.labels)
        scaled = calibration.scale(predictions, jobs)
        before_after["after temperature scaling"] = scaled
        overall = pd.concat([overall, calibration.scaled_figures(scaled)], ignore_index=True)
        metrics["ece_scaled"] = float(overall["value"].iloc[-1])
    rows = {
        "overall": overall,
        "per_class": tables.per_class(predictions),
        "per_corpus": tables.per_corpus(predictions),
        "per_speaker": tables.per_speaker(predictions),
        "per_fold": tables.per_fold(predictions),
    }
    rows["reliability"] = calibration.reliability_table(before_after)
    if len(validation):
        rows["temperatures"] = jobs
    by = tables.breakdowns(predictions, clips=clips)
    rows |= {f"per_{name}": table for name, table in by.items()}
    rows["speaker_gap"] = fairness.speaker_gap(predictions, rows["per_speaker"])
    rows["fairness"] = fairness.chance_bands(predictions)
    rows["sex_gap"] = fairness.sex_gap(predictions)
    curves = scores.roc_curves(predictions.truth, predictions.probabilities)
    lines = {"ua": metrics["ua"], "chance": 1 / len(predictions.labels), "notes": notes}
    counts = tables.emotion_counts(clips, labels=predictions.labels, label_map=label_map)
    with drawing.style():
        drawn = {
            "confusion": figures.confusion_figure(
                predictions.confusion().sum(0),
                labels=predictions.labels,
                n_seeds=predictions.n_seeds,
                notes=notes,
            ),
            "history": figures.history_figure(tables.held_out_jobs(training), notes=notes),
            "emotions": corpus_figures.emotions_figure(counts, notes=notes),
            "speakers": figures.speakers_figure(rows["per_speaker"], **lines),
            "recall": figures.recall_figure(rows["per_class"], **lines),
            "fairness": figures.fairness_figure(rows["fairness"], notes=notes),
            "reliability": figures.reliability_figure(rows["reliability"], notes=notes),
        }
        if curves:
            drawn["roc"] = figures.roc_figure(
                {predictions.labels[label]: curve for label, curve in curves.items()},
                areas=rows["per_class"].set_index("label")["roc_area"],
                notes=notes,
            )
        if len(robustness):
            drawn["robustness"] = figures.robustness_figure(
                robustness, chance=lines["chance"], notes=notes
            )
        corpora, of_corpora = corpus_report(
            clips, store=store, label_sets=label_sets, settings=settings, notes=notes
        )
        published = references(
            predictions,
            clips=clips,
            completeness=corpora.completeness,
            settings=settings,
            dependent=bool(shared),
            metrics=metrics,
        )
        if len(published):
            rows["references"] = published
            drawn["references"] = figures.references_figure(
                published, chance=lines["chance"], notes=notes
            )
        networks = FoldNetworks(checkpoints, predictions, caches)
        shown, pictures = examples(
            predictions,
            clips=clips,
            store=store,
            caches=caches,
            networks=networks,
            settings=settings,
            notes=notes,
        )
        layer = embedding(clips=clips, networks=networks)
        if layer is not None:
            drawn["embedding"] = figures.embedding_figure(
                layer.clips,
                labels=predictions.labels,
                shares=layer.shares,
                heading=f"Held-out clips of fold {layer.fold} before the network's last layer",
                notes=notes,
            )
        files = {
            f"{name}.{kind}": drawing.encode(figure, kind)
            for name, figure in (drawn | of_corpora).items()
            for kind in ("png", "svg")
        }
    return Report(
        metrics=metrics,
        tables={name: _first(frame, protocol=protocol) for name, frame in rows.items()},
        plots={
            "confusion": tables.confusion_rows(predictions),
            "learning_curves": tables.learning_curves(training),
        },
        figures=files | pictures,
        examples=shown,
        embedding=layer,
        fates=tables.clip_fates(clips, predicted=predictions.clips["clip"], label_map=label_map),
        corpora=corpora,
        robustness=robustness,
        labels=predictions.labels,
        leakage=leakage,
        settings=settings,
        shared=shared,
    )


def _first(frame: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Put columns before those of a table."""
    return frame.assign(**columns)[[*columns, *frame]]
