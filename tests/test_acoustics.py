"""Acoustic features: mathematical properties, and equality with the reference library."""

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics.logmel import logmel
from stages.acoustics.mfcc import mfcc
from stages.acoustics.rms import rms
from stages.acoustics.zcr import zcr
from stages.signals.spectra import mel_edges, mel_filters
from tests.support import speech_like

RATE = 16000
HOP = 256

MEL = {
    "sample_rate": RATE,
    "hop_length": HOP,
    "n_fft": 512,
    "win_length": 512,
    "n_mels": 64,
    "fmin": 50,
    "fmax": None,
    "floor_db": -80,
}
MFCC = MEL | {"n_mfcc": 40, "deltas": 0}
ZCR = {"sample_rate": RATE, "hop_length": HOP, "frame_length": 512}
RMS = ZCR | {"floor_db": -80}


def sine(frequency: float, *, samples: int = RATE, amplitude: float = 0.5) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / RATE
    return amplitude * torch.sin(2 * np.pi * frequency * time + 0.1)


# Properties


@settings(max_examples=25)
@given(frequency=st.floats(100, 7500))
def test_a_pure_tone_lands_in_its_mel_band(frequency):
    edges = librosa.mel_frequencies(64 + 2, fmin=50, fmax=RATE / 2)
    loudest = logmel(sine(frequency), **MEL)[:, 5:-5].argmax(dim=0)
    # Band k rises from edge k to edge k + 1 and falls to edge k + 2. Half the width of a line of
    # the transform (31 Hz) is what the window blurs.
    assert (edges[loudest] - 16 <= frequency).all()
    assert (frequency <= edges[loudest + 2] + 16).all()


@settings(max_examples=25)
@given(gain_db=st.floats(-30, 30))
def test_gain_shifts_decibels_and_nothing_else(gain_db):
    waveform = torch.from_numpy(speech_like(8000))
    gain = 10 ** (gain_db / 20)
    for feature, bound in ((logmel, MEL), (rms, RMS)):
        bound = bound | {"floor_db": -120}
        quiet, loud = feature(waveform, **bound), feature(gain * waveform, **bound)
        clear = (quiet > -115) & (loud > -115)
        assert clear.double().mean() > 0.9
        torch.testing.assert_close((loud - quiet)[clear], torch.full_like(quiet, gain_db)[clear])
    torch.testing.assert_close(zcr(gain * waveform, **ZCR), zcr(waveform, **ZCR))


def test_gain_moves_only_the_loudness_coefficient_of_mfcc():
    waveform = torch.from_numpy(speech_like(8000))
    bound = MFCC | {"floor_db": -120, "deltas": 2}
    shift = mfcc(10 * waveform, **bound) - mfcc(waveform, **bound)
    expected = torch.zeros_like(shift)
    expected[0] = 20 * 64**0.5  # the cosine transform of a constant 20 dB over 64 bands
    torch.testing.assert_close(shift, expected, atol=1e-6, rtol=0)


def test_silence_lies_on_the_floor():
    silence = torch.zeros(RATE)
    assert (logmel(silence, **MEL) == -80).all()
    assert (rms(silence, **RMS) == -80).all()
    assert (zcr(silence, **ZCR) == 0).all()


def test_a_frame_does_not_depend_on_the_rest_of_its_clip():
    waveform = torch.from_numpy(speech_like(16000))
    louder_later = torch.cat([waveform, 100 * waveform])
    for feature, bound in ((logmel, MEL), (mfcc, MFCC), (rms, RMS), (zcr, ZCR)):
        whole = 16000 // HOP - 1  # frames that end before the louder part begins
        torch.testing.assert_close(
            feature(louder_later, **bound)[:, :whole], feature(waveform, **bound)[:, :whole]
        )


@settings(max_examples=25)
@given(frequency=st.floats(200, 7900))
def test_zcr_of_a_sine_is_twice_its_frequency_over_the_rate(frequency):
    inner = zcr(sine(frequency), **ZCR)[:, 2:-2]
    # One crossing more or less fits into a frame of 512, and its first sample is never one.
    assert (inner - 2 * frequency / RATE).abs().max() <= 2 / 512


