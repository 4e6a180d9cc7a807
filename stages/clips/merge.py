"""All corpora in one clip table and one audio store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.clips.outputs import complete
from stages.clips.store import AudioStore, open_audio
from stages.clips.table import count_reasons, read_clips, write_clips

log = logging.getLogger(__name__)


def merge_corpora(corpora: Sequence[str], *, prepared: Path, folder: Path) -> pd.DataFrame:
    """Join prepared corpora; exclude what is the same recording as another clip.

    Parameters
    ----------
    corpora : names
        those to join; other folders beside them are not looked at
    prepared, folder : Path
        where each corpus's folder lies; where clips.csv and audio.npy go

    Returns
    -------
    DataFrame
        the clip table as written
    """
    tables = {name: read_clips(prepared / name / "clips.csv") for name in corpora}
    clips = pd.concat(tables.values(), ignore_index=True)
    clips = exclude_duplicates(clips).sort_values("clip", ignore_index=True)
    stores = {name: open_audio(prepared / name / "audio.npy") for name in corpora}
    with complete(folder) as part:
        part.mkdir()
        starts = []
        with AudioStore(part / "audio.npy") as store:
            for corpus, start, samples in zip(
                clips["corpus"], clips["start"], clips["samples"], strict=True
            ):
                starts.append(store.samples)
                store.append(stores[corpus][start : start + samples])
        clips["start"] = starts
        write_clips(clips, part / "clips.csv")
    usable = clips[clips["excluded"] == ""]
    log.info("merged: %d clips, %d speakers", len(usable), usable["speaker"].nunique())
    for reason, number in count_reasons(clips).items():
        log.info("merged: %d excluded, %s", number, reason)
    return clips


def exclude_duplicates(clips: pd.DataFrame) -> pd.DataFrame:
    """Exclude clips whose decoded samples are those of another clip.

    Under one emotion and speaker the first, by name, is kept. Under several nobody knows which
    is right: all are excluded, and each reason names the others.

    Parameters
    ----------
    clips : DataFrame
        a clip table

    Returns
    -------
    DataFrame
        the same rows; `excluded` filled in, with no samples, where a duplicate is not used
    """
    clips = clips.copy()
    usable = clips[(clips["excluded"] == "") & (clips["variant"] == "clean")]
    for _, same in usable[usable["sha256"].duplicated(keep=False)].groupby("sha256"):
        same = same.sort_values("clip")
        agree = len(same[["emotion", "speaker"]].drop_duplicates()) == 1
        for index, clip in same.iloc[1 if agree else 0 :]["clip"].items():
            others = ", ".join(
                f"{other} ({emotion})"
                for other, emotion in zip(same["clip"], same["emotion"], strict=True)
                if other != clip
            )
            reason = "same recording as" if agree else "same recording under another label"
            clips.loc[index, "excluded"] = f"{reason}: {others}"
            clips.loc[index, ["samples", "frames"]] = 0
    return clips
