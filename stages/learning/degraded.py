"""Recognition of degraded held-out clips, each by the fold that was not trained on its speaker.

Clips are degraded after the `prepare` stage has trimmed, denoised and levelled them, so conditions
differ in nothing but the degradation. A network that is calibrated to speakers knows them by their
enrolment as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from stages.audio.store import FULL_SCALE, AudioReader
from stages.degradations import Scene
from stages.learning.checkpoints import Job
from stages.learning.recogniser import Recogniser, load_recogniser
from stages.parallel.workers import spread
from stages.settings.loading import bind, module_of, processes
from stages.settings.parameters import split_levels
from stages.splits.split_table import ALL, folds_of

CLEAN = "clean"
_TASK_S = 60  # speech per task
_BATCH = 1 << 18  # samples per batch; each takes longer in larger batches


class Condition(NamedTuple):
    """One degradation at one level, or none.

    Attributes
    ----------
    degradation : str
        its name
    level : float or None
        None for a degradation without levels
    unit : str
        of the level
    degrade : (waveform, Scene) -> waveform, float64 [samples]
        None for clips as they are
    """

    degradation: str
    level: float | None
    unit: str
    degrade: partial | None


@dataclass(frozen=True)
class Answers:
    """Labels predicted in each condition.

    Attributes
    ----------
    conditions : list of Condition
        first the clips as they are
    clips : DataFrame
        one row per clip and fold that holds it out: clip, speaker, label, fold
    labels : list of str
        those that the models know
    truth : int64 [clips]
        index of the true label
    predicted : int64 [clips, conditions, seeds]
        index of the predicted label
    """

    conditions: list[Condition]
    clips: pd.DataFrame
    labels: list[str]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]


def list_conditions(degradations: Mapping[str, Mapping[str, Any]]) -> list[Condition]:
    """List the clips as they are, then every degradation at every level.

    Parameters
    ----------
    degradations : settings by name
        the one setting that is a list holds the levels, and the function is called with one of
        them; a degradation without UNITS has no list and makes one condition

    Raises
    ------
    ValueError
        naming a degradation that lacks the list of levels, or has another list
    """
    conditions = [Condition(CLEAN, None, "", None)]
    for name, settings in degradations.items():
        units = module_of(settings, "degradations").UNITS
        lists = split_levels(name, settings, units)
        if not units:
            conditions.append(Condition(name, None, "", bind(settings, "degradations")))
        for key, levels in lists.items():
            conditions += [
                Condition(name, level, units[key], bind({**settings, key: level}, "degradations"))
                for level in levels
            ]
    return conditions


def recognise(
    degradations: Mapping[str, Mapping[str, Any]],
    *,
    clips: pd.DataFrame,
    split: pd.DataFrame,
    audio: Path,
    models: Path,
    seeds: Sequence[int],
) -> Answers:
    """Degrade every clip that a fold holds out, and predict it with that fold's recogniser.

    Parameters
    ----------
    degradations : settings by name
        see `list_conditions`
    clips, split : DataFrame
        the whole clip table; the split table
    audio : Path
        the audio store
    models : Path
        folder of <job>.pt
    seeds : sequence of int
        of the jobs

    Raises
    ------
    FileNotFoundError
        naming the missing checkpoints
    ValueError
        if the model is not a network or was trained on other labels; naming degradation and clip if
        a setting cannot be used
    """
    conditions = list_conditions(degradations)
    held_out = _held_out(clips, split)
    paths = {
        fold: [models / f"{Job(fold, seed).name}.pt" for seed in seeds]
        for fold in held_out["fold"].unique()
    }
    labels, sample_rate = _check_models(paths, labels=held_out["label"].unique())
    predict = partial(
        _predict,
        conditions=conditions,
        paths=paths,
        audio=audio,
        voices=_by_speaker(clips),
        enrolment=_enrolment(clips, split),
    )
    tasks = [
        task
        for _, fold in held_out.groupby("fold")
        for _, task in fold.groupby(fold["samples"].cumsum() // (sample_rate * _TASK_S))
    ]
    predicted = np.zeros((len(held_out), len(conditions), len(seeds)), dtype=np.int64)
    results = spread(
        [partial(predict, task) for task in tasks], processes=processes(len(tasks)), client=None
    )
    with tqdm(total=len(held_out), desc="robustness", unit="clip", disable=None) as progress:
        for rows, predictions in results:
            predicted[rows] = predictions
            progress.update(len(rows))
    truth = held_out["label"].map(labels.index).to_numpy(dtype=np.int64)
    columns = ["clip", "speaker", "label", "fold"]
    return Answers(conditions, held_out[columns], labels, truth, predicted)


def _held_out(clips: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """List every clip with every fold that holds it out, sorted by clip and fold.

    Returns
    -------
    DataFrame
        clip, speaker, start, samples, segment (whether the file has more clips), label, fold
    """
    table = _placed(clips)
    tested = pd.concat(
        split.loc[split[fold] == "test", ["clip", "label"]].assign(fold=fold)
        for fold in folds_of(split)
        if fold != ALL
    )
    found = table.merge(tested, on="clip")
    if len(found) != len(tested):
        missing = len(tested) - len(found)
        raise ValueError(f"split: {missing} of its test clips are not in the clip table")
    return found.sort_values(["clip", "fold"], ignore_index=True)


def _placed(clips: pd.DataFrame) -> pd.DataFrame:
    """List clip, speaker, start, samples and segment (whether the file has more clips)."""
    clips_per_file = clips.groupby(["corpus", "file", "variant"])["clip"].transform("size")
    return clips[["clip", "speaker", "start", "samples"]].assign(segment=clips_per_file > 1)


def _enrolment(clips: pd.DataFrame, split: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """List by fold the clips that tell how its held-out speakers sound, as `_placed` does.

    Where no clip is set apart for this, all clips that the fold tests serve.
    """
    table, found = _placed(clips), {}
    for fold in folds_of(split):
        part = "enrolment" if (split[fold] == "enrolment").any() else "test"
        found[fold] = table[table["clip"].isin(split.loc[split[fold] == part, "clip"])]
    return found


def _check_models(
    paths: Mapping[str, Sequence[Path]], *, labels: Sequence[str]
) -> tuple[list[str], int]:
    """Check that all models exist and know the labels; return their labels and sample rate."""
    models = [path for fold in paths.values() for path in fold]
    if missing := [str(path) for path in models if not path.is_file()]:
        raise FileNotFoundError(
            f"missing: {', '.join(missing)}; `dvc repro` trains and writes them"
        )
    try:
        recogniser, _ = load_recogniser(models[0])
    except ValueError as error:
        raise ValueError(
            f"{error}; to leave degraded clips out, run with -S 'degradations=[]'"
        ) from error
    if unknown := [label for label in labels if label not in recogniser.labels]:
        raise ValueError(
            f"{models[0]}: got the labels {recogniser.labels}, want {unknown} among them, as in "
            "the split; train again with `dvc repro`"
        )
    return recogniser.labels, recogniser.sample_rate


def _by_speaker(clips: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """First sample and length of the usable clips of each speaker: int64 [clips, 2]."""
    usable = clips[(clips["excluded"] == "") & (clips["variant"] == "clean")]
    return {
        speaker: table[["start", "samples"]].to_numpy()
        for speaker, table in usable.groupby("speaker")
    }


@torch.inference_mode()
def _predict(
    task: pd.DataFrame,
    *,
    conditions: Sequence[Condition],
    paths: Mapping[str, Sequence[Path]],
    audio: Path,
    voices: Mapping[str, NDArray[np.int64]],
    enrolment: Mapping[str, pd.DataFrame],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predict some clips of one fold in every condition, with the fold's recogniser of each seed.

    Returns
    -------
    rows : int64 [clips]
        of the table that the task was cut from
    predicted : int64 [clips, conditions, seeds]
        index of the predicted label
    """
    torch.set_num_threads(1)
    loaded = [load_recogniser(path) for path in paths[task["fold"].iloc[0]]]
    predicted = np.zeros((len(task), len(conditions), len(loaded)), dtype=np.int64)
    with AudioReader(audio) as store:
        known = [
            _vectors(
                recogniser, enrolment[task["fold"].iloc[0]], speakers=task["speaker"], store=store
            )
            for recogniser, _ in loaded
        ]
        for row, clip in enumerate(task.itertuples()):
            waveform = _read(store, clip.start, clip.samples)
            talk = partial(_talk, speaker=clip.speaker, voices=voices, store=store)
            size = max(1, _BATCH // clip.samples)  # a clip has the same length in every condition
            for first in range(0, len(conditions), size):
                chunk = slice(first, first + size)
                degraded = np.stack(
                    [
                        _degraded(
                            waveform,
                            condition,
                            clip=clip.clip,
                            sample_rate=loaded[0][0].sample_rate,
                            talk=talk,
                        )
                        for condition in conditions[chunk]
                    ]
                )
                for seed, (recogniser, settings) in enumerate(loaded):
                    batch = degraded
                    if clip.segment:
                        batch = _relevelled(degraded, reference=waveform, level=settings["level"])
                    logits = _logits(recogniser, batch, segment=clip.segment)
                    if (head := recogniser.head) is not None:
                        own = known[seed][clip.speaker].drop(clip.clip, errors="ignore")
                        logits = head.for_voice(*head.statistics.of_speaker(own.to_numpy()))
                    predicted[row, chunk, seed] = logits.argmax(dim=1).numpy()
    return task.index.to_numpy(), predicted


def _logits(recogniser: Recogniser, batch: NDArray[np.float64], *, segment: bool) -> Tensor:
    """Compute logits of waveforms [batch, samples]; a segment has the level of its recording."""
    waveforms = torch.from_numpy(batch).float()
    return recogniser.logits(waveforms) if segment else recogniser(waveforms)


def _vectors(
    recogniser: Recogniser, enrolment: pd.DataFrame, *, speakers: pd.Series, store: AudioReader
) -> dict[str, pd.DataFrame]:
    """Compute by speaker the vectors of the enrolment, [clips, dimensions] by clip.

    Empty if the network is not calibrated to speakers.
    """
    if recogniser.head is None:
        return {}
    found = {}
    for speaker in speakers.unique():
        vectors = {}
        for clip in enrolment[enrolment["speaker"] == speaker].itertuples():
            waveform = _read(store, clip.start, clip.samples)[None]
            _logits(recogniser, waveform, segment=clip.segment)
            vectors[clip.clip] = recogniser.head.vectors[0].numpy()
        found[speaker] = pd.DataFrame.from_dict(
            vectors, orient="index", columns=range(len(recogniser.head.mean))
        )
    return found


def _read(store: AudioReader, start: int, samples: int) -> NDArray[np.float64]:
    """Read samples of an audio store and scale them to [-1, 1]."""
    return np.concatenate(list(store.blocks(start, samples))) / FULL_SCALE


def _degraded(
    waveform: NDArray[np.float64],
    condition: Condition,
    *,
    clip: str,
    sample_rate: int,
    talk: Callable[..., NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Degrade a clip; the result depends on clip and condition alone."""
    if condition.degrade is None:
        return waveform
    seed = hashlib.sha256(f"{condition.degradation} {clip}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed))
    scene = Scene(random, sample_rate, partial(talk, random=random))
    try:
        degraded = condition.degrade(waveform, scene)
    except ValueError as error:
        raise ValueError(f"degradations.{condition.degradation}: {clip}: {error}") from error
    if degraded.shape != waveform.shape or not np.isfinite(degraded).all():
        raise ValueError(
            f"degradations.{condition.degradation}: {clip}: got shape {degraded.shape}, want "
            f"{waveform.shape} and finite samples"
        )
    return degraded


def _talk(
    number: int,
    samples: int,
    *,
    speaker: str,
    voices: Mapping[str, NDArray[np.int64]],
    store: AudioReader,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Join speech of random other speakers; see Scene.voices."""
    speakers = [clips for name, clips in voices.items() if name != speaker]
    if not speakers:
        raise ValueError(f"got no speaker but {speaker}, want others for their voices")
    chosen = random.choice(len(speakers), size=number, replace=number > len(speakers))
    speech = np.zeros((number, samples))
    for voice, clips in zip(speech, (speakers[index] for index in chosen), strict=True):
        done = 0
        while done < samples:
            start, length = random.choice(clips)
            taken = min(int(length), samples - done)
            first = start + random.integers(length - taken + 1)
            voice[done : done + taken] = _read(store, first, taken)
            done += taken
        voice /= max(np.sqrt(np.square(voice).mean()), 1e-9)
    return speech


def _relevelled(
    degraded: NDArray[np.float64], *, reference: NDArray[np.float64], level: str
) -> NDArray[np.float64]:
    """Give a degraded segment the level that it had before.

    A recording is levelled as a whole, so a soft segment stays softer than a loud one. Levelled by
    itself, each would be equally loud.

    Parameters
    ----------
    degraded : float64 [conditions, samples]
    reference : float64 [samples]
        the segment before
    level : rms, peak or none
        measure of the level
    """
    if level == "none":
        return degraded
    size = {"rms": lambda w: np.sqrt(np.square(w).mean(-1)), "peak": lambda w: np.abs(w).max(-1)}
    gain = size[level](reference) / np.maximum(size[level](degraded), 1e-9)
    return degraded * gain[:, None]
