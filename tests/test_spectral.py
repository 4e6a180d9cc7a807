"""Chroma, contrast and shape: mathematical properties, and equality with librosa."""

import re

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics import chroma as chroma_module
from stages.acoustics import contrast as contrast_module
from stages.acoustics.chroma import chroma
from stages.acoustics.contrast import contrast
from stages.acoustics.shape import shape

RATE = 16000
STFT = {"sample_rate": RATE, "hop_length": 256, "n_fft": 512, "win_length": 512, "floor_db": -70}
CHROMA = STFT | {"n_fft": 2048, "win_length": 2048, "n_chroma": 12, "tuning": 0}
CONTRAST = STFT | {"n_bands": 6, "fmin": 200, "quantile": 0.02}
SHAPE = STFT | {"roll_percent": 0.85}
EACH = pytest.mark.parametrize(
    ("feature", "bound"), [(chroma, CHROMA), (contrast, CONTRAST), (shape, SHAPE)]
)


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    """Louder and softer coloured noise, with pauses."""
    rng = np.random.default_rng(seed)
    steps = samples // 1000 + 1
    loudness = 10 ** rng.uniform(-3, 0, steps) * rng.choice([0, 1, 1, 1], steps)
    white = rng.standard_normal(samples + 1)
    return (white[1:] + 0.8 * white[:-1]) * loudness.repeat(1000)[:samples]


def tone(frequency: float, *, samples: int = RATE, rate: int = RATE) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / rate
    return 0.5 * torch.sin(2 * np.pi * frequency * time)


# Properties


@settings(max_examples=25)
@given(semitones=st.integers(-21, 36), cents=st.floats(-30, 30))
def test_a_tone_is_strongest_in_its_pitch_class(semitones, cents):
    frequency = 440 * 2 ** ((semitones + cents / 100) / 12)
    classes = chroma(tone(frequency), **CHROMA)[:, 5:-5]
    assert (classes.argmax(dim=0) == (semitones + 9) % 12).all()  # A is the ninth over C
    assert (classes.amax(dim=0) == 1).all()


def test_tuning_moves_the_classes():
    between = tone(440 * 2 ** (0.4 / 12))
    assert (chroma(between, **CHROMA)[:, 5:-5].argmax(dim=0) == 9).all()
    tuned = chroma(between, **CHROMA | {"tuning": 0.4})[:, 5:-5]
    exact = chroma(tone(440), **CHROMA)[:, 5:-5]
    # The transform's lines lie elsewhere on the shifted scale; exact to how far they are apart.
    assert (tuned - exact).abs().max() < 0.1
    lower = chroma(between, **CHROMA | {"tuning": -0.5})[:, 5:-5]
    assert (lower.argmax(dim=0) == 10).all()


@settings(max_examples=25)
@given(frequency=st.floats(230, 7800))
def test_a_tone_stands_out_of_its_octave(frequency):
    waveform = tone(frequency) + 1e-3 * torch.from_numpy(noise(RATE)).abs()
    bands = contrast(waveform, **CONTRAST)[:, 3:-3]
    own = int(np.log2(frequency / 200)) + 1
    near_edge = {own - 1, own, own + 1}  # the window smears over a line or two
    assert set(bands.argmax(dim=0).tolist()) <= near_edge
    assert bands.amax(dim=0).min() > 20


@settings(max_examples=25)
@given(frequency=st.floats(300, 7700))
def test_the_centroid_of_a_tone_is_its_frequency(frequency):
    inner = shape(tone(frequency), **SHAPE | {"floor_db": -120})[:, 3:-3]
    centroid, bandwidth, rolloff, flatness = inner
    # The window's side lobes lie on both sides, but those beyond 0 and 8 kHz are cut off.
    assert (centroid - frequency / 1000).abs().max() < 0.02
    assert bandwidth.max() < 0.2
    assert (rolloff - frequency / 1000).abs().max() < 0.08  # within the main lobe's two lines
    assert flatness.max() < -3


