"""Proof that nothing leaks from training to test, and a statement of what the two may share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from stages.settings.checks import check
from stages.sources.spelling import identity
from stages.splits.enrolment import calibration_in_words, count_short
from stages.splits.split_table import folds_of

log = logging.getLogger(__name__)
#: Settings of a split that say what training and test may share.
RULES = ("speaker_dependent", "sentences_held_out", "variants")


def check_rules(*, speaker_dependent: bool, sentences_held_out: bool, variants: str) -> None:
    """Refuse independent variants in a protocol that holds speakers or sentences out.

    Raises
    ------
    ValueError
        also if `variants` is neither with_source nor independent
    """
    known = variants in ("with_source", "independent")
    check("split.variants", variants, known, "with_source or independent")
    if variants == "independent" and (sentences_held_out or not speaker_dependent):
        raise ValueError(
            "split.variants: got independent, want with_source: this protocol holds speakers or "
            "sentences out, and variants of one clip would be in training and test; split=random "
            "allows that"
        )


def leakage(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    speaker_dependent: bool,
    sentences_held_out: bool,
    variants: Literal["with_source", "independent"] = "with_source",
) -> list[dict]:
    """Count what training and test share in each fold.

    Validation clips count as training clips here. Two spellings of one speaker or sentence are one.

    Parameters
    ----------
    clips, split : DataFrame
        labelled clips and their split table
    speaker_dependent : bool
        whether training and test may share speakers
    sentences_held_out : bool
        whether training and test must not share sentences
    variants : with_source or independent
        whether training and test may share the source of independent variants

    Returns
    -------
    list of dict
        for each fold: the corpora of training and of test; the clips and speakers of each part;
        the variants among the training and the test clips; how many speakers, known sentences,
        sources and sample digests training and test share; and the labels that training lacks

    Raises
    ------
    ValueError
        if training and test share a digest; a source, other than of independent variants; a
        speaker, unless the protocol is speaker-dependent; or a sentence, if these are held out; or
        if the training clips of a fold have fewer than two labels
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    facts = ["clip", "variant", "corpus", "speaker", "sentence", "source", "sha256"]
    table = split.merge(clips[facts], on="clip", validate="one_to_one")
    for column in ("speaker", "sentence"):
        table[column] = _one_spelling(table[column])
    # Categories, as pandas turns Arrow's texts into Python's one by one, in every fold.
    table[facts[1:]] = table[facts[1:]].astype("category")
    allowed = {"speaker": speaker_dependent, "sentence": not sentences_held_out}
    report = []
    for fold in folds_of(split):
        sides = {part: table[table[fold] == part] for part in ("train", "validation", "test")}
        learned = pd.concat([sides["train"], sides["validation"]])
        enrolled = table[table[fold] == "enrolment"]
        enrolled = enrolled[~enrolled["speaker"].isin(sides["validation"]["speaker"])]
        held_out = pd.concat([sides["test"], enrolled])
        entry: dict = {
            "fold": fold,
            "train_corpora": sorted(learned["corpus"].unique()),
            "test_corpora": sorted(sides["test"]["corpus"].unique()),
        }
        for part, side in sides.items():
            entry[f"{part}_clips"] = len(side)
        for part, side in sides.items():
            entry[f"{part}_speakers"] = side["speaker"].nunique()
        if (table[fold] == "enrolment").any():
            entry["enrolment_clips"] = int((table[fold] == "enrolment").sum())
        for part in ("train", "test"):
            entry[f"{part}_variants"] = int((sides[part]["variant"] != "clean").sum())
        for column, key in (
            ("speaker", "shared_speakers"),
            ("sentence", "shared_sentences"),
            ("source", "shared_sources"),
            ("sha256", "shared_sha256"),
        ):
            shared = _shared(learned[column], held_out[column])
            entry[key] = len(shared)
            if column == "source" and variants == "independent":  # only clean clips must not share
                clean = (side[side["variant"] == "clean"] for side in (learned, held_out))
                shared = _shared(*(side[column] for side in clean))
            if shared and not allowed.get(column, False):
                raise ValueError(
                    f"fold {fold}: training and test share {len(shared)} values of {column}, want "
                    f"none: {', '.join(shared[:3])}"
                )
        entry["validation_shares_speakers"] = bool(
            _shared(sides["train"]["speaker"], sides["validation"]["speaker"])
        )
        entry["classes_missing_in_training"] = sorted(
            set(split["label"].unique()) - set(sides["train"]["label"].unique())
        )
        if sides["train"]["label"].nunique() < 2:
            raise ValueError(
                f"fold {fold}: got training labels {sorted(sides['train']['label'].unique())}, "
                "want at least 2"
            )
        if entry["classes_missing_in_training"]:
            log.warning(
                "fold %s: no training clip is labelled %s, so the model never predicts it",
                fold,
                ", ".join(entry["classes_missing_in_training"]),
            )
        report.append(entry)
    return report


