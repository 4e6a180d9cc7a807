"""Held-out clips, degraded, and what the recogniser answers that never heard their speakers.

Clips are degraded as the `prepare` stage left them: trimmed, denoised if that is chosen, and at
their level. So nothing but the degradation differs from one condition to the other.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from stages.audio.store import FULL_SCALE, AudioReader
from stages.degradations import Scene
from stages.learning.jobs import Job
from stages.learning.recogniser import load_recogniser
from stages.running.settings import bind, processes
from stages.splits.folds import ALL, folds_of

CLEAN = "clean"
_TASK_S = 60  # speech per task
_BATCH = 1 << 18  # samples that are recognised at a time; more take longer each


class Condition(NamedTuple):
    """One degradation with one of its amounts, or none.

    level : float or None
        the amount, if it has any
    unit : str
        of the amount
    degrade : (waveform, Scene) -> waveform, float64 [samples]; None of the clips as they are
    """

    degradation: str
    level: float | None
    unit: str
    degrade: partial | None


@dataclass(frozen=True)
class Answers:
    """What was answered in each condition.

    Attributes
    ----------
    conditions : list of Condition
        the first is that of the clips as they are
    clips : DataFrame
        one row for each fold that holds a clip out: clip, speaker, label, fold
    labels : list of str
        those that can be answered
    truth : int [clips]
        index of the actual label
    predicted : int [clips, conditions, seeds]
        index of the label that was answered
    """

    conditions: list[Condition]
    clips: pd.DataFrame
    labels: list[str]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]


def list_conditions(degradations: Mapping[str, Mapping[str, Any]]) -> list[Condition]:
    """Every condition that the settings ask for, after the clips as they are.

    Parameters
    ----------
    degradations : settings by name
        the one setting that is a list holds the amounts, of which the function is given one at a
        time; a degradation that has no UNITS has no list, and is one condition

    Raises
    ------
    ValueError
        naming a degradation with more or fewer lists, an empty one, or one of something else
    """
    conditions = [Condition(CLEAN, None, "", None)]
    for name, settings in degradations.items():
        units = inspect.getmodule(bind(settings).func).UNITS
        lists = {key: value for key, value in settings.items() if isinstance(value, list)}
        if len(lists) != bool(units) or [] in lists.values() or not lists.keys() <= units.keys():
            wanted = f"one list, of {' or '.join(units)}, not empty" if units else "no list"
            raise ValueError(f"degradations.{name}: got the lists {lists}, want {wanted}")
        if not units:
            conditions.append(Condition(name, None, "", bind(settings)))
        for key, amounts in lists.items():
            conditions += [
                Condition(name, amount, units[key], bind({**settings, key: amount}))
                for amount in amounts
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
    """Degrade every clip that a fold holds out, and have that fold's recogniser answer.

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
        naming the checkpoints that are missing
    ValueError
        if the model is no network, or was trained on other labels; naming the degradation and the
        clip, if a setting cannot be used
    """
    conditions = list_conditions(degradations)
    held_out = _held_out(clips, split)
    paths = {
        fold: [models / f"{Job(fold, seed).name}.pt" for seed in seeds]
        for fold in held_out["fold"].unique()
    }
    labels, sample_rate = _check_models(paths, labels=held_out["label"].unique())
    work = partial(
        _answer, conditions=conditions, paths=paths, audio=audio, voices=_by_speaker(clips)
    )
    tasks = [
        task
        for _, fold in held_out.groupby("fold")
        for _, task in fold.groupby(fold["samples"].cumsum() // (sample_rate * _TASK_S))
    ]
    predicted = np.zeros((len(held_out), len(conditions), len(seeds)), dtype=np.int64)
    run = Parallel(n_jobs=processes(len(tasks)), return_as="generator_unordered")
    with tqdm(total=len(held_out), desc="robustness", unit="clip", disable=None) as progress:
        for rows, answers in run(delayed(work)(task) for task in tasks):
            predicted[rows] = answers
            progress.update(len(rows))
    truth = held_out["label"].map(labels.index).to_numpy(dtype=np.int64)
    columns = ["clip", "speaker", "label", "fold"]
    return Answers(conditions, held_out[columns], labels, truth, predicted)


def _held_out(clips: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """One row for each fold that holds a clip out, sorted by clip and fold.

    Returns
    -------
    DataFrame
        clip, speaker, start, samples, segment (whether it is a part of its file), label, fold
    """
    of_file = clips.groupby(["corpus", "file", "variant"])["clip"].transform("size")
    table = clips[["clip", "speaker", "start", "samples"]].assign(segment=of_file > 1)
    tested = pd.concat(
        split.loc[split[fold] == "test", ["clip", "label"]].assign(fold=fold)
        for fold in folds_of(split)
        if fold != ALL
    )
    found = table.merge(tested, on="clip")
    if len(found) != len(tested):
        number = len(tested) - len(found)
        raise ValueError(f"split: {number} of its test clips are not in the clip table")
    return found.sort_values(["clip", "fold"], ignore_index=True)


def _check_models(
    paths: Mapping[str, Sequence[Path]], *, labels: Sequence[str]
) -> tuple[list[str], int]:
    """Labels and sample rate of the models, which must be there, networks, and of these labels."""
    every = [path for of_fold in paths.values() for path in of_fold]
    if missing := [str(path) for path in every if not path.is_file()]:
        raise FileNotFoundError(
            f"missing: {', '.join(missing)}; `dvc repro` trains and writes them"
        )
    try:
        recogniser, _ = load_recogniser(every[0])
    except ValueError as error:
        raise ValueError(
            f"{error}; without it no degraded clip is recognised: run with -S 'degradations=[]'"
        ) from error
    if unknown := [label for label in labels if label not in recogniser.labels]:
        raise ValueError(
            f"{every[0]}: got the labels {recogniser.labels}, want {unknown} among them, as in the "
            "split; train again with `dvc repro`"
        )
    return recogniser.labels, recogniser.sample_rate


def _by_speaker(clips: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Where the usable clips of each speaker lie: int64 [clips, 2], first sample and length."""
    usable = clips[(clips["excluded"] == "") & (clips["variant"] == "clean")]
    return {
        speaker: own[["start", "samples"]].to_numpy() for speaker, own in usable.groupby("speaker")
    }


