"""The features of openSMILE, with a stand-in for the library, which the tests do not require."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from stages.acoustics import compare as compare_module
from stages.acoustics import egemaps as egemaps_module
from stages.acoustics.egemaps import egemaps
from stages.audio.store import AudioStore
from stages.clips.cache import write_cache
from stages.reporting.excerpts import describe_feature
from stages.settings.loading import bind
from stages.signals.smile import _smile
from tests.support import composed

RATE, HOP = 16000, 256
BOUND = {"sample_rate": RATE, "hop_length": HOP}
#: openSMILE's set and its dimensions, by feature.
SETS = {
    "egemaps": ("eGeMAPSv02", egemaps_module.DESCRIPTORS),
    "compare": ("ComParE_2016", compare_module.DESCRIPTORS),
}


class Smile:
    """Returns 100 n + i for descriptor i of row n, and NaN for a signal shorter than 60 ms."""

    built: ClassVar[list] = []

    def __init__(self, *, feature_set: str, feature_level: str) -> None:
        self.built.append((feature_set, feature_level))
        self.signals, self.holes, self.descriptors = [], {}, list(dict(SETS.values())[feature_set])

    def process_signal(self, signal: np.ndarray, sampling_rate: int) -> pd.DataFrame:
        self.signals.append(signal.copy())
        step = round(0.01 * sampling_rate)
        rows = (len(signal) - round(0.06 * sampling_rate)) // step + 2
        starts = pd.to_timedelta(np.arange(max(rows, 1)) * step / sampling_rate, "s")
        ends = starts + pd.Timedelta("20ms")
        index = pd.MultiIndex.from_arrays([starts, ends], names=["start", "end"])
        values = 100.0 * np.arange(len(index))[:, None] + np.arange(len(self.descriptors))
        for (row, column), hole in self.holes.items():
            values[row, column] = hole
        values = values if rows > 0 else np.full_like(values, np.nan)
        table = pd.DataFrame(values.astype(np.float32), index=index, columns=self.descriptors)
        return table[table.columns[::-1]]


@pytest.fixture
def smile(monkeypatch):
    """The extractor of egemaps."""
    library = SimpleNamespace(
        Smile=Smile,
        FeatureSet=SimpleNamespace(**{name: name for name, _ in SETS.values()}),
        FeatureLevel=SimpleNamespace(LowLevelDescriptors="lld"),
    )
    monkeypatch.setitem(sys.modules, "opensmile", library)
    monkeypatch.setattr(Smile, "built", [])
    _smile.cache_clear()
    yield _smile("egemaps", "eGeMAPSv02")
    _smile.cache_clear()


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    _smile.cache_clear()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).float()


def test_the_nearest_of_its_frames_is_taken(smile):
    values = egemaps(noise(RATE), **BOUND)
    assert values.shape == (25, 1 + RATE // HOP) and values.dtype == torch.float32
    # Row n is of 10 n to 10 n + 20 ms; the last begins at 950 ms.
    times_ms = 1000 * HOP / RATE * np.arange(values.shape[1])
    nearest = np.clip(np.rint((times_ms - 10) / 10 - 1e-6), 0, 95)
    np.testing.assert_array_equal(values[0] / 100, nearest)


def test_a_clock_that_the_rate_bends_is_followed_as_stated(smile):
    """At 22 050 Hz a step has 220 samples, not 220.5: a drift of 23 ms in ten seconds."""
    values = egemaps(noise(10 * 22050), sample_rate=22050, hop_length=353)
    assert abs(float(values[0, 600]) / 100 - (600 * 353 / 22050 - 0.01) * 22050 / 220) <= 0.51


@pytest.mark.parametrize("name", SETS)
def test_descriptors_stand_in_the_stated_order(smile, name):
    count = {"egemaps": 25, "compare": 65}[name]
    settings = composed(f"features=[{name}]")["features"][name]
    assert bind(settings, "acoustics")(noise(RATE))[:, 0].tolist() == list(range(count))
    title = {"egemaps": "eGeMAPS descriptor", "compare": "ComParE descriptor"}[name]
    assert describe_feature(name, settings, dimensions=count).dimension == title


def test_dimensions_are_named_as_in_opensmile():
    assert SETS["egemaps"][1][0] == "Loudness_sma3"
    assert SETS["egemaps"][1][10] == "F0semitoneFrom27.5Hz_sma3nz"
    assert SETS["compare"][1][0] == "F0final_sma" and SETS["compare"][1][-1] == "mfcc_sma[14]"
    assert SETS["compare"][1][10] == "audSpec_Rfilt_sma[0]"
    assert all(len(set(names)) == len(names) for _, names in SETS.values())


@pytest.mark.parametrize("name", SETS)
def test_the_set_of_a_feature_is_asked_for_once(smile, name):
    _smile.cache_clear()
    smile.built.clear()
    for _ in range(3):
        bind(composed(f"features=[{name}]")["features"][name], "acoustics")(noise(2, RATE))
    assert smile.built == [(SETS[name][0], "lld")]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_not_defined_is_zero(smile, hole):
    smile.holes[0, 7] = hole
    values = egemaps(noise(RATE), **BOUND)
    assert values[7, 0] == 0 and values[6, 0] == 6


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24414, 48000])
@pytest.mark.parametrize("samples", [1, 2, 255, 256, 257, 700, 4000])
def test_any_length_has_its_frames(smile, rate, samples):
    values = egemaps(noise(samples), sample_rate=rate, hop_length=HOP)
    assert values.shape == (25, 1 + samples // HOP)
    assert values[:, 0].tolist() == list(range(25))  # and not the NaN of a window that has no room
    assert (smile.signals[-1][samples:] == 0).all()


def test_the_library_gets_the_store_s_integers_and_full_scale_does_not_wrap(smile):
    integers = np.array([-32767, -20001, -1, 0, 1, 16384, 20001, 32767] * 200, dtype=np.int16)
    waveform = torch.from_numpy(integers.astype(np.float32) / 32767)
    egemaps(waveform, **BOUND)
    np.testing.assert_array_equal((smile.signals[-1] * 32768).astype(np.int16), integers)
    egemaps(torch.tensor([3.0, -3.0]), **BOUND)
    assert (smile.signals[-1][:2] * 32768).tolist() == [32767, -32767]


def test_a_batch_equals_its_clips_one_by_one(smile):
    batch = noise(2, 3, 4000)
    together = egemaps(batch, **BOUND)
    assert together.shape == (2, 3, 25, 16)
    np.testing.assert_array_equal(smile.signals[4], np.rint(batch[1, 1].numpy() * 32767) / 32768)
    assert torch.equal(together[1, 1], egemaps(batch[1, 1], **BOUND))
    assert egemaps(batch.double(), **BOUND).dtype == torch.float64


@pytest.mark.parametrize(
    ("waveform", "changes", "message"),
    [
        (torch.zeros(RATE), {"sample_rate": 4000}, "sample_rate: got 4000, want at least 8000"),
        (torch.zeros(RATE), {"hop_length": 0}, "hop_length: got 0, want at least 1"),
        (torch.zeros(0), {}, "waveform: got no samples"),
        (torch.full((9,), torch.nan), {}, "waveform: got NaN"),
    ],
)
def test_bad_input_is_named(no_library, waveform, changes, message):
    with pytest.raises(ValueError, match=message):
        egemaps(waveform, **BOUND | changes)


@pytest.mark.parametrize("name", SETS)
def test_the_missing_library_is_named_before_any_clip_is_read(no_library, tmp_path, name):
    clips = pd.DataFrame({"clip": ["x/1"], "start": [0], "samples": [4000], "frames": [16]})
    with pytest.raises(
        ImportError, match=rf"features.{name}: .* want opensmile: pip install opensmile==2.6.0"
    ):
        write_cache(
            tmp_path / f"{name}.npy",
            feature=bind(composed(f"features=[{name}]")["features"][name], "acoustics"),
            clips=clips,
            audio=tmp_path / "no such store",
            sample_rate=RATE,
        )
    assert not list(tmp_path.iterdir())


def test_it_is_cached_like_any_feature(smile, tmp_path):
    with AudioStore(tmp_path / "audio.npy") as store:
        store.append(np.ones(4000, np.int16))
    clips = pd.DataFrame({"clip": ["x/1"], "start": [0], "samples": [4000], "frames": [16]})
    write_cache(
        tmp_path / "egemaps.npy",
        feature=bind(composed("features=[egemaps]")["features"]["egemaps"], "acoustics"),
        clips=clips,
        audio=tmp_path / "audio.npy",
        sample_rate=RATE,
    )
    cache = np.load(tmp_path / "egemaps.npy")
    assert cache.shape == (16, 25) and cache[0].tolist() == list(range(25))
