"""The files of one corpus, turned into clips in an audio store."""

from __future__ import annotations

import filecmp
import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages.audio.conditioning import conditioning, segmenting
from stages.audio.decoding import opened
from stages.audio.frames import frame_count
from stages.audio.reading import Times, read_files
from stages.audio.store import AudioStore
from stages.clips.clip_table import COLUMNS, DESCRIPTION, count_reasons, write_clips
from stages.clips.names import escape_name, excerpt_name, segment_name
from stages.running.entry import printable
from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.settings.loading import processes
from stages.sources.files import FFMPEG_SUFFIXES, refuse_strangers
from stages.sources.spelling import composed, is_utf8, settle_spellings

log = logging.getLogger(__name__)
_LOSSY = (".mp3", ".ogg", ".oga", ".opus", *(f".{suffix}" for suffix in FFMPEG_SUFFIXES))
# Of a task: enough files to hide its overhead, but at most one long file.
_MAX_FILES, _MAX_BYTES = 32, 1 << 22
_SOME = 200  # files whose headers tell how long all are
_MAX_FRAMES = 100  # per byte of a file; speech in Opus has up to 64


def prepare_corpus(
    rows: Iterable[dict], *, corpus: str, root: Path, folder: Path, hop_length: int, **audio
) -> pd.DataFrame:
    """Check, decode, mix to mono, resample and level every file of a corpus.

    Parameters
    ----------
    rows : iterable of dict
        the description of each file by the reader of the corpus; `times`, if it has any, are the
        start and end in seconds of the excerpt that is the clip
    corpus : str
        name of the corpus, which becomes the prefix of its clips, speakers and sentences
    root, folder : Path
        where the files are; where to write clips.csv and audio.npy
    hop_length : int
        samples per frame
    audio
        settings of the group `audio`: those of stages.audio.conditioning; others are ignored

    Returns
    -------
    DataFrame
        the clip table, as written; an unusable file keeps its row, with the reason

    Raises
    ------
    ValueError
        if a setting is out of range, if most names are not of the corpus, if a speaker or sentence
        is spelled in several ways, if no file of the corpus can be used, or if the disk has no room
    """
    rows = list(rows)
    refuse_strangers(root, rows, corpus=corpus)
    settings = conditioning(audio) | segmenting(audio)
    frame_count(0, hop_length=hop_length)  # refuses a bad hop_length before anything is read
    clips = _describe(settle_spellings(rows, corpus=corpus)).assign(segments=None)
    _check_disk(clips[clips["excluded"] == ""], root=root, folder=folder, **settings)
    with complete(folder) as part:
        part.mkdir()
        with AudioStore(part / "audio.npy") as store:
            waiting = clips["excluded"] == ""
            while waiting.any():
                # The first file of each name; the next one only if the first was not usable.
                chosen = clips.index[waiting & ~clips["clip"].where(waiting).duplicated()]
                facts = _read(
                    clips.loc[chosen], root=root, store=store, folder=part, settings=settings
                )
                clips.loc[facts.index, facts.columns] = facts
                used = clips.loc[chosen].query("excluded == ''").set_index("clip")["path"]
                waiting[chosen] = False
                copies = waiting & clips["clip"].isin(used.index)
                clips.loc[copies, "excluded"] = [
                    _taken(root, file=file, first=used[clip])
                    for clip, file in zip(
                        clips.loc[copies, "clip"], clips.loc[copies, "path"], strict=True
                    )
                ]
                waiting &= ~copies
        clips = _one_source(_name(clips, corpus=corpus))
        clips = _segmented(clips, corpus=corpus)
        usable = clips["excluded"] == ""
        clips.loc[usable, "frames"] = frame_count(
            clips.loc[usable, "samples"], hop_length=hop_length
        )
        write_clips(clips, part / "clips.csv")
        _report(clips, corpus=corpus)
    return clips


