"""From emotions to labels, from a protocol's folds to training, validation and test; and the proof.

A split table has one row per clip that is used: `clip`, `label`, and one column per fold (`0`, `1`,
...) that says what the clip is there: train, validation, test, or "" for neither.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.running.outputs import complete
from stages.clips.clip_table import EMOTIONS

log = logging.getLogger(__name__)
PARTS = ("train", "validation", "test", "")
#: What of a split's settings says what both of its sides may share.
RULES = ("speaker_dependent", "sentences_held_out", "variants")
#: The fold of the job that trains on every clip and tests on none.
ALL = "all"


def label_clips(
    clips: pd.DataFrame, *, name: str, mapping: Mapping[str, str | None]
) -> pd.DataFrame:
    """Map emotions to the label set; leave out, and count, what it does not hold.

    Parameters
    ----------
    clips : DataFrame
        a clip table
    name : str
        of the label set
    mapping : common emotion -> label, or None for one that is left out

    Returns
    -------
    DataFrame
        the usable clips that have a label, with a column `label`

    Raises
    ------
    ValueError
        naming emotions outside the common vocabulary; if fewer than two labels are left
    """
    if unknown := [emotion for emotion in mapping if emotion not in EMOTIONS]:
        raise ValueError(f"labels {name}: {unknown} are not of the vocabulary {EMOTIONS}")
    clips = clips[clips["excluded"] == ""]
    labels = clips["emotion"].map({k: v for k, v in mapping.items() if v is not None})
    log.info("labels %s: %s", name, _losses(clips, lost=labels.isna()))
    clips = clips.assign(label=labels)[labels.notna()].reset_index(drop=True)
    if clips["label"].nunique() < 2:
        raise ValueError(
            f"labels {name}: got {sorted(set(clips['label']))} in the clips, want at least 2"
        )
    return clips


def _losses(clips: pd.DataFrame, *, lost: pd.Series) -> str:
    """What each corpus loses, in words; variants do not count."""
    clean = clips["variant"] == "clean"
    parts = []
    for corpus, emotions in clips[clean].groupby("corpus")["emotion"]:
        counts = emotions[lost[emotions.index]].value_counts().sort_index()
        named = ", ".join(f"{emotion} {number}" for emotion, number in counts.items())
        named = f" ({named})" if named else ""
        parts.append(f"{corpus} loses {counts.sum()} of {len(emotions)} clips{named}")
    return "; ".join(parts)


def label_order(mapping: Mapping[str, str | None], present: pd.Series) -> list[str]:
    """The labels that occur, in the order of their label set."""
    occurring = set(present)
    return [label for label in dict.fromkeys(mapping.values()) if label in occurring]


def split_clips(
    clips: pd.DataFrame,
    *,
    protocol: Callable[[pd.DataFrame], np.ndarray],
    speaker_dependent: bool,
    sentences_held_out: bool,
    validation: float,
    variants: Literal["with_source", "independent"] = "with_source",
) -> pd.DataFrame:
    """Say of every clip what it is in every fold.

    The protocol says what each clip is. In a fold for which it brings no validation clips, part of
    the training side validates: by whole speakers, unless the protocol is speaker-dependent (then
    by whole sentences, if it holds those out) or only one speaker is trained on. Clips of one
    source stand together, whatever the protocol: it is asked about the first of them. Variants are
    trained on where their source is, and never validate or test; only if they are independent, each
    is one more clip for the protocol, as if it did not come from another one.

    Parameters
    ----------
    clips : DataFrame
        labelled clips
    protocol : clips, one per source -> their parts, str [clips, folds], of PARTS
        settings already bound; asked about clean clips, unless variants are independent
    speaker_dependent : bool
        whether the protocol lets speakers stand on both sides
    sentences_held_out : bool
        whether the protocol lets no sentence stand on both sides
    validation : float
        share of the training side, at most .5; 0: all of it is trained on
    variants : with_source or independent
        the latter leaks, so the protocol must be speaker-dependent and hold no sentence out

    Returns
    -------
    DataFrame
        a split table, with a last column `all`: the job that trains on every fold

    Raises
    ------
    ValueError
        if `variants` or `validation` is something else, or the protocol's answer no such table or
        one that could not be pooled honestly
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    if not 0 <= validation <= 0.5:
        raise ValueError(f"split.validation: got {validation}, want at least 0 and at most 0.5")
    together = clips["source"]
    if variants == "independent":
        together = together + "#" + clips["variant"]
    clips = clips.assign(together=together)
    asked = clips if variants == "independent" else clips[clips["variant"] == "clean"]
    firsts = asked.drop_duplicates("together", ignore_index=True)
    table = check_parts(protocol(firsts), clips=firsts["clip"])
    parts = {str(fold): part for fold, part in enumerate(table.T)}
    parts[ALL] = np.full(len(firsts), "train", dtype=object)
    by = "speaker" if not speaker_dependent else "sentence" if sentences_held_out else None
    for part in parts.values():
        side = firsts[part == "train"]
        if validation and "validation" not in part:
            chosen = _choose_validation(side, by=by, share=validation)
            part[side.index[chosen]] = "validation"
    answer = pd.DataFrame({"together": firsts["together"]} | parts)
    split = clips[["clip", "label", "together"]].merge(answer, on="together")
    for_training = ~split["clip"].isin(asked["clip"]).to_numpy()[:, None]
    dropped = for_training & (split[list(parts)] != "train")
    split[list(parts)] = split[list(parts)].mask(dropped, "")
    split = split.drop(columns="together")
    return split.sort_values("clip", ignore_index=True)


