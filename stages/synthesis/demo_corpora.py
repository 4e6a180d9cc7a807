"""The demo's corpora: synthetic speech with the names, folders and codes of the real corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import resample

from stages.synthesis import voice


class Clip(NamedTuple):
    """One file of a corpus."""

    path: str
    speaker: str
    emotion: str  # a key of prosody.EMOTIONS
    sentence: str
    strength: float = 1.0  # of the emotion


class Corpus(NamedTuple):
    """File names and recording conditions of one corpus."""

    clips: Callable[[str, tuple[str, ...]], Iterator[Clip]]  # of a speaker and sentences
    speakers: dict[str, str]  # name -> sex
    sentences: tuple[str, ...]
    syllables: int  # in a sentence
    sample_rate: int
    peak: float  # median over the clips of their largest sample
    dynamics: float  # fraction of the differences in loudness, in dB, that the recordings keep
    snr_db: float  # of neutral speech to room noise


def _ravdess(speaker: str, sentences: tuple[str, ...]) -> Iterator[Clip]:
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    for code, emotion in enumerate(emotions, start=1):
        # Neutral has no strong intensity.
        for intensity, strength in (("01", 0.85),) if code == 1 else (("01", 0.85), ("02", 1.25)):
            for sentence in sentences:
                name = f"03-01-{code:02}-{intensity}-{sentence}-01-{speaker}"
                yield Clip(f"Actor_{speaker}/{name}.wav", speaker, emotion, sentence, strength)


def _tess(speaker: str, sentences: tuple[str, ...]) -> Iterator[Clip]:
    # The two actresses' folders are spelt differently; the suffix of a file is always the same.
    folders = {
        "OAF": {"fear": "Fear", "ps": "Pleasant_surprise", "sad": "Sad"},
        "YAF": {"ps": "pleasant_surprised"},
    }
    for emotion in ("angry", "disgust", "fear", "happy", "neutral", "surprise", "sad"):
        code = "ps" if emotion == "surprise" else emotion
        folder = f"{speaker}_{folders[speaker].get(code, code)}"
        for word in sentences:
            yield Clip(f"{folder}/{speaker}_{word}_{code}.wav", speaker, emotion, word)


def _cremad(speaker: str, sentences: tuple[str, ...]) -> Iterator[Clip]:
    codes = {
        "ANG": "angry",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
    graded, plain = {"LO": 0.6, "MD": 1.0, "HI": 1.3}, {"XX": 1.0}
    for sentence in sentences:
        for code, emotion in codes.items():
            # Only one sentence was recorded at three levels.
            levels = graded if sentence == "IEO" and code != "NEU" else plain
            for level, strength in levels.items():
                path = f"AudioWAV/{speaker}_{sentence}_{code}_{level}.wav"
                yield Clip(path, speaker, emotion, sentence, strength)


def _savee(speaker: str, sentences: tuple[str, ...]) -> Iterator[Clip]:
    codes = {
        "a": "angry",
        "d": "disgust",
        "f": "fear",
        "h": "happy",
        "n": "neutral",
        "sa": "sad",
        "su": "surprise",
    }
    for code, emotion in codes.items():
        for number in sentences:
            # Sentences 1 to 3 are common to all emotions, the others differ between emotions.
            text = number if number <= "03" else code + number
            yield Clip(f"AudioData/{speaker}/{code}{number}.wav", speaker, emotion, text)
    for number in sentences:
        # Neutral has twice as many clips: from 16, the common sentences again, then those of anger.
        text = number if number <= "03" else "a" + number
        path = f"AudioData/{speaker}/n{int(number) + 15:02}.wav"
        yield Clip(path, speaker, "neutral", text)


def _emodb(speaker: str, sentences: tuple[str, ...]) -> Iterator[Clip]:
    codes = {
        "W": "angry",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    }
    for text in sentences:
        for code, emotion in codes.items():
            yield Clip(f"wav/{speaker}{text}{code}a.wav", speaker, emotion, text)


# fmt: off
CORPORA = {
    "ravdess": Corpus(
        clips=_ravdess,
        speakers={
            "01": "male", "02": "female", "03": "male", "04": "female", "05": "male", "06": "female"
        },
        sentences=("01", "02"),
        syllables=6, sample_rate=48_000, peak=0.085, dynamics=1.0, snr_db=60.0,
    ),
    "tess": Corpus(
        clips=_tess, speakers={"OAF": "female", "YAF": "female"},
        sentences=("back", "bar", "base", "bath", "bean"),
        syllables=5, sample_rate=24_414, peak=0.19, dynamics=0.6, snr_db=36.0,
    ),
    "cremad": Corpus(
        clips=_cremad,
        speakers={"1001": "male", "1002": "female", "1003": "female", "1005": "male"},
        sentences=("IEO", "TIE", "IOM"),
        syllables=6, sample_rate=16_000, peak=0.23, dynamics=0.8, snr_db=28.0,
    ),
    "savee": Corpus(
        clips=_savee, speakers={"DC": "male", "JE": "male", "JK": "male", "KL": "male"},
        sentences=("01", "02", "04"),
        syllables=6, sample_rate=44_100, peak=0.71, dynamics=0.2, snr_db=42.0,
    ),
    "emodb": Corpus(
        clips=_emodb,
        speakers={
            "03": "male", "08": "female", "11": "male", "09": "female", "10": "male", "13": "female"
        },
        sentences=("a01", "a02", "b01"),
        syllables=6, sample_rate=16_000, peak=1.0, dynamics=0.0, snr_db=40.0,
    ),
}
# fmt: on


def write_demo(folder: Path) -> dict[str, int]:
    """Write all five corpora, each to a folder of its name.

    Parameters
    ----------
    folder : Path
        created if missing

    Returns
    -------
    dict
        corpus -> number of clips
    """
    return {name: write_corpus(name, folder=folder / name) for name in CORPORA}


def write_corpus(
    name: str, *, folder: Path, speakers: int | None = None, sentences: int | None = None
) -> int:
    """Write one corpus, or a part of it.

    Parameters
    ----------
    name : str
        a key of CORPORA
    folder : Path
        of the corpus; created if missing
    speakers, sentences : int or None
        number of speakers and sentences, from the first; None for all

    Returns
    -------
    int
        number of clips

    Raises
    ------
    ValueError
        if there is no such corpus, or if it has fewer speakers or sentences
    """
    if name not in CORPORA:
        raise ValueError(f"demo corpus: got {name!r}, want one of {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    chosen = _first(corpus.sentences, sentences, f"{name}: sentences")
    count = 0
    for speaker in _first(tuple(corpus.speakers), speakers, f"{name}: speakers"):
        for clip in corpus.clips(speaker, chosen):
            path = folder / clip.path
            path.parent.mkdir(parents=True, exist_ok=True)
            waveform = _record(clip, name=name)
            soundfile.write(path, waveform, corpus.sample_rate, subtype="PCM_16")
            count += 1
    return count


def _first(values: tuple[str, ...], number: int | None, name: str) -> tuple[str, ...]:
    if number is not None and not 1 <= number <= len(values):
        raise ValueError(f"{name}: got {number}, want 1 to {len(values)}")
    return values[:number]


def _record(clip: Clip, *, name: str) -> np.ndarray:
    """Synthesise a clip under its corpus' recording conditions: float64 [samples] at its rate."""
    corpus = CORPORA[name]
    rng = voice.seeded("clip", name, clip.path)  # of the clip alone, so that no order matters
    speech = voice.utter(
        voice.draw_sentence(f"{name}/{clip.sentence}", syllables=corpus.syllables),
        speaker=voice.draw_speaker(f"{name}/{clip.speaker}", sex=corpus.speakers[clip.speaker]),
        emotion=clip.emotion,
        rng=rng,
        strength=clip.strength,
    )
    samples = round(len(speech) * corpus.sample_rate / voice.SAMPLE_RATE)
    waveform = resample(speech, samples)
    waveform += rng.normal(scale=voice.NEUTRAL_RMS * 10 ** (-corpus.snr_db / 20), size=samples)
    # The corpus keeps a fraction of the differences in loudness between clips, in dB.
    loudness = np.sqrt(np.mean(waveform**2)) / voice.NEUTRAL_RMS
    peak = min(corpus.peak * loudness**corpus.dynamics, 1.0)
    return waveform * (peak / np.abs(waveform).max())
