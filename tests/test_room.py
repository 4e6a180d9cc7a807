"""Memory and disk: a task that does not fit is refused before anything is written."""

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
    """Write the cache `x` of clips; return the size of each file in its folder, by name."""

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


def test_disk_is_refused_with_both_sizes(monkeypatch, tmp_path):
    free = room.shutil.disk_usage(tmp_path).free
    check_disk("it", need=free // 2, folder=tmp_path)
    with pytest.raises(ValueError, match=r"^it takes \d+\.\d GB on disk; \d+\.\d GB are free in /"):
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


def test_a_clip_that_memory_does_not_hold_is_named(write, no_write, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 16_000_000_000)
    hours = 100 * 3600 * RATE
    with pytest.raises(ValueError, match=r"^features.x: x/1: got 5760000000 samples, want a short"):
        write(never, table(16000, hours))


@pytest.mark.parametrize(
    "allocate",
    [lambda: np.zeros(1 << 50), lambda: torch.zeros(1 << 50)],
    ids=["numpy", "torch"],
)
def test_a_feature_that_runs_out_of_memory_is_named_with_the_longest_clip(
    allocate, write, no_write
):
    with pytest.raises(ValueError, match=r"^features\.x: got 32000 samples of x/1, .*want fewer, "):
        write(lambda waveform: allocate(), table(16000, 32000))


def test_another_failure_of_a_feature_keeps_its_reason(write, no_write):
    def feature(waveform):
        raise RuntimeError("the device is gone")

    with pytest.raises(ValueError, match="^features.x: the device is gone$"):
        write(feature, table(16000))


@pytest.mark.parametrize(("free", "want"), [(8, 6), (3.5, 3), (1, 1), (0.1, 1)])
def test_no_more_processes_than_memory_holds(free, want, monkeypatch):
    monkeypatch.setattr(cache, "processes", lambda tasks: min(tasks, 6))
    monkeypatch.setattr(cache, "peak_memory", lambda: 1000)
    monkeypatch.setattr(cache, "free_memory", lambda: int(1000 * free))
    assert cache._workers(50) == want
    assert cache._workers(2) == min(want, 2)
