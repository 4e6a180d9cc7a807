"""Levels of waveforms in decibels, and the gain between two."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

_SILENCE = 1e-20  # mean square; keeps the level of digital silence a number, -200 dB
_STEP = 1 / 32768  # from one value of 16 bits to the next
_BLOCK = 1 << 20  # samples that are squared at a time


def decibels(mean_square: float) -> float:
    """Convert a mean square to dB relative to 1; digital silence gives -200."""
    return 10.0 * math.log10(max(mean_square, _SILENCE))


def large_offset(total: float, energy: float, count: int) -> float:
    """Mean of samples if it holds more than 2 % of their power, which no sound does, or 0.

    Parameters
    ----------
    total, energy : float
        sums of the samples, and of their squares
    count : int
        number of samples, at least one
    """
    mean = total / count
    return mean if mean**2 > 0.02 * energy / count else 0.0


def constant_offset(totals: np.ndarray, energies: np.ndarray, counts: np.ndarray) -> float:
    """Mean of a recording if it is an offset, as some recorders add one, or 0.

    It is an offset if the quietest stretch loses a tenth of its power without it, and if it is
    larger than what rounding to 16 bits leaves. Speech has a small mean, too, but not in its
    pauses.

    Parameters
    ----------
    totals, energies, counts : float or int [stretches]
        sum of the samples of each stretch, of their squares, and their number
    """
    mean = totals.sum() / counts.sum()
    power = energies / counts
    without = power - 2 * mean * totals / counts + mean**2
    whole = counts == counts.max()  # few samples have a mean by chance
    quieter = without[whole].min() < 0.9 * power[whole].min()
    return float(mean) if quieter and abs(mean) > _STEP else 0.0


def rms_db(samples: np.ndarray, *, full_scale: float) -> float:
    """Root mean square in dB relative to full scale; digital silence gives -200.

    Parameters
    ----------
    samples : [samples] or [samples, channels]
        at least one, of any type; squared block by block
    full_scale : float
        the value that counts as 0 dB
    """
    flat = samples.reshape(-1)
    blocks = (flat[i : i + _BLOCK].astype(np.float64) for i in range(0, len(flat), _BLOCK))
    return decibels(sum(float(block @ block) for block in blocks) / len(flat) / full_scale**2)


def gain_to_match(
    waveform: np.ndarray, *, like: np.ndarray, level: Literal["rms", "peak", "none"]
) -> float:
    """Gain that makes a waveform as loud as another one.

    Parameters
    ----------
    waveform, like : float [samples]
        at least one each
    level : rms, peak or none
        the measure in which both become equal; none gives a gain of 1

    Returns
    -------
    float
        limited so that no sample exceeds 1; 1 for digital silence
    """
    peak = float(np.abs(waveform).max())
    if not peak:
        return 1.0
    gain = 1.0
    if level == "rms":
        wanted, got = (np.mean(np.square(x, dtype=np.float64)) for x in (like, waveform))
        gain = math.sqrt(wanted / got)
    elif level == "peak":
        gain = float(np.abs(like).max()) / peak
    return min(gain, 1.0 / peak)
