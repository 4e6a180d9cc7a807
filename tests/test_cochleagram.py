"""Cochleagram: mathematical properties, and equality with the gammatone package."""

import numpy as np
import pytest
import torch
from gammatone.fftweight import fft_gtgram, fft_weights, specgram
from gammatone.filters import centre_freqs
from gammatone.gtgram import gtgram
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics.cochleagram import cochleagram

RATE = 16000
BOUND = {
    "sample_rate": RATE,
    "hop_length": 256,
    "win_length": 512,
    "n_channels": 64,
    "fmin": 50,
    "fmax": None,
    "floor_db": -95,
}
FFT = BOUND | {"method": "fft"}
IIR = BOUND | {"method": "iir"}
BOTH = pytest.mark.parametrize("bound", [FFT, IIR], ids=["fft", "iir"])


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    """Louder and softer noise, with pauses."""
    rng = np.random.default_rng(seed)
    loudness = 10 ** rng.uniform(-4, -1, samples // 100 + 1) * rng.choice(
        [0, 1, 1], samples // 100 + 1
    )
    return rng.standard_normal(samples) * loudness.repeat(100)[:samples]


def tone(frequency: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * np.pi * frequency * torch.arange(RATE, dtype=torch.float64) / RATE)


# Properties


@BOTH
@settings(max_examples=20)
@given(frequency=st.floats(100, 7000))
def test_a_pure_tone_lands_in_the_nearest_channel(bound, frequency):
    centres = centre_freqs(RATE, 64, 50)[::-1]
    nearest = np.abs(np.log(centres / frequency)).argmin()
    loudest = cochleagram(tone(frequency), **bound)[:, 5:-5].argmax(dim=0)
    assert ((loudest - nearest).abs() <= 1).all()


@pytest.mark.parametrize("channel", [10, 30, 50, 63])
def test_a_filter_passes_its_centre_unchanged(channel):
    centre = centre_freqs(RATE, 64, 50)[::-1][channel]
    inner = cochleagram(tone(centre), **IIR)[channel, 8:-8]
    expected = torch.full_like(inner, 20 * np.log10(0.5 / np.sqrt(2)))
    # The window rarely holds whole cycles: of 5 or more, what is cut off is 1 part in 30.
    torch.testing.assert_close(inner, expected, atol=0.15, rtol=0)


@BOTH
def test_gain_shifts_decibels(bound):
    waveform = torch.from_numpy(noise(8000))
    quiet, loud = cochleagram(waveform, **bound), cochleagram(10 * waveform, **bound)
    clear = quiet > -94.9
    assert clear.double().mean() > 0.5
    torch.testing.assert_close(loud[clear], quiet[clear] + 20)


@BOTH
def test_a_hop_of_silence_in_front_shifts_the_frames_by_one(bound):
    waveform = torch.from_numpy(noise(8000))
    late = torch.cat([torch.zeros(256, dtype=torch.float64), waveform])
    torch.testing.assert_close(
        cochleagram(late, **bound)[:, 1:], cochleagram(waveform, **bound), atol=1e-9, rtol=0
    )


@BOTH
def test_what_follows_changes_no_earlier_frame(bound):
    waveform = torch.from_numpy(noise(8000))
    longer = torch.cat([waveform, 100 * waveform])
    whole = 8000 // 256 - 3  # frames whose 1024 points end before the louder part begins
    torch.testing.assert_close(
        cochleagram(longer, **bound)[:, :whole], cochleagram(waveform, **bound)[:, :whole]
    )


@BOTH
def test_silence_lies_on_the_floor(bound):
    assert (cochleagram(torch.zeros(RATE), **bound) == -95).all()
    faded = torch.cat([torch.ones(500), torch.zeros(2 * RATE)])
    assert (cochleagram(faded, **bound)[:, -60:] == -95).all()


def test_gradients_pass_sound_and_stay_finite_in_silence():
    bound = FFT | {"n_channels": 33}  # used nowhere else: built without gradients, used with them
    with torch.inference_mode():
        cochleagram(torch.ones(500), **bound)
    waveform = torch.cat([torch.from_numpy(noise(4000)).float(), torch.zeros(4000)])
    waveform.requires_grad_()
    cochleagram(waveform, **bound).sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad[:4000].abs().max() > 0