def check_rules(*, speaker_dependent: bool, sentences_held_out: bool, variants: str) -> None:
    """Refuse variants that stand by themselves where a protocol promises to hold something out.

    Raises
    ------
    ValueError
        if `variants` is neither with_source nor independent, or the latter where it must not be
    """
    if variants not in ("with_source", "independent"):
        raise ValueError(f"split.variants: got {variants!r}, want with_source or independent")
    if variants == "independent" and (sentences_held_out or not speaker_dependent):
        raise ValueError(
            "split.variants: got independent, want with_source: this protocol holds speakers or "
            "sentences out, and variants of one clip would stand on both sides; split=random lets "
            "them"
        )


def tested_once(fold: np.ndarray) -> np.ndarray:
    """What a protocol answers that tests each clip in one fold and trains on it in all others.

    Parameters
    ----------
    fold : int [clips]
        the fold in which each clip is tested, from 0

    Returns
    -------
    str [clips, folds]
    """
    return np.where(fold[:, None] == np.arange(fold.max() + 1), "test", "train")


def group_folds(clips: pd.DataFrame, *, column: str, folds: int, seed: int) -> np.ndarray:
    """Share groups of clips out so that each fold has about the same of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, label and `column`
    column : str
        speaker or sentence: what stays together
    folds : int
        wanted; no more than there are groups are made
    seed : int
        of the shuffle

    Returns
    -------
    int64 [clips]
        the fold of each clip, from 0; -1 where the group is unknown ("")

    Raises
    ------
    ValueError
        if there are fewer than two groups or folds; naming corpora of which no group is known
    """
    known = (clips[column] != "").to_numpy()
    if blank := sorted(set(clips["corpus"]) - set(clips.loc[known, "corpus"])):
        raise ValueError(
            f"split: no {column} is known of any clip of {', '.join(blank)}; want other corpora, "
            f"or a protocol that holds no {column} out"
        )
    groups = clips.loc[known, column]
    number = groups.nunique()
    if number < 2 or folds < 2:
        raise ValueError(
            f"split: got {number} {column}s and {folds} folds, want at least 2 of both"
        )
    fold = np.full(len(clips), -1)
    pieces = share_out(clips[known], pieces=folds, groups=groups, seed=seed)
    for piece, positions in enumerate(pieces):
        fold[np.flatnonzero(known)[positions]] = piece
    if not known.all():
        log.warning("split: %d clips of unknown %s stand in no fold", (~known).sum(), column)
    if len(pieces) < folds:
        log.warning("split: %d folds for %d %ss, not %d", len(pieces), number, column, folds)
    return fold