def leakage_report(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    name: str,
    calibration: Mapping[str, Any] | None = None,
    **rules: Any,
) -> dict:
    """Build the content of reports/leakage.json: the protocol, its rules and what folds share.

    Parameters
    ----------
    clips, split, rules
        see `leakage`; rules are all of RULES
    name : str
        of the protocol
    calibration : mapping or None
        the group `calibration` of params.yaml; None: none

    Raises
    ------
    ValueError
        see `leakage`; if the protocol does not hold speakers out, where calibration is asked for
    """
    known: dict[str, dict] = {}
    if calibration and calibration["clips"]:
        short = count_short(clips, split, number=calibration["clips"])
        known = {"calibration": {**calibration, "short_speakers": short}}
    if known and rules["speaker_dependent"]:
        raise ValueError(
            f"calibration: got {known['calibration']['name']} with split={name}, want a split that "
            "holds speakers out, or calibration=none"
        )
    folds = leakage(clips, split, **rules)
    # `leakage` refuses a shared source, unless it is that of independent variants.
    shared = any(fold["shared_sources"] for fold in folds)
    return {"protocol": name, **rules, "variants_shared": shared, **known, "folds": folds}


def _shared(learned: pd.Series, tested: pd.Series) -> list[str]:
    """List the values that training and test share, sorted; unknown values ("") do not count."""
    return sorted((set(learned.unique()) & set(tested.unique())) - {""})


def _one_spelling(names: pd.Series) -> pd.Series:
    """Replace the spellings of one speaker or sentence by the first of them."""
    first: dict[tuple[str, str], str] = {}
    chosen = {}
    for full in names.unique():
        corpus, _, name = full.partition("/")
        chosen[full] = first.setdefault((corpus, identity(name)), full)
    return names.map(chosen)


def shared_in_words(settings: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Describe what training and test share, or know, for every figure and table of a split.

    Parameters
    ----------
    settings : mapping
        the group `split` of params.yaml
    report : mapping
        reports/leakage.json, which can only add to what the settings say

    Returns
    -------
    list of str
        empty if they share neither speakers nor variants of one recording, and nothing is known of
        held-out speakers
    """
    words = []
    if settings["speaker_dependent"] or report["speaker_dependent"]:
        words.append("speaker-dependent")
    if report.get("variants_shared"):
        words.append("variants of one recording on both sides")
    return words + calibration_in_words(report)


def protocol_in_words(settings: Mapping[str, Any], shared: Sequence[str]) -> str:
    """Return the name of a protocol, what training and test share, and what else is trained on.

    Parameters
    ----------
    settings : mapping
        the group `split` of params.yaml
    shared : sequence of str
        see `shared_in_words`
    """
    marks = [*shared, *trained_on_in_words(settings)]
    return f"{settings['name']} ({', '.join(marks)})" if marks else settings["name"]


def trained_on_in_words(settings: Mapping[str, Any]) -> list[str]:
    """Name the corpora that only train, in one note for figures; no note if there are none."""
    corpora = settings.get("train_only")
    return [f"trained on {', '.join(corpora)} as well"] if corpora else []