@settings(max_examples=25)
@given(amplitude=st.floats(0.001, 1), cycles=st.integers(3, 250))
def test_rms_of_a_sine_is_its_amplitude_over_root_two(amplitude, cycles):
    # Whole cycles in a frame of 512: the mean square is then exact.
    inner = rms(sine(cycles * RATE / 512, amplitude=amplitude), **RMS)[:, 2:-2]
    expected = torch.full_like(inner, 20 * np.log10(amplitude / np.sqrt(2)))
    torch.testing.assert_close(inner, expected, atol=1e-6, rtol=0)


def test_deltas_of_a_short_and_of_a_steady_clip():
    bound = MFCC | {"deltas": 2}
    assert mfcc(torch.ones(1), **bound).shape == (120, 1)
    assert mfcc(torch.ones(1), **bound)[40:].abs().max() < 1e-3  # one frame has no slope
    steady = mfcc(sine(RATE / 64), **bound)[40:, 10:-10]  # each hop holds whole cycles
    torch.testing.assert_close(steady, torch.zeros_like(steady), atol=1e-6, rtol=0)


def test_constants_first_built_without_gradients_let_them_through_later():
    bound = MFCC | {"n_mels": 31, "n_mfcc": 17}  # used nowhere else
    with torch.inference_mode():
        mfcc(torch.ones(500), **bound)
    waveform = torch.from_numpy(speech_like(500)).float().requires_grad_()
    mfcc(waveform, **bound).sum().backward()
    assert waveform.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("n_mels", [1, 40, 128])
@pytest.mark.parametrize(("fmin", "fmax"), [(0, 8000), (50, 900), (999, 11025.0), (1500, 4000)])
def test_mel_edges_and_filters_equal_librosa(n_mels, fmin, fmax):
    expected = librosa.mel_frequencies(n_mels + 2, fmin=fmin, fmax=fmax)
    assert mel_edges(n_mels, fmin=fmin, fmax=fmax) == pytest.approx(expected, rel=1e-12)
    expected = librosa.filters.mel(
        sr=22050, n_fft=1024, n_mels=n_mels, fmin=fmin, fmax=fmax, dtype=np.float64
    )
    found = mel_filters(n_mels, fmin=fmin, fmax=fmax, n_fft=1024, sample_rate=22050)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("error:Converting a tensor:torch.jit.TracerWarning")  # to a branch
@pytest.mark.filterwarnings("ignore:torch.from_numpy:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("feature", "bound"), [(logmel, MEL), (mfcc, MFCC | {"deltas": 2}), (rms, RMS), (zcr, ZCR)]
)
def test_a_traced_feature_follows_other_lengths_and_batches(feature, bound):
    """The shape of the example must not be frozen into an exported graph."""
    traced = torch.jit.trace(lambda x: feature(x, **bound), torch.ones(2, 4000), check_trace=False)
    assert "view_as_real" not in str(traced.inlined_graph)  # it knows no complex numbers
    for shape in ((1, 1), (3, 300), (5, 9000)):
        waveform = torch.from_numpy(speech_like(shape[0] * shape[1])).float().reshape(shape)
        want = feature(waveform, **bound)
        # Spectra by matrix products and by transforms, each in float32; in dB of weak lines.
        torch.testing.assert_close(traced(waveform), want, rtol=0, atol=1e-3)


# Equality with the reference library, in float64. Its filterbank is kept in float32, 6e-8 relative
# or 3e-7 dB; all else is float64 on both sides, so 1e-5 dB leaves room for the order of sums.

REFERENCES = pytest.mark.parametrize("seconds", [0.02, 0.3, 2.6])
RATES = pytest.mark.parametrize("rate", [16000, 22050])
SHORT = pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")


def reference_logmel(waveform: np.ndarray, bound: dict) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=bound["sample_rate"],
        pad_mode="constant",
        **{k: bound[k] for k in ("n_fft", "hop_length", "win_length", "n_mels", "fmin", "fmax")},
    )
    return 10 * np.log10(np.maximum(power, 10 ** (bound["floor_db"] / 10)))


@SHORT
@REFERENCES
@RATES
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"win_length": 400, "hop_length": 160, "fmin": 0, "fmax": 7600, "n_mels": 40},
        {"n_fft": 2048, "win_length": 2048, "hop_length": 512, "n_mels": 128, "floor_db": -100},
    ],
)
def test_logmel_equals_librosa(seconds, rate, changes):
    bound = MEL | {"sample_rate": rate} | changes
    waveform = speech_like(int(seconds * rate), rate=rate)
    actual = logmel(torch.from_numpy(waveform), **bound).numpy()
    np.testing.assert_allclose(actual, reference_logmel(waveform, bound), rtol=0, atol=1e-5)


