"""Cochleagram: the output of a gammatone filterbank, in decibels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from gammatone.fftweight import fft_weights
from gammatone.filters import centre_freqs, make_erb_filters
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals.kernels import compiled
from stages.signals.spectra import centre_pad, frame_mean, power_spectrum, weighted_sums

_SMALLEST = 1e-30  # power far below any floor, yet a normal number in float32


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

    The bandwidth of a channel is one ERB (Glasberg and Moore) at its centre frequency. The centre
    frequencies are equally spaced on the ERB scale. As in `stages.acoustics.logmel.logmel`, levels
    are not relative to the maximum of the clip.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    n_channels : int
        number of filters
    fmin, fmax : float
        in Hz: the lowest centre frequency is fmin, the highest lies one step of the scale below
        fmax; fmax None is half the sample rate
    floor_db : float
        smallest value, -120 to 0
    method : {"fft", "iir"}
        "fft" weights the magnitudes of a short-time Fourier transform by the gain of each filter
        and sums them (Hann window; the points are the power of 2 from twice win_length). It is
        fast, runs on any device, passes gradients and can be exported. "iir" runs the recursive
        filters over the samples and takes the root mean square of each window. It is the model
        itself, on a CPU and without gradients. At high frequencies, where a channel sums many
        lines, "fft" lies up to 10 dB above "iir".

    Returns
    -------
    Tensor [..., n_channels, frames]
        20 log10 of the amplitude, lowest frequency first; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; with "fft" also for more channels than the transform has
        lines from fmin to fmax, or a window so short that a channel's band holds no line; with
        "iir" also for a waveform on another device or with gradients, or while a graph is traced;
        if the waveform is empty or holds NaN or infinity

    References
    ----------
    gammatone.fftweight.fft_gtgram and gammatone.gtgram.gtgram, each with a floor, in decibels and
    on the common frame clock; equal to 1e-9 dB in float64
    """
    check("method", method, method in ("fft", "iir"), "fft or iir")
    check_range("sample_rate", sample_rate, low=1)
    check_range("hop_length", hop_length, low=1)
    check_range("win_length", win_length, low=2)
    check_range("n_channels", n_channels, low=1)
    check_range("floor_db", floor_db, low=-120, high=0)
    nyquist = sample_rate / 2
    fmax = nyquist if fmax is None else fmax
    check("fmax", fmax, 0 < fmax <= nyquist, f"over 0 and at most {nyquist} (half sample_rate)")
    check("fmin", fmin, 0 < fmin < fmax, f"over 0 and below {fmax} (fmax)")
    filtered = _from_spectrum if method == "fft" else _from_filters
    bank = (sample_rate, n_channels, fmin, fmax)
    amplitude = filtered(waveform, *bank, hop_length=hop_length, win_length=win_length)
    return 20 * amplitude.clamp_min(10 ** (floor_db / 20)).log10()


def describe(
    *, sample_rate: int, n_channels: int, fmin: float, fmax: float | None, **_: object
) -> Description:
    """Decibels by centre frequency of the filters, in Hz. Takes the settings of `cochleagram`."""
    fmax = sample_rate / 2 if fmax is None else fmax
    return Description(
        "amplitude (dB)", "frequency (Hz)", _centres(sample_rate, n_channels, fmin, fmax)
    )


def _centres(sample_rate: int, n_channels: int, fmin: float, fmax: float) -> np.ndarray:
    """Centre frequency of each filter in Hz, increasing."""
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
    weights = _spectrum_weights(
        sample_rate, n_channels, fmin, fmax, win_length, waveform.dtype, waveform.device
    )  # [n_channels, n_fft // 2 + 1]
    power = power_spectrum(
        waveform,
        n_fft=_n_fft(win_length),
        win_length=win_length // 2 * 2,  # gammatone's windows have equal halves
        hop_length=hop_length,
        # The square root has an infinite slope at 0: digital silence would turn gradients into NaN.
        floor=_SMALLEST,
    )
    return weighted_sums(weights, power.sqrt_())


def _n_fft(win_length: int) -> int:
    """Points of the transform: the power of 2 from twice the window's length."""
    return 1 << (2 * win_length - 1).bit_length()


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
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
    """Weights [n_channels, n_fft // 2 + 1] of the lines, settings checked; built once per process.

    A filter is 1 at its centre frequency. Each needs a line in its band, where its gain is above
    half the power.
    """
    n_fft = _n_fft(win_length)
    spacing_hz = sample_rate / n_fft
    n_lines = 1 + math.floor(fmax / spacing_hz) - math.ceil(fmin / spacing_hz)
    check(
        "n_channels",
        n_channels,
        n_channels <= n_lines,
        f"at most {n_lines}: the lines of the transform from fmin {fmin} to fmax {fmax} "
        f"(win_length {win_length})",
    )
    gains, _ = fft_weights(n_fft, sample_rate, n_channels, 1, fmin, fmax, n_fft // 2 + 1)
    check(
        "win_length",
        win_length,
        bool((gains.max(axis=1) > math.sqrt(0.5)).all()),
        f"a longer window or a higher fmin (fmin {fmin}, sample_rate {sample_rate}): a channel's "
        "band would hold no line of the transform",
    )
    return torch.from_numpy(gains / n_fft).to(device, dtype)


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
    # Hop and window are multiples of a step: energy is kept for each step, not for each sample.
    step = math.gcd(hop_length, win_length)
    coefficients, gains = _sections(sample_rate, n_channels, fmin, fmax)
    padded = centre_pad(waveform, frame_length=win_length, pad_mode="constant").double()
    # Reordered sums would change a filter whose poles lie close to 1.
    kernel = compiled(_step_energy, reorder=False)
    energy = kernel(padded.reshape(-1, padded.shape[-1]).numpy(), coefficients, step)
    power = torch.from_numpy(energy * gains).transpose(-1, -2)  # [waveforms, n_channels, steps]
    means = frame_mean(power, frame_length=win_length // step, hop_length=hop_length // step)
    means = means.squeeze(-2).to(waveform.dtype)
    return means.reshape(*waveform.shape[:-1], *means.shape[-2:]).sqrt()


@lru_cache
def _sections(
    sample_rate: int, n_channels: int, fmin: float, fmax: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of four recursive sections in cascade; built once per process.

    Returns
    -------
    coefficients : float64 [6, n_channels]
        section k computes y[t] = x[t] + row k * x[t-1] - row 4 * y[t-1] - row 5 * y[t-2]
    gains : float64 [n_channels]
        factors for the energy of the last section's output
    """
    bank = make_erb_filters(sample_rate, _centres(sample_rate, n_channels, fmin, fmax)).T
    a0, a11, a12, a13, a14, _, _, b1, b2, gain = bank
    rows = np.stack([a11 / a0, a12 / a0, a13 / a0, a14 / a0, b1, b2])
    return rows, (a0**4 / gain) ** 2


def _step_energy(waveforms: np.ndarray, coefficients: np.ndarray, step: int) -> np.ndarray:
    """Mean square of each channel's output over each `step` samples.

    The loop over channels is the inner one, so that one instruction computes several channels: a
    sample has to wait for the one before it, a channel waits for no other. Both states of all
    sections share one array, because the compiler vectorises the loop only if it knows that the
    states do not overlap.

    Parameters
    ----------
    waveforms : float64 [waveforms, samples]
    coefficients : float64 [6, n_channels]
        see `_sections`
    step : int
        in samples

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
                # An offset of -600 dB. Without it, the states would decay in silence to subnormal
                # numbers, on which a processor takes many times longer.
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
