"""Pitch: how often a second the voice repeats itself, and how well it does."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.signal
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.running.checks import check_range
from stages.signals.kernels import check_plain, compiled
from stages.signals.spectra import centre_pad, check_room, check_waveform

_REFERENCE_HZ = 100.0
_FINE = 8  # places between two lags where correlations are looked at
_SIDE = 6  # lags on either side that such a one is made from
_CANDIDATES = 8  # periods per frame that the path through all frames can choose from
# The weights of that path are Boersma's, who gives them for frames of 10 ms.
_PER_OCTAVE = 0.01  # worth of a pitch higher by that much: of multiples of a period, the shortest
_JUMP = 0.35  # cost of an octave between two frames
_SWITCH = 0.14  # cost of a voice that begins or ends
_WEIGHTS_S = 0.01


def pitch(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    frame_length: int,
    fmin: float,
    fmax: float,
    threshold: float,
    floor_db: float,
) -> Tensor:
    """Pitch in semitones, and the strength of the voice that has it.

    A frame is correlated with itself, shifted by each period from fmin to fmax; maxima of the
    correlation are candidates, whose place lies between samples. Of all paths through the frames'
    candidates that are strong, hold no leaps and seldom begin or end, the best is taken. What
    lies above the first harmonics, from 6 times fmax on, is mostly breath and filtered out.

    Frames without a voice have a strength of 0, and a pitch on the straight line from the last
    voice to the next; before the first and after the last it stays, and it is 0 where there is no
    voice at all. So statistics of it are those of voices, and no network meets a leap at each
    consonant; the strength tells what was heard and what is a line. Semitones, because a voice
    moves by them whatever its height; above 100 Hz, because float16 then rounds by less than a
    hundredth.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; computed in float32 on the CPU, whatever its type and device
    sample_rate : int
        in Hz
    hop_length, frame_length : int
        in samples; frames are centred, zeros are taken beyond the ends; frame_length at least two
        periods of fmin. Short frames follow a fast voice, long ones are surer of a rough one.
    fmin, fmax : float
        lowest and highest pitch, in Hz; a voice above fmax is heard an octave or more too low
    threshold : float
        strength from which on a frame has a voice, 0 to 1; its neighbours are heard as well
    floor_db : float
        level of a frame, relative to full scale, that halves its strength, -120 to 0: hum and
        echoes in pauses repeat themselves too

    Returns
    -------
    Tensor [..., 2, frames]
        semitones above 100 Hz, and strength: 0 without a voice, else the correlation coefficient of
        the frame with itself one period later, 1 for what repeats itself exactly;
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; for a waveform with gradients, or while a graph is traced;
        if the waveform is empty or holds NaN or infinity

    References
    ----------
    Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
    ratio of a sampled sound, IFA Proceedings 17 (1993): candidates, costs and path
    Talkin, A robust algorithm for pitch tracking, in Speech coding and synthesis (1995): the
    normalised correlation and its floor
    """
    _check_settings(sample_rate, frame_length, fmin, fmax)
    check_range("hop_length", hop_length, low=1)
    check_range("threshold", threshold, low=0, high=1)
    check_range("floor_db", floor_db, low=-120, high=0)
    check_plain(waveform, name="pitch")
    frames = frame_count(waveform.shape[-1], hop_length=hop_length)
    step = max(1, int(sample_rate / (16 * fmax)))  # a period keeps 16 samples or what it has
    rate = sample_rate / step
    lags = math.ceil(rate / fmin) + 1 + _SIDE
    numbers = frames * (lags + 100) + 6 * (waveform.shape[-1] + frame_length)
    check_room("frame_length", frame_length, waveform=waveform, numbers=numbers)
    check_waveform(waveform)
    signals = _low_passed(waveform, sample_rate, frame_length, fmax, step)
    starts = np.arange(frames) * hop_length // step
    floor = 10 ** (floor_db / 10)
    correlations = compiled(_correlations)(signals, starts, frame_length // step, lags, floor)
    found = compiled(_candidates)(
        correlations, _between_lags(), rate, fmin, fmax, _REFERENCE_HZ, _PER_OCTAVE, _CANDIDATES
    )
    per_frame = _WEIGHTS_S * sample_rate / hop_length
    path = compiled(_best_path)(*found, threshold, _JUMP * per_frame, _SWITCH * per_frame)
    return torch.from_numpy(_joined(*path)).reshape(*waveform.shape[:-1], 2, frames).to(waveform)


def describe(**_: object) -> Description:
    """Pitch and strength, by number. Settings as of `pitch`."""
    values = f"pitch (semitones above {_REFERENCE_HZ:.0f} Hz), strength of the voice (0 to 1)"
    return Description(values, "pitch, strength", np.arange(2))


def _check_settings(sample_rate: int, frame_length: int, fmin: float, fmax: float) -> None:
    check_range("sample_rate", sample_rate, low=1)
    nyquist = sample_rate / 2
    if not 0 < fmax <= nyquist:
        raise ValueError(f"fmax: got {fmax}, want over 0 and at most {nyquist} (half sample_rate)")
    if not 0 < fmin < fmax:
        raise ValueError(f"fmin: got {fmin}, want over 0 and below {fmax} (fmax)")
    shortest = math.ceil(2 * sample_rate / fmin)
    if not frame_length >= shortest:
        raise ValueError(
            f"frame_length: got {frame_length}, want at least {shortest} (two periods of fmin "
            f"{fmin} at sample_rate {sample_rate})"
        )


def _low_passed(
    waveform: Tensor, sample_rate: int, frame_length: int, fmax: float, step: int
) -> np.ndarray:
    """The padded waveforms as float32 [waveforms, samples], every step-th sample of them."""
    flat = waveform.reshape(-1, waveform.shape[-1]).cpu().float()
    padded = centre_pad(flat, frame_length=frame_length, pad_mode="constant").numpy()
    taps = _taps(sample_rate, fmax, step)
    delay = len(taps) // 2 // step
    return np.ascontiguousarray(scipy.signal.upfirdn(taps, padded, down=step)[:, delay:])


@lru_cache
def _taps(sample_rate: int, fmax: float, step: int) -> np.ndarray:
    """The low-pass filter, as long as a period of fmax, its delay a multiple of step."""
    half = math.ceil(sample_rate / fmax / step / 2) * step
    cutoff = 6 * fmax
    if cutoff >= sample_rate / 2:
        return np.ones(1, np.float32)
    return scipy.signal.firwin(2 * half + 1, cutoff, fs=sample_rate).astype(np.float32)


@lru_cache
def _between_lags() -> np.ndarray:
    """What to weight the lags around one with, to get a correlation close to it.

    Returns
    -------
    float64 [_FINE + 3, 2 * _SIDE + 1]
        row r for the place (r - _FINE / 2 - 1) / _FINE after the lag in the middle
    """
    places = np.arange(-_FINE // 2 - 1, _FINE // 2 + 2)[:, None] / _FINE
    apart = places - np.arange(-_SIDE, _SIDE + 1)
    return np.sinc(apart) * np.cos(np.pi / 2 * (apart / (_SIDE + 1))) ** 2


def _correlations(
    signals: np.ndarray, starts: np.ndarray, length: int, lags: int, floor: float
) -> np.ndarray:
    """Correlation coefficients of each frame with itself at each lag.

    Parameters
    ----------
    signals : float32 [waveforms, samples]
    starts : int64 [frames]
        first sample of each frame
    length : int
        samples of a frame
    lags : int
        how many, from 0 on
    floor : float
        power that is added to a frame's

    Returns
    -------
    float32 [waveforms, frames, lags]
    """
    found = np.empty((len(signals), len(starts), lags), np.float32)
    energy = np.zeros(length + 1)  # of a frame's first samples
    for w in range(len(signals)):
        for t in range(len(starts)):
            frame = signals[w, starts[t] : starts[t] + length]
            frame = frame - frame.mean()
            for i in range(length):
                energy[i + 1] = energy[i] + frame[i] * frame[i]
            for lag in range(lags):
                pairs = length - lag
                early, late = frame[:pairs], frame[lag:]
                product = np.float32(0)
                for i in range(pairs):
                    product += early[i] * late[i]
                power = energy[pairs] * (energy[length] - energy[lag])
                found[w, t, lag] = product / (math.sqrt(power) + pairs * floor)
    return found


def _candidates(
    correlations: np.ndarray,
    between: np.ndarray,
    rate: float,
    fmin: float,
    fmax: float,
    reference: float,
    per_octave: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best maxima of each frame's correlations, between lags.

    Parabolas through the lags themselves would cut the sharp maxima of a bright voice off, each by
    another amount, so that a multiple of the period could look the stronger one.

    Parameters
    ----------
    correlations : float32 [waveforms, frames, lags]
        from lag 0 on, some further than the period of fmin
    between : float64 [places, lags around one]
        see `_between_lags`
    rate, fmin, fmax, reference : float
        lags per second, lowest and highest pitch, and what it is measured from, in Hz
    per_octave : float
        worth of a pitch higher by an octave
    most : int
        candidates per frame

    Returns
    -------
    pitches, strengths, worths : float64 [waveforms, frames, most]
        octaves above the reference; correlation; strength less what the pitch costs. Where there
        are fewer maxima, the worth is that of no path.
    """
    shape = correlations.shape[0], correlations.shape[1], most
    pitches, strengths, worths = np.zeros(shape), np.zeros(shape), np.full(shape, -1e9)
    centre, side = between.shape[0] // 2, between.shape[1] // 2
    fine = 2 * (centre - 1)  # places from one lag to the next
    values = np.empty(3)
    for w in range(shape[0]):
        for t in range(shape[1]):
            row = correlations[w, t]
            for lag in range(max(1, int(rate / fmax)), len(row) - side):
                fall, rise = row[lag] - row[lag - 1], row[lag + 1] - row[lag]
                if row[lag] <= 0 or fall <= 0 or rise > 0:
                    continue
                place = round(fine * (fall + rise) / (fall - rise) / 2)
                for i in range(3):
                    weights = between[centre + place + i - 1]
                    values[i] = 0
                    for k in range(-side, side + 1):
                        values[i] += weights[side + k] * row[abs(lag + k)]
                fall, rise = values[1] - values[0], values[2] - values[1]
                shift = (fall + rise) / (fall - rise) / 2 if fall > rise else 0.0
                shift = min(max(shift, -1.0), 1.0)
                strength = min(values[1] + (fall + rise) * shift / 4, 1.0)
                hz = min(max(rate / (lag + (place + shift) / fine), fmin), fmax)
                worth = strength - per_octave * math.log2(fmax / hz)
                worst = worths[w, t].argmin()
                if strength > 0 and worth > worths[w, t, worst]:
                    pitches[w, t, worst] = math.log2(hz / reference)
                    strengths[w, t, worst] = strength
                    worths[w, t, worst] = worth
    return pitches, strengths, worths


