"""Approximate entropy: the textbook definition, scipy's envelope, mathematical properties, and the
contract of all features."""

from itertools import product

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics.apen import _CONSTANT, _entropies, _envelopes, apen, describe
from stages.signals.kernels import compiled

RATE, HOP = 16000, 256
BOUND = {"sample_rate": RATE, "hop_length": HOP, "frame_length": 400, "m": 2, "r": 0.2}


def textbook(series: np.ndarray, *, m: int, r: float) -> float:
    """Pincus's definition, for all pairs at once."""

    def phi(length: int) -> float:
        places = np.lib.stride_tricks.sliding_window_view(series, length)
        apart = np.abs(places[:, None] - places).max(axis=2)
        return np.log((apart <= r * series.std()).mean(axis=1)).mean()

    return phi(m) - phi(m + 1)


def envelope(waveform: np.ndarray, frame: int, *, frame_length: int, hop_length: int) -> np.ndarray:
    """scipy's envelope of a frame, computed with a frame of sound or zeros on either side."""
    padded = np.pad(waveform, 3 * frame_length)
    first = 3 * frame_length + frame * hop_length - 3 * frame_length // 2
    signal = padded[first : first + 3 * frame_length]
    return np.abs(scipy.signal.hilbert(signal))[frame_length : 2 * frame_length]


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.1 * rng.standard_normal(samples) * np.sin(np.arange(samples) / 300)


# Definitions


@settings(max_examples=30)
@given(
    m=st.integers(1, 5),
    r=st.floats(0.01, 3),
    length=st.integers(6, 60),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["noise", "walk", "steps"]),
)
def test_entropy_is_the_textbooks(m, r, length, seed, kind):
    series = np.random.default_rng(seed).standard_normal((3, length))
    if kind == "walk":
        series = series.cumsum(axis=1)
    if kind == "steps":  # differences that are equal to the limit, or nearly, and no deviation
        series = np.round(series)
    actual = compiled(_entropies)(series, m, r, _CONSTANT)
    wanted = [textbook(row, m=m, r=r) if row.std() else 0 for row in series]
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-9)


def test_a_series_that_repeats_itself_has_the_entropy_counted_on_paper():
    series = np.tile([85.0, 80.0, 89.0], 17)
    actual = compiled(_entropies)(series[None], 2, 3 / series.std(), _CONSTANT)
    short = (2 * 17 * np.log(17 / 50) + 16 * np.log(16 / 50)) / 50
    long = (17 * np.log(17 / 49) + 2 * 16 * np.log(16 / 49)) / 49
    np.testing.assert_allclose(actual, short - long, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [400, 401, 57])
def test_the_envelope_is_the_references(length):
    waveform = noise(4000)
    frames = [0, 1, 7, 15]
    signals = np.pad(waveform, 3 * length)
    firsts = [3 * length + t * HOP - 3 * length // 2 for t in frames]
    cut = np.stack([signals[first : first + 3 * length] for first in firsts])
    actual = _envelopes(torch.from_numpy(cut)).numpy()
    for row, frame in zip(actual, frames, strict=True):
        expected = envelope(waveform, frame, frame_length=length, hop_length=HOP)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "changes", [{}, {"m": 1, "r": 0.5}, {"frame_length": 57, "m": 3}, {"hop_length": 100}]
)
def test_a_frame_is_the_textbook_on_the_references_envelope(changes):
    bound = BOUND | {"frame_length": 100} | changes
    framing = {key: bound[key] for key in ("frame_length", "hop_length")}
    waveform = noise(1500)
    actual = apen(torch.from_numpy(waveform), **bound)[0].numpy()
    assert len(actual) == 1 + 1500 // bound["hop_length"]
    for frame in range(len(actual)):
        wanted = textbook(envelope(waveform, frame, **framing), m=bound["m"], r=bound["r"])
        assert actual[frame] == pytest.approx(wanted, abs=1e-6)


