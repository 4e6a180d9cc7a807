"""One corpus from its files to clips in an audio store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages.audio.conditioning import conditioning, segmenting
from stages.audio.frames import frame_count
from stages.audio.reading import read_files
from stages.audio.store import AudioStore
from stages.clips.clip_table import COLUMNS, DESCRIPTION, count_reasons, write_clips
from stages.clips.names import SEGMENT_SUFFIX, segment_name
from stages.running.outputs import complete
from stages.running.settings import processes

log = logging.getLogger(__name__)
_LOSSY = (".mp3", ".ogg", ".oga", ".opus")
# Of a task: enough files to hide what a task costs, and no more than one that is long.
_FILES, _BYTES = 32, 1 << 22


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
        the group's settings: those of stages.audio.conditioning, and others that are not looked at

    Returns
    -------
    DataFrame
        the clip table as written; a file that cannot be used keeps its row with the reason

    Raises
    ------
    ValueError
        naming a setting that is out of its range; if a file is named like a segment of another one;
        if no file of the corpus can be used
    """
    settings = conditioning(audio) | segmenting(audio)
    frame_count(0, hop_length=hop_length)  # refused before anything is read, not after
    clips = _describe(rows).assign(segments=None)
    if settings["segment_s"] is not None:
        _check_names(clips["clip"], corpus=corpus)
    with complete(folder) as part:
        part.mkdir()
        with AudioStore(part / "audio.npy") as store:
            todo = clips["excluded"] == ""
            while todo.any():
                # The first file of each name; the next one of a name only if that was not usable.
                chosen = clips.index[todo & ~clips["clip"].where(todo).duplicated()]
                found = _read(
                    clips.loc[chosen, "file"],
                    root=root,
                    store=store,
                    folder=part,
                    settings=settings,
                )
                clips.loc[chosen, found.columns] = found
                used = clips.loc[chosen].query("excluded == ''").set_index("clip")["file"]
                todo[chosen] = False
                again = todo & clips["clip"].isin(used.index)
                copies = "second copy: named like " + clips.loc[again, "clip"].map(used)
                clips.loc[again, "excluded"] = copies
                todo &= ~again
        clips = _segmented(_name(clips, corpus=corpus), corpus=corpus)
        usable = clips["excluded"] == ""
        clips.loc[usable, "frames"] = frame_count(clips["samples"], hop_length=hop_length)[usable]
        write_clips(clips, part / "clips.csv")
        _report(clips, corpus=corpus)
    return clips


def _read(
    files: pd.Series, *, root: Path, store: AudioStore, folder: Path, settings: Mapping
) -> pd.DataFrame:
    """Decode files, side by side, into the store; what was found of each, by the files' index."""
    facts = []
    with (
        TemporaryDirectory(dir=folder) as scratch,
        tqdm(total=len(files), desc="prepare", unit="clip", disable=None) as progress,
    ):
        batches = list(_batches(files, root=root))
        outputs = [Path(scratch, str(number)) for number in range(len(batches))]
        # Threads: nearly all of the work is done by libraries that let others run meanwhile, and
        # processes take longer to start than most corpora to read.
        results = Parallel(processes(len(batches)), backend="threading", return_as="generator")(
            delayed(read_files)(root, batch, output=output, **settings)
            for batch, output in zip(batches, outputs, strict=True)
        )
        # A task's samples wait on disk: any number of tasks may be done before an earlier one is.
        for output, read in zip(outputs, results, strict=True):
            start = store.samples
            store.append_store(output)
            output.unlink()
            for fact in read:
                for clip in fact["segments"] or [fact]:
                    clip["start"] = start
                    start += clip["samples"]
            facts += read
            progress.update(len(read))
    return pd.DataFrame(facts, index=files.index)


def _batches(files: Iterable[str], *, root: Path) -> Iterator[list[str]]:
    """The files of each task, in their order."""
    batch, size = [], 0
    for file in files:
        batch.append(file)
        with suppress(OSError):  # what cannot be read is found out when it is read
            size += (root / file).stat().st_size
        if len(batch) == _FILES or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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


def _check_names(clips: pd.Series, *, corpus: str) -> None:
    """Refuse a file that is named like a segment of another one."""
    names = set(clips)
    for name in sorted(names):
        stem = re.sub(SEGMENT_SUFFIX, "", name)
        if stem != name and stem in names:
            raise ValueError(
                f"{corpus}: got files of the names {stem} and {name}, want audio.segment_s null: "
                f"it would name a segment of {stem} like the other file"
            )


def _segmented(clips: pd.DataFrame, *, corpus: str) -> pd.DataFrame:
    """A row for each segment in place of the one of its file; the first is the source of all."""
    clips = clips.explode("segments", ignore_index=True)
    cut = clips["segments"].notna()
    if cut.any():
        found = pd.DataFrame(list(clips.loc[cut, "segments"]), index=clips.index[cut])
        clips.loc[cut, found.columns] = found
        files = clips.loc[cut, "clip"].groupby(clips["clip"])
        numbers, sizes = files.cumcount() + 1, files.transform("size")
        clips.loc[cut, "clip"] += [
            segment_name("", number, segments=size)
            for number, size in zip(numbers, sizes, strict=True)
        ]
        clips.loc[cut, "source"] = (
            clips.loc[cut, "clip"].groupby(clips["source"]).transform("first")
        )
        log.info("%s: %d files cut into %d segments", corpus, files.ngroups, cut.sum())
    return clips.drop(columns="segments").sort_values("clip", ignore_index=True)


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
    if stereo := usable.loc[usable["channels"] > 1, "file"].nunique():
        log.info("%s: %d files with several channels mixed to mono", corpus, stereo)
