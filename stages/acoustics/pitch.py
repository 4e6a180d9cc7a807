"""Pitch and voicing strength, by normalised autocorrelation and dynamic programming."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.settings.checks import check, check_range
from stages.signals.kernels import check_plain, compiled
from stages.signals.spectra import centre_pad, check_waveform

_REFERENCE_HZ = 100.0
_FINE = 8  # interpolated correlations per lag
_SIDE = 6  # lags on either side that the interpolation uses
_CANDIDATES = 8  # candidate periods per frame
# Boersma's costs, which he gives for a hop of 10 ms.
_PER_OCTAVE = 0.01  # cost of an octave below fmax: of all multiples, the shortest period wins
_JUMP = 0.35  # cost of an octave between two frames
_SWITCH = 0.14  # cost of a change between voiced and unvoiced
_COSTS_HOP_S = 0.01


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
    """Pitch in semitones and voicing strength.

    A low-pass filter first removes everything above 6 times fmax, which is mostly breath. Each
    frame is then correlated with itself at the lags of all periods from fmax to fmin. The maxima of
    the correlation, interpolated between lags, are the frame's candidates. Dynamic programming
    finds the best path through the candidates of all frames: it rewards strength and penalises
    octave jumps and changes between voiced and unvoiced.

    Unvoiced frames have a strength of 0. Their pitch is interpolated linearly between the voiced
    frames on either side; before the first and after the last voiced frame it stays constant, and a
    clip without a voiced frame has a pitch of 0. Statistics of the pitch therefore describe the
    voice, and the pitch does not jump at each consonant; the strength tells voiced from
    interpolated frames. Semitones measure intonation alike in low and high voices. Above 100 Hz,
    float16 rounds them by less than a hundredth.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; computed in float32 on the CPU, whatever its dtype and device
    sample_rate : int
        in Hz
    hop_length, frame_length : int
        in samples; frames are centred, the signal is padded with zeros; frame_length is at least
        two periods of fmin. Short frames follow fast changes, long ones are robust to roughness.
    fmin, fmax : float
        lowest and highest pitch, in Hz; a voice above fmax appears an octave or more too low
    threshold : float
        smallest strength of a voiced frame, 0 to 1; neighbouring frames influence the decision
    floor_db : float
        level of a frame, relative to full scale, that halves its strength, -120 to 0: hum and
        echoes in pauses are periodic as well

    Returns
    -------
    Tensor [..., 2, frames]
        semitones above 100 Hz, and strength: 0 in unvoiced frames, else the correlation coefficient
        of the frame with itself one period later, 1 for an exactly periodic signal;
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
    check_waveform(waveform)
    frames = frame_count(waveform.shape[-1], hop_length=hop_length)
    step = max(1, int(sample_rate / (16 * fmax)))  # a period keeps at least 16 samples, or all
    rate = sample_rate / step
    lags = math.ceil(rate / fmin) + 1 + _SIDE
    signals = _low_passed(waveform, sample_rate, frame_length, fmax, step)
    starts = np.arange(frames) * hop_length // step
    floor = 10 ** (floor_db / 10)
    correlations = compiled(_correlations)(signals, starts, frame_length // step, lags, floor)
    candidates = compiled(_candidates)(
        correlations, _interpolation(), rate, fmin, fmax, _REFERENCE_HZ, _PER_OCTAVE, _CANDIDATES
    )
    scale = _COSTS_HOP_S * sample_rate / hop_length
    path = compiled(_best_path)(*candidates, threshold, _JUMP * scale, _SWITCH * scale)
    values = torch.from_numpy(_interpolated(*path))
    return values.reshape(*waveform.shape[:-1], 2, frames).to(waveform)


def describe(**_: object) -> Description:
    """Pitch and strength, by number. Takes the settings of `pitch`."""
    values = f"pitch (semitones above {_REFERENCE_HZ:.0f} Hz), strength of the voice (0 to 1)"
    return Description(values, "pitch, strength", np.arange(2))


def _check_settings(sample_rate: int, frame_length: int, fmin: float, fmax: float) -> None:
    check_range("sample_rate", sample_rate, low=1)
    nyquist = sample_rate / 2
    check("fmax", fmax, 0 < fmax <= nyquist, f"over 0 and at most {nyquist} (half sample_rate)")
    check("fmin", fmin, 0 < fmin < fmax, f"over 0 and below {fmax} (fmax)")
    shortest = math.ceil(2 * sample_rate / fmin)
    check(
        "frame_length",
        frame_length,
        frame_length >= shortest,
        f"at least {shortest} (two periods of fmin {fmin} at sample_rate {sample_rate})",
    )


def _low_passed(
    waveform: Tensor, sample_rate: int, frame_length: int, fmax: float, step: int
) -> np.ndarray:
    """Padded, filtered and decimated waveforms: float32 [waveforms, samples / step]."""
    flat = waveform.reshape(-1, waveform.shape[-1]).cpu().float()
    padded = centre_pad(flat, frame_length=frame_length, pad_mode="constant").numpy()
    taps = _taps(sample_rate, fmax, step)
    delay = len(taps) // 2 // step
    return np.ascontiguousarray(scipy.signal.upfirdn(taps, padded, down=step)[:, delay:])


@lru_cache
def _taps(sample_rate: int, fmax: float, step: int) -> np.ndarray:
    """Low-pass filter of about one period of fmax, with a delay of a multiple of `step`."""
    half = math.ceil(sample_rate / fmax / step / 2) * step
    cutoff = 6 * fmax
    if cutoff >= sample_rate / 2:
        return np.ones(1, np.float32)
    return scipy.signal.firwin(2 * half + 1, cutoff, fs=sample_rate).astype(np.float32)


@lru_cache
def _interpolation() -> np.ndarray:
    """Weights that interpolate a correlation between lags: a sinc under a Hann window.

    Returns
    -------
    float64 [_FINE + 3, 2 * _SIDE + 1]
        row r is for a fraction of (r - _FINE / 2 - 1) / _FINE of a lag after the one in the middle
    """
    fractions = np.arange(-_FINE // 2 - 1, _FINE // 2 + 2)[:, None] / _FINE
    distances = fractions - np.arange(-_SIDE, _SIDE + 1)
    return np.sinc(distances) * np.cos(np.pi / 2 * (distances / (_SIDE + 1))) ** 2


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
        number of lags, from 0
    floor : float
        power added to that of each frame

    Returns
    -------
    float32 [waveforms, frames, lags]
    """
    correlations = np.empty((len(signals), len(starts), lags), np.float32)
    energy = np.zeros(length + 1)  # cumulative, over the samples of a frame
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
                correlations[w, t, lag] = product / (math.sqrt(power) + pairs * floor)
    return correlations


def _candidates(
    correlations: np.ndarray,
    interpolation: np.ndarray,
    rate: float,
    fmin: float,
    fmax: float,
    reference: float,
    per_octave: float,
    n_candidates: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Highest maxima of each frame's correlations, interpolated between lags.

    Parabolas through the correlations at whole lags would underestimate the sharp maxima of a
    bright voice by varying amounts, and a multiple of the period could then look stronger than the
    period itself.

    Parameters
    ----------
    correlations : float32 [waveforms, frames, lags]
        from lag 0 to a few lags past the period of fmin
    interpolation : float64 [fractions of a lag, neighbouring lags]
        see `_interpolation`
    rate, fmin, fmax, reference : float
        lags per second; lowest, highest and reference pitch, in Hz
    per_octave : float
        cost of each octave below fmax
    n_candidates : int
        per frame

    Returns
    -------
    pitches, strengths, scores : float64 [waveforms, frames, n_candidates]
        octaves above the reference; correlation; strength minus the cost of the octaves below fmax.
        A frame with fewer maxima is filled up with scores that no path takes.
    """
    shape = correlations.shape[0], correlations.shape[1], n_candidates
    pitches, strengths, scores = np.zeros(shape), np.zeros(shape), np.full(shape, -1e9)
    centre, side = interpolation.shape[0] // 2, interpolation.shape[1] // 2
    fine = 2 * (centre - 1)  # fractions of a lag
    values = np.empty(3)
    for w in range(shape[0]):
        for t in range(shape[1]):
            row = correlations[w, t]
            for lag in range(max(1, int(rate / fmax)), len(row) - side):
                fall, rise = row[lag] - row[lag - 1], row[lag + 1] - row[lag]
                if row[lag] <= 0 or fall <= 0 or rise > 0:
                    continue
                fraction = round(fine * (fall + rise) / (fall - rise) / 2)
                for i in range(3):
                    weights = interpolation[centre + fraction + i - 1]
                    values[i] = 0
                    for k in range(-side, side + 1):
                        values[i] += weights[side + k] * row[abs(lag + k)]
                fall, rise = values[1] - values[0], values[2] - values[1]
                shift = (fall + rise) / (fall - rise) / 2 if fall > rise else 0.0
                shift = min(max(shift, -1.0), 1.0)
                strength = min(values[1] + (fall + rise) * shift / 4, 1.0)
                hz = min(max(rate / (lag + (fraction + shift) / fine), fmin), fmax)
                score = strength - per_octave * math.log2(fmax / hz)
                worst = scores[w, t].argmin()
                if strength > 0 and score > scores[w, t, worst]:
                    pitches[w, t, worst] = math.log2(hz / reference)
                    strengths[w, t, worst] = strength
                    scores[w, t, worst] = score
    return pitches, strengths, scores


def _best_path(
    pitches: np.ndarray,
    strengths: np.ndarray,
    scores: np.ndarray,
    silence: float,
    jump: float,
    switch: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One candidate per frame, or none, with the highest sum of scores minus costs.

    Parameters
    ----------
    pitches, strengths, scores : float64 [waveforms, frames, candidates]
        see `_candidates`
    silence : float
        score of an unvoiced frame
    jump, switch : float
        costs of an octave from one frame to the next, and of a change between voiced and unvoiced

    Returns
    -------
    pitches, strengths : float64 [waveforms, frames]
        0 in unvoiced frames
    """
    n_waveforms, frames, unvoiced = pitches.shape  # the state after the last candidate
    best_pitches, best_strengths = np.zeros((2, n_waveforms, frames))
    previous = np.zeros((frames, unvoiced + 1), np.int64)
    for w in range(n_waveforms):
        totals = np.zeros(unvoiced + 1)
        totals[:unvoiced], totals[unvoiced] = scores[w, 0], silence
        for t in range(1, frames):
            last = totals.copy()
            for k in range(unvoiced + 1):
                best = -np.inf
                for i in range(unvoiced + 1):
                    total = last[i]
                    if (i == unvoiced) != (k == unvoiced):
                        total -= switch
                    elif k < unvoiced:
                        total -= jump * abs(pitches[w, t, k] - pitches[w, t - 1, i])
                    if total > best:
                        best, previous[t, k] = total, i
                totals[k] = best + (scores[w, t, k] if k < unvoiced else silence)
        state = totals.argmax()
        for t in range(frames - 1, -1, -1):
            if state < unvoiced:
                best_pitches[w, t] = pitches[w, t, state]
                best_strengths[w, t] = strengths[w, t, state]
            state = previous[t, state]
    return best_pitches, best_strengths


def _interpolated(pitches: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Semitones, interpolated in unvoiced frames, and strengths: float64 [waveforms, 2, frames]."""
    values = np.stack([12 * pitches, strengths], axis=1)
    clock = np.arange(pitches.shape[1])
    for semitones, strength in values:
        if (voiced := strength > 0).any():
            semitones[:] = np.interp(clock, clock[voiced], semitones[voiced])
    return values
