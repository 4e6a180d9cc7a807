"""One corpus from its files to clips in an audio store."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages.clips.audio import read_files
from stages.clips.frames import frame_count
from stages.clips.outputs import complete
from stages.clips.settings import processes
from stages.clips.store import AudioStore
from stages.clips.table import COLUMNS, DESCRIPTION, count_reasons, write_clips

log = logging.getLogger(__name__)
_LOSSY = (".mp3", ".ogg", ".oga", ".opus")
_BATCH = 32  # files per task: enough to hide the cost of a task, few enough to hold in memory


def prepare_corpus(
    rows: Iterable[dict], *, corpus: str, root: Path, folder: Path, hop_length: int, **audio
) -> pd.DataFrame:
    """Check, decode, mix, resample and level every file of a corpus.

    Parameters
    ----------
    rows : dicts
        what the corpus's reader says of each file
    corpus : str
        the corpus's name, put before its clips' and speakers' names
    root, folder : Path
        where the files are; where clips.csv and audio.npy go
    hop_length : int
        samples per frame
    audio
        settings of stages.clips.audio.condition

    Returns
    -------
    DataFrame
        the clip table as written; a file that cannot be used keeps its row with the reason

    Raises
    ------
    ValueError
        if no file of the corpus can be used
    """
    clips = _describe(rows)
    with complete(folder) as part:
        part.mkdir()
        with AudioStore(part / "audio.npy") as store:
            todo = clips["excluded"] == ""
            while todo.any():
                # The first file of each name; the next one of a name only if that was not usable.
                chosen = clips.index[todo & ~clips["clip"].where(todo).duplicated()]
                found = _read(clips.loc[chosen, "file"], root=root, store=store, audio=audio)
                clips.loc[chosen, found.columns] = found
                used = clips.loc[chosen].query("excluded == ''").set_index("clip")["file"]
                todo[chosen] = False
                again = todo & clips["clip"].isin(used.index)
                copies = "second copy: named like " + clips.loc[again, "clip"].map(used)
                clips.loc[again, "excluded"] = copies
                todo &= ~again
        clips = _name(clips, corpus=corpus)
        usable = clips["excluded"] == ""
        clips.loc[usable, "frames"] = frame_count(clips["samples"], hop_length=hop_length)[usable]
        write_clips(clips, part / "clips.csv")
        _report(clips, corpus=corpus)
    return clips


def _read(files: pd.Series, *, root: Path, store: AudioStore, audio: dict) -> pd.DataFrame:
    """Decode files, side by side, into the store; what was found of each, by the files' index."""
    batches = [list(files.iloc[i : i + _BATCH]) for i in range(0, len(files), _BATCH)]
    results = Parallel(n_jobs=processes(len(batches)), return_as="generator")(
        delayed(read_files)(root, batch, audio) for batch in batches
    )
    facts = []
    with tqdm(total=len(files), desc="prepare", unit="clip", disable=None) as progress:
        for read in results:
            for fact, samples in read:
                facts.append(fact | {"start": store.samples, "samples": len(samples)})
                store.append(samples)
            progress.update(len(read))
    return pd.DataFrame(facts, index=files.index)


def _describe(rows: Iterable[dict]) -> pd.DataFrame:
    """Complete the reader's rows to a clip table; of files with one name, lossless ones first."""
    clips = pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS))
    clips[list(DESCRIPTION)] = clips[list(DESCRIPTION)].fillna("")
    numbers = [column for column in COLUMNS if column not in (*DESCRIPTION, "level_db")]
    clips[numbers] = clips[numbers].fillna(0)
    lossy = clips["file"].str.lower().str.endswith(_LOSSY)
    clips = clips.astype(COLUMNS).assign(lossy=lossy)
    return clips.sort_values(["clip", "lossy", "file"], ignore_index=True).drop(columns="lossy")


def _name(clips: pd.DataFrame, *, corpus: str) -> pd.DataFrame:
    """Unique names with the corpus before them, sorted; a file that another one's name goes to,
    the one that is used, is named by its path."""
    first = ~clips.sort_values("excluded", kind="stable").duplicated("clip").sort_index()
    clips["clip"] = clips["clip"].where(first, clips["file"])
    clips["corpus"] = corpus
    clips["variant"] = "clean"
    clips["clip"] = corpus + "/" + clips["clip"]
    clips["source"] = clips["clip"]
    for column in ("speaker", "sentence"):
        clips[column] = clips[column].mask(clips[column] != "", corpus + "/" + clips[column])
    return clips.sort_values("clip", ignore_index=True)


def _report(clips: pd.DataFrame, *, corpus: str) -> None:
    usable = clips[clips["excluded"] == ""]
    if usable.empty:
        reasons = "; ".join(f"{n} x {reason}" for reason, n in count_reasons(clips).items())
        raise ValueError(f"{corpus}: no usable clip among {len(clips)} files ({reasons})")
    log.info(
        "%s: %d clips of %d speakers, %.2f h",
        corpus,
        len(usable),
        usable["speaker"].nunique(),
        usable["duration_s"].sum() / 3600,
    )
    for reason, number in count_reasons(clips).items():
        example = clips[clips["excluded"].str.startswith(reason)].iloc[0]
        log.warning(
            "%s: %d excluded, %s (%s)", corpus, number, example["excluded"], example["file"]
        )
    if stereo := int((usable["channels"] > 1).sum()):
        log.info("%s: %d files with several channels mixed to mono", corpus, stereo)