@torch.inference_mode()
def _answer(
    task: pd.DataFrame,
    *,
    conditions: Sequence[Condition],
    paths: Mapping[str, Sequence[Path]],
    audio: Path,
    voices: Mapping[str, NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a fold's recognisers answer for some clips in every condition.

    Returns
    -------
    rows : int64 [clips]
        of the table that the task was cut from
    predicted : int64 [clips, conditions, seeds]
    """
    torch.set_num_threads(1)
    loaded = [load_recogniser(path) for path in paths[task["fold"].iloc[0]]]
    predicted = np.zeros((len(task), len(conditions), len(loaded)), dtype=np.int64)
    with AudioReader(audio) as store:
        for place, clip in enumerate(task.itertuples()):
            waveform = _read(store, clip.start, clip.samples)
            talk = partial(_talk, own=clip.speaker, voices=voices, store=store)
            size = max(1, _BATCH // clip.samples)  # all conditions of a clip are of one length
            for first in range(0, len(conditions), size):
                some = slice(first, first + size)
                degraded = np.stack(
                    [
                        _degraded(
                            waveform,
                            condition,
                            clip=clip.clip,
                            sample_rate=loaded[0][0].sample_rate,
                            talk=talk,
                        )
                        for condition in conditions[some]
                    ]
                )
                for seed, (recogniser, settings) in enumerate(loaded):
                    if clip.segment:
                        batch = _relevelled(degraded, like=waveform, level=settings["level"])
                        logits = recogniser.logits(torch.from_numpy(batch).float())
                    else:
                        logits = recogniser(torch.from_numpy(degraded).float())
                    predicted[place, some, seed] = logits.argmax(dim=1).numpy()
    return task.index.to_numpy(), predicted


def _read(store: AudioReader, start: int, samples: int) -> NDArray[np.float64]:
    """Samples in [-1, 1]."""
    return np.concatenate(list(store.blocks(start, samples))) / FULL_SCALE


def _degraded(
    waveform: NDArray[np.float64],
    condition: Condition,
    *,
    clip: str,
    sample_rate: int,
    talk: Callable[..., NDArray[np.float64]],
) -> NDArray[np.float64]:
    """A clip in a condition, always the same, whatever was degraded before."""
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
            f"{waveform.shape}, all of it finite"
        )
    return degraded


def _talk(
    number: int,
    samples: int,
    *,
    own: str,
    voices: Mapping[str, NDArray[np.int64]],
    store: AudioReader,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Speech of other speakers than the clip's own; see Scene.voices."""
    others = [clips for speaker, clips in voices.items() if speaker != own]
    if not others:
        raise ValueError(f"got no speaker but {own}, want others for their voices")
    chosen = random.choice(len(others), size=number, replace=number > len(others))
    speech = np.zeros((number, samples))
    for voice, clips in zip(speech, (others[index] for index in chosen), strict=True):
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
    degraded: NDArray[np.float64], *, like: NDArray[np.float64], level: str
) -> NDArray[np.float64]:
    """Give a degraded segment the level that it had, as its recording gave it.

    A recording is levelled as a whole. If all of it is degraded alike, each of its segments comes
    out as loud as it was: levelled by itself, a soft segment beside a loud one would not.

    Parameters
    ----------
    degraded : float64 [conditions, samples]
    like : float64 [samples]
    level : rms, peak or none
        what is levelled
    """
    if level == "none":
        return degraded
    size = {"rms": lambda w: np.sqrt(np.square(w).mean(-1)), "peak": lambda w: np.abs(w).max(-1)}
    gain = size[level](like) / np.maximum(size[level](degraded), 1e-9)
    return degraded * gain[:, None]
