"""Enrolment: clips of held-out speakers that are known without their labels, and are not scored."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.clips.names import recording_of
from stages.settings.checks import check
from stages.sources.vocabulary import UNKNOWN_SPEAKER
from stages.splits.split_table import folds_of

log = logging.getLogger(__name__)


def mark_enrolment(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    number: int | str,
    seed: int,
    fewer: str,
    eligible: pd.Series | None = None,
) -> pd.DataFrame:
    """Take some clips of each held-out speaker out of the score, as enrolment.

    Clips are drawn by name, never by label, so the same clips are drawn in every fold and from any
    order of the table. Clips that share their source are drawn together.

    Parameters
    ----------
    clips, split : DataFrame
        labelled clips and their split table, of a protocol that holds speakers out
    number : int or all
        recordings of each speaker that no fold trains on; all: none is taken out, as each clip is
        calibrated by all others of its speaker
    seed : int
        of the draw
    fewer : use or leave_out
        where a speaker has no more recordings than `number`: half of them serve, or all are left
        out
    eligible : Series of bool by clip, or None
        which clips may be drawn; None: any

    Returns
    -------
    DataFrame
        the split table with the part `enrolment`

    Raises
    ------
    ValueError
        naming a setting that is out of its range; a corpus whose speakers are not known; or a fold
        that no longer tests any clip
    """
    whole = number == "all" or (isinstance(number, int) and number >= 1)
    check("calibration.clips", number, whole, "at least 1, or all")
    check("calibration.fewer", fewer, fewer in ("use", "leave_out"), "use or leave_out")
    speakers = split["clip"].map(clips.set_index("clip")["speaker"])
    unknown = speakers[speakers.str.endswith(f"/{UNKNOWN_SPEAKER}")]
    if len(unknown):
        raise ValueError(
            f"calibration: {unknown.iloc[0].partition('/')[0]} has {len(unknown)} clips of unknown "
            "speakers, want known ones, or calibration=none"
        )
    if number == "all":
        return split
    table, count = split.copy(), int(number)
    facts = pd.DataFrame({"speaker": speakers, "recording": _recordings(clips, split)})
    facts["order"] = [
        hashlib.sha256(f"{seed} {recording}".encode()).digest() for recording in facts["recording"]
    ]
    facts["eligible"] = True if eligible is None else split["clip"].isin(eligible.index[eligible])
    few: set[str] = set()
    for fold in folds_of(split):
        trained_on = set(speakers[split[fold] == "train"])
        held_out = split[fold].isin(["test", "validation"]) & ~speakers.isin(trained_on)
        for speaker, rows in facts[held_out].groupby("speaker"):
            known = rows[rows["eligible"]].sort_values("order")["recording"].unique()[:count]
            recordings = rows["recording"].nunique()
            if recordings <= count:
                few.add(str(speaker))
                if fewer == "leave_out":
                    table.loc[rows.index, fold] = ""
                    continue
                known = known[: recordings // 2]
            table.loc[rows.index[rows["recording"].isin(known)], fold] = "enrolment"
        if "test" in set(split[fold]) and "test" not in set(table[fold]):
            raise ValueError(
                f"calibration.clips: got {count}, want fewer: fold {fold} would test no clip"
            )
    if few:
        done = "are left out" if fewer == "leave_out" else "are calibrated with half of their clips"
        log.warning(
            "calibration: %d speakers have no more than %d clips and %s: %s",
            *(len(few), count, done, ", ".join(sorted(few)[:5])),
        )
    return table


def count_short(clips: pd.DataFrame, split: pd.DataFrame, *, number: int | str) -> int:
    """Count the tested speakers who are known by fewer recordings than `number` in some fold.

    For the parameters see `mark_enrolment`; the split table is the one that it returned.
    """
    if number == "all":
        return 0
    speakers = split["clip"].map(clips.set_index("clip")["speaker"])
    recordings = _recordings(clips, split)
    short: set[str] = set()
    for fold in folds_of(split):
        known = recordings.where(split[fold] == "enrolment").groupby(speakers).nunique()
        tested = speakers[split[fold] == "test"].unique()
        short |= {speaker for speaker in tested if known[speaker] < int(number)}
    return len(short)


def _recordings(clips: pd.DataFrame, split: pd.DataFrame) -> pd.Series:
    """Name the recording of each row of a split; clips that share sound are of one."""
    return split["clip"].map(clips.set_index("clip")["source"]).map(recording_of)


def calibration_in_words(report: Mapping[str, Any]) -> list[str]:
    """Say, in one note for figures, what is known of held-out speakers; no note if nothing is.

    Parameters
    ----------
    report : mapping
        reports/leakage.json
    """
    settings = report.get("calibration")
    if not settings:
        return []
    number = settings["clips"]
    if number == "all":
        return ["speaker-calibrated, all other clips of the speaker (transductive)"]
    clips = f"{number} unlabelled clip{'s' * (number != 1)}"
    if settings["statistics"] == "none":
        return [f"not calibrated, {clips} of each speaker not scored"]
    short = settings.get("short_speakers")
    fewer = f", fewer of {short} speaker{'s' * (short != 1)}" if short else ""
    return [f"speaker-calibrated, {clips}{fewer}"]
