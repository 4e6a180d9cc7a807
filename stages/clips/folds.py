"""From emotions to labels, from a protocol's folds to training, validation and test; and the proof.

A split table has one row per clip that is used: `clip`, `label`, and one column per fold (`0`, `1`,
...) that says what the clip is there: train, validation, test, or "" for neither.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.clips.outputs import complete
from stages.clips.table import EMOTIONS

log = logging.getLogger(__name__)
PARTS = ("train", "validation", "test", "")
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
    validation: float,
) -> pd.DataFrame:
    """Say of every clip what it is in every fold.

    The protocol chooses the fold in which a clip is tested. Part of each training side validates:
    by whole speakers, unless the protocol is speaker-dependent or only one speaker is trained on.
    Clips of one source stand together, whatever the protocol: it is asked about the first of them.
    Variants are trained on where their source is, and never validate or test.

    Parameters
    ----------
    clips : DataFrame
        labelled clips
    protocol : clean clips, one per source -> fold of each
        settings already bound
    speaker_dependent : bool
        whether the protocol lets speakers stand on both sides
    validation : float
        share of the training side, at most .5; 0: all of it is trained on

    Returns
    -------
    DataFrame
        a split table, with a last column `all`: the job that trains on every fold
    """
    if not 0 <= validation <= 0.5:
        raise ValueError(f"split.validation: got {validation}, want at least 0 and at most 0.5")
    firsts = clips[clips["variant"] == "clean"].drop_duplicates("source", ignore_index=True)
    tested = protocol(firsts)
    parts = {}
    for fold in [*range(tested.max() + 1), ALL]:
        part = np.where(tested == fold, "test", "train").astype(object)
        side = firsts[part == "train"]
        if validation:
            chosen = _choose_validation(side, by_speaker=not speaker_dependent, share=validation)
            part[side.index[chosen]] = "validation"
        parts[str(fold)] = part
    sources = pd.DataFrame({"source": firsts["source"]} | parts)
    split = clips[["clip", "label", "source", "variant"]].merge(sources, on="source")
    trained = (split["variant"] == "clean").to_numpy()[:, None] | (split[list(parts)] == "train")
    split[list(parts)] = split[list(parts)].where(trained, "")
    split = split.drop(columns=["source", "variant"])
    return split.sort_values("clip", ignore_index=True)


def _choose_validation(side: pd.DataFrame, *, by_speaker: bool, share: float) -> np.ndarray:
    """Positions in a training side that validate."""
    groups = side["speaker"] if by_speaker and side["speaker"].nunique() > 1 else None
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


def leakage(clips: pd.DataFrame, split: pd.DataFrame, *, speaker_dependent: bool) -> list[dict]:
    """Count, fold by fold, what the trained and the tested clips share.

    Parameters
    ----------
    clips, split : DataFrame
        labelled clips and their split table
    speaker_dependent : bool
        whether speakers may stand on both sides

    Returns
    -------
    list of dict
        per fold: clips and speakers of each part, how many speakers, sources and sample hashes
        training (with validation) and test share, and the labels that training lacks

    Raises
    ------
    ValueError
        naming what stands on both sides: any source or hash; any speaker, unless allowed; naming
        a fold whose training has fewer than two labels
    """
    table = split.merge(
        clips[["clip", "speaker", "source", "sha256"]], on="clip", validate="one_to_one"
    )
    report = []
    for fold in folds_of(split):
        sides = {part: table[table[fold] == part] for part in ("train", "validation", "test")}
        learned = pd.concat([sides["train"], sides["validation"]])
        entry: dict = {"fold": fold}
        for part, side in sides.items():
            entry[f"{part}_clips"] = len(side)
        for part, side in sides.items():
            entry[f"{part}_speakers"] = side["speaker"].nunique()
        for column, key in (
            ("speaker", "shared_speakers"),
            ("source", "shared_sources"),
            ("sha256", "shared_sha256"),
        ):
            shared = sorted(set(learned[column]) & set(sides["test"][column]))
            entry[key] = len(shared)
            if shared and not (column == "speaker" and speaker_dependent):
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
