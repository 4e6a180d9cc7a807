"""All corpora in one clip table and one audio store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pandas as pd

from stages.audio.store import AudioReader, AudioStore
from stages.clips.clip_table import count_reasons, read_clips, write_clips
from stages.clips.variants import Variants, add_variants
from stages.running.outputs import complete

log = logging.getLogger(__name__)


def merge_corpora(
    corpora: Sequence[str],
    *,
    prepared: Path,
    folder: Path,
    duplicates: Literal["first", "all"],
    variants: Variants | None = None,
) -> pd.DataFrame:
    """Join prepared corpora; find what is the same recording as another clip; add variants.

    Parameters
    ----------
    corpora : names
        those to join; other folders beside them are not looked at
    prepared, folder : Path
        where each corpus's folder lies; where clips.csv and audio.npy go
    duplicates : first or all
        which clips of one recording are used: see settle_duplicates
    variants : Variants or None
        what to make of the usable clips for training; their samples stand behind all others

    Returns
    -------
    DataFrame
        the clip table as written

    Raises
    ------
    ValueError
        if `duplicates` is something else; see stages.clips.variants
    """
    if variants:
        variants.check()
    tables = {name: read_clips(prepared / name / "clips.csv") for name in corpora}
    clips = pd.concat(tables.values(), ignore_index=True)
    clips = settle_duplicates(clips, use=duplicates).sort_values("clip", ignore_index=True)
    with ExitStack() as stack:
        stores = {
            name: stack.enter_context(AudioReader(prepared / name / "audio.npy"))
            for name in corpora
        }
        part = stack.enter_context(complete(folder))
        part.mkdir()
        starts = []
        with AudioStore(part / "audio.npy") as store:
            for corpus, start, samples in zip(
                clips["corpus"], clips["start"], clips["samples"], strict=True
            ):
                starts.append(store.samples)
                for block in stores[corpus].blocks(start, samples):
                    store.append(block)
            made = clips.iloc[:0]
            if variants:
                audio = {name: prepared / name / "audio.npy" for name in corpora}
                made = add_variants(clips, variants=variants, audio=audio, store=store, folder=part)
        clips["start"] = starts
        usable = clips[clips["excluded"] == ""]
        log.info("merged: %d clips, %d speakers", len(usable), usable["speaker"].nunique())
        for reason, number in count_reasons(clips).items():
            log.info("merged: %d excluded, %s", number, reason)
        clips = pd.concat([clips, made]).sort_values("clip", ignore_index=True)
        write_clips(clips, part / "clips.csv")
    return clips


def settle_duplicates(clips: pd.DataFrame, *, use: Literal["first", "all"]) -> pd.DataFrame:
    """Settle which clips are used whose decoded samples are those of another clip.

    Under several emotions or speakers nobody knows which is right: all are excluded, and each
    reason names the others. Under one emotion and speaker the first, by name, is used. The others
    are excluded, or used as well and given the source of the first: published counts include them,
    and clips of one source never stand on both sides of a split. For the same reason files that
    share a segment get one source, whichever of them are used.

    Parameters
    ----------
    clips : DataFrame
        a clip table
    use : first or all
        of the clips that agree

    Returns
    -------
    DataFrame
        the same rows; `excluded` filled in, with no samples, where a duplicate is not used;
        `source` that of the first where one is

    Raises
    ------
    ValueError
        if `use` is something else
    """
    if use not in ("first", "all"):
        raise ValueError(f"duplicates: got {use!r}, want first or all")
    clips = clips.copy()
    usable = clips[(clips["excluded"] == "") & (clips["variant"] == "clean")]
    for _, same in usable[usable["sha256"].duplicated(keep=False)].groupby("sha256"):
        same = same.sort_values("clip")
        conflict = _conflict(same)
        tied = clips.loc[same.index, "source"]
        together = clips["source"].isin(tied)
        all_used = use == "all" and not conflict
        # With them goes all that has one source with them already, such as a file's segments.
        if all_used or together.sum() > len(same):
            clips.loc[together, "source"] = tied.iloc[0]
        if all_used:
            log.info("merged: the same recording, all used: %s", ", ".join(same["clip"]))
            continue
        for index, clip in same.iloc[0 if conflict else 1 :]["clip"].items():
            others = ", ".join(
                f"{other} ({emotion})"
                for other, emotion in zip(same["clip"], same["emotion"], strict=True)
                if other != clip
            )
            reason = conflict or "same recording as"
            clips.loc[index, "excluded"] = f"{reason}: {others}"
            clips.loc[index, ["samples", "frames"]] = 0
    return clips


def _conflict(same: pd.DataFrame) -> str:
    """What clips of one recording disagree about, as the reason to exclude them all, or ""."""
    if same["emotion"].nunique() > 1:
        return "same recording under another label"
    if same["speaker"].nunique() > 1:
        return "same recording under another speaker"
    return ""
