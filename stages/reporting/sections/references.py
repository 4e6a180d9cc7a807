"""Published results beside a run with the same clips, classes and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from stages.clips.completeness import Completeness
from stages.reporting.drawing import (
    COLOURS,
    MAIN,
    REFERENCE,
    label_right,
    new_figure,
    set_title,
)
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section

#: The published results; its head describes the entries.
PATH = Path(__file__).with_name("references.yaml")
#: Greatest fraction of a complete corpus that may be silent, broken or copies of other clips.
_UNUSABLE = 0.005


def section(run: Run) -> Section | None:
    """Results that were measured in the same way, if there are any.

    No published result was measured with what a calibrated run knows of its speakers.
    """
    if run.calibration:
        return None
    table = references(
        run.predictions,
        clips=run.clips,
        completeness=run.completeness,
        settings=run.settings,
        dependent=run.dependent,
        pooled_ua=run.pooled_ua,
    )
    if table.empty:
        return None
    figure = references_figure(table, chance=run.chance, notes=run.notes)
    return Section(tables={"references": table}, figures={"references": figure})


def references(
    predictions: Predictions,
    *,
    clips: pd.DataFrame,
    completeness: Mapping[str, Completeness],
    settings: Mapping[str, Any],
    dependent: bool,
    pooled_ua: Mapping[str, float],
) -> pd.DataFrame:
    """List the run and, below it, the published results that were measured in the same way.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    clips : DataFrame
        the clip table
    completeness : by corpus
        each corpus against its release, if that is known; empty for the demo
    settings : mapping
        corpora, model and split of params.yaml
    dependent : bool
        whether training and test share speakers
    pooled_ua : mapping
        ua, ua_low, ua_high of the run

    Returns
    -------
    DataFrame
        system, pretrained ("", "yes" or "no"), folds ("", "the same" or "other"), ua, ua_low,
        ua_high (NaN for published results), note, source. The run is the first row; systems without
        pre-training precede those with it, the best first. No row if no published result matches
    """
    known = OmegaConf.to_container(OmegaConf.load(PATH))
    assert isinstance(known, list)  # as the file is written
    rows = [
        {
            "system": system["system"],
            "pretrained": "yes" if system["pretrained"] else "no",
            "folds": "the same" if entry["same_folds"] else "other",
            "ua": system["ua"],
            "note": system["note"],
            "source": system["source"],
        }
        for entry in matching(
            known,
            predictions=predictions,
            clips=clips,
            completeness=completeness,
            settings=settings,
            dependent=dependent,
        )
        for system in entry["systems"]
    ]
    columns = ["system", "pretrained", "folds", "ua", "ua_low", "ua_high", "note", "source"]
    if not rows:
        return pd.DataFrame(columns=columns)
    published = pd.DataFrame(rows).sort_values(
        ["pretrained", "ua"], ascending=[True, False], kind="stable"
    )
    own = {"system": f"{settings['model']['name']} (this run)", "source": "this page", **pooled_ua}
    table = pd.concat([pd.DataFrame([own]), published], ignore_index=True)[columns]
    words = ["pretrained", "folds", "note", "source"]
    return table.assign(**table[words].fillna(""))


def matching(
    known: Sequence[Mapping[str, Any]],
    *,
    predictions: Predictions,
    clips: pd.DataFrame,
    completeness: Mapping[str, Completeness],
    settings: Mapping[str, Any],
    dependent: bool,
) -> list[Mapping[str, Any]]:
    """Entries of references.yaml that a run can be compared with; see `references`."""
    corpora = list(settings["corpora"])
    if len(corpora) != 1 or corpora[0] not in completeness:
        return []  # other training data would change the figures
    tested = predictions.clips[["clip", "label"]].merge(clips[["clip", "emotion"]], on="clip")
    if not _whole(completeness[corpora[0]], tested=tested["clip"].nunique()):
        return []
    classes = tested[["emotion", "label"]].drop_duplicates()
    if classes["label"].duplicated().any():  # several emotions in one class
        return []
    split, emotions = settings["split"], set(classes["emotion"])
    return [
        entry
        for entry in known
        if entry["corpus"] == corpora[0]
        and set(entry["emotions"]) == emotions
        and split["name"] in entry["splits"]
        and entry["protocol"].items() <= split["protocol"].items()
        and entry["speakers_held_out"] != dependent
    ]


def _whole(found: Completeness, *, tested: int) -> bool:
    """Whether the test covers the release, except for a few unusable clips."""
    return (
        not found.missing
        and not found.surplus
        and found.unusable <= _UNUSABLE * found.expected
        and tested == found.found - found.unusable
    )


def references_figure(table: pd.DataFrame, *, chance: float, notes: Sequence[str]) -> Figure:
    """Draw the UA of the run with its interval, and that of published systems.

    Parameters
    ----------
    table : DataFrame
        see `references`; at least two rows
    chance : float
        chance level, drawn as a line
    notes : list of str
        lines below the title
    """
    own, kind = table.iloc[0], table["pretrained"]
    places = np.arange(len(table)) + 0.4 * (kind != "") + 0.4 * (kind == "yes")
    figure, axes = new_figure(7, 1.9 + 0.27 * places.iloc[-1])
    axes.axvspan(own["ua_low"], own["ua_high"], color=MAIN, alpha=0.13, linewidth=0, zorder=0)
    axes.hlines(places[0], own["ua_low"], own["ua_high"], color=MAIN, linewidth=1.6)
    for pretrained, label, colour, marker in (
        ("", "this run, with 95 % interval", MAIN, "o"),
        ("no", "without pre-training", REFERENCE, "D"),
        ("yes", "pre-trained on other speech", COLOURS[2], "s"),
    ):
        rows = kind == pretrained
        faces = np.where(table["folds"][rows] == "other", "white", colour)
        point: dict[str, Any] = {"edgecolor": colour, "marker": marker, "s": 36, "zorder": 3}
        if rows.any():
            axes.scatter([], [], color=colour, label=label, linewidth=1.4, **point)
            axes.scatter(table["ua"][rows], places[rows], c=faces, linewidth=1.4, **point)
    axes.axvline(
        chance, color=REFERENCE, linewidth=1.2, linestyle=":", label=f"chance {chance:.3f}"
    )
    other = np.where(table["folds"] == "other", " (other folds)", "")
    axes.set_yticks(places, table["system"] + other)
    axes.set_ylim(places.iloc[-1] + 0.6, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1)")
    axes.grid(visible=False, axis="y")
    label_right(axes, places, [f"{ua:.3f}" for ua in table["ua"]])
    figure.legend(loc="outside lower right", ncols=2)
    set_title(axes, "This run beside published figures", notes)
    return figure
