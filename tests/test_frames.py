"""The common frame clock, centred frames and power spectra."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.audio.frames import first_frames, frame_count, nearest_frames
from stages.signals.products import power_by_products
from stages.signals.spectra import centre_pad, check_waveform, frame_mean, power_spectrum

LENGTHS = (1, 320, 4800, 41600)


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


def frame(waveform, *, frame_length, hop_length, pad_mode):
    """Centred frames, cut out one by one."""
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode=pad_mode)
    return padded.unfold(-1, frame_length, hop_length)


@given(
    samples=st.integers(1, 3000),
    frame_length=st.integers(1, 700),
    hop_length=st.integers(1, 400),
)
def test_all_framings_share_one_clock(samples, frame_length, hop_length):
    waveform = torch.zeros(2, samples)
    settings = {"frame_length": frame_length, "hop_length": hop_length}
    frames = frame(waveform, pad_mode="constant", **settings)
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode="constant")
    count = 1 + samples // hop_length
    assert frames.shape == (2, count, frame_length)
    assert frame_mean(padded, **settings).shape == (2, 1, count)
    assert frame_count(samples, hop_length=hop_length) == count


def test_frame_count_takes_arrays():
    counts = frame_count(np.array([0, 255, 256, 257, 512]), hop_length=256)
    assert counts.tolist() == [1, 1, 2, 2, 3]


@given(
    samples=st.integers(1, 5000),
    hop_length=st.integers(1, 400),
    others=st.integers(1, 60),
    first=st.integers(0, 400),
    step=st.integers(1, 500),
)
def test_another_clock_is_resampled_by_its_nearest_frame(samples, hop_length, others, first, step):
    centres = first + step * np.arange(others)  # in samples, so that ties are exact
    nearest = nearest_frames(
        centres / 1000, samples=samples, sample_rate=1000, hop_length=hop_length
    )
    times = hop_length * np.arange(frame_count(samples, hop_length=hop_length))
    distance = np.abs(times[:, None] - centres)
    assert nearest.shape == times.shape
    chosen = np.take_along_axis(distance, nearest[:, None], axis=1)[:, 0]
    assert (chosen == distance.min(axis=1)).all()


@pytest.mark.parametrize("frame_length", [64, 65])
def test_frame_t_is_centred_on_sample_t_times_hop(frame_length):
    waveform = torch.arange(1.0, 1001.0)
    frames = frame(waveform, frame_length=frame_length, hop_length=10, pad_mode="constant")
    assert torch.equal(frames[:, frame_length // 2][:100], waveform[::10])


def test_frames_see_zeros_or_the_edge_beyond_the_ends():
    waveform = torch.tensor([5.0, 6.0, 7.0])
    settings = {"frame_length": 4, "hop_length": 3}
    zeros = frame(waveform, pad_mode="constant", **settings)
    edges = frame(waveform, pad_mode="replicate", **settings)
    assert zeros.tolist() == [[0, 0, 5, 6], [6, 7, 0, 0]]
    assert edges.tolist() == [[5, 5, 5, 6], [6, 7, 7, 7]]


@pytest.mark.parametrize("frame_length", [400, 401])
def test_frame_mean_is_the_mean_of_each_frame(frame_length):
    waveform = torch.from_numpy(noise(5000)).reshape(2, 2500)
    settings = {"frame_length": frame_length, "hop_length": 160}
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode="replicate")
    means = frame(waveform, pad_mode="replicate", **settings).mean(-1)
    torch.testing.assert_close(frame_mean(padded, **settings).squeeze(-2), means)


def test_first_frames_find_each_clip_in_the_cache():
    frames = np.array([3, 0, 2, 4], dtype=np.int32)
    assert first_frames(frames).tolist() == [0, 3, 3, 5]
    assert first_frames(frames).dtype == np.int64
    assert first_frames(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize(
    ("n_fft", "win_length", "hop_length"),
    [(512, 512, 256), (512, 400, 160), (513, 400, 256), (1024, 777, 100)],
)
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
def test_power_spectrum_equals_librosa(samples, n_fft, win_length, hop_length):
    waveform = noise(samples)
    settings = {"n_fft": n_fft, "win_length": win_length, "hop_length": hop_length}
    actual = power_spectrum(torch.from_numpy(waveform), **settings).numpy()
    expected = np.abs(librosa.stft(waveform, pad_mode="constant", **settings)) ** 2
    assert actual.shape[1] == frame_count(samples, hop_length=hop_length)
    # An odd n_fft gives the reference no frame whose right half lies wholly beyond the end.
    assert actual.shape[1] - expected.shape[1] in ((0, 1) if n_fft % 2 else (0,))
    # Both round in float64 (1e-16), the sums run over at most 1024 samples.
    actual = actual[:, : expected.shape[1]]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * expected.max())


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize(
    ("n_fft", "win_length", "hop_length"),
    # Two factors alike and not, a prime, an odd window, hops longer than it and no part of it.
    [(512, 512, 256), (1024, 512, 353), (509, 400, 100), (512, 333, 160), (60, 60, 77), (2, 2, 1)],
)
def test_matrix_products_give_the_same_spectrum(samples, n_fft, win_length, hop_length):
    waveform = torch.from_numpy(noise(2 * samples)).reshape(2, samples)
    want = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    got = power_by_products(
        waveform, window=np.hanning(win_length + 1)[:-1], n_fft=n_fft, hop_length=hop_length
    )
    # Both round in float64 (1e-16), the sums run over at most 1024 samples.
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * float(want.max()))


def test_power_spectrum_keeps_the_energy():
    """Parseval: the power of a frame over all lines is its windowed energy times n_fft."""
    waveform = torch.from_numpy(noise(2000))
    power = power_spectrum(waveform, n_fft=512, win_length=512, hop_length=256)
    both_sides = torch.cat([power, power[1:-1]]).sum(0)
    frames = frame(waveform, frame_length=512, hop_length=256, pad_mode="constant")
    energy = (frames * torch.hann_window(512, dtype=torch.float64)).square().sum(-1)
    torch.testing.assert_close(both_sides, 512 * energy)


def test_power_spectrum_keeps_leading_dimensions_and_dtype():
    waveform = torch.from_numpy(noise(6 * 1000)).reshape(3, 2, 1000)
    settings = {"n_fft": 256, "win_length": 256, "hop_length": 100}
    power = power_spectrum(waveform, **settings)
    assert power.shape == (3, 2, 129, 11)
    assert power.dtype == torch.float64
    assert power_spectrum(waveform.float(), **settings).dtype == torch.float32
    torch.testing.assert_close(power[2, 1], power_spectrum(waveform[2, 1], **settings))


def test_a_window_first_built_without_gradients_lets_them_through_later():
    settings = {"n_fft": 250, "win_length": 123, "hop_length": 100}  # used nowhere else
    with torch.inference_mode():
        power_spectrum(torch.ones(500), **settings)
    waveform = torch.from_numpy(noise(500)).float().requires_grad_()
    power_spectrum(waveform, **settings).sum().backward()
    assert waveform.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(0), "no samples"),
        (torch.zeros(3, 0), "no samples"),
        (torch.tensor([0.0, float("nan")]), "NaN"),
        (torch.tensor([0.0, -float("inf")]), "infinite"),
        (torch.zeros(9, dtype=torch.int16), "int16"),
    ],
)
def test_unusable_waveforms_are_refused(waveform, message):
    for use in (
        check_waveform,
        lambda x: centre_pad(x, frame_length=4, pad_mode="replicate"),
        lambda x: power_spectrum(x, n_fft=4, win_length=4, hop_length=2),
    ):
        with pytest.raises(ValueError, match=f"waveform: .*{message}"):
            use(waveform)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_fft": 256}, "win_length: got 512, want 2 to 256"),
        ({"win_length": 1}, "win_length: got 1, want 2 to 512"),
        ({"n_fft": 1}, "n_fft: got 1, want at least 2"),
        ({"hop_length": 0}, "hop_length: got 0, want at least 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    settings = {"n_fft": 512, "win_length": 512, "hop_length": 256} | settings
    # An unusable waveform beside it: the setting is looked at first.
    with pytest.raises(ValueError, match=message):
        power_spectrum(torch.zeros(0), **settings)


def test_bad_hop_is_named():
    with pytest.raises(ValueError, match="hop_length: got 0, want at least 1"):
        frame_count(100, hop_length=0)
