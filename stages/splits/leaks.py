"""The proof that nothing leaks, and what a split says about what its two sides share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from stages.splits.folds import check_rules, folds_of

log = logging.getLogger(__name__)


def leakage(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    speaker_dependent: bool,
    sentences_held_out: bool,
    variants: Literal["with_source", "independent"] = "with_source",
) -> list[dict]:
    """Count, fold by fold, what the trained and the tested clips share.

    Parameters
    ----------
    clips, split : DataFrame
        labelled clips and their split table
    speaker_dependent : bool
        whether speakers may stand on both sides
    sentences_held_out : bool
        whether sentences may not
    variants : with_source or independent
        whether variants of one source must stand on one side, or may stand on both

    Returns
    -------
    list of dict
        per fold: the corpora that are trained on (or validate) and tested; clips and speakers of
        each part, and how many of the trained and of the tested clips are variants; how many
        speakers, sentences (as far as they are known), sources and sample hashes training (with
        validation) and test share; and the labels that training lacks

    Raises
    ------
    ValueError
        naming what stands on both sides: any hash; any source, unless by variants that may; any
        speaker, unless allowed; any sentence, if they are held out; naming a fold whose training
        has fewer than two labels
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    facts = ["clip", "variant", "corpus", "speaker", "sentence", "source", "sha256"]
    table = split.merge(clips[facts], on="clip", validate="one_to_one")
    allowed = {"speaker": speaker_dependent, "sentence": not sentences_held_out}
    report = []
    for fold in folds_of(split):
        sides = {part: table[table[fold] == part] for part in ("train", "validation", "test")}
        learned = pd.concat([sides["train"], sides["validation"]])
        entry: dict = {
            "fold": fold,
            "train_corpora": sorted(set(learned["corpus"])),
            "test_corpora": sorted(set(sides["test"]["corpus"])),
        }
        for part, side in sides.items():
            entry[f"{part}_clips"] = len(side)
        for part, side in sides.items():
            entry[f"{part}_speakers"] = side["speaker"].nunique()
        for part in ("train", "test"):
            entry[f"{part}_variants"] = int((sides[part]["variant"] != "clean").sum())
        for column, key in (
            ("speaker", "shared_speakers"),
            ("sentence", "shared_sentences"),
            ("source", "shared_sources"),
            ("sha256", "shared_sha256"),
        ):
            shared = _shared(learned[column], sides["test"][column])
            entry[key] = len(shared)
            if column == "source" and variants == "independent":  # then only of clean clips
                clean = (side[side["variant"] == "clean"] for side in (learned, sides["test"]))
                shared = _shared(*(side[column] for side in clean))
            if shared and not allowed.get(column, False):
                raise ValueError(
                    f"fold {fold}: {len(shared)} of {column} stand in training and test: "
                    f"{', '.join(shared[:3])}"
                )
        entry["validation_shares_speakers"] = bool(
            set(sides["train"]["speaker"]) & set(sides["validation"]["speaker"])
        )
        entry["classes_missing_in_training"] = sorted(
            set(split["label"]) - set(sides["train"]["label"])
        )
        if sides["train"]["label"].nunique() < 2:
            raise ValueError(
                f"fold {fold}: got {sorted(set(sides['train']['label']))} as labels of training, "
                "want at least 2"
            )
        if entry["classes_missing_in_training"]:
            log.warning(
                "fold %s: no training clip of %s, so none is predicted",
                fold,
                ", ".join(entry["classes_missing_in_training"]),
            )
        report.append(entry)
    return report


def leakage_report(clips: pd.DataFrame, split: pd.DataFrame, *, name: str, **rules: Any) -> dict:
    """What reports/leakage.json holds: the protocol's name and rules, and what `leakage` found.

    Parameters
    ----------
    clips, split, rules
        see `leakage`, which also says what is raised; all of RULES
    name : str
        of the protocol
    """
    found = leakage(clips, split, **rules)
    # Of other clips a shared source is refused.
    shared = any(fold["shared_sources"] for fold in found)
    return {"protocol": name, **rules, "variants_shared": shared, "folds": found}


def _shared(learned: pd.Series, tested: pd.Series) -> list[str]:
    """What both sides have, in order; what is unknown ("") is not the same."""
    return sorted((set(learned) & set(tested)) - {""})


def shared_in_words(settings: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """What all figures of a split must say that its two sides share, in words.

    Parameters
    ----------
    settings : mapping
        the group `split` of params.yaml
    report : mapping
        reports/leakage.json: what it found goes before what the settings claim
    """
    words = []
    if settings["speaker_dependent"] or report["speaker_dependent"]:
        words.append("speaker-dependent")
    if report.get("variants_shared"):
        words.append("variants of one recording on both sides")
    return words


def protocol_in_words(name: str, shared: Sequence[str]) -> str:
    """A protocol's name, with what its sides share behind it."""
    return f"{name} ({', '.join(shared)})" if shared else name
