"""Cochleagram: the output of a gammatone filterbank, in decibels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from gammatone.fftweight import fft_weights
from gammatone.filters import centre_freqs, make_erb_filters
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
from stages.running.resources import check_memory
from stages.signals.spectra import (
    centre_pad,
    check_room,
    check_transforms,
    frame_mean,
    power_spectrum,
    weighted_sums,
)

_NOTHING = 1e-30  # power far under any floor, yet a normal number in float32


def cochleagram(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    win_length: int,
    n_channels: int,
    fmin: float,
    fmax: float | None,
    floor_db: float,
    method: Literal["fft", "iir"],
) -> Tensor:
    """Amplitude in the channels of a gammatone filterbank, a model of the inner ear, in decibels.

    A channel is as wide as the ear's at its frequency (one ERB after Glasberg and Moore), and the
    channels' centres lie evenly on the scale of these widths. As in
    `stages.acoustics.logmel.logmel`, nothing is measured against the clip's own maximum.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    n_channels : int
        filters
    fmin, fmax : float
        in Hz: the lowest centre is fmin, the highest one step of the scale below fmax; fmax None is
        half the sample rate
    floor_db : float
        smallest value, -120 to 0
    method : {"fft", "iir"}
        "fft" weights the magnitudes of a short-time Fourier transform (Hann window, points: the
        power of 2 from twice win_length) by each filter's gain and adds them up: fast, on any
        device, with gradients, can be exported. "iir" runs the recursive filters over the samples
        and takes each window's root mean square: the model itself; on a CPU, without gradients. At
        high frequencies, where a channel adds up many lines, "fft" lies up to 10 dB above "iir".

    Returns
    -------
    Tensor [..., n_channels, frames]
        20 log10 of the amplitude, lowest frequency first; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; with "fft" also for more channels than there are lines of
        the transform from fmin to fmax, or a window so short that a channel's band holds none; with
        "iir" also for a waveform on another device or with gradients, or while a graph is traced;
        if the waveform is empty or holds NaN or infinity

    References
    ----------
    gammatone.fftweight.fft_gtgram and gammatone.gtgram.gtgram, each floored, in decibels and with
    the frames of this clock; equal to 1e-9 dB in float64
    """
    if method not in ("fft", "iir"):
        raise ValueError(f"method: got {method}, want fft or iir")
    check_range("sample_rate", sample_rate, low=1)
    check_range("hop_length", hop_length, low=1)
    check_range("win_length", win_length, low=2)
    check_range("n_channels", n_channels, low=1)
    check_range("floor_db", floor_db, low=-120, high=0)
    nyquist = sample_rate / 2
    fmax = nyquist if fmax is None else fmax
    if not 0 < fmax <= nyquist:
        raise ValueError(f"fmax: got {fmax}, want over 0 and at most {nyquist} (half sample_rate)")
    if not 0 < fmin < fmax:
        raise ValueError(f"fmin: got {fmin}, want over 0 and below {fmax} (fmax)")
    amplitude = _from_spectrum if method == "fft" else _from_filters
    bank = (sample_rate, n_channels, fmin, fmax)
    values = amplitude(waveform, *bank, hop_length=hop_length, win_length=win_length)
    return 20 * values.clamp_min(10 ** (floor_db / 20)).log10()


def describe(
    *, sample_rate: int, n_channels: int, fmin: float, fmax: float | None, **_: object
) -> Description:
    """Decibels by channel: the centre of its filter, in Hz. Settings as of `cochleagram`."""
    fmax = sample_rate / 2 if fmax is None else fmax
    return Description(
        "amplitude (dB)", "frequency (Hz)", _centres(sample_rate, n_channels, fmin, fmax)
    )


def _centres(sample_rate: int, n_channels: int, fmin: float, fmax: float) -> np.ndarray:
    """The centre of each filter in Hz, the lowest first."""
    return centre_freqs(sample_rate, n_channels, fmin, fmax)[::-1]


def _from_spectrum(
    waveform: Tensor,
    sample_rate: int,
    n_channels: int,
    fmin: float,
    fmax: float,
    *,
    hop_length: int,
    win_length: int,
) -> Tensor:
    """Amplitude [..., n_channels, frames] as weighted sums of a spectrum's magnitudes."""
    n_fft = _n_fft(win_length)
    check_transforms(
        "win_length", win_length, waveform=waveform, n_fft=n_fft, hop_length=hop_length
    )
    weights = _spectrum_weights(
        sample_rate, n_channels, fmin, fmax, win_length, waveform.dtype, waveform.device
    )  # [n_channels, n_fft // 2 + 1]
    power = power_spectrum(
        waveform,
        n_fft=n_fft,
        win_length=win_length // 2 * 2,  # the package's window is as long on both sides
        hop_length=hop_length,
    )
    # The root's slope at 0 is infinite: digital silence would turn gradients into NaN.
    return weighted_sums(weights, power.clamp_min_(_NOTHING).sqrt_())


