"""Synthetic speech: one speaker says one sentence in one emotion.

It is a source-filter model: the moving resonances of a vocal tract shape a glottal pulse train and
noise. The speech has no words, but varies in pitch, loudness, tempo, voice quality and formants,
which features of emotion measure.

References
----------
Fant, Acoustic Theory of Speech Production (1960): source, filter and radiation
Rosenberg, Effect of glottal pulse shape on the quality of natural vowels, JASA 49 (1971), shape C
Peterson and Barney, Control methods used in a study of the vowels, JASA 24 (1952): VOWELS_HZ
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stages.synthesis.prosody import EMOTIONS, HIGHEST, LOWEST, SPREAD, Prosody

#: Samples per second of a synthesised waveform.
SAMPLE_RATE = 16_000
#: Root mean square of neutral speech: loudness 0 dB.
NEUTRAL_RMS = 0.05

_SEED = 20_240_601
_HOP = 128  # samples between control frames: 8 ms
_CONTROL_RATE = SAMPLE_RATE / _HOP
_FFT = 768  # a block of 2 hops, and 32 ms for the decay of the narrowest resonance
_OPENING, _CLOSING = 0.40, 0.16  # fractions of a glottal period
_HIGHER_HZ, _HIGHER_BANDWIDTHS_HZ = (3500.0, 4500.0), (200.0, 300.0)
_BANDWIDTHS_HZ = (70.0, 90.0, 130.0)

VOWELS_HZ = (
    (270.0, 2290.0, 3010.0),
    (390.0, 1990.0, 2550.0),
    (530.0, 1840.0, 2480.0),
    (660.0, 1720.0, 2410.0),
    (730.0, 1090.0, 2440.0),
    (570.0, 840.0, 2410.0),
    (440.0, 1020.0, 2240.0),
    (300.0, 870.0, 2240.0),
)


class Phone(NamedTuple):
    """A segment of speech with constant targets."""

    duration_s: float
    voice: float  # amplitude of the glottal source, 1 in a vowel
    noise: float  # amplitude of the friction
    noise_hz: float  # centre frequency of the friction
    formants_hz: tuple[float, float, float]  # for a male vocal tract


class Syllable(NamedTuple):
    """A consonant and a vowel; an accent raises the pitch."""

    phones: tuple[Phone, ...]
    accent: bool


class Speaker(NamedTuple):
    """Properties of a speaker that are constant over all clips."""

    name: str
    f0_hz: float
    tract: float  # ratio of the formants to those of the average man
    expression: float  # factor on the distance between an emotion and neutral
    habits: tuple[float, ...]  # offset of every Prosody, in units of SPREAD


_SCHWA = (500.0, 1500.0, 2500.0)
_PAUSE = Phone(0.0, 0.0, 0.0, 3000.0, _SCHWA)
CONSONANTS = (
    (Phone(0.070, 0.30, 0.00, 3000.0, (250.0, 1100.0, 2300.0)),),  # m
    (Phone(0.060, 0.40, 0.00, 3000.0, (350.0, 1200.0, 2700.0)),),  # l
    (Phone(0.060, 0.40, 0.00, 3000.0, (320.0, 1300.0, 1700.0)),),  # r
    (Phone(0.100, 0.00, 0.20, 5500.0, _SCHWA),),  # s
    (Phone(0.100, 0.00, 0.25, 2900.0, _SCHWA),),  # sh
    (Phone(0.080, 0.00, 0.06, 6500.0, _SCHWA),),  # f
    (Phone(0.070, 0.20, 0.10, 5000.0, (300.0, 1700.0, 2600.0)),),  # z
    (_PAUSE._replace(duration_s=0.06), Phone(0.02, 0.0, 0.4, 4200.0, _SCHWA)),  # t
    (_PAUSE._replace(duration_s=0.06), Phone(0.03, 0.0, 0.3, 1800.0, _SCHWA)),  # k
    (_PAUSE._replace(duration_s=0.06), Phone(0.02, 0.0, 0.2, 900.0, _SCHWA)),  # p
)


def seeded(*names: str) -> np.random.Generator:
    """Random generator seeded by names alone."""
    return np.random.default_rng([_SEED, zlib.crc32("/".join(names).encode())])


def draw_speaker(name: str, *, sex: str) -> Speaker:
    """Draw a speaker; the same name and sex give the same speaker.

    Parameters
    ----------
    name : str
        such as "savee/DC"
    sex : {"female", "male"}

    Raises
    ------
    ValueError
        if the sex is neither
    """
    if sex not in ("female", "male"):
        raise ValueError(f"speaker {name}: got sex {sex!r}, want female or male")
    rng = seeded("speaker", name)
    f0_hz, tract = (205.0, 1.16) if sex == "female" else (115.0, 1.0)
    return Speaker(
        name=name,
        f0_hz=f0_hz * 2 ** (rng.uniform(-2.5, 2.5) / 12),
        tract=tract * rng.uniform(0.96, 1.04),
        expression=rng.uniform(0.85, 1.15),
        habits=tuple(rng.normal(scale=0.5, size=len(SPREAD))),
    )


def draw_sentence(name: str, *, syllables: int) -> list[Syllable]:
    """Draw a sentence; the same name gives the same sentence for every speaker.

    Parameters
    ----------
    name : str
        such as "savee/03"
    syllables : int
        number of syllables, at least 2
    """
    rng = seeded("sentence", name)
    accents = rng.choice(syllables, size=2, replace=False)
    sentence = []
    for index in range(syllables):
        onset = CONSONANTS[rng.integers(len(CONSONANTS))]
        formants_hz = VOWELS_HZ[rng.integers(len(VOWELS_HZ))]
        length = rng.uniform(0.10, 0.15) * (1.3 if index in accents else 1.0)
        vowel = Phone(length, 1.0, 0.0, 3000.0, formants_hz)
        sentence.append(Syllable((*onset, vowel), index in accents))
    return sentence


def draw_prosody(
    speaker: Speaker, *, emotion: str, strength: float, rng: np.random.Generator
) -> Prosody:
    """Draw the prosody of one clip.

    Parameters
    ----------
    speaker : Speaker
    emotion : str
        a key of prosody.EMOTIONS
    strength : float
        of the emotion: 0 is neutral, 1 is the strength in the table
    rng : Generator
        of the clip

    Raises
    ------
    ValueError
        if the table lacks the emotion
    """
    if emotion not in EMOTIONS:
        raise ValueError(f"emotion: got {emotion!r}, want one of {', '.join(EMOTIONS)}")
    neutral, target = np.array(EMOTIONS["neutral"]), np.array(EMOTIONS[emotion])
    # Each speaker expresses an emotion differently, which makes held-out speakers hard.
    style = seeded("manner", speaker.name, emotion).normal(scale=0.5, size=len(SPREAD))
    deviation = np.array(speaker.habits) + style + rng.normal(size=len(SPREAD))
    values = neutral + strength * speaker.expression * (target - neutral) + deviation * SPREAD
    return Prosody(*np.clip(values, LOWEST, HIGHEST).tolist())


def utter(
    sentence: list[Syllable],
    *,
    speaker: Speaker,
    emotion: str,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> np.ndarray:
    """Synthesise a sentence.

    Parameters
    ----------
    sentence : list of Syllable
        see `draw_sentence`
    speaker : Speaker
        see `draw_speaker`
    emotion : str
        a key of prosody.EMOTIONS
    rng : Generator
        draws the differences between takes
    strength : float
        of the emotion; see `draw_prosody`

    Returns
    -------
    float64 [samples]
        at SAMPLE_RATE, with a short silence at both ends; speech has an RMS of NEUTRAL_RMS times
        the clip's loudness

    Raises
    ------
    ValueError
        if the table of emotions lacks the emotion
    """
    prosody = draw_prosody(speaker, emotion=emotion, strength=strength, rng=rng)
    phones, pitch_st = _score(sentence, prosody, rng)
    frames = np.array([round(phone.duration_s * _CONTROL_RATE) for phone in phones])
    tracks = np.repeat([(*phone[1:4], *phone[4]) for phone in phones], frames, axis=0)
    voice, noise = gaussian_filter1d(tracks[:, :2], 0.8, axis=0, mode="nearest").T  # [frames]
    noise_hz = tracks[:, 2]
    # Tongue and lips are slower than the voice: formants glide between their targets.
    formants_hz = gaussian_filter1d(tracks[:, 3:], 2.5, axis=0, mode="nearest")
    formants_hz *= speaker.tract * (1 + prosody.smile)
    waveform = _shape(
        _glottis(speaker.f0_hz * 2 ** (pitch_st / 12), voice, prosody, rng),
        _tract(formants_hz, speaker.tract, prosody.tilt_db),
    )
    friction = np.repeat(noise, _HOP) * np.diff(rng.normal(size=len(noise) * _HOP), append=0.0)
    waveform += _shape(friction, _resonance(noise_hz[:, None], 0.4 * noise_hz[:, None]))
    vowel_rms = np.sqrt(np.mean(waveform[np.repeat(voice, _HOP) > 0.5] ** 2))
    return waveform * (NEUTRAL_RMS / vowel_rms * 10 ** (prosody.loudness_db / 20))


def _score(
    sentence: list[Syllable], prosody: Prosody, rng: np.random.Generator
) -> tuple[list[Phone], np.ndarray]:
    """Timed phones, and the pitch of every control frame in semitones above the speaker's own."""
    phones = [_PAUSE._replace(duration_s=rng.uniform(0.10, 0.22))]
    times, heights = [0.0], [1.0]
    for index, syllable in enumerate(sentence):
        for phone in syllable.phones:
            stretch = rng.uniform(0.88, 1.12) / (1 + prosody.tempo)
            phones.append(phone._replace(duration_s=phone.duration_s * stretch))
        fall = 1.0 - 2.0 * index / len(sentence)  # declination: 2 semitones per sentence
        times.append(sum(phone.duration_s for phone in phones) - phones[-1].duration_s / 2)
        heights.append(fall + syllable.accent * prosody.range_st * rng.uniform(0.7, 1.3))
    times.append(times[-1] + phones[-1].duration_s / 2)
    heights.append(heights[-1] + prosody.final_st)
    phones.append(_PAUSE._replace(duration_s=rng.uniform(0.10, 0.22)))

    frames = sum(round(phone.duration_s * _CONTROL_RATE) for phone in phones)
    clock_s = np.arange(frames) / _CONTROL_RATE
    pitch_st = gaussian_filter1d(np.interp(clock_s, times, heights), 3.0, mode="nearest")
    tremor = np.sin(2 * np.pi * (rng.uniform(5, 7) * clock_s + rng.uniform()))
    drift = gaussian_filter1d(rng.normal(size=frames), 5.0, mode="nearest")
    return phones, prosody.pitch_st + pitch_st + prosody.tremor_st * tremor + drift


