"""Pink noise: equal power in every octave, so that low frequencies dominate, as in most rooms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stages.degradations import Scene, add_noise
from stages.settings.checks import check_range

UNITS = {"snr_db": "dB SNR"}


def pink(
    waveform: NDArray, scene: Scene, *, snr_db: float, lowest_hz: float
) -> NDArray[np.float64]:
    """Add Gaussian noise with a power density of 1 / frequency; it is the same at every ratio.

    Parameters
    ----------
    waveform : float [samples]
    scene : Scene
    snr_db : float
        see `add_noise`
    lowest_hz : float
        lowest frequency of the noise, 1 to a quarter of the rate. Without it, inaudible frequencies
        would hold most of the power, and more of it the longer the clip.

    Returns
    -------
    float64 [samples]

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    check_range("lowest_hz", lowest_hz, low=1, high=scene.sample_rate / 4)
    # At least a second of noise: the spectrum of a short clip alone has no low frequencies.
    samples = fft.next_fast_len(max(len(waveform), scene.sample_rate), real=True)
    spectrum = fft.rfft(scene.random.standard_normal(samples))
    frequencies = fft.rfftfreq(samples, 1 / scene.sample_rate)
    spectrum[frequencies < lowest_hz] = 0
    spectrum /= np.sqrt(np.maximum(frequencies, lowest_hz))
    return add_noise(waveform, fft.irfft(spectrum, samples)[: len(waveform)], snr_db=snr_db)
