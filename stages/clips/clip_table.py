"""The clip table: what is known of every clip, one row each, checked on every read and write."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.running.outputs import complete
from stages.sources.vocabulary import EMOTIONS

_TEXT = "str"
#: Column -> type. Text is "" where a fact is unknown.
COLUMNS = {
    "clip": _TEXT,  # corpus/name, plus +number of a segment, plus #variant
    # The clip that a variant came from or that a copy repeats; of segments the first; else itself.
    "source": _TEXT,
    "variant": _TEXT,  # clean, or the variant's name
    "corpus": _TEXT,
    "file": _TEXT,  # relative to the corpus folder
    "speaker": _TEXT,  # corpus/speaker
    "sex": _TEXT,  # female, male
    "age": _TEXT,  # whole years
    "language": _TEXT,  # ISO 639-1
    "emotion": _TEXT,  # one of EMOTIONS; "" only for excluded clips
    "intensity": _TEXT,  # low, normal, medium, strong
    "sentence": _TEXT,  # corpus/code of the text
    "take": _TEXT,
    "channels": "int64",  # of the file
    "rate_hz": "int64",  # of the file
    "duration_s": "float64",  # of the file, or of the segment or variant
    "level_db": "float64",  # of the file, RMS relative to full scale; NaN if it was not decoded
    # Of the decoded samples; of a segment's, before they are levelled; of a variant's in the store.
    "sha256": _TEXT,
    "start": "int64",  # first sample in the audio store
    "samples": "int64",  # in the audio store; 0 for an excluded clip
    "frames": "int64",  # on the common frame clock; 0 for an excluded clip
    "excluded": _TEXT,  # "", or the reason why the clip is not used
}
DESCRIPTION = tuple(name for name, kind in COLUMNS.items() if kind == _TEXT)
_CHOICES = {
    "sex": ("female", "male", ""),
    "intensity": ("low", "normal", "medium", "strong", ""),
}


def check_clips(clips: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check a clip table against its contract.

    Parameters
    ----------
    clips : DataFrame
        one row per clip
    name : str
        what to call the table in an error

    Returns
    -------
    DataFrame
        the same rows, sorted by `clip`, with the columns and types of COLUMNS

    Raises
    ------
    ValueError
        naming the column or the clip that breaks the contract
    """
    missing = [column for column in COLUMNS if column not in clips]
    surplus = [column for column in clips if column not in COLUMNS]
    if missing or surplus:
        raise ValueError(f"{name}: columns missing {missing}, not known {surplus}")
    clips = clips[list(COLUMNS)].astype(COLUMNS).sort_values("clip", ignore_index=True)
    usable = clips["excluded"] == ""
    rules = {
        "clip: used twice": clips["clip"].duplicated(),
        f"emotion: want one of {', '.join(EMOTIONS)}": ~clips["emotion"].isin(EMOTIONS)
        & (usable | (clips["emotion"] != "")),
        "speaker: a usable clip wants one": usable & (clips["speaker"] == ""),
        "sha256: a usable clip wants one": usable & (clips["sha256"].str.len() != 64),
        "samples: want over 0 for a usable clip, 0 for an excluded one": usable
        != (clips["samples"] > 0),
        "frames: want over 0 for a usable clip, 0 for an excluded one": usable
        != (clips["frames"] > 0),
        "source: want the clip's own name or that of a row that is its own source": ~clips[
            "source"
        ].isin(clips.loc[clips["source"] == clips["clip"], "clip"]),
    }
    for column, choices in _CHOICES.items():
        rules[f"{column}: want one of {choices}"] = ~clips[column].isin(choices)
    for rule, broken in rules.items():
        if broken.any():
            row = clips[broken].iloc[0]
            column = rule.partition(":")[0]
            raise ValueError(f"{name}: {row['clip']}: {rule}, got {row[column]!r}")
    return clips


def read_clips(path: str | Path) -> pd.DataFrame:
    """Read and check a clip table; text columns are never NaN.

    Raises
    ------
    ValueError
        see check_clips
    """
    clips = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={"level_db": [""]})
    return check_clips(clips, str(path))


def write_clips(clips: pd.DataFrame, path: str | Path) -> None:
    """Check a clip table and write it as CSV, sorted by `clip`.

    Raises
    ------
    ValueError
        see check_clips
    """
    with complete(path) as part:
        check_clips(clips, str(path)).to_csv(part, index=False, lineterminator="\n")


def count_reasons(clips: pd.DataFrame) -> pd.Series:
    """Count the excluded clips by the kind of reason: what stands before the first colon."""
    reasons = clips.loc[clips["excluded"] != "", "excluded"]
    return reasons.str.split(":", n=1).str[0].value_counts().sort_index()