def test_white_noise_is_flat_and_its_spectrum_as_wide_as_the_band():
    white = torch.from_numpy(np.random.default_rng(0).standard_normal(4 * RATE))
    centroid, bandwidth, rolloff, flatness = shape(white, **SHAPE).mean(dim=1)
    assert abs(centroid - 4) < 0.05
    assert abs(bandwidth - 8 / 12**0.5) < 0.05  # of a uniform distribution
    assert abs(rolloff - 0.85 * 8) < 0.05
    # Of squared magnitudes of noise, exponentially distributed: Euler's constant, in bels.
    assert abs(flatness + np.euler_gamma / np.log(10)) < 0.02


@EACH
@settings(max_examples=15)
@given(gain_db=st.floats(-20, 20))
def test_gain_changes_nothing(feature, bound, gain_db):
    waveform = torch.from_numpy(np.random.default_rng(0).standard_normal(8000))
    bound = bound | {"floor_db": -120}  # far below
    louder = feature(10 ** (gain_db / 20) * waveform, **bound)
    torch.testing.assert_close(louder, feature(waveform, **bound), rtol=0, atol=1e-9)


def test_silence_is_white():
    silence = torch.zeros(RATE)
    assert (contrast(silence, **CONTRAST) == 0).all()
    assert chroma(silence, **CHROMA).amin() > 0.7  # as the filters' sums differ
    white = torch.tensor([4, 8 / 12**0.5, 6.8, 0])[:, None]
    torch.testing.assert_close(
        shape(silence, **SHAPE), white.expand(4, 63), rtol=0, atol=0.02
    )  # a line of the transform, .03 kHz, is the step of the roll-off


@EACH
def test_a_frame_does_not_depend_on_the_rest_of_its_clip(feature, bound):
    waveform = torch.from_numpy(noise(16000))
    longer = torch.cat([waveform, 100 * waveform])
    whole = 16000 // 256 - 4  # frames whose points end before the louder part begins
    torch.testing.assert_close(
        feature(longer, **bound)[:, :whole], feature(waveform, **bound)[:, :whole]
    )


@EACH
def test_gradients_pass_sound_and_stay_finite_in_silence(feature, bound):
    waveform = torch.cat([torch.from_numpy(noise(4000)).float(), torch.zeros(4000)])
    waveform.requires_grad_()
    feature(waveform, **bound).square().sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad[:4000].abs().max() > 0


# Equality with the reference library, in float64: the same sums in another order, of values up to
# 8 (kHz) or 60 (dB). The library is given the same spectrum, floored, and `noise` has pauses, so
# that the floor counts.

SAMPLES = pytest.mark.parametrize("samples", [1, 300, 20000])
RATES = pytest.mark.parametrize("rate", [16000, 22050, 44100])
FRAMINGS = pytest.mark.parametrize(
    "framing",
    [
        {"n_fft": 512, "win_length": 512, "hop_length": 256},
        {"n_fft": 1024, "win_length": 706, "hop_length": 353},
        {"n_fft": 2048, "win_length": 2048, "hop_length": 512},
    ],
)
LONG = pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
CLOSE = {"rtol": 0, "atol": 1e-9}


def reference_power(waveform: np.ndarray, bound: dict) -> np.ndarray:
    framing = {key: bound[key] for key in ("n_fft", "win_length", "hop_length")}
    spectrum = librosa.stft(waveform, pad_mode="constant", **framing)
    return np.maximum(np.abs(spectrum) ** 2, 10 ** (bound["floor_db"] / 10))


@LONG
@SAMPLES
@RATES
@FRAMINGS
@pytest.mark.parametrize(
    "changes", [{}, {"n_chroma": 24, "tuning": 0.3}, {"n_chroma": 7, "tuning": -0.5}]
)
def test_chroma_equals_librosa(samples, rate, framing, changes):
    bound = CHROMA | {"sample_rate": rate} | framing | changes
    waveform = noise(samples)
    expected = librosa.feature.chroma_stft(
        S=reference_power(waveform, bound),
        sr=rate,
        n_chroma=bound["n_chroma"],
        tuning=bound["tuning"],
        dtype=np.float64,
    )
    np.testing.assert_allclose(chroma(torch.from_numpy(waveform), **bound), expected, **CLOSE)