def check_parts(parts: np.ndarray, *, clips: pd.Series) -> np.ndarray:
    """Prove that a protocol's answer can be trained on, and its predictions pooled.

    Parameters
    ----------
    parts : str [clips, folds]
    clips : Series of str [clips]

    Returns
    -------
    object [clips, folds]
        the same parts, a copy that may be written to

    Raises
    ------
    ValueError
        naming the fold that trains on no clip or tests none; or a clip that is tested in other than
        as many folds as the others that are tested, and would have another weight than they
    """
    parts = np.array(parts, dtype=object)
    strange = set(parts.flat) - set(PARTS)
    if parts.ndim != 2 or len(parts) != len(clips) or not parts.size or strange:
        raise ValueError(
            f"split: the protocol gave an array {list(parts.shape)} with {sorted(strange)}, "
            f"want [{len(clips)} clips, folds] of {PARTS}"
        )
    for fold, part in enumerate(parts.T):
        for want in ("train", "test"):
            if want not in part:
                raise ValueError(f"split: fold {fold}: no {want} clip, want at least one")
    tested = (parts == "test").sum(axis=1)
    uneven = (tested > 0) & (tested != tested.max())
    if uneven.any():
        first = uneven.argmax()
        raise ValueError(
            f"split: {clips.iloc[first]} is tested in {tested[first]} folds, other clips in "
            f"{tested.max()}; want each in none or in as many as the others"
        )
    return parts


def _choose_validation(side: pd.DataFrame, *, by: str | None, share: float) -> np.ndarray:
    """Positions in a training side that validate: whole speakers or sentences, or any clips."""
    groups = side[by] if by and side[by].nunique() > 1 else None
    pieces = share_out(side, pieces=max(2, round(1 / share)), groups=groups, seed=0)
    # Whole speakers do not come in equal sizes: the piece that is nearest to the share.
    return min(pieces, key=lambda piece: abs(len(piece) / len(side) - share))


def share_out(
    clips: pd.DataFrame, *, pieces: int, groups: pd.Series | None, seed: int
) -> list[np.ndarray]:
    """Share clips out into pieces of about equal numbers of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        with columns corpus, label
    pieces : int
        wanted; no more are made than there are groups, or clips
    groups : Series or None
        what must stay together, such as the speaker of each clip
    seed : int
        of the shuffle

    Returns
    -------
    list of int64 arrays
        positions of each piece's clips; no piece is empty

    Raises
    ------
    ValueError
        if two pieces cannot be made
    """
    pieces = min(pieces, len(clips) if groups is None else groups.nunique())
    if pieces < 2:
        raise ValueError(f"got {len(clips)} clips, want enough to share out into two pieces")
    kind = clips["corpus"] + "/" + clips["label"]
    if kind.value_counts().max() < pieces:  # too few clips to share out kind by kind
        kind = pd.Series("any", index=clips.index)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # Some kinds may still be fewer than the pieces: `leakage` counts what training then lacks.
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = splitter(pieces, shuffle=True, random_state=seed).split(clips, kind, groups)
        return [piece for _, piece in splits if len(piece)]


def folds_of(split: pd.DataFrame) -> list[str]:
    """The columns of a split table that stand for a fold or for the job `all`."""
    return [column for column in split if column not in ("clip", "label")]


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


def write_split(split: pd.DataFrame, path: str | Path) -> None:
    """Write a split table as CSV."""
    with complete(path) as part:
        split.to_csv(part, index=False, lineterminator="\n")


def read_split(path: str | Path) -> pd.DataFrame:
    """Read a split table.

    Raises
    ------
    ValueError
        naming a fold that holds something else than PARTS
    """
    split = pd.read_csv(path, dtype="str", keep_default_na=False)
    for fold in folds_of(split):
        if strange := set(split[fold]) - set(PARTS):
            raise ValueError(f"{path}: fold {fold}: got {sorted(strange)}, want {PARTS}")
    return split
