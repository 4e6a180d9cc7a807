"""The benchmark of growing corpora: its speech through the first stages, its bars and its law."""

import pytest

from benchmarks.processes import Cost
from benchmarks.scale import (
    Measured,
    _left,
    fitting,
    growth,
    law,
    run_stages,
    utterances,
    write_corpora,
    write_settings,
)
from stages.clips.clip_table import read_clips
from stages.running import resources


@pytest.fixture
def few_voices(monkeypatch):
    """One voice in one corpus, as to synthesise all takes seconds."""
    monkeypatch.setattr("benchmarks.scale._CORPORA", ("one",))
    monkeypatch.setattr("benchmarks.scale._VOICES", 1)
    monkeypatch.setattr("benchmarks.scale._SENTENCES", 1)
    monkeypatch.setattr("benchmarks.scale._SYLLABLES", 3)
    utterances.cache_clear()
    yield
    utterances.cache_clear()


def test_no_recording_occurs_twice_and_stages_write_what_they_said(few_voices, tmp_path):
    write_settings(tmp_path)
    write_corpora(tmp_path / "raw", clips=12, clip_s=0.5)
    files = [path.read_bytes() for path in (tmp_path / "raw").rglob("*.wav")]
    assert len(set(files)) == 12
    stages = run_stages(tmp_path)
    (check, _), (prepare, measured) = next(stages), next(stages)
    assert (check, prepare) == ("check", "prepare")
    clips = read_clips(tmp_path / "data/corpora/one/clips.csv")
    assert len(clips) == 12 and not clips["excluded"].any() and clips["speaker"].nunique() == 3
    assert measured.cost.cpu_s > 0 and measured.cost.peak_mb > 1
    # Silence is trimmed, and the table comes on top.
    assert 0.5 * measured.need < measured.wrote < measured.need + 10_000


def test_time_left_is_that_of_the_first_tenth():
    bars = [
        (0.0, "mfcc:   0%|    | 0/200 [00:00<?, ?clip/s]"),
        (5.0, "\rmfcc:   5%|    | 10/200 [00:05<09:59, 2.00clip/s]"),
        (10.0, "\rmfcc:  10%|    | 20/200 [00:10<01:48, 2.00clip/s]"),
        (90.0, "\rmfcc:  90%|    | 180/200 [01:30<00:10, 2.00clip/s]"),
        (100.0, "\rmfcc: 100%|   | 200/200 [01:40<00:00, 2.00clip/s]"),
    ]
    assert _left(bars, ended=130.0) == pytest.approx(108 / 90)
    assert _left([(at / 20, bar) for at, bar in bars], ended=130.0) is None  # of five seconds
    assert _left([(1.0, "no bar")], ended=130.0) is None


def test_the_law_is_the_line_through_the_two_largest_sizes(capsys):
    sizes = [1, 2, 4]
    runs = [{"merge": Measured(Cost(9, 3 + 2 * h, 80 + h), 0, 0, None)} for h in sizes]
    figures = law(sizes, runs, target_h=200)
    assert figures["target_cpu_s"] == 403 and figures["merge_increase"] == 2
    assert figures["all_cpu_s_per_hour"] == 2 and figures["merge_peak_mb_per_hour"] == 1
    assert "merge" in capsys.readouterr().out
    assert growth([1, 4, 16]) == 4 and growth([1, 2]) is None


def test_hours_are_halved_until_the_disk_holds_them(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_free_disk", lambda path: (path, 2 * 10**10))
    assert fitting(200, clip_s=2.9, scratch=tmp_path) == 50
    monkeypatch.setattr(resources, "_free_disk", lambda path: (path, 10**6))
    with pytest.raises(ValueError, match=r"--hours 0\.\d+: .* MB on disk; 1\.0 MB are free"):
        fitting(4, clip_s=2.9, scratch=tmp_path)