@LONG
@SAMPLES
@RATES
@FRAMINGS
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_bands": 3, "fmin": 500, "quantile": 0.2},
        {"n_bands": 1, "fmin": 100, "quantile": 0.999},
        {"n_bands": 5, "fmin": 187.5, "floor_db": -30},
    ],
)
def test_contrast_equals_librosa(samples, rate, framing, changes):
    bound = CONTRAST | {"sample_rate": rate} | framing | changes
    waveform = noise(samples)
    expected = librosa.feature.spectral_contrast(
        S=reference_power(waveform, bound) ** 0.5,
        sr=rate,
        **{key: bound[key] for key in ("n_bands", "fmin", "quantile")},
    )
    np.testing.assert_allclose(contrast(torch.from_numpy(waveform), **bound), expected, **CLOSE)


@LONG
@SAMPLES
@RATES
@FRAMINGS
@pytest.mark.parametrize("changes", [{}, {"roll_percent": 0.5, "floor_db": -30}])
def test_shape_equals_librosa(samples, rate, framing, changes):
    bound = SHAPE | {"sample_rate": rate} | framing | changes
    waveform = noise(samples)
    power = reference_power(waveform, bound)
    magnitude = {"S": power**0.5, "sr": rate}
    expected = [
        librosa.feature.spectral_centroid(**magnitude) / 1000,
        librosa.feature.spectral_bandwidth(**magnitude) / 1000,
        librosa.feature.spectral_rolloff(**magnitude, roll_percent=bound["roll_percent"]) / 1000,
        np.log10(librosa.feature.spectral_flatness(S=power, power=1, amin=1e-30)),
    ]
    actual = shape(torch.from_numpy(waveform), **bound)
    np.testing.assert_allclose(actual, np.concatenate(expected), **CLOSE)


def test_what_lies_over_the_floor_equals_librosa_of_the_waveform_itself():
    waveform = np.random.default_rng(0).standard_normal(41600)
    actual = torch.from_numpy(waveform)
    framing = {"n_fft": 512, "hop_length": 256}
    for values, name, scale in (
        (contrast(actual, **CONTRAST), "contrast", 1),
        (shape(actual, **SHAPE)[:1], "centroid", 1000),
        (shape(actual, **SHAPE)[1:2], "bandwidth", 1000),
        (shape(actual, **SHAPE)[2:3], "rolloff", 1000),
    ):
        expected = getattr(librosa.feature, f"spectral_{name}")(y=waveform, sr=RATE, **framing)
        np.testing.assert_allclose(scale * values, expected, rtol=0, atol=1e-6)
    flatness = librosa.feature.spectral_flatness(y=waveform, **framing)
    np.testing.assert_allclose(shape(actual, **SHAPE)[3:], np.log10(flatness), rtol=0, atol=1e-6)
    classes = librosa.feature.chroma_stft(y=waveform, sr=RATE, tuning=0, hop_length=256)
    # The library's own filters are float32.
    np.testing.assert_allclose(chroma(actual, **CHROMA), classes, rtol=0, atol=1e-6)


def test_the_centroid_equals_torchaudio():
    waveform = torch.from_numpy(np.random.default_rng(0).standard_normal(41600))
    centroid = torchaudio.transforms.SpectralCentroid(RATE, n_fft=512, hop_length=256).double()
    inner = slice(1, -1)  # it mirrors the signal beyond its ends
    actual = 1000 * shape(waveform, **SHAPE)[0, inner]
    # Its window is made in float32: 6e-8 of 4000 Hz.
    torch.testing.assert_close(actual, centroid(waveform)[inner], rtol=0, atol=1e-3)


# Bad settings, named before any clip is looked at