@pytest.mark.filterwarnings("error:Converting a tensor:torch.jit.TracerWarning")  # to a branch
@pytest.mark.filterwarnings("ignore:torch.from_numpy:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_traced_it_follows_other_lengths_and_batches():
    traced = torch.jit.trace(
        lambda x: cochleagram(x, **FFT), torch.ones(2, 4000), check_trace=False
    )
    assert "view_as_real" not in str(traced.inlined_graph)
    for shape in ((1, 1), (3, 300), (5, 9000)):
        waveform = torch.from_numpy(noise(shape[0] * shape[1])).float().reshape(shape)
        want = cochleagram(waveform, **FFT)
        # Spectra by matrix products and by transforms, each in float32; in dB of weak lines.
        torch.testing.assert_close(traced(waveform), want, rtol=0, atol=1e-3)


# Equality with gammatone, whose frames are not centred: it is given the padded signal. float64 on
# both sides.

SAMPLES = pytest.mark.parametrize("samples", [1, 300, 8000])
GRID = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_rate": 8000, "win_length": 200, "hop_length": 80, "n_channels": 40},
        {"win_length": 400, "hop_length": 160, "n_channels": 32, "fmin": 100},
        {"win_length": 401, "hop_length": 160, "n_channels": 1, "fmin": 1000},
        {"sample_rate": 22050, "win_length": 1024, "hop_length": 300, "n_channels": 128},
        {"sample_rate": 48000, "win_length": 2401, "hop_length": 480, "fmin": 20},
        {"fmax": 6000, "n_channels": 21, "fmin": 80.5, "hop_length": 700},
    ],
)


def decibels(amplitude: np.ndarray, floor_db: float) -> np.ndarray:
    return 20 * np.log10(np.maximum(amplitude, 10 ** (floor_db / 20)))


