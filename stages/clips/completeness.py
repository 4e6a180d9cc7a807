"""A corpus against its release: what is there, what is missing, and what is more than that."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.clips.names import SEGMENT_SUFFIX

log = logging.getLogger(__name__)
_LISTED = 10  # names in a message


@dataclass(frozen=True)
class Release:
    """What a complete copy of a corpus holds.

    Attributes
    ----------
    clips : int
    emotions : int by emotion, or None
        clips of each; None if not known
    speakers : int by speaker, or int
        clips of each, by the name without the corpus; or only how many speakers there are
    names : sequence of str, or None
        of all clips, without the corpus; None if not known
    """

    clips: int
    emotions: Mapping[str, int] | None
    speakers: Mapping[str, int] | int
    names: Sequence[str] | None


@dataclass(frozen=True)
class Completeness:
    """How a corpus compares with its release.

    Attributes
    ----------
    expected, found : int
        the release's clips, and those of them that are there
    unusable : int
        found, but excluded: broken, silent, the same recording as another
    surplus : int
        usable, but none of the release's clips
    emotions, speakers : DataFrame
        columns found, expected, missing, surplus; rows by emotion, and by speaker without the
        corpus. What the release does not tell is NA
    expected_speakers, found_speakers : int
    missing_names, surplus_names : list of str
        sorted; empty if the release's names are not known
    """

    expected: int
    found: int
    unusable: int
    surplus: int
    emotions: pd.DataFrame
    speakers: pd.DataFrame
    expected_speakers: int
    found_speakers: int
    missing_names: list[str]
    surplus_names: list[str]

    @property
    def missing(self) -> int:
        """How many of the release's clips are not there."""
        return self.expected - self.found


def read_release(settings: Mapping[str, Any] | None) -> Release | None:
    """The release that a corpus's settings describe, its names listed; None where there is none."""
    from hydra.utils import instantiate  # takes as long to import as all else here

    values = instantiate(settings, _convert_="all")
    return values and Release(**values)


def compare(clips: pd.DataFrame, *, release: Release) -> Completeness:
    """Compare a corpus with its release.

    A clip counts once, whatever copies, segments or variants of it there are, and it is found if
    its file is there, broken or not. If the release's names are not known, any clip may be one of
    them, up to the release's number of each emotion.

    Parameters
    ----------
    clips : DataFrame
        a clip table, of one corpus
    release : Release

    Returns
    -------
    Completeness
    """
    there = _recordings(clips)
    official = _official(there, release=release)
    found, surplus = there[official], there[~official & there["usable"]]
    named = release.names is not None
    speakers = release.speakers
    return Completeness(
        expected=release.clips,
        found=len(found),
        unusable=int((~found["usable"]).sum()),
        surplus=len(surplus),
        emotions=_counts(found["emotion"], surplus["emotion"], expected=release.emotions),
        speakers=_counts(
            found["speaker"],
            surplus["speaker"],
            expected=None if isinstance(speakers, int) else speakers,
        ),
        expected_speakers=speakers if isinstance(speakers, int) else len(speakers),
        found_speakers=found["speaker"].nunique(),
        missing_names=sorted(set(release.names) - set(found["name"])) if named else [],
        surplus_names=sorted(surplus["name"]) if named else [],
    )


def log_completeness(clips: pd.DataFrame, *, corpus: str, release: Release) -> None:
    """Log the summary of how a corpus compares with its release."""
    of = compare(clips, release=release)
    level = logging.WARNING if of.missing else logging.INFO
    log.log(level, "%s: %s", corpus, summary(of))


def summary(of: Completeness) -> str:
    """How a corpus compares with its release, in a line; some of the missing clips by name."""
    lacking = of.emotions["missing"].dropna()
    lacking = [f"{emotion} {number}" for emotion, number in lacking[lacking > 0].items()]
    absent = of.missing_names or lacking
    parts = [
        f"{of.found} clips found",
        f"{of.expected} expected",
        f"{of.missing} missing{_listed(absent)}",
        f"{of.surplus} surplus{_listed(of.surplus_names)}",
    ]
    if of.unusable:
        parts.append(f"{of.unusable} of those found not used")
    if of.found_speakers < of.expected_speakers:
        parts.append(f"{of.found_speakers} of {of.expected_speakers} speakers")
    verdict = "partial, used as it is" if of.missing else "complete"
    return f"{verdict}: {', '.join(parts)}"


def _recordings(clips: pd.DataFrame) -> pd.DataFrame:
    """What may be a clip of the release, a row per file, usable ones first: name and speaker
    without the corpus, emotion, and whether it can be used.

    A name that does not parse gives no emotion. A file that its name does not stand for, because
    another copy is used, is named by its path, or is excluded as a copy of some kind.
    """
    clips = clips[clips["variant"] == "clean"]
    named_by_path = clips["clip"] == clips["corpus"] + "/" + clips["file"]
    copy = clips["excluded"].str.match(r"\w+ copy:")
    rows = clips[(clips["emotion"] != "") & ~named_by_path & ~copy]
    rows = rows.assign(usable=rows["excluded"] == "")
    rows = rows.sort_values(["usable", "clip"], ascending=[False, True]).drop_duplicates("file")
    # Not `source`, which two clips of the release share if they are the same recording.
    names = rows["clip"].str.replace(SEGMENT_SUFFIX, "", regex=True)
    for column, values in {"name": names, "speaker": rows["speaker"]}.items():
        rows[column] = values.str.split("/", n=1).str[1]
    return rows[["name", "speaker", "emotion", "usable"]]


def _official(there: pd.DataFrame, *, release: Release) -> pd.Series:
    """Which recordings are clips of the release; if its names are not known, the first ones, up
    to its number of each emotion, or of all."""
    if release.names is not None:
        return there["name"].isin(release.names)
    if release.emotions is not None:
        return there.groupby("emotion").cumcount() < there["emotion"].map(release.emotions)
    return pd.Series(range(len(there)), index=there.index) < release.clips


def _counts(
    found: pd.Series, surplus: pd.Series, *, expected: Mapping[str, int] | None
) -> pd.DataFrame:
    """Clips by the values of a column, of those found and of those that are surplus."""
    columns = {
        "found": found.value_counts(),
        "expected": pd.Series(expected or {}, dtype="Int64"),
        "surplus": surplus.value_counts(),
    }
    table = pd.DataFrame(columns, dtype="Int64").sort_index()
    counted = ["found", "surplus"] if expected is None else list(columns)
    table[counted] = table[counted].fillna(0)
    table.insert(2, "missing", table["expected"] - table["found"])
    return table


def _listed(names: Sequence[str]) -> str:
    """Names in brackets, the first ones of many."""
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" ({', '.join(names[:_LISTED])}{more})"
