"""The clip table: the facts about every clip, checked on every read and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.running.entry import printable
from stages.running.outputs import complete
from stages.sources.vocabulary import EMOTIONS

_TEXT = "str"
#: Column to type. Text is "" if a fact is unknown.
COLUMNS = {
    "clip": _TEXT,  # see stages.clips.names
    # The clip that a variant changes or a copy repeats; the first of those that share sound or are
    # segments of one recording; else itself.
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
    "corpus_fold": _TEXT,  # in which the corpus tests the clip itself; see protocols/table.py
    "channels": "int64",  # of the file
    "rate_hz": "int64",  # of the file
    "duration_s": "float64",  # of the file, or of the excerpt, segment or variant
    # RMS of the file or excerpt relative to full scale; NaN if it was not decoded.
    "level_db": "float64",
    # Of the decoded samples; of a segment before its level is set; of a variant in the audio store.
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
    """Check the columns and the values of a clip table.

    Parameters
    ----------
    clips : DataFrame
        one row per clip
    name : str
        of the table, for error messages

    Returns
    -------
    DataFrame
        the same rows, sorted by `clip`, with the columns and types of COLUMNS

    Raises
    ------
    ValueError
        if a column is missing or unknown, or if a clip has a value that is not allowed
    """
    missing = [column for column in COLUMNS if column not in clips]
    surplus = [column for column in clips if column not in COLUMNS]
    if missing or surplus:
        raise ValueError(f"{name}: missing columns {missing}, unknown columns {surplus}")
    clips = clips[list(COLUMNS)].astype(COLUMNS).sort_values("clip", ignore_index=True)
    usable = clips["excluded"] == ""
    emotion_needed = usable | (clips["emotion"] != "")
    own_sources = clips.loc[clips["source"] == clips["clip"], "clip"]
    # Among Python's own strings, as pandas converts all of Arrow's one by one.
    found = clips["source"].astype(object).isin(own_sources)
    size = "more than 0 for a usable clip, 0 for an excluded one"
    rules = [
        ("clip", "each name once", clips["clip"].duplicated()),
        ("emotion", _one_of(EMOTIONS), emotion_needed & ~clips["emotion"].isin(EMOTIONS)),
        ("speaker", "a name for a usable clip", usable & (clips["speaker"] == "")),
        ("sha256", "a digest for a usable clip", usable & (clips["sha256"].str.len() != 64)),
        ("samples", size, usable != (clips["samples"] > 0)),
        ("frames", size, usable != (clips["frames"] > 0)),
        ("source", "a clip that is its own source", ~found),
    ]
    for column in ("clip", "file", "speaker", "sentence", "corpus_fold"):
        rules.append((column, "text on one line", clips[column].map(printable) != clips[column]))
    for column, choices in _CHOICES.items():
        rules.append((column, _one_of(choices), ~clips[column].isin(choices)))
    for column, want, broken in rules:
        if broken.any():
            row = clips[broken].iloc[0]
            got = printable(str(row[column])) or "nothing"
            raise ValueError(f"{name}: {printable(row['clip'])}: {column}: got {got}, want {want}")
    return clips


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choice or 'nothing' for choice in choices)}"


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
    """Count the excluded clips by kind of reason, the part before the first colon."""
    reasons = clips.loc[clips["excluded"] != "", "excluded"]
    return reasons.str.split(":", n=1).str[0].value_counts().sort_index()
