"""A feature set that no disk or memory holds is refused before anything is written."""

from functools import partial

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from stages.acoustics.logmel import logmel
from stages.acoustics.spectrogram import spectrogram
from stages.audio.store import AudioStore
from stages.clips import cache
from stages.clips.cache import write_cache
from stages.running import resources as room
from stages.running.resources import check_disk, check_memory, free_memory, peak_memory

RATE, HOP = 16000, 256
SPECTRUM = {"sample_rate": RATE, "hop_length": HOP, "win_length": 512, "fmax": None}
SPECTROGRAM = partial(spectrogram, **SPECTRUM, n_fft=512, bins=128, floor_db=-70)
LOGMEL = partial(logmel, **SPECTRUM, n_fft=512, n_mels=64, fmin=50, floor_db=-80)


def table(*samples):
    rows = [(f"x/{i}", n, 1 + n // HOP) for i, n in enumerate(samples)]
    clips = pd.DataFrame(rows, columns=["clip", "samples", "frames"])
    return clips.assign(start=clips["samples"].cumsum() - clips["samples"])


@pytest.fixture
def write(tmp_path):
    """Write the cache `x` of some clips; all files that there are afterwards, by their size."""

    def run(feature, clips):
        with AudioStore(tmp_path / "audio.npy") as store:
            store.append(np.ones(min(int(clips["samples"].sum()), 10**6), np.int16))
        folder = tmp_path / "features"
        write_cache(
            folder / "x.npy",
            feature=feature,
            clips=clips,
            audio=tmp_path / "audio.npy",
            sample_rate=RATE,
        )
        return {path.name: path.stat().st_size for path in folder.iterdir()}

    return run


def never(*_):
    raise AssertionError("called")


@pytest.fixture
def no_write(monkeypatch):
    monkeypatch.setattr(np.lib.format, "open_memmap", never)


def test_free_and_peak_memory_are_bytes():
    machine, process = psutil.virtual_memory(), psutil.Process().memory_info().rss
    assert machine.total / 1000 < free_memory() <= machine.total
    assert 0.9 * process < peak_memory() < machine.total


def test_memory_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 3_000_000_000)
    check_memory("it", need=3_000_000_000)
    with pytest.raises(ValueError, match="^it takes 3.1 GB of memory, 3.0 GB are free$"):
        check_memory("it", need=3_100_000_000)
    monkeypatch.setattr(room, "free_memory", never)
    check_memory("little", need=1_000_000)


def test_disk_is_refused_with_both_sizes(monkeypatch, tmp_path):
    free = room.shutil.disk_usage(tmp_path).free
    check_disk("it", need=free // 2, folder=tmp_path)
    with pytest.raises(ValueError, match=r"^it takes \d+\.\d GB on disk, \d+\.\d GB are free$"):
        check_disk("it", need=3 * free, folder=tmp_path)


def test_a_cache_is_written_if_the_disk_holds_just_that(write, monkeypatch, tmp_path):
    clips = table(16000, 48000)
    size = int(clips["frames"].sum()) * 128 * 2

    def disk(free):
        usage = room.shutil._ntuple_diskusage(10**12, 10**12 - free, free)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: usage)

    disk(size - 1)
    with pytest.raises(ValueError, match=r"features.x: got 251 frames of 128 dimensions") as error:
        write(SPECTROGRAM, clips)
    assert "n_fft 512" in str(error.value) and "bins 128" in str(error.value)
    assert "want fewer clips, a longer hop_length or settings with fewer" in str(error.value)
    assert not list((tmp_path / "features").iterdir())
    disk(size)
    assert write(SPECTROGRAM, clips) == {"x.npy": size + 128}
    disk(size - 1)  # the one that is there stays until another is complete
    with pytest.raises(ValueError, match="features.x"):
        write(SPECTROGRAM, clips)
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["x.npy"]


def test_millions_of_hours_do_not_fit_the_disk(write, no_write):
    clips = table(16000).assign(frames=3_600_000_000 * RATE // HOP)
    with pytest.raises(ValueError, match=r"features.x: got 225000000000 frames .* are free"):
        write(LOGMEL, clips)


@pytest.mark.parametrize("n_fft", [1 << 22, 1 << 42])
@pytest.mark.parametrize("feature", [SPECTROGRAM, LOGMEL])
def test_a_transform_that_memory_does_not_hold_for_the_longest_clip(
    feature, n_fft, write, no_write, monkeypatch
):
    monkeypatch.setattr(room, "free_memory", lambda: 16_000_000_000)
    before = peak_memory()
    with pytest.raises(ValueError, match=f"^features.x: n_fft: got {n_fft}, want less, ") as error:
        write(partial(feature, n_fft=n_fft), table(16000, 144000, 32000))
    assert "one of 144000 samples takes" in str(error.value)
    assert str(error.value).endswith("GB of memory, 16.0 GB are free")
    assert peak_memory() < before + 2**28


def test_a_clip_that_memory_does_not_hold_is_named(write, no_write, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 16_000_000_000)
    hours = 100 * 3600 * RATE
    with pytest.raises(ValueError, match=r"^features.x: x/1: got 5760000000 samples, want a short"):
        write(never, table(16000, hours))


def test_what_a_feature_does_not_check_itself_is_said_with_its_name(write, no_write):
    for error in (MemoryError("1 PB"), RuntimeError("can't allocate memory")):

        def feature(_, error=error):
            raise error

        with pytest.raises(ValueError, match=f"^features.x: {error}$"):
            write(feature, table(16000))


def test_what_power_spectrum_asks_for_is_what_it_takes(monkeypatch):
    """Sizes of all tensors that live at a time while it runs, by torch's own count."""
    asked = []
    monkeypatch.setattr(room, "free_memory", lambda: 1 << 62)
    monkeypatch.setattr(
        "stages.signals.spectra.check_memory", lambda what, *, need: asked.append(need)
    )
    waveform = torch.zeros(160_000)
    most_numbers = partial(spectrogram, **SPECTRUM, n_fft=512, bins=None, floor_db=-70)
    most_numbers(waveform)  # the window is kept
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        most_numbers(waveform)
    now = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    assert 0.8 * max(asked) < most <= max(asked)


@pytest.mark.parametrize(("free", "want"), [(8, 6), (3.5, 3), (1, 1), (0.1, 1)])
def test_no_more_processes_than_memory_holds(free, want, monkeypatch):
    monkeypatch.setattr(cache, "processes", lambda tasks: min(tasks, 6))
    monkeypatch.setattr(cache, "peak_memory", lambda: 1000)
    monkeypatch.setattr(cache, "free_memory", lambda: int(1000 * free))
    assert cache._workers(50) == want
    assert cache._workers(2) == min(want, 2)
