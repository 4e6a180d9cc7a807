"""Training variants: a copy of every usable clip with a changed waveform."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages.audio.frames import frame_count
from stages.audio.loudness import gain_to_match
from stages.audio.store import FULL_SCALE, AudioReader, AudioStore, to_int16
from stages.clips.names import variant_name
from stages.running.resources import check_memory, free_memory
from stages.settings.loading import processes

log = logging.getLogger(__name__)
_TASK = 1 << 20  # samples per task: enough to hide its overhead
_BYTES = 200  # memory per sample of a clip; the phase vocoder takes 150


@dataclass(frozen=True)
class Variants:
    """The changes to make to every usable clip.

    Attributes
    ----------
    changes : mapping of str to callable
        by the name of the variant: takes a waveform in [-1, 1], float32 [samples], and the
        generator of the clip, and returns another waveform of any length; its settings are bound
    sample_rate, hop_length : int
        of all clips, in Hz and in samples
    level : rms, peak or none
        the measure by which a variant is as loud as its source; none leaves its level as it is
    """

    changes: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]
    sample_rate: int
    hop_length: int
    level: Literal["rms", "peak", "none"]

    def check(self) -> None:
        """Try each change on a second of silence.

        Raises
        ------
        ValueError
            if a change refuses its settings
        """
        for name, change in self.changes.items():
            try:
                change(np.zeros(self.sample_rate, np.float32), _generator(name))
            except ValueError as error:
                raise ValueError(f"variants.{name}: {error}") from error


def add_variants(
    clips: pd.DataFrame,
    *,
    variants: Variants,
    audio: Mapping[str, Path],
    store: AudioStore,
    folder: Path,
) -> pd.DataFrame:
    """Make every variant of every usable clip in parallel and add its samples to the store.

    A variant depends only on its name, the name of its source and the samples of its source. It
    does not depend on other clips and variants, on their order, or on the number of workers.

    Parameters
    ----------
    clips : DataFrame
        a clip table without variants
    variants : Variants
    audio : mapping of str to Path
        by corpus, the audio store that `start` in the table refers to
    store : AudioStore
        the store to add to
    folder : Path
        for temporary files

    Returns
    -------
    DataFrame
        a row for each variant, sorted by `clip`; `start` refers to `store`, and `sha256` is the
        digest of the samples there

    Raises
    ------
    ValueError
        if a clip has the name of a variant, if a change returns unusable samples, or if memory has
        no room for the longest variant
    """
    usable = clips[clips["excluded"] == ""]
    if not variants.changes or usable.empty:
        return clips.iloc[:0]
    rows = pd.concat(
        usable.assign(variant=name, clip=variant_name(usable["clip"], name))
        for name in variants.changes
    ).sort_values("clip", ignore_index=True)
    if taken := sorted(set(rows["clip"]) & set(clips["clip"])):
        raise ValueError(
            f"{taken[0]}: got a file of this name, which is a variant's name, want another name"
        )
    workers = _workers(rows)
    facts = []
    with (
        TemporaryDirectory(dir=folder) as scratch,
        tqdm(total=len(rows), desc="variants", unit="clip", disable=None) as progress,
    ):
        batches = list(_batches(rows))
        outputs = [Path(scratch, str(number)) for number in range(len(batches))]
        # Threads, because libraries that release the interpreter's lock do nearly all of the work.
        results = Parallel(workers, backend="threading", return_as="generator")(
            delayed(_make)(batch, variants=variants, audio=audio, output=output)
            for batch, output in zip(batches, outputs, strict=True)
        )
        # Samples wait on disk, because later tasks may end before an earlier one.
        for output, made in zip(outputs, results, strict=True):
            start = store.samples
            store.append_store(output)
            output.unlink()
            for fact in made:
                facts.append(fact | {"start": start})
                start += fact["samples"]
            progress.update(len(made))
    table = pd.DataFrame(facts)
    rows[list(table)] = table
    for name, made in rows.groupby("variant"):
        log.info("variants: %s: %d clips, %.2f h", name, len(made), made["duration_s"].sum() / 3600)
    return rows


def _workers(rows: pd.DataFrame) -> int:
    """Choose how many variants to make at a time, as many as fit in memory of the longest one."""
    longest = rows.loc[rows["samples"].idxmax()]
    need = _BYTES * int(longest["samples"])
    check_memory(
        f"{longest['clip']}: got {longest['samples']} samples, want fewer (audio.segment_s) or no "
        "variants: this variant alone",
        need=need,
    )
    return max(1, min(processes(len(rows)), free_memory() // need))


def _batches(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of each task, in order."""
    task = rows["samples"].cumsum().to_numpy() // _TASK
    cuts = [0, *(np.flatnonzero(np.diff(task)) + 1), len(rows)]
    for start, end in pairwise(cuts):
        yield rows.iloc[start:end]


def _make(
    rows: pd.DataFrame, *, variants: Variants, audio: Mapping[str, Path], output: Path
) -> list[dict]:
    """Write the samples of some variants to a separate store; return the facts about each."""
    facts = []
    with AudioStore(output) as store:
        for row in rows.itertuples():
            with AudioReader(audio[row.corpus]) as reader:
                source = np.concatenate(list(reader.blocks(row.start, row.samples)))
            source = source.astype(np.float32) / FULL_SCALE
            waveform = variants.changes[row.variant](source, _generator(row.clip))
            if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
                raise ValueError(
                    f"{row.clip}: got samples of shape {list(waveform.shape)}, want at least one, "
                    "in one dimension, all finite"
                )
            gain = gain_to_match(waveform, like=source, level=variants.level)
            samples = to_int16(waveform, gain=gain)
            store.append(samples)
            facts.append(
                {
                    "duration_s": round(len(samples) / variants.sample_rate, 6),
                    "sha256": hashlib.sha256(samples.astype("<i2", copy=False).data).hexdigest(),
                    "samples": len(samples),
                    "frames": frame_count(len(samples), hop_length=variants.hop_length),
                }
            )
    return facts


def _generator(name: str) -> np.random.Generator:
    """Return a generator that depends only on the name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()))