def _best_path(
    pitches: np.ndarray,
    strengths: np.ndarray,
    worths: np.ndarray,
    silent: float,
    jump: float,
    switch: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One candidate per frame, or none, so that worths less costs between frames are highest.

    Parameters
    ----------
    pitches, strengths, worths : float64 [waveforms, frames, candidates]
        see `_candidates`
    silent : float
        worth of a frame without a voice
    jump, switch : float
        costs of an octave from one frame to the next, and of a voice that begins or ends

    Returns
    -------
    pitches, strengths : float64 [waveforms, frames]
        0 in frames without a voice
    """
    n_waveforms, frames, none = pitches.shape  # that many candidates, and none after them
    best_pitches, best_strengths = np.zeros((2, n_waveforms, frames))
    before = np.zeros((frames, none + 1), np.int64)
    for w in range(n_waveforms):
        totals = np.zeros(none + 1)
        totals[:none], totals[none] = worths[w, 0], silent
        for t in range(1, frames):
            last = totals.copy()
            for k in range(none + 1):
                best = -np.inf
                for i in range(none + 1):
                    total = last[i]
                    if (i == none) != (k == none):
                        total -= switch
                    elif k < none:
                        total -= jump * abs(pitches[w, t, k] - pitches[w, t - 1, i])
                    if total > best:
                        best, before[t, k] = total, i
                totals[k] = best + (worths[w, t, k] if k < none else silent)
        k = totals.argmax()
        for t in range(frames - 1, -1, -1):
            if k < none:
                best_pitches[w, t], best_strengths[w, t] = pitches[w, t, k], strengths[w, t, k]
            k = before[t, k]
    return best_pitches, best_strengths


def _joined(pitches: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Semitones with lines between voices, and strengths: float64 [waveforms, 2, frames]."""
    values = np.stack([12 * pitches, strengths], axis=1)
    clock = np.arange(pitches.shape[1])
    for semitones, heard in values:
        if (voiced := heard > 0).any():
            semitones[:] = np.interp(clock, clock[voiced], semitones[voiced])
    return values