def _read(
    clips: pd.DataFrame, *, root: Path, store: AudioStore, folder: Path, settings: Mapping
) -> pd.DataFrame:
    """Decode files in parallel into the store; return the facts about each clip, with its index."""
    facts: list[dict] = []
    groups = _by_file(clips)
    path, times = clips["path"].to_dict(), clips["times"].to_dict()  # rows one by one take longer
    files = [
        (path[group[0]], [times[clip] for clip in group] if times[group[0]] else None)
        for group in groups
    ]
    with (
        TemporaryDirectory(dir=folder) as scratch,
        tqdm(total=len(clips), desc="prepare", unit="clip", disable=None) as progress,
    ):
        batches = list(_batches(files, root=root))
        outputs = [Path(scratch, str(number)) for number in range(len(batches))]
        # Threads, because libraries that release the interpreter's lock do nearly all of the work,
        # and because processes take longer to start than most corpora to read.
        results = Parallel(processes(len(batches)), backend="threading", return_as="generator")(
            delayed(read_files)(root, batch, output=output, **settings)
            for batch, output in zip(batches, outputs, strict=True)
        )
        # Samples wait on disk, because later tasks may end before an earlier one.
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
    return pd.DataFrame(facts, index=list(itertools.chain(*groups)))


def _by_file(clips: pd.DataFrame) -> list[list[int]]:
    """Collect the indices of the excerpts of each file, by time; a whole file stands alone."""
    groups: dict[object, list[int]] = {}
    for index, path, times in zip(clips.index, clips["path"], clips["times"], strict=True):
        groups.setdefault(path if times else index, []).append(index)
    return [
        sorted(group, key=clips["times"].get) if len(group) > 1 else group
        for group in groups.values()
    ]


def _taken(root: Path, *, file: str, first: str) -> str:
    """Say why a file is not used whose name another one has."""
    with suppress(OSError):  # the file is gone
        if filecmp.cmp(root / first, root / file, shallow=False):
            return f"second copy: of {printable(first)}, the same bytes"
    return f"name taken: by {printable(first)}; rename this file if it is another recording"