@SAMPLES
@GRID
def test_fft_equals_the_package(samples, changes):
    bound = FFT | {"floor_db": -120} | changes
    rate, window, hop = bound["sample_rate"], bound["win_length"], bound["hop_length"]
    waveform = noise(samples)
    n_fft = 2 ** int(np.ceil(np.log2(2 * window)))
    # One more than half a transform behind: the package leaves a last full frame out.
    padded = np.pad(waveform, (n_fft // 2, n_fft // 2 + 1))
    if bound["fmax"] is None:
        expected = fft_gtgram(
            padded, rate, window / rate, hop / rate, bound["n_channels"], bound["fmin"]
        )
    else:  # which that function does not take
        weights, _ = fft_weights(
            n_fft, rate, bound["n_channels"], 1, bound["fmin"], bound["fmax"], n_fft // 2 + 1
        )
        expected = weights @ np.abs(specgram(padded, n_fft, rate, window, hop)) / n_fft
    actual = cochleagram(torch.from_numpy(waveform), **bound).numpy()
    expected = decibels(expected[:, : actual.shape[1]], -120)
    # The same sums in another order, 1e-16 of their largest term each: 1e-13 dB where it is quiet.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


@SAMPLES
@GRID
def test_iir_equals_the_package(samples, changes):
    bound = IIR | {"floor_db": -120} | changes
    rate, window, hop = bound["sample_rate"], bound["win_length"], bound["hop_length"]
    waveform = noise(samples)
    padded = np.pad(waveform, (window // 2, window - window // 2))
    bank = (bound["n_channels"], bound["fmin"], bound["fmax"])
    expected = decibels(gtgram(padded, rate, window / rate, hop / rate, *bank), -120)
    actual = cochleagram(torch.from_numpy(waveform), **bound).numpy()
    # Poles near 1 (20 Hz at 48 kHz) magnify the rounding of the same sums to 1e-11 dB.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    single = cochleagram(torch.from_numpy(waveform).float(), **bound).numpy()
    # The filters run in float64 all the same: only samples and decibels are rounded, by 6e-8 and
    # 4e-6 dB, once or twice each.
    np.testing.assert_allclose(single, expected, rtol=0, atol=5e-5)


# The contract of features, which tests/test_features.py checks for the method in conf


@pytest.mark.parametrize("samples", [1, 255, 256, 4000])
def test_iir_keeps_the_contract(samples):
    clips = np.stack([noise(samples, seed=seed) for seed in range(6)])
    batch = torch.from_numpy(clips).reshape(2, 3, samples).float()
    before = batch.clone()
    together = cochleagram(batch, **IIR)
    assert together.shape == (2, 3, 64, 1 + samples // 256)
    assert together.dtype == torch.float32
    assert cochleagram(batch.double(), **IIR).dtype == torch.float64
    assert torch.equal(batch, before)
    for row in range(2):
        for column in range(3):
            assert torch.equal(together[row, column], cochleagram(batch[row, column], **IIR))


def test_iir_refuses_what_it_cannot_use():
    holed = torch.zeros(4000)
    holed[1234] = float("nan")
    for waveform in (torch.zeros(0), torch.zeros(2, 0), holed, holed.nan_to_num(float("inf"))):
        with pytest.raises(ValueError, match="waveform: got"):
            cochleagram(waveform, **IIR)
    for waveform in (torch.zeros(400, requires_grad=True), torch.zeros(400, device="meta")):
        with pytest.raises(ValueError, match="method: got iir, want fft"):
            cochleagram(waveform, **IIR)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_iir_cannot_be_frozen_into_a_graph():
    with pytest.raises(ValueError, match="method: got iir, want fft .*export"):
        torch.jit.trace(lambda x: cochleagram(x, **IIR), torch.ones(4000))


# Bad settings, named before any clip is looked at


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "FFT"}, "method: got 'FFT', want fft or iir"),
        ({"hop_length": 0}, "hop_length: got 0, want at least 1"),
        ({"hop_length": -256}, "hop_length: got -256, want at least 1"),
        ({"win_length": 1}, "win_length: got 1, want at least 2"),
        ({"sample_rate": 0}, "sample_rate: got 0, want at least 1"),
        ({"n_channels": 0}, "n_channels: got 0, want at least 1"),
        ({"floor_db": -121}, "floor_db: got -121, want -120 to 0"),
        ({"fmax": 8001}, r"fmax: got 8001, want over 0 and at most 8000.0 \(half sample_rate\)"),
        ({"fmax": -1}, "fmax: got -1, want over 0"),
        ({"fmin": 0}, "fmin: got 0, want over 0 and below 8000"),
        ({"fmin": 4000, "fmax": 4000}, "fmin: got 4000, want over 0 and below 4000"),
        ({"fmin": float("nan")}, "fmin: got nan, want over 0"),
    ],
)
def test_bad_settings_are_named(bound, change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=message):
            cochleagram(waveform, **bound | change)


@pytest.mark.parametrize(
    ("change", "most"), [({"n_channels": 10**12}, 509), ({"n_channels": 64, "fmax": 800}, 48)]
)
def test_fft_has_no_more_channels_than_lines(change, most):
    bound = FFT | change
    with pytest.raises(ValueError, match=f"n_channels: got .*, want at most {most}: the lines"):
        cochleagram(torch.zeros(0), **bound)
    assert cochleagram(torch.zeros(RATE), **bound | {"n_channels": most}).isfinite().all()
    with pytest.raises(ValueError, match=f"n_channels: got {most + 1}, want at most {most}"):
        cochleagram(torch.zeros(0), **bound | {"n_channels": most + 1})


@pytest.mark.parametrize(
    ("change", "shortest"), [({"win_length": 64}, 129), ({"sample_rate": 48000}, 513)]
)
def test_fft_needs_a_window_whose_lines_are_close_enough_for_the_lowest_channel(change, shortest):
    bound = FFT | change
    for win_length in (bound["win_length"], shortest - 1):
        with pytest.raises(ValueError, match=f"win_length: got {win_length}, want a longer window"):
            cochleagram(torch.zeros(0), **bound | {"win_length": win_length})
    for possible in ({"win_length": shortest}, {"method": "iir"}):
        assert cochleagram(torch.zeros(RATE), **bound | possible).isfinite().all()
