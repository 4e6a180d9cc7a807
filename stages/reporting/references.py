"""Published figures beside a run that was tested as they were: same clips, classes and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from stages.clips.completeness import Completeness
from stages.reporting.predictions import Predictions

#: What is known, and what each entry says.
PATH = Path(__file__).with_name("references.yaml")
#: Of a whole corpus, the share of clips that may be silent, broken or copies of others.
_UNUSABLE = 0.005


def references(
    predictions: Predictions,
    *,
    clips: pd.DataFrame,
    completeness: Mapping[str, Completeness],
    settings: Mapping[str, Any],
    dependent: bool,
    metrics: Mapping[str, Any],
) -> pd.DataFrame:
    """The run itself, and below it the published figures that were measured in the same way.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    clips : DataFrame
        the clip table
    completeness : by corpus
        how it compares with its release, if that is known; empty for the demo
    settings : mapping
        corpora, model and split of params.yaml
    dependent : bool
        whether speakers are shared between training and test
    metrics : mapping
        ua, ua_low, ua_high of the run

    Returns
    -------
    DataFrame
        system, pretrained ("", "yes" or "no"), folds ("", "the same" or "other"), ua, ua_low,
        ua_high (NaN for published figures), note, source; the run in the first row, then systems
        without pre-training before those with, the best first. No row if no published figure fits
    """
    known = OmegaConf.to_container(OmegaConf.load(PATH))
    rows = [
        {
            "system": of["system"],
            "pretrained": "yes" if of["pretrained"] else "no",
            "folds": "the same" if entry["same_folds"] else "other",
            "ua": of["ua"],
            "note": of["note"],
            "source": of["source"],
        }
        for entry in matching(
            known,
            predictions=predictions,
            clips=clips,
            completeness=completeness,
            settings=settings,
            dependent=dependent,
        )
        for of in entry["systems"]
    ]
    columns = ["system", "pretrained", "folds", "ua", "ua_low", "ua_high", "note", "source"]
    if not rows:
        return pd.DataFrame(columns=columns)
    published = pd.DataFrame(rows).sort_values(
        ["pretrained", "ua"], ascending=[True, False], kind="stable"
    )
    own = {name: metrics[name] for name in ("ua", "ua_low", "ua_high")}
    own |= {"system": f"{settings['model']['name']} (this run)", "source": "this page"}
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
    """Those entries of references.yaml that a run may be compared with; see `references`."""
    corpora = list(settings["corpora"])
    if len(corpora) != 1 or corpora[0] not in completeness:
        return []  # what else is trained on would change the figures
    tested = predictions.clips[["clip", "label"]].merge(clips[["clip", "emotion"]], on="clip")
    if not _whole(completeness[corpora[0]], tested=tested["clip"].nunique()):
        return []
    classes = tested[["emotion", "label"]].drop_duplicates()
    if classes["label"].duplicated().any():  # of several emotions in one class
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


def _whole(of: Completeness, *, tested: int) -> bool:
    """Whether the clips tested are those of the release, all but a few that cannot be used."""
    return (
        not of.missing
        and not of.surplus
        and of.unusable <= _UNUSABLE * of.expected
        and tested == of.found - of.unusable
    )
