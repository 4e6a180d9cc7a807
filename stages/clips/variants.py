"""Further clips for training: every usable one again, its waveform changed, all else the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from stages.running.resources import check_disk, check_memory, free_memory
from stages.running.settings import processes

log = logging.getLogger(__name__)
_TASK = 1 << 20  # samples per task: enough to hide what a task costs
_BYTES = 200  # of memory per sample of a clip; the phase vocoder takes 150


@dataclass(frozen=True)
class Variants:
    """What to make of every usable clip.

    changes : by name, waveform in [-1, 1] and the clip's own generator -> another waveform;
        float32 [samples], of any length; settings already bound
    sample_rate, hop_length : of all clips, in Hz and in samples
    level : in which measure a variant is as loud as its source, rms or peak; none: as it comes out
    """

    changes: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]
    sample_rate: int
    hop_length: int
    level: Literal["rms", "peak", "none"]

    def check(self) -> None:
        """Try each on a second of silence.

        Raises
        ------
        ValueError
            naming the variant that refuses its settings
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
    """Make every variant of every usable clip, side by side; their samples end up in the store.

    What one is like depends on its own name, its source's name and its source's samples: not on
    other clips and variants, on their order, or on how many are made at a time.

    Parameters
    ----------
    clips : DataFrame
        a clip table without variants
    variants : Variants
    audio : Path by corpus
        the audio stores that the table's `start` points into
    store : AudioStore
        to add to
    folder : Path
        for temporary files

    Returns
    -------
    DataFrame
        a row for each variant, sorted by `clip`; `start` points into `store`, and `sha256` is that
        of the samples there

    Raises
    ------
    ValueError
        naming a clip that is called like a variant, or a variant whose samples cannot be used; if
        memory or disk do not hold what is to come
    """
    usable = clips[clips["excluded"] == ""]
    if not variants.changes or usable.empty:
        return clips.iloc[:0]
    rows = pd.concat(
        usable.assign(variant=name, clip=variant_name(usable["clip"], name))
        for name in variants.changes
    ).sort_values("clip", ignore_index=True)
    if taken := sorted(set(rows["clip"]) & set(clips["clip"])):
        raise ValueError(f"{taken[0]}: got a file of this name, which is a variant's; rename it")
    workers = _workers(rows, folder=folder)
    facts = []
    with (
        TemporaryDirectory(dir=folder) as scratch,
        tqdm(total=len(rows), desc="variants", unit="clip", disable=None) as progress,
    ):
        batches = list(_batches(rows))
        outputs = [Path(scratch, str(number)) for number in range(len(batches))]
        # Threads: nearly all of the work is done by libraries that let others run meanwhile.
        results = Parallel(workers, backend="threading", return_as="generator")(
            delayed(_make)(batch, variants=variants, audio=audio, output=output)
            for batch, output in zip(batches, outputs, strict=True)
        )
        # A task's samples wait on disk: any number of tasks may be done before an earlier one is.
        for output, made in zip(outputs, results, strict=True):
            start = store.samples
            store.append_store(output)
            output.unlink()
            for fact in made:
                facts.append(fact | {"start": start})
                start += fact["samples"]
            progress.update(len(made))
    found = pd.DataFrame(facts)
    rows[list(found)] = found
    for name, own in rows.groupby("variant"):
        log.info("variants: %s: %d clips, %.2f h", name, len(own), own["duration_s"].sum() / 3600)
    return rows


def _workers(rows: pd.DataFrame, *, folder: Path) -> int:
    """How many variants to make at a time: as many as memory holds of the longest one."""
    longest = rows.loc[rows["samples"].idxmax()]
    need = _BYTES * int(longest["samples"])
    check_memory(
        f"{longest['clip']}: got {longest['samples']} samples, want fewer, as audio.segment_s "
        "makes them, or no variants: this one alone",
        need=need,
    )
    check_disk(
        f"variants: got {len(rows)}, want fewer: their samples",
        need=np.dtype(np.int16).itemsize * int(rows["samples"].sum()),
        folder=folder,
    )
    return max(1, min(processes(len(rows)), free_memory() // need))


def _batches(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of each task, in their order."""
    task = rows["samples"].cumsum().to_numpy() // _TASK
    cuts = [0, *(np.flatnonzero(np.diff(task)) + 1), len(rows)]
    for start, end in zip(cuts, cuts[1:], strict=False):
        yield rows.iloc[start:end]


def _make(
    rows: pd.DataFrame, *, variants: Variants, audio: Mapping[str, Path], output: Path
) -> list[dict]:
    """Write the samples of some variants into a store of their own; what was found of each."""
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
                    "sha256": hashlib.sha256(samples.astype("<i2", copy=False)).hexdigest(),
                    "samples": len(samples),
                    "frames": frame_count(len(samples), hop_length=variants.hop_length),
                }
            )
    return facts


def _generator(name: str) -> np.random.Generator:
    """The same random numbers for the same name, on any machine and in any order."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()))