@pytest.mark.parametrize(
    ("feature", "bound", "change", "message"),
    [
        (chroma, CHROMA, {"n_chroma": 0}, "n_chroma: got 0, want 1 to 1024"),
        (chroma, CHROMA, {"n_chroma": 1025}, "n_chroma: got 1025, want 1 to 1024"),
        (chroma, CHROMA, {"tuning": 0.6}, "tuning: got 0.6, want -0.5 to 0.5"),
        (chroma, CHROMA, {"tuning": float("nan")}, "tuning: got nan, want -0.5 to 0.5"),
        (chroma, CHROMA, {"n_fft": 1024}, "win_length: got 2048, want 2 to 1024"),
        (contrast, CONTRAST, {"n_bands": 7}, "n_bands: got 7, want 1 to 6, or a smaller fmin"),
        (contrast, CONTRAST, {"sample_rate": 8000}, "n_bands: got 6, want 1 to 5.* over 4000.0"),
        (contrast, CONTRAST, {"sample_rate": 12800}, "n_bands: got 6, want 1 to 5"),
        (contrast, CONTRAST, {"n_bands": 10**12}, "n_bands: got 1000000000000, want 1 to 6"),
        (contrast, CONTRAST, {"fmin": 31}, r"fmin: got 31, want 31.25 .* to below 8000.0"),
        (contrast, CONTRAST, {"fmin": 8000}, r"fmin: got 8000, want 31.25 .* to below 8000.0"),
        (contrast, CONTRAST, {"fmin": float("nan")}, "fmin: got nan, want 31.25"),
        (contrast, CONTRAST, {"quantile": 0}, "quantile: got 0, want over 0 and below 1"),
        (contrast, CONTRAST, {"quantile": 1}, "quantile: got 1, want over 0 and below 1"),
        (contrast, CONTRAST, {"hop_length": 0}, "hop_length: got 0, want at least 1"),
        (shape, SHAPE, {"roll_percent": 1}, "roll_percent: got 1, want over 0 and below 1"),
        (shape, SHAPE, {"roll_percent": 0}, "roll_percent: got 0, want over 0 and below 1"),
        (shape, SHAPE, {"win_length": 513}, "win_length: got 513, want 2 to 512"),
        *(
            (feature, bound, {"floor_db": floor_db}, f"floor_db: got {floor_db}, want -120 to 0")
            for feature, bound in ((chroma, CHROMA), (contrast, CONTRAST), (shape, SHAPE))
            for floor_db in (-121, 1, float("nan"))
        ),
    ],
)
def test_bad_settings_are_named(feature, bound, change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=message):
            feature(waveform, **bound | change)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 8000},
        {"sample_rate": 8000, "n_fft": 511, "win_length": 400, "fmin": 124.9},
        {"fmin": 31.25},
        {"fmin": 7000},
    ],
)
def test_the_number_of_bands_named_as_the_most_is_the_most_that_librosa_takes(change):
    bound = CONTRAST | change
    with pytest.raises(ValueError, match="n_bands: got 99") as refusal:
        contrast(torch.zeros(0), **bound | {"n_bands": 99})
    most = int(re.search(r"want 1 to (\d+)", str(refusal.value))[1])
    waveform = noise(8000)
    actual = contrast(torch.from_numpy(waveform), **bound | {"n_bands": most})
    reference = {"S": reference_power(waveform, bound) ** 0.5, "fmin": bound["fmin"]}
    lines = librosa.fft_frequencies(sr=bound["sample_rate"], n_fft=bound["n_fft"])
    reference |= {"sr": bound["sample_rate"], "freq": lines}
    expected = librosa.feature.spectral_contrast(**reference, n_bands=most)
    np.testing.assert_allclose(actual[:, : expected.shape[1]], expected, **CLOSE)
    # Over the last line, but not over half the rate: of an odd transform.
    with pytest.raises((librosa.ParameterError, IndexError)):
        librosa.feature.spectral_contrast(**reference, n_bands=most + 1)


# What their numbers are


def test_descriptions_say_where_the_dimensions_lie():
    described = contrast_module.describe(**CONTRAST)
    assert list(described.centres) == sorted(described.centres) and len(described.centres) == 7
    for centre, band in ((5000, 5), (7000, 6), (1000, 3)):
        assert np.abs(described.centres - centre).argmin() == band
    assert list(chroma_module.describe(**CHROMA | {"n_chroma": 24}).centres[:3]) == [0, 0.5, 1]