def test_more_frames_than_are_taken_at_once():
    waveform = torch.from_numpy(noise(9000))
    bound = BOUND | {"frame_length": 40, "hop_length": 20}
    whole = apen(waveform, **bound)[0]
    assert len(whole) == 451
    late = apen(waveform[6000 - 80 :], **bound)[0]  # the frames whose sound begins there
    torch.testing.assert_close(whole[304:], late[8:][: len(whole[304:])])


# Properties


@settings(max_examples=10)
@given(gain_db=st.floats(-60, 20))
def test_loudness_has_no_part_in_it(gain_db):
    waveform = torch.from_numpy(noise(3000))
    quiet = apen(waveform * 10 ** (gain_db / 20), **BOUND)
    # A pair at the very limit may fall on its other side.
    torch.testing.assert_close(quiet, apen(waveform, **BOUND), atol=1e-3, rtol=0)


def test_noise_has_more_of_it_than_a_beating_tone_and_silence_none():
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    beating = torch.sin(2 * np.pi * 1000 * time) + 0.5 * torch.sin(2 * np.pi * 1100 * time)
    rough = torch.from_numpy(np.random.default_rng(0).standard_normal(RATE))
    inner = slice(3, -3)
    assert apen(rough, **BOUND)[0, inner].min() > 2 * apen(beating, **BOUND)[0, inner].max()
    for level in (0.0, 0.5, -1.0):
        assert (apen(torch.full((RATE,), level), **BOUND)[0, inner] == 0).all()
    assert (apen(torch.zeros(RATE), **BOUND) == 0).all()


def test_what_is_said_later_changes_nothing():
    waveform = torch.from_numpy(noise(8000))
    longer = torch.cat([waveform, 100 * waveform])
    whole = (8000 - 600) // HOP
    torch.testing.assert_close(
        apen(longer, **BOUND)[0, :whole], apen(waveform, **BOUND)[0, :whole], atol=1e-9, rtol=0
    )


# The contract of features


@pytest.mark.parametrize("samples", [1, 255, 256, 700, 3000])
def test_it_keeps_the_contract(samples):
    clips = np.stack([noise(samples, seed=seed) + 0.01 for seed in range(6)])
    batch = torch.from_numpy(clips).reshape(2, 3, samples).float()
    before = batch.clone()
    together = apen(batch, **BOUND)
    assert together.shape == (2, 3, 1, 1 + samples // HOP)
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    assert torch.equal(batch, before)
    assert apen(batch.double(), **BOUND).dtype == torch.float64
    torch.testing.assert_close(apen(batch.double(), **BOUND).float(), together)
    for row, column in product(range(2), range(3)):
        torch.testing.assert_close(together[row, column], apen(batch[row, column], **BOUND))
    assert len(describe(**BOUND).centres) == 1


def test_what_it_cannot_use_is_refused():
    holed = torch.zeros(4000)
    holed[1234] = float("nan")
    for waveform in (torch.zeros(0), torch.zeros(2, 0), holed, torch.zeros(9, dtype=torch.int16)):
        with pytest.raises(ValueError, match="waveform: got"):
            apen(waveform, **BOUND)
    with pytest.raises(ValueError, match="apen: got a waveform with gradients"):
        apen(torch.zeros(400, requires_grad=True), **BOUND)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_it_cannot_be_frozen_into_a_graph():
    with pytest.raises(ValueError, match="apen: got .* a graph that is traced"):
        torch.jit.trace(lambda x: apen(x, **BOUND), torch.ones(4000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 0}, "sample_rate: got 0, want at least 1"),
        ({"hop_length": 0}, "hop_length: got 0, want at least 1"),
        ({"frame_length": 1}, "frame_length: got 1, want at least 2"),
        ({"m": 0}, "m: got 0, want 1 to 399"),
        ({"m": 400}, "m: got 400, want 1 to 399"),
        ({"r": 0}, "r: got 0, want over 0"),
        ({"r": float("nan")}, "r: got nan, want over 0"),
    ],
)
def test_bad_settings_are_named(change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=f"^{message}"):
            apen(waveform, **BOUND | change)