def _glottis(
    f0_hz: np.ndarray, voice: np.ndarray, prosody: Prosody, rng: np.random.Generator
) -> np.ndarray:
    """Pulses and breath [samples] at the lips, from pitch and amplitude [frames]."""
    samples = np.arange(len(f0_hz) * _HOP) / _HOP
    f0_hz = np.interp(samples, np.arange(len(f0_hz)), f0_hz)
    voice = np.interp(samples, np.arange(len(voice)), voice)
    period = np.cumsum(f0_hz / SAMPLE_RATE).astype(int)
    jitter, shimmer = rng.normal(scale=prosody.roughness, size=(2, period[-1] + 1))
    phase = np.cumsum(f0_hz * (1 + jitter[period]) / SAMPLE_RATE) % 1.0
    flow = np.where(
        phase < _OPENING,
        0.5 - 0.5 * np.cos(np.pi * phase / _OPENING),
        np.cos(np.pi / 2 * np.minimum((phase - _OPENING) / _CLOSING, 1.0)),
    )
    # Radiation from the lips is a derivative, taken per period so that it does not grow with pitch.
    pulses = np.diff(flow, prepend=flow[0]) * SAMPLE_RATE / f0_hz * (1 + 4 * shimmer[period])
    # Aspiration follows the opening of the glottis. Pulses have an RMS of about 3.
    breath = 3 * 10 ** (prosody.breath_db / 20) * rng.normal(size=len(flow)) * (0.3 + flow)
    return voice * (pulses + breath)