def _n_fft(win_length: int) -> int:
    """Points of the transform: the power of 2 from twice the window's length."""
    return 1 << (2 * win_length - 1).bit_length()


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _spectrum_weights(
    sample_rate: int,
    n_channels: int,
    fmin: float,
    fmax: float,
    win_length: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The weight [n_channels, n_fft // 2 + 1] of each line, once per process, settings checked."""
    n_fft = _n_fft(win_length)
    # The filters and what they are made from. More of them than points are refused hereafter.
    check_memory(
        f"win_length: got {win_length}, want less, or a smaller n_channels: the filterbank",
        need=20 * n_fft * min(n_channels, n_fft),
    )
    lines = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    most = int(((fmin <= lines) & (lines <= fmax)).sum())
    if n_channels > most:
        raise ValueError(
            f"n_channels: got {n_channels}, want at most {most}: the lines of the transform from "
            f"fmin {fmin} to fmax {fmax} (win_length {win_length})"
        )
    weights = _responses(sample_rate, n_channels, fmin, fmax, n_fft)
    if not _resolved(weights):
        while not _resolved(_responses(sample_rate, n_channels, fmin, fmax, n_fft)):
            n_fft *= 2
        raise ValueError(
            f"win_length: got {win_length}, want at least {n_fft // 4 + 1} (sample_rate "
            f"{sample_rate}, fmin {fmin}): a channel's band would hold no line of the transform"
        )
    return torch.from_numpy(weights / n_fft).to(device, dtype)


def _responses(
    sample_rate: int, n_channels: int, fmin: float, fmax: float, n_fft: int
) -> np.ndarray:
    """Each filter's gain [n_channels, n_fft // 2 + 1] at each line, 1 at its centre."""
    return fft_weights(n_fft, sample_rate, n_channels, 1, fmin, fmax, n_fft // 2 + 1)[0]


def _resolved(weights: np.ndarray) -> bool:
    """Whether each filter has a line inside its band, where its gain is over half the power."""
    return bool((weights.max(axis=1) > math.sqrt(0.5)).all())


def _from_filters(
    waveform: Tensor,
    sample_rate: int,
    n_channels: int,
    fmin: float,
    fmax: float,
    *,
    hop_length: int,
    win_length: int,
) -> Tensor:
    """Amplitude [..., n_channels, frames] as the root mean square of each filter's output."""
    if torch.jit.is_tracing() or waveform.requires_grad or waveform.device.type != "cpu":
        raise ValueError(
            "method: got iir, want fft on other devices than the CPU, for gradients and for export"
        )
    # What both hop and window are made of: energy is kept for each such step, not each sample.
    step = math.gcd(hop_length, win_length)
    samples = waveform.shape[-1] + win_length
    energies = (10 + samples // step) * n_channels
    copies = 24 / waveform.element_size()  # three in float64
    check_room("win_length", win_length, waveform=waveform, numbers=copies * samples)
    check_room("n_channels", n_channels, waveform=waveform, numbers=copies * energies)
    coefficients, gains = _sections(sample_rate, n_channels, fmin, fmax)
    padded = centre_pad(waveform, frame_length=win_length, pad_mode="constant").double()
    energy = _kernel()(padded.reshape(-1, padded.shape[-1]).numpy(), coefficients, step)
    power = torch.from_numpy(energy * gains).transpose(-1, -2)  # [waveforms, n_channels, steps]
    means = frame_mean(power, frame_length=win_length // step, hop_length=hop_length // step)
    means = means.squeeze(-2).to(waveform.dtype)
    return means.reshape(*waveform.shape[:-1], *means.shape[-2:]).sqrt()


@lru_cache
def _sections(
    sample_rate: int, n_channels: int, fmin: float, fmax: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of four recursive sections in cascade, once per process.

    Returns
    -------
    float64 [6, n_channels]
        of section k: y[t] = x[t] + row k * x[t-1] - row 4 * y[t-1] - row 5 * y[t-2]
    float64 [n_channels]
        what to multiply the energy of the last section's output with
    """
    bank = make_erb_filters(sample_rate, _centres(sample_rate, n_channels, fmin, fmax)).T
    a0, a11, a12, a13, a14, _, _, b1, b2, gain = bank
    rows = np.stack([a11 / a0, a12 / a0, a13 / a0, a14 / a0, b1, b2])
    return rows, (a0**4 / gain) ** 2


@lru_cache
def _kernel() -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """The compiled `_step_energy`; machine code is kept beside the bytecode for later processes."""
    import numba  # takes a third of a second, and only this method needs it

    return numba.njit(cache=True, nogil=True)(_step_energy)


def _step_energy(waveforms: np.ndarray, coefficients: np.ndarray, step: int) -> np.ndarray:
    """Mean square of each channel's output over each `step` samples.

    Written out by element because it is compiled: the loop over channels lies inside the one over
    samples, so that one instruction computes several channels, whereas samples have to wait for
    each other. For the same reason both states of all sections lie in one array: the compiler
    would not join channels if it could not see that the states are apart from each other.

    Parameters
    ----------
    waveforms : float64 [waveforms, samples]
    coefficients : float64 [6, n_channels]
        see `_sections`
    step : int

    Returns
    -------
    float64 [waveforms, samples // step, n_channels]
    """
    n_waveforms, n_samples = waveforms.shape
    n_steps, n_channels = n_samples // step, coefficients.shape[1]
    energy = np.zeros((n_waveforms, n_steps, n_channels))
    for w in range(n_waveforms):
        state = np.zeros((8, n_channels))  # two for each section: rows k and 4 + k
        for s in range(n_steps):
            for t in range(s * step, (s + 1) * step):
                # An offset of -600 dB: in silence the states would otherwise decay to subnormal
                # numbers, which take a processor many times longer.
                sample = waveforms[w, t] + 1e-30
                for c in range(n_channels):
                    b1, b2 = coefficients[4, c], coefficients[5, c]
                    x = sample
                    for k in range(4):
                        y = x + state[k, c]
                        state[k, c] = coefficients[k, c] * x - b1 * y + state[4 + k, c]
                        state[4 + k, c] = -b2 * y
                        x = y
                    energy[w, s, c] += x * x
    return energy / step
