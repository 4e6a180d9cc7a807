"""Frequencies of a voice multiplied by a factor: what becomes of each feature's frames."""

import numpy as np
import pytest
import torch
from hydra.utils import get_method
from hypothesis import given
from hypothesis import strategies as st

from stages.acoustics import warp_bands, warper
from stages.learning.augment import warp
from stages.learning.batches import Batch
from tests.support import ROOT, composed

FEATURES = sorted(path.stem for path in (ROOT / "conf/features").glob("*.yaml"))
WITH_FREQUENCIES = ["cochleagram", "logmel", "mfcc", "spectrogram"]
RATE = 16000
FORMANTS = ((600, 100), (1600, 200), (3400, 350))  # Hz: centre, and what lowers it by 6 dB


def settings_of(name: str, **changes) -> dict:
    return composed(f"features=[{name}]")["features"][name] | changes


def frames_of(name: str, waveform: torch.Tensor, **changes) -> np.ndarray:
    """The feature's mean over the inner frames, float64 [dimensions]."""
    bound = settings_of(name, **changes)
    target = get_method(bound.pop("_target_"))
    return target(waveform, **bound)[:, 5:-5].mean(dim=-1).numpy()


def vowel(factor: float = 1.0) -> torch.Tensor:
    """A second of harmonics of 40 Hz under three formants, all frequencies times a factor."""
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    waveform = torch.zeros_like(time)
    for number in range(1, int(RATE / 2 / 40 / factor)):
        hz = 40 * number
        level_db = max(-6 * abs(hz - formant) / width for formant, width in FORMANTS)
        waveform += 10 ** (level_db / 20) * torch.sin(
            2 * np.pi * factor * hz * time + 2.4 * number**2
        )
    return 0.02 * waveform


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_with_frequencies_is_warped_and_no_other(name):
    found = warper(settings_of(name))
    assert (found is not None) == (name in WITH_FREQUENCIES)
    if found:
        dimensions = len(frames_of(name, vowel()))
        np.testing.assert_allclose(found(1.0), np.eye(dimensions), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in WITH_FREQUENCIES),
        ("mfcc", {"n_mfcc": 64}),
        ("spectrogram", {"bins": None}),
        ("cochleagram", {"n_channels": 40, "fmin": 100}),
    ],
)
@pytest.mark.parametrize("factor", [0.83, 1.2])
def test_a_warped_frame_is_that_of_the_other_voice(name, changes, factor):
    before = frames_of(name, vowel(), **changes)
    after = frames_of(name, vowel(factor), **changes)
    warped = warper(settings_of(name, **changes))(factor) @ before
    # No equality: window and filters keep their width while the voice is stretched.
    assert np.linalg.norm(warped - after) < 0.35 * np.linalg.norm(before - after)


def test_slopes_are_warped_like_what_they_are_the_slopes_of():
    plain = warper(settings_of("mfcc", n_mfcc=13))(1.1)
    matrix = warper(settings_of("mfcc", n_mfcc=13, deltas=2))(1.1)
    assert matrix.shape == (39, 39)
    np.testing.assert_array_equal(matrix[13:26, 13:26], plain)
    assert not matrix[:13, 13:].any() and not matrix[26:, :26].any()


@given(st.lists(st.floats(10, 8000), min_size=1, max_size=30, unique=True), st.floats(0.3, 3))
def test_bands_are_interpolated_between_neighbours(centres, factor):
    centres = np.sort(centres)
    matrix = warp_bands(centres, factor=factor)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert ((matrix > 0).sum(axis=1) <= 2).all()
    inside = (centres / factor >= centres[0]) & (centres / factor <= centres[-1])
    np.testing.assert_allclose((matrix @ centres)[inside], (centres / factor)[inside])


def batch_of(clips: int) -> Batch:
    features = {"a": torch.rand(clips, 6, 9), "b": torch.rand(clips, 6, 1)}
    lengths = torch.full((clips,), 6)
    lengths[1:] = 4
    for values in features.values():
        values[1:, 4:] = 0
    return Batch(features, lengths, torch.zeros(clips, dtype=torch.int64), torch.arange(clips))


def test_each_clip_of_a_batch_has_its_own_factor_and_padding_stays_zero():
    seen = []

    def matrix(factor: float) -> np.ndarray:
        seen.append(factor)
        return factor * np.eye(9)

    torch.manual_seed(0)
    batch = batch_of(200)
    warped = warp(batch, {"a": matrix}, share=0.25)
    assert 0.8 <= min(seen) < 0.82 and 1.22 < max(seen) <= 1.25 and len(set(seen)) == 200
    assert np.log(seen).mean() == pytest.approx(0, abs=0.03)
    torch.testing.assert_close(
        warped.features["a"], batch.features["a"] * torch.tensor(seen)[:, None, None]
    )
    assert (warped.features["a"][1:, 4:] == 0).all()
    assert warped.features["b"] is batch.features["b"]


def test_all_features_of_a_clip_hear_the_same_voice():
    seen = {"a": [], "b": []}
    warpers = {
        "a": lambda factor: seen["a"].append(factor) or np.eye(9),
        "b": lambda factor: seen["b"].append(factor) or np.eye(1),
    }
    warp(batch_of(5), warpers, share=0.2)
    assert seen["a"] == seen["b"] and len(seen["a"]) == 5


def test_a_share_of_zero_warps_nothing():
    batch = batch_of(3)
    assert warp(batch, {"a": lambda factor: np.zeros((9, 9))}, share=0) is batch