@SHORT
@REFERENCES
@RATES
@pytest.mark.parametrize("changes", [{}, {"n_mfcc": 13, "deltas": 1}, {"n_mfcc": 64, "deltas": 2}])
def test_mfcc_equals_librosa(seconds, rate, changes):
    bound = MFCC | {"sample_rate": rate} | changes
    waveform = speech_like(int(seconds * rate), rate=rate)
    mel_db = reference_logmel(waveform, bound)
    coefficients = librosa.feature.mfcc(S=mel_db, n_mfcc=bound["n_mfcc"])
    slopes = [
        librosa.feature.delta(coefficients, order=order, mode="nearest")
        for order in range(1, bound["deltas"] + 1)
    ]
    actual = mfcc(torch.from_numpy(waveform), **bound).numpy()
    # A coefficient sums 64 bands with weights of at most .18: 12 times the bands' tolerance.
    np.testing.assert_allclose(actual, np.concatenate([coefficients, *slopes]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("win_length", [512, 400])
def test_logmel_and_mfcc_equal_torchaudio(win_length):
    bound = MFCC | {"win_length": win_length}
    waveform = torch.from_numpy(speech_like(41600))
    framing = {key: bound[key] for key in ("n_fft", "hop_length", "win_length", "n_mels")}
    mel = torchaudio.transforms.MelSpectrogram(
        RATE, f_min=50, pad_mode="constant", norm="slaney", mel_scale="slaney", **framing
    ).double()
    bands = 10 * mel(waveform).clamp_min(1e-8).log10()
    cosines = torchaudio.functional.create_dct(40, 64, "ortho").double().T
    # Its window and filters are made in float32; edges of the lowest bands, 23 Hz wide, are
    # differences of frequencies: their gain is off by 2e-5, or 1e-4 dB, and coefficients sum bands.
    assert (logmel(waveform, **{key: bound[key] for key in MEL}) - bands).abs().max() < 2e-4
    assert (mfcc(waveform, **bound) - cosines @ bands).abs().max() < 1e-3


FRAMINGS = pytest.mark.parametrize(
    ("frame_length", "hop_length"), [(512, 256), (400, 160), (401, 160), (2048, 512)]
)


def same_frames(actual: np.ndarray, expected: np.ndarray, frame_length: int) -> np.ndarray:
    """Cut to the reference's frames: it may lack the last one of an odd frame length."""
    assert actual.shape[1] - expected.shape[1] in ((0, 1) if frame_length % 2 else (0,))
    return actual[:, : expected.shape[1]]


@REFERENCES
@RATES
@FRAMINGS
def test_zcr_equals_librosa(seconds, rate, frame_length, hop_length):
    waveform = speech_like(int(seconds * rate), rate=rate)
    waveform[100:150] = 0
    waveform[200:250] *= 1e-9  # below what counts as zero
    framing = {"frame_length": frame_length, "hop_length": hop_length}
    expected = librosa.feature.zero_crossing_rate(waveform, **framing)
    actual = zcr(torch.from_numpy(waveform), sample_rate=rate, **framing).numpy()
    # Both count whole crossings: only the last bit of the division may differ.
    np.testing.assert_allclose(
        same_frames(actual, expected, frame_length), expected, rtol=0, atol=1e-12
    )


@REFERENCES
@RATES
@FRAMINGS
@pytest.mark.parametrize("floor_db", [-60, -100])
def test_rms_equals_librosa(seconds, rate, frame_length, hop_length, floor_db):
    waveform = speech_like(int(seconds * rate), rate=rate)
    framing = {"frame_length": frame_length, "hop_length": hop_length}
    amplitude = librosa.feature.rms(y=waveform, dtype=np.float64, **framing)
    expected = 20 * np.log10(np.maximum(amplitude, 10 ** (floor_db / 20)))
    actual = rms(torch.from_numpy(waveform), sample_rate=rate, floor_db=floor_db, **framing).numpy()
    # Sums of at most 2048 squares in float64: 1e-13 relative, 1e-12 dB.
    np.testing.assert_allclose(
        same_frames(actual, expected, frame_length), expected, rtol=0, atol=1e-9
    )


# Bad settings, named before any clip is looked at


@pytest.mark.parametrize(
    ("feature", "bound", "change", "message"),
    [
        (logmel, MEL, {"n_fft": 256}, "win_length: got 512, want 2 to 256"),
        (logmel, MEL, {"n_fft": 32}, "win_length: got 512, want 2 to 32"),
        (logmel, MEL, {"n_fft": 0}, "n_fft: got 0, want at least 2"),
        (logmel, MEL, {"win_length": -512}, "win_length: got -512, want 2 to 512"),
        (logmel, MEL, {"sample_rate": 0}, "sample_rate: got 0, want at least 1"),
        (logmel, MEL, {"hop_length": 0}, "hop_length: got 0, want at least 1"),
        (logmel, MEL, {"fmax": 8001}, r"fmax: got 8001, want over 0 and at most 8000"),
        (logmel, MEL, {"fmax": 0}, "fmax: got 0, want over 0"),
        (logmel, MEL, {"fmin": 4000, "fmax": 4000}, "fmin: got 4000, want 0 to below 4000"),
        (logmel, MEL, {"fmin": -1}, "fmin: got -1, want 0 to below 8000"),
        (logmel, MEL, {"n_mels": 0}, "n_mels: got 0, want 1 to 511"),
        (logmel, MEL, {"n_mels": 256}, "n_mels: got 256, want fewer bands .*n_fft 512"),
        (logmel, MEL, {"n_mels": 10**12}, "n_mels: got 1000000000000, want 1 to 511"),
        (logmel, MEL, {"fmax": 51, "n_mels": 9}, "n_mels: got 9, want fewer bands .*fmax 51"),
        (logmel, MEL, {"floor_db": 1}, "floor_db: got 1, want -120 to 0"),
        (logmel, MEL, {"floor_db": float("nan")}, "floor_db: got nan, want -120 to 0"),
        (mfcc, MFCC, {"n_mfcc": 65}, "n_mfcc: got 65, want 1 to 64"),
        (mfcc, MFCC, {"n_mfcc": 0}, "n_mfcc: got 0, want 1 to 64"),
        (mfcc, MFCC, {"n_mels": 39}, "n_mfcc: got 40, want 1 to 39"),
        (mfcc, MFCC, {"n_mels": 10**12}, "n_mels: got 1000000000000, want 1 to 511"),
        (mfcc, MFCC, {"deltas": 3}, "deltas: got 3, want 0 to 2"),
        (mfcc, MFCC, {"deltas": -1}, "deltas: got -1, want 0 to 2"),
        (mfcc, MFCC, {"fmax": 9000}, "fmax: got 9000"),
        (zcr, ZCR, {"frame_length": 1}, "frame_length: got 1, want at least 2"),
        (zcr, ZCR, {"hop_length": 0}, "hop_length: got 0, want at least 1"),
        (rms, RMS, {"frame_length": 0}, "frame_length: got 0, want at least 1"),
        (rms, RMS, {"hop_length": -5}, "hop_length: got -5, want at least 1"),
        (rms, RMS, {"floor_db": -121}, "floor_db: got -121, want -120 to 0"),
    ],
)
def test_bad_settings_are_named(feature, bound, change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=message):
            feature(waveform, **bound | change)


@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
@pytest.mark.parametrize("changes", [{}, {"fmin": 0}, {"n_fft": 513, "fmin": 1000, "fmax": 2000}])
def test_bands_are_refused_where_librosa_leaves_a_filter_empty(changes):
    bound = MEL | changes
    bank = {key: bound[key] for key in ("n_fft", "fmin", "fmax")}
    refused = []
    for n_mels in range(10, 200, 3):
        empty = not librosa.filters.mel(sr=RATE, n_mels=n_mels, **bank).any(axis=1).all()
        try:
            assert logmel(torch.zeros(1), **bound | {"n_mels": n_mels}).shape == (n_mels, 1)
            assert not empty
        except ValueError as error:
            assert empty and str(error).startswith(f"n_mels: got {n_mels}, want fewer bands")
            refused.append(n_mels)
    assert 0 < len(refused) < 60


def test_a_float16_cache_of_all_coefficients_keeps_the_bands():
    waveform = torch.cat([torch.from_numpy(speech_like(RATE)).float(), torch.zeros(RATE)])
    kept = mfcc(waveform, **MFCC | {"n_mfcc": 64}).half().double().numpy()
    bands = scipy.fft.idct(kept, norm="ortho", axis=0)
    # 64 roundings, of up to 1/4 dB the first, up to 1/32 the others, each weighted by .18 at most.
    assert np.abs(bands - logmel(waveform, **MEL).numpy()).max() < 0.05
