"""Comparison of a corpus with its release: clips found, missing and surplus."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from stages.clips.names import without_segment
from stages.settings.checks import check, check_range
from stages.settings.loading import bind, plain
from stages.sources.vocabulary import EMOTIONS

log = logging.getLogger(__name__)
_MAX_LISTED = 10  # names in a message


@dataclass(frozen=True)
class Release:
    """Content of a complete copy of a corpus.

    Attributes
    ----------
    clips : int
        number of clips
    emotions : mapping of str to int, or None
        number of clips by emotion; None if not known
    speakers : mapping of str to int, or int
        number of clips by speaker, named without the corpus; or only the number of speakers
    names : sequence of str or None
        names of all clips, without the corpus; None if not known

    Raises
    ------
    ValueError
        naming a number below 1, or an emotion that Inflect does not know
    """

    clips: int
    emotions: Mapping[str, int] | None
    speakers: Mapping[str, int] | int
    names: Sequence[str] | None

    def __post_init__(self) -> None:
        check_range("clips", self.clips, low=1)
        for emotion, number in (self.emotions or {}).items():
            want = f"one of {', '.join(EMOTIONS)}"
            check("emotions", emotion, emotion in EMOTIONS, want)
            check_range(f"emotions.{emotion}", number, low=1)
        if isinstance(self.speakers, int):
            check_range("speakers", self.speakers, low=1)
        else:
            for speaker, number in self.speakers.items():
                check_range(f"speakers.{speaker}", number, low=1)


@dataclass(frozen=True)
class Completeness:
    """Comparison of a corpus with its release.

    Attributes
    ----------
    expected, found : int
        number of clips in the release, and how many of them were found
    unusable : int
        found clips that are excluded: broken, silent, or the same recording as another clip
    surplus : int
        usable clips that are not in the release
    emotions, speakers : DataFrame
        columns found, expected, missing, surplus; one row per emotion, or per speaker, named
        without the corpus. Numbers that the release does not give are NA.
    expected_speakers, found_speakers : int
        number of speakers
    missing_names, surplus_names : list of str
        sorted; empty if the names of the release are not known
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
        """Number of clips of the release that were not found."""
        return self.expected - self.found


def read_release(settings: Mapping[str, Any] | None) -> Release | None:
    """Read the release of a corpus from its settings; None if they have none."""
    if not settings:
        return None
    values = dict(plain(settings) if isinstance(settings, DictConfig) else settings)
    if isinstance(values.get("names"), dict):
        values["names"] = bind(values["names"], "corpora")()
    return Release(**values)


def compare_release(clips: pd.DataFrame, *, release: Release) -> Completeness:
    """Compare a corpus with its release.

    A clip counts once, even if there are copies, segments or variants of it, and counts as found
    even if its file is broken. If the names of the release are not known, any clip counts as one of
    its clips, up to the number of clips of each emotion.

    Parameters
    ----------
    clips : DataFrame
        the clip table of one corpus
    release : Release

    Returns
    -------
    Completeness
    """
    recordings = _recordings(clips)
    official = _official(recordings, release=release)
    found, surplus = recordings[official], recordings[~official & recordings["usable"]]
    names, speakers = release.names, release.speakers
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
        missing_names=[] if names is None else sorted(set(names) - set(found["name"])),
        surplus_names=[] if names is None else sorted(surplus["name"]),
    )


def log_completeness(clips: pd.DataFrame, *, corpus: str, release: Release) -> None:
    """Log a summary of the comparison; a warning if clips are missing."""
    completeness = compare_release(clips, release=release)
    level = logging.WARNING if completeness.missing else logging.INFO
    log.log(level, "%s: %s", corpus, summary(completeness))


def summary(completeness: Completeness) -> str:
    """Summarise the comparison in a line, with the first missing clips by name or by emotion."""
    counts = completeness.emotions["missing"].dropna()
    by_emotion = [f"{emotion} {count}" for emotion, count in counts[counts > 0].items()]
    missing = _listed(completeness.missing_names or by_emotion)
    parts = [
        f"{completeness.found} clips found",
        f"{completeness.expected} expected",
        f"{completeness.missing} missing{missing}",
        f"{completeness.surplus} surplus{_listed(completeness.surplus_names)}",
    ]
    if completeness.unusable:
        parts.append(f"{completeness.unusable} of those found are excluded")
    if completeness.found_speakers < completeness.expected_speakers:
        parts.append(f"{completeness.found_speakers} of {completeness.expected_speakers} speakers")
    verdict = "partial, used as it is" if completeness.missing else "complete"
    return f"{verdict}: {', '.join(parts)}"


def _recordings(clips: pd.DataFrame) -> pd.DataFrame:
    """List the recordings that may be clips of the release, one row per file, usable ones first.

    Columns are name and speaker without the corpus, emotion, and usable. Files whose name does not
    parse have no emotion and are left out. So are further copies of a clip: they are named by their
    path, or excluded as a copy.
    """
    clips = clips[clips["variant"] == "clean"]
    named_by_path = clips["clip"] == clips["corpus"] + "/" + clips["file"]
    copy = clips["excluded"].str.match(r"(?:\w+ copy|name taken):")
    rows = clips[(clips["emotion"] != "") & ~named_by_path & ~copy]
    rows = rows.assign(usable=rows["excluded"] == "")
    rows = rows.sort_values(["usable", "clip"], ascending=[False, True]).drop_duplicates("file")
    # Not `source`, which two clips of the release share if they are the same recording.
    names = rows["clip"].map(without_segment)
    for column, values in {"name": names, "speaker": rows["speaker"]}.items():
        rows[column] = values.str.split("/", n=1).str[1]
    return rows[["name", "speaker", "emotion", "usable"]]


def _official(recordings: pd.DataFrame, *, release: Release) -> pd.Series:
    """Mark the recordings that are clips of the release.

    If its names are not known, these are the first recordings, up to the number of clips of each
    emotion, or of all clips.
    """
    if release.names is not None:
        return recordings["name"].isin(release.names)
    if release.emotions is not None:
        number = recordings.groupby("emotion").cumcount()
        return number < recordings["emotion"].map(release.emotions)
    return pd.Series(range(len(recordings)), index=recordings.index) < release.clips


def _counts(
    found: pd.Series, surplus: pd.Series, *, expected: Mapping[str, int] | None
) -> pd.DataFrame:
    """Count found and surplus clips by the values of a column, next to the expected counts."""
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
    """List names in brackets; of many, only the first."""
    if not names:
        return ""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f" ({', '.join(names[:_MAX_LISTED])}{more})"
