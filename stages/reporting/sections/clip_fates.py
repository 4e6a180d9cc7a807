"""What became of each file."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from stages.clips.clip_table import count_reasons
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """The number of clips of each fate."""
    fates = clip_fates(
        run.clips,
        predicted=run.predictions.clips["clip"],
        label_map=run.settings["labels"]["map"],
    )
    return Section(words={"fates": fates})


def clip_fates(
    clips: pd.DataFrame, *, predicted: pd.Series, label_map: Mapping[str, str | None]
) -> pd.DataFrame:
    """Count clips by fate (rows), with a column per corpus and one for all of them.

    Parameters
    ----------
    clips : DataFrame
        the clip table
    predicted : Series of str
        clips that were predicted
    label_map : mapping
        emotion -> label, or None for an emotion outside the label set
    """
    # Looked up as Python's own strings, as pandas converts all of Arrow's one by one.
    clips = clips.assign(clip=clips["clip"].astype(object))
    clean = clips[clips["variant"] == "clean"]
    usable = clean[clean["excluded"] == ""]
    outside = usable[usable["emotion"].map(label_map).isna()]
    held_out = usable["clip"].isin(predicted)
    rest = usable[~held_out & ~usable["clip"].isin(outside["clip"])]
    variants = clips[clips["variant"] != "clean"]
    tested = variants["clip"].isin(predicted)
    parts = {
        "held out and predicted": usable[held_out],
        **{
            f"excluded: {reason}": clean[clean["excluded"].str.partition(":")[0] == reason]
            for reason in count_reasons(clean).index
        },
        **{
            f"outside the label set: {emotion}": group
            for emotion, group in outside.groupby("emotion")
        },
        "usable, but not held out by this protocol": rest,
        "files in all": clean,
        "training variants made from them": variants[~tested],
        "variants made from them, held out and predicted": variants[tested],
    }
    corpora = sorted(clips["corpus"].unique())
    rows = [
        {"fate": fate}
        | {corpus: int((part["corpus"] == corpus).sum()) for corpus in corpora}
        | {"all corpora": len(part)}
        for fate, part in parts.items()
        if len(part)
    ]
    return pd.DataFrame(rows)