def _tract(formants_hz: np.ndarray, tract: float, tilt_db: float) -> np.ndarray:
    """Frequency response of the vocal tract, complex [frames, bins], from formants [frames, 3]."""
    octaves = np.log2(np.maximum(_bins_hz(), 500.0) / 500.0)
    response = 10 ** (tilt_db * octaves / 20)
    for centre_hz, bandwidth_hz in zip(_HIGHER_HZ, _HIGHER_BANDWIDTHS_HZ, strict=True):
        response = response * _resonance(centre_hz * tract, bandwidth_hz)
    for centre_hz, bandwidth_hz in zip(formants_hz.T, _BANDWIDTHS_HZ, strict=True):
        response = response * _resonance(centre_hz[:, None], bandwidth_hz)
    return response


def _resonance(centre_hz: np.ndarray | float, bandwidth_hz: np.ndarray | float) -> np.ndarray:
    """Frequency response of a damped resonator, 1 at 0 Hz."""
    f = _bins_hz()
    return centre_hz**2 / (centre_hz**2 - f**2 + 1j * f * bandwidth_hz)


def _bins_hz() -> np.ndarray:
    return np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)


def _shape(source: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filter a source [samples] with a response [frames, bins] for each control frame.

    Each block of two hops under a Hann window is filtered with the response of its frame. The
    windows sum to one, and the tail of each block is added to the blocks that follow.
    """
    frames = len(source) // _HOP
    padded = np.pad(source, _HOP)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HOP)[::_HOP][:frames]
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * _HOP) / _HOP)
    filtered = np.fft.irfft(np.fft.rfft(blocks * window, _FFT) * response, _FFT)
    hops = _FFT // _HOP
    total = np.zeros((frames + hops, _HOP))
    for hop in range(hops):
        total[hop : hop + frames] += filtered[:, hop * _HOP : (hop + 1) * _HOP]
    return total[1 : frames + 1].ravel()