def _check_disk(
    clips: pd.DataFrame, *, root: Path, folder: Path, sample_rate: int, **others: object
) -> None:
    """Refuse a corpus that the disk does not hold, by the durations that some files state."""
    read, total, seconds = 0, 0, 0.0
    files = clips.groupby("path", sort=False)["times"].agg(list)
    for number, (name, times) in enumerate(files.items()):
        with suppress(ValueError, OSError):  # reading the file will report its error
            total += (size := (root / str(name)).stat().st_size)
            if number % (1 + len(files) // _SOME) == 0:
                with opened(root / str(name)) as audio:
                    # A broken header may state any length.
                    length = min(audio.frames(), _MAX_FRAMES * size) / audio.samplerate
                for start, end in (excerpt or (0, length) for excerpt in times):
                    seconds += max(0, min(end, length) - start)
                read += size
    seconds *= total / max(1, read)
    check_disk(
        f"{folder}: {len(clips)} clips of about {seconds:.0f} s",
        need=int(seconds * sample_rate) * np.dtype(np.int16).itemsize,
        folder=folder,
    )


def _batches(
    files: Iterable[tuple[str, list[Times] | None]], *, root: Path
) -> Iterator[list[tuple[str, list[Times] | None]]]:
    """Yield the files of each task, in order, with their excerpts."""
    batch: list[tuple[str, list[Times] | None]] = []
    size = 0
    for file in files:
        batch.append(file)
        with suppress(OSError):  # reading the file will report the error
            size += (root / file[0]).stat().st_size
        if len(batch) == _MAX_FILES or size >= _MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _describe(rows: Iterable[dict]) -> pd.DataFrame:
    """Fill up the rows of the reader to a clip table, sorted by name, lossless files first.

    `path` is the file's name on disk, `file` the same in print; `times` are those of an excerpt, or
    None.
    """
    rows = [_in_print(row) for row in rows]
    clips = pd.DataFrame(rows).reindex(columns=[*COLUMNS, "path", "times"])
    clips["times"] = clips["times"].astype("object").where(clips["times"].notna(), None)
    clips[list(DESCRIPTION)] = clips[list(DESCRIPTION)].astype("object").fillna("")
    numbers = [column for column in COLUMNS if column not in (*DESCRIPTION, "level_db")]
    clips[numbers] = clips[numbers].fillna(0)
    lossy = clips["file"].str.lower().str.endswith(_LOSSY)
    clips = clips.astype(COLUMNS).assign(lossy=lossy)
    return clips.sort_values(["clip", "lossy", "file"], ignore_index=True).drop(columns="lossy")


def _in_print(row: dict) -> dict:
    """Write the texts of a row on one line; exclude a file whose name is not UTF-8."""
    texts = {key: printable(text) if isinstance(text, str) else text for key, text in row.items()}
    if not is_utf8(row["file"]):
        reason = "name not UTF-8: rename the file"
        return texts | {"clip": escape_name(texts["clip"]), "excluded": reason}
    names = {key: composed(texts[key]) for key in ("speaker", "sentence") if texts.get(key)}
    names["clip"] = escape_name(composed(texts["clip"]))
    if row.get("times"):
        names["clip"] = excerpt_name(names["clip"], *row["times"])
    return texts | names | {"path": row["file"]}


def _name(clips: pd.DataFrame, *, corpus: str) -> pd.DataFrame:
    """Make names unique, add the corpus as a prefix, and sort by name.

    Of several files with one name, the file that is used keeps it; the others are named by their
    path.
    """
    first = ~clips.sort_values("excluded", kind="stable").duplicated("clip").sort_index()
    taken = set(clips.loc[first, "clip"])
    others = []
    for file in clips.loc[~first, "file"]:
        others.append(_free(escape_name(file), taken))
        taken.add(others[-1])
    clips.loc[~first, "clip"] = others
    clips["corpus"] = corpus
    clips["variant"] = "clean"
    clips["clip"] = corpus + "/" + clips["clip"]
    clips["source"] = clips["clip"]
    for column in ("speaker", "sentence"):
        clips[column] = clips[column].mask(clips[column] != "", corpus + "/" + clips[column])
    return clips.sort_values("clip", ignore_index=True)


def _one_source(clips: pd.DataFrame) -> pd.DataFrame:
    """Give the first one's name as source to all clips of a file that share some of its sound."""
    usable = clips[clips["excluded"] == ""]
    cut = usable[usable["path"].isin(usable.loc[usable["times"].notna(), "path"])]
    sources: dict[int, str] = {}
    for _, rows in cut.groupby("path"):
        groups: list[list[int]] = []
        reached = 0.0
        spans = {index: times or (0.0, math.inf) for index, times in rows["times"].items()}
        for index, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
            if not groups or start >= reached:
                groups.append([])
            groups[-1].append(index)
            reached = max(reached, end)
        for group in groups:
            sources |= dict.fromkeys(group, rows.at[min(group), "source"])
    # All at once, as to change one text of a column copies the whole column.
    clips.loc[list(sources), "source"] = list(sources.values())
    return clips


def _free(name: str, taken: set[str]) -> str:
    """Number a name that is taken."""
    numbers = itertools.count(2)
    free = name
    while free in taken:
        free = f"{name} ({next(numbers)})"
    return free


def _segmented(clips: pd.DataFrame, *, corpus: str) -> pd.DataFrame:
    """Replace the row of each segmented file by a row per segment; the first is their source."""
    clips = clips.explode("segments", ignore_index=True)
    cut = clips["segments"].notna()
    if cut.any():
        found = pd.DataFrame(list(clips.loc[cut, "segments"]), index=clips.index[cut])
        clips.loc[cut, found.columns] = found
        names = clips.loc[cut, "clip"]
        files = names.groupby(names)
        numbers, counts = files.cumcount() + 1, files.transform("size")
        clips.loc[cut, "clip"] = [
            segment_name(name, number, segments=count)
            for name, number, count in zip(names, numbers, counts, strict=True)
        ]
        clips["source"] = clips.groupby("source")["clip"].transform("first")
        log.info("%s: %d files cut into %d segments", corpus, files.ngroups, cut.sum())
    return clips.drop(columns=["segments", "path", "times"]).sort_values("clip", ignore_index=True)


def _report(clips: pd.DataFrame, *, corpus: str) -> None:
    usable = clips[clips["excluded"] == ""]
    if usable.empty:
        counts = count_reasons(clips)
        reasons = "; ".join(
            f"{count} x {_example(clips, reason)}" for reason, count in counts.items()
        )
        raise ValueError(f"{corpus}: no usable clip among {len(clips)} files ({reasons})")
    log.info(
        "%s: %d clips of %d speakers, %.2f h",
        corpus,
        len(usable),
        usable["speaker"].nunique(),
        usable["duration_s"].sum() / 3600,
    )
    for reason, count in count_reasons(clips).items():
        log.warning("%s: %d excluded, %s", corpus, count, _example(clips, reason))
    if mixed := usable.loc[usable["channels"] > 1, "file"].nunique():
        log.info("%s: %d files with several channels mixed to mono", corpus, mixed)


def _example(clips: pd.DataFrame, reason: str) -> str:
    """Give the first reason of a kind, with its file."""
    row = clips[clips["excluded"].str.startswith(reason)].iloc[0]
    return f"{row['excluded']} ({row['file']})"
