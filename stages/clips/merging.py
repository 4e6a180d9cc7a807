"""All corpora in one clip table and one audio store."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.audio.store import AudioReader, AudioStore
from stages.clips.clip_table import count_reasons, read_clips, write_clips
from stages.clips.variants import Variants, add_variants
from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.settings.checks import check

log = logging.getLogger(__name__)
_LISTED = 10  # copies in a reason; of many, each would list all others


def merge_corpora(
    corpora: Sequence[str],
    *,
    prepared: Path,
    folder: Path,
    duplicates: Literal["first", "all"],
    variants: Variants | None = None,
) -> pd.DataFrame:
    """Join prepared corpora, settle duplicate recordings and add variants.

    Parameters
    ----------
    corpora : sequence of str
        names of the corpora to join; other folders in `prepared` are ignored
    prepared, folder : Path
        holds a folder per corpus; where to write clips.csv and audio.npy
    duplicates : first or all
        which clips of one recording are used: see settle_duplicates
    variants : Variants or None
        changed copies of the usable clips, for training; their samples follow all others

    Returns
    -------
    DataFrame
        the clip table, as written

    Raises
    ------
    ValueError
        if `duplicates` is neither first nor all, or the disk has no room; see add_variants
    """
    if variants:
        variants.check()
    tables = {name: read_clips(prepared / name / "clips.csv") for name in corpora}
    clips = pd.concat(tables.values(), ignore_index=True)
    clips = settle_duplicates(clips, use=duplicates).sort_values("clip", ignore_index=True)
    _check_disk(clips, changes=len(variants.changes) if variants else 0, folder=folder)
    with ExitStack() as stack:
        stores = {
            name: stack.enter_context(AudioReader(prepared / name / "audio.npy"))
            for name in corpora
        }
        part = stack.enter_context(complete(folder))
        part.mkdir()
        starts = []
        with AudioStore(part / "audio.npy") as store:
            places = zip(clips["corpus"], clips["start"], clips["samples"], strict=True)
            for corpus, start, samples in tqdm(
                places, total=len(clips), desc="merge", unit="clip", disable=None
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
        for reason, count in count_reasons(clips).items():
            log.info("merged: %d excluded, %s", count, reason)
        clips = pd.concat([clips, made]).sort_values("clip", ignore_index=True)
        write_clips(clips, part / "clips.csv")
    return clips


def _check_disk(clips: pd.DataFrame, *, changes: int, folder: Path) -> None:
    """Refuse clips, and variants that change each usable one, that the disk does not hold."""
    usable = clips[clips["excluded"] == ""]
    made = f" and {changes * len(usable)} variants" if changes else ""
    samples = clips["samples"].sum() + changes * usable["samples"].sum()
    check_disk(
        f"{folder}: audio of {len(usable)} clips{made}",
        need=np.dtype(np.int16).itemsize * int(samples),
        folder=folder,
    )


def settle_duplicates(clips: pd.DataFrame, *, use: Literal["first", "all"]) -> pd.DataFrame:
    """Decide which clips with the same decoded samples are used.

    If they have different emotions or speakers, nobody knows which is right: all are excluded, and
    the reason of each names the others. If they agree, the first by name is used. The others are
    excluded; or, as published counts include them, used with the source of the first, because clips
    of one source are never in both training and test. For the same reason files that share a
    segment get one source, whichever clips are used.

    Parameters
    ----------
    clips : DataFrame
        a clip table without variants
    use : first or all
        which of the clips that agree are used

    Returns
    -------
    DataFrame
        the same rows. A duplicate that is not used has no samples and a reason in `excluded`; one
        that is used has the `source` of the first.

    Raises
    ------
    ValueError
        if `use` is neither first nor all
    """
    check("duplicates", use, use in ("first", "all"), "first or all")
    usable = clips[clips["excluded"] == ""]
    copies = usable[usable["sha256"].duplicated(keep=False)].sort_values("clip")
    rows = clips.index.get_indexer(copies.index)
    # Lists, as to change one text of a column copies the whole column.
    names, emotions, speakers = (clips[name].tolist() for name in ("clip", "emotion", "speaker"))
    sources, excluded = clips["source"].tolist(), clips["excluded"].tolist()
    held: dict[str, list[int]] = defaultdict(list)
    for row, source in enumerate(sources):
        held[source].append(row)
    unused = np.zeros(len(clips), dtype=bool)
    for places in copies.groupby("sha256").indices.values():
        group = rows[places].tolist()
        conflict = _conflict([emotions[row] for row in group], [speakers[row] for row in group])
        first, *others = dict.fromkeys(sources[row] for row in group)
        # Also the clips that already have one of these sources, such as segments of these files.
        related = sum(len(held[source]) for source in (first, *others))
        all_used = use == "all" and not conflict
        if all_used or related > len(group):
            for source in others:
                for row in held[source]:
                    sources[row] = first
                held[first] += held.pop(source)
        if all_used:
            log.info("merged: same recording, all used: %s", ", ".join(names[r] for r in group))
            continue
        for row in group[0 if conflict else 1 :]:
            listed = [f"{names[r]} ({emotions[r]})" for r in group[: _LISTED + 1] if r != row]
            more = len(group) - 1 - _LISTED
            text = ", ".join(listed[:_LISTED]) + (f" and {more} more" if more > 0 else "")
            excluded[row] = f"{conflict or 'same recording as'}: {text}"
            unused[row] = True
    settled = {"source": sources, "excluded": excluded}
    clips = clips.assign(**{n: pd.array(texts, dtype="str") for n, texts in settled.items()})
    clips.loc[unused, ["samples", "frames"]] = 0
    return clips


def _conflict(emotions: Sequence[str], speakers: Sequence[str]) -> str:
    """Return the reason to exclude all clips of one recording, or "" if they agree."""
    if len(set(emotions)) > 1:
        return "same recording under another label"
    if len(set(speakers)) > 1:
        return "same recording under another speaker"
    return ""
