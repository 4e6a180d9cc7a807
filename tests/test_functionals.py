"""Functionals: equal to their definitions contour by contour, whatever clips lie beside."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from benchmarks.functionals import LOOP, deltas, loop
from stages.learning import functionals as module
from stages.learning.batches import ClipData
from stages.learning.functionals import FUNCTIONALS, available, functional_names, functionals
from stages.networks.svm import SVM

EVERY = [*FUNCTIONALS, *(f"delta_{name}" for name in FUNCTIONALS)]


def clips_of(*frames: int, values: np.ndarray | None = None, dimensions: int = 13) -> ClipData:
    """Clips of random contours with plateaus, or of given values [frames of all, dimensions]."""
    if values is None:
        random = np.random.default_rng(0)
        values = random.normal(size=(sum(frames), dimensions)).cumsum(axis=0).round(1) % 7 - 3
    counts = np.array(frames)
    return ClipData(
        caches={"logmel": values[:, :-1].astype(np.float16), "rms": values[:, -1:].astype("f2")},
        first=np.cumsum(counts) - counts,
        frames=counts,
        labels=np.zeros(len(counts), np.int64),
        n_classes=2,
    )


def test_every_functional_has_a_definition():
    assert list(LOOP) == list(FUNCTIONALS)


@pytest.mark.parametrize("name", EVERY)
def test_a_functional_is_its_definition(name):
    data = clips_of(1, 2, 3, 4, 5, 6, 7, 40, 40, 97, 150, 40)
    clips = np.array([11, 0, 1, 2, 3, 4, 5, 6, 7, 9, 10])
    np.testing.assert_allclose(
        functionals(data, clips, names=[name]), loop(data, clips, names=[name]), 1e-5, 1e-5
    )


def test_deltas_are_slopes_of_five_frames():
    x = np.random.default_rng(0).normal(size=30)
    slopes = [np.polyfit(range(5), x[t - 2 : t + 3], 1)[0] for t in range(2, 28)]
    np.testing.assert_allclose(deltas(x)[2:-2], slopes, atol=1e-12)
    np.testing.assert_allclose(module.deltas(x[None])[0], deltas(x), atol=1e-12)


def test_functionals_of_a_ramp():
    data = clips_of(10, values=np.arange(10.0)[:, None] * [1.0, -2.0])
    names = list(FUNCTIONALS)
    columns = functional_names(data.inputs, names=names)
    values = pd.Series(functionals(data, np.array([0]), names=names)[0], columns)
    want = {"mean": (4.5, -9), "slope": (1, -2), "step_mean": (1, 2), "p50": (4.5, -9)}
    want |= {"max_position": (1, 0), "skewness": (0, 0), "curve_slope": (9, -18), "rising": (1, 0)}
    want |= {"line_start": (0, 0), "curve_square": (0, 0), "line_error": (0, 0), "peaks": (0, 0)}
    want |= {"range_25_75": (4.5, 9), "above_50": (0.5, 0.5), "segment_longest": (3, 3)}
    for value, pair in want.items():
        got = values[[f"logmel_0_{value}", f"rms_0_{value}"]]
        np.testing.assert_allclose(got, pair, atol=1e-6, err_msg=value)


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
@pytest.mark.parametrize("level", [0.0, 0.1, -80.0])
def test_a_flat_contour_has_no_shape(frames, level):
    """0.1 has no exact mean: a share of its rounding errors would be any number."""
    data = clips_of(frames, values=np.full((frames, 2), level))
    names = functional_names(data.inputs, names=EVERY)
    values = pd.Series(functionals(data, np.array([0]), names=EVERY)[0], names)
    level = float(np.float16(level))
    for name, value in values.items():
        at_level = name.split("_", 2)[2] in {
            *("mean", "p1", "p5", "p20", "p25", "p50", "p75", "p80", "p95", "p99"),
            *("line_start", "curve_start"),
        }
        want = level if at_level else 0.5 if name.endswith("centroid") else 0
        assert value == pytest.approx(want, abs=1e-6), name


@pytest.mark.slow
def test_a_clip_has_the_same_values_alone_and_beside_others(monkeypatch):
    data = clips_of(*np.random.default_rng(1).integers(1, 30, 200))
    clips = np.random.default_rng(2).permutation(200)
    together = functionals(data, clips, names=EVERY)
    for row in range(0, 200, 9):
        alone = functionals(data, clips[[row]], names=EVERY)[0]
        np.testing.assert_array_equal(together[row], alone)
    monkeypatch.setattr(module, "_BLOCK", 40)  # less than the values of most clips
    np.testing.assert_array_equal(functionals(data, clips, names=EVERY), together)


def test_no_clips_have_no_functionals():
    data = clips_of(12, 7)
    names = available(data.inputs)
    found = functionals(data, np.zeros(0, dtype=np.int64), names=names)
    assert found.shape == (0, len(functional_names(data.inputs, names=names)))


def test_memory_is_that_of_a_block():
    """A hundred clips, or one as long as all of them, need little beside the result."""
    for data in (clips_of(*[300] * 100, dimensions=60), clips_of(30_000, dimensions=60)):
        clips = np.arange(len(data.labels))
        functionals(data, clips[:1], names=EVERY)
        tracemalloc.start()
        result = functionals(data, clips, names=EVERY)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        read = 2 * 30_000 * 60 if len(clips) == 1 else 0  # bytes of the clip as it is cached
        assert peak - result.nbytes - 4 * read < 40 * 8 * module._BLOCK


@pytest.mark.parametrize("name", ["mode", "voiced"])
def test_unknown_functional_is_named(name):
    data = clips_of(5, 9, 17, 9, 30)
    message = (
        rf"functionals: got \['{name}'\], want some of \['mean'.*; voiced needs the feature pi"
    )
    with pytest.raises(ValueError, match=message):
        functionals(data, np.arange(3), names=["mean", name])
    with pytest.raises(ValueError, match=message):  # before any job
        SVM(kernel="linear", c=1, limit=None, functionals=[name]).least_memory(data)


def test_voiced_functionals_are_of_the_frames_with_a_voice():
    """Two clips: one with a voice in frames 1 and 3 of 4, one without."""
    strength = np.array([0.2, 0.5, 0.49, 0.9, 0.1, 0.0, 0.3])
    level = np.array([1.0, 10, 100, 20, 1, 2, 6])
    pitch = np.stack([level / 2, strength], axis=1).astype(np.float16)
    data = ClipData(
        caches={"rms": level[:, None].astype(np.float16), "pitch": pitch},
        first=np.array([0, 4]),
        frames=np.array([4, 3]),
        labels=np.array([0, 1]),
        n_classes=2,
    )
    names = ["mean", "deviation", "slope", "percentiles", "change", "voiced"]
    known = available(data.inputs)
    assert known[-1] == "voiced" and "voiced" not in available({"pitch": 1, "rms": 1})
    columns = functional_names(data.inputs, names=names)
    values = pd.DataFrame(functionals(data, np.arange(2), names=names), columns=columns)
    assert values["pitch_1_voiced_share"].tolist() == [0.5, 0]
    assert values["rms_0_voiced_mean"].tolist() == [15, 3]
    assert values["pitch_0_voiced_p50"].tolist() == [7.5, 1]
    assert values["pitch_0_voiced_deviation"][0] == 2.5
    assert values["rms_0_mean"][0] == 32.75
    assert len(columns) == len(set(columns)) == 3 * (10 + 7) + 1
    assert SVM(kernel="linear", c=1, limit=None, functionals=names).least_memory(
        data
    ) == 2 * 4 * 2 * len(columns)


def test_functionals_are_named_in_their_order():
    data = clips_of(5, 9, 17, 9, 30)
    names = ["percentiles", "mean", "change"]
    columns = functional_names(data.inputs, names=names)
    values = pd.Series(functionals(data, np.array([4]), names=names)[0], index=columns)
    frames = data.caches["logmel"][data.first[4] :][: data.frames[4]].astype(float)
    assert values["logmel_3_p80"] == pytest.approx(np.percentile(frames[:, 3], 80), abs=1e-4)
    assert values["logmel_11_mean"] == pytest.approx(frames[:, 11].mean(), abs=1e-4)
    assert values["logmel_0_step_deviation"] == pytest.approx(np.diff(frames[:, 0]).std(), abs=1e-4)
    assert len(columns) == len(set(columns)) == 13 * 8
    every = functional_names(data.inputs, names=available(data.inputs))
    assert len(every) == len(set(every))
    assert len(every) == functionals(data, np.array([0]), names=available(data.inputs)).shape[1]
