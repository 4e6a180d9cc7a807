"""Spectrogram: mathematical properties, and equality with librosa."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics.spectrogram import spectrogram

RATE = 16000
BOUND = {
    "sample_rate": RATE,
    "hop_length": 256,
    "n_fft": 512,
    "win_length": 512,
    "fmax": None,
    "bins": 128,
    "floor_db": -70,
}


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    """Louder and softer noise."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal(samples)
        * 10 ** rng.uniform(-4, 0, samples // 100 + 1).repeat(100)[:samples]
    )


@settings(max_examples=25)
@given(frequency=st.floats(50, 7900), lines=st.sampled_from([1, 2, 4]))
def test_a_pure_tone_lands_in_its_bin(frequency, lines):
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    tone = torch.sin(2 * np.pi * frequency * time)
    loudest = spectrogram(tone, **BOUND | {"bins": 256 // lines})[:, 3:-3].argmax(dim=0)
    nearest = frequency * 512 / RATE  # on the scale of lines, of which bin 0 begins with line 1
    # Between two lines, either may be the louder one by what leaks from the negative frequency.
    assert (loudest * lines + 1 - 0.6 <= nearest).all()
    assert (nearest <= (loudest + 1) * lines + 0.6).all()


def test_bins_share_out_the_power_of_the_lines():
    waveform = torch.from_numpy(noise(8000))
    power = {
        bins: 10 ** (spectrogram(waveform, **BOUND | {"bins": bins, "floor_db": -120}) / 10)
        for bins in (None, 256, 128, 1)
    }
    assert torch.equal(power[None], power[256])
    for bins in (128, 1):
        torch.testing.assert_close(power[bins].mean(dim=0), power[None].mean(dim=0))


def test_an_offset_reaches_no_further_than_the_window_smears_it():
    waveform = torch.from_numpy(noise(8000))
    bound = BOUND | {"bins": None}
    plain, offset = spectrogram(waveform, **bound), spectrogram(waveform + 3, **bound)
    inner = slice(1, -1)  # frames without zeros beyond the ends
    torch.testing.assert_close(plain[1:, inner], offset[1:, inner])
    assert (plain[0, inner] != offset[0, inner]).any()  # a Hann window smears by one line


def test_fmax_keeps_the_lines_below():
    waveform = torch.from_numpy(noise(8000))
    whole = spectrogram(waveform, **BOUND | {"bins": None})
    for fmax, lines in ((8000, 256), (4000, 128), (3999, 127), (31.25, 1)):
        cut = spectrogram(waveform, **BOUND | {"bins": None, "fmax": fmax})
        assert torch.equal(cut, whole[:lines])


def test_gain_shifts_decibels_and_silence_lies_on_the_floor():
    waveform = torch.from_numpy(noise(8000))
    quiet, loud = spectrogram(waveform, **BOUND), spectrogram(10 * waveform, **BOUND)
    clear = quiet > -69.9
    assert clear.double().mean() > 0.9
    torch.testing.assert_close(loud[clear], quiet[clear] + 20)
    assert (spectrogram(torch.zeros(RATE), **BOUND) == -70).all()


@pytest.mark.filterwarnings("error:Converting a tensor:torch.jit.TracerWarning")  # to a branch
@pytest.mark.filterwarnings("ignore:torch.from_numpy:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_traced_it_follows_other_lengths_and_batches():
    traced = torch.jit.trace(
        lambda x: spectrogram(x, **BOUND), torch.ones(2, 4000), check_trace=False
    )
    for shape in ((1, 1), (3, 300), (5, 9000)):
        waveform = torch.from_numpy(noise(shape[0] * shape[1])).float().reshape(shape)
        want = spectrogram(waveform, **BOUND)
        # Spectra by matrix products and by transforms, each in float32; in dB of weak lines.
        torch.testing.assert_close(traced(waveform), want, rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("samples", [300, 8000, 41600])
@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, 256),
        ({"bins": None, "win_length": 400, "hop_length": 160}, 256),
        ({"bins": 32, "fmax": 6000, "floor_db": -40}, 192),
        ({"bins": 61, "n_fft": 1001, "win_length": 777, "sample_rate": 8000, "fmax": 2930}, 366),
        ({"bins": 94, "sample_rate": 44100, "fmax": 8100, "n_fft": 1024}, 188),
    ],
)
def test_it_equals_librosa(samples, changes, lines):
    bound = BOUND | changes
    waveform = noise(samples)
    framing = {k: bound[k] for k in ("n_fft", "hop_length", "win_length")}
    spectrum = librosa.stft(waveform, pad_mode="constant", **framing)
    power = np.abs(spectrum[1 : lines + 1]) ** 2  # [lines, frames]
    groups = np.split(power, bound["bins"] or lines)
    means = np.stack([group.mean(axis=0) for group in groups])
    expected = 10 * np.log10(np.maximum(means, 10 ** (bound["floor_db"] / 10)))
    actual = spectrogram(torch.from_numpy(waveform), **bound).numpy()
    # librosa may lack the last frame of a transform of odd length.
    assert actual.shape[1] - expected.shape[1] in ((0, 1) if bound["n_fft"] % 2 else (0,))
    # float64 on both sides: sums in another order.
    np.testing.assert_allclose(actual[:, : expected.shape[1]], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bins": 100}, r"bins: got 100, want a divisor of 256, .*\(fmax None, n_fft 512\)"),
        ({"bins": 512}, "bins: got 512, want a divisor of 256"),
        ({"bins": 0}, "bins: got 0, want a divisor of 256"),
        ({"bins": -128}, "bins: got -128, want a divisor of 256"),
        ({"bins": 256, "fmax": 4000}, "bins: got 256, want a divisor of 128"),
        ({"fmax": 8001}, r"fmax: got 8001, want 31.25 .* to 8000.0 \(half sample_rate\)"),
        ({"fmax": 31}, "fmax: got 31, want 31.25"),
        ({"fmax": float("nan")}, "fmax: got nan, want 31.25"),
        ({"n_fft": 1}, "n_fft: got 1, want at least 2"),
        ({"n_fft": -512}, "n_fft: got -512, want at least 2"),
        ({"sample_rate": 0}, "sample_rate: got 0, want at least 1"),
        ({"win_length": 513}, "win_length: got 513, want 2 to 512"),
        ({"hop_length": 0}, "hop_length: got 0, want at least 1"),
        ({"floor_db": -121}, "floor_db: got -121, want -120 to 0"),
    ],
)
def test_bad_settings_are_named(change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=message):
            spectrogram(waveform, **BOUND | change)
