"""One clip of each label: which, what is read of it, what its axes say, and how it is drawn."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import get_method
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context
from omegaconf import OmegaConf

from stages.acoustics import Description
from stages.acoustics.cochleagram import cochleagram
from stages.audio.frames import first_frames
from stages.reporting import drawing
from stages.reporting.excerpts import (
    Excerpt,
    describe_feature,
    draw_excerpts,
    read_excerpt,
    ticks,
)
from stages.reporting.predictions import Predictions, arrange
from stages.reporting.sections.examples import choose
from tests.support import as_plugin, own_features

RATE, HOP = 16000, 256
LABELS = ["angry", "happy", "sad"]
CONF = Path(__file__).parents[1] / "conf" / "features"
FEATURES = own_features()


def settings_of(name: str, **changes) -> dict:
    """The settings of a feature as params.yaml would hold them."""
    group = OmegaConf.load(CONF / f"{name}.yaml")
    audio = OmegaConf.load(CONF.parent / "audio" / "speech16k.yaml")
    whole = OmegaConf.create({"audio": audio, "features": group})
    return OmegaConf.to_container(whole, resolve=True)["features"][name] | changes


# Which clip


def table_of(*clips: str) -> pd.DataFrame:
    """A clip table of names `speaker-sentence-take-label`, in that order; two frames each."""
    parts = [clip.split("-") for clip in clips]
    table = pd.DataFrame(parts, columns=["speaker", "sentence", "take", "emotion"])
    return table.assign(clip=clips, frames=2, variant="clean", corpus="x", sex="female")


def predicted(clips: pd.DataFrame, *by_seed: tuple[float, float, float]) -> Predictions:
    """The same probabilities of the labels for every clip, one triple for each seed."""
    facts = clips[["clip", "corpus", "speaker", "sex"]].assign(label=clips["emotion"], fold=0)
    columns = [f"p_{label}" for label in LABELS]
    runs = [
        facts.assign(seed=seed, **dict(zip(columns, shares, strict=True)))
        for seed, shares in enumerate(by_seed or [(0.5, 0.3, 0.2)])
    ]
    return arrange(pd.concat(runs), known=clips["clip"], name="predictions")


def chosen(*clips: str) -> list[str]:
    table = table_of(*sorted(clips))
    return choose(predicted(table), clips=table)["clip"].tolist()


def test_the_speaker_with_most_labels_is_chosen_and_the_first_of_equals():
    few = ["1-s-a-angry", "1-s-a-happy"]
    most = ["2-s-a-angry", "2-s-a-happy", "2-s-a-sad"]
    equal = ["3-s-a-angry", "3-s-a-happy", "3-s-a-sad"]
    assert chosen(*few, *most, *equal) == most


def test_the_sentence_with_most_labels_comes_before_the_take_with_most():
    # Sentence s has all labels, over two takes; sentence t more of them in one take.
    clips = ["1-s-a-angry", "1-s-b-happy", "1-s-b-sad", "1-t-a-angry", "1-t-a-happy"]
    assert chosen(*clips) == ["1-s-a-angry", "1-s-b-happy", "1-s-b-sad"]
    both = [f"1-s-{take}-{label}" for take in "ab" for label in LABELS if take + label != "aangry"]
    assert chosen(*both) == [f"1-s-b-{label}" for label in LABELS]


def test_sentences_are_counted_over_the_chosen_speaker_alone():
    own = ["1-s-a-angry", "1-s-a-happy", "1-u-a-sad"]
    assert chosen(*own, "1-t-a-angry", "2-t-a-happy", "2-t-a-sad") == own


def test_of_equal_sentences_the_first_in_the_table_is_chosen():
    table = table_of("1-t-a-angry", "1-s-a-angry")
    assert choose(predicted(table), clips=table)["clip"].tolist() == ["1-t-a-angry"]


def test_a_missing_label_comes_from_another_take_then_sentence_then_speaker():
    base = ["1-t-b-angry", "1-t-b-happy"]
    alike, first = "2-t-b-sad", "2-a-a-sad"
    assert chosen(*base, first) == [*base, first]
    assert chosen(*base, first, "2-t-a-sad") == [*base, "2-t-a-sad"]
    assert chosen(*base, first, "2-t-a-sad", alike) == [*base, alike]
    assert chosen(*base, alike, "1-a-a-sad") == [*base, "1-a-a-sad"]
    assert chosen(*base, alike, "1-a-a-sad", "1-t-a-sad") == [*base, "1-t-a-sad"]


def test_only_held_out_clips_are_chosen_in_the_order_of_labels():
    table = table_of("1-s-a-angry", "1-s-a-happy", "1-s-a-sad", "2-s-a-happy")
    rows = choose(predicted(table.iloc[1:3]), clips=table)
    assert rows["label"].tolist() == ["happy", "sad"]
    assert rows["first"].tolist() == [2, 4]  # rows of the caches, which hold all clips


def test_a_variant_is_not_chosen_though_it_is_tested():
    table = table_of("1-s-a-happy", "1-s-b-happy", "1-s-b-sad", "1-s-c-sad")
    table.loc[[0, 2], "variant"] = "pitch"
    rows = choose(predicted(table), clips=table)
    assert rows["clip"].tolist() == ["1-s-b-happy", "1-s-c-sad"]
    assert rows["first"].tolist() == [2, 6]


def test_the_answer_is_that_of_all_seeds_together():
    table = table_of("1-s-a-happy")
    one = choose(predicted(table, (0.5, 0.3, 0.2)), clips=table).iloc[0]
    assert (one["answer"], one["probability"], one["own_probability"]) == ("angry", 0.5, 0.3)
    two = choose(predicted(table, (0.5, 0.1, 0.4), (0.1, 0.2, 0.7)), clips=table).iloc[0]
    assert two["answer"] == "sad"
    assert two["probability"] == pytest.approx(0.55)
    assert two["own_probability"] == pytest.approx(0.15)


# What is read


def test_the_clips_own_samples_and_frames_are_read():
    frames = np.array([3, 0, 4, 5])
    firsts = first_frames(frames)
    cache = np.repeat(np.arange(4), frames)[:, None] * np.ones((1, 2), np.float16)
    store = np.repeat(np.arange(4), 1000).astype(np.int16)
    for number in (0, 2, 3):
        clip = SimpleNamespace(clip="x", start=1000 * number, samples=1000)
        clip.first, clip.frames = firsts[number], frames[number]
        found = read_excerpt(
            clip, store=store, caches={"mfcc": cache}, sample_rate=RATE, hop_length=HOP
        )
        assert found.features["mfcc"].shape == (min(frames[number], 1 + 1000 // HOP), 2)
        assert (found.features["mfcc"] == number).all()
        assert len(found.waveform) == 1000
        assert np.allclose(found.waveform * 32767, number)


def test_of_a_long_clip_five_seconds_are_read_and_of_the_stores_nothing_else(tmp_path):
    samples, frames = 200 * RATE, 1 + 200 * RATE // HOP
    clip = SimpleNamespace(clip="x", start=7, samples=samples - 7, first=5, frames=frames - 5)
    store = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.int16, (samples,))
    cache = np.lib.format.open_memmap(tmp_path / "f.npy", "w+", np.float16, (frames, 64))
    cache[5:9] = 1
    tracemalloc.start()
    found = read_excerpt(
        clip, store=store, caches={"mfcc": cache}, sample_rate=RATE, hop_length=HOP
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.waveform) == 5 * RATE
    assert found.features["mfcc"].shape == (1 + 5 * RATE // HOP, 64)
    assert found.features["mfcc"].sum() == 4 * 64
    assert peak < 3e6  # bytes; the whole is 7e6 and 1.6e6


def test_a_store_that_is_too_short_is_refused():
    clip = SimpleNamespace(clip="x/1", start=500, samples=1000, first=0, frames=4)
    with pytest.raises(ValueError, match="x/1: got 300 samples in the audio store, want 1000"):
        read_excerpt(
            clip, store=np.zeros(800, np.int16), caches={}, sample_rate=RATE, hop_length=HOP
        )


# What the axes say


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_described_dimension_by_dimension(name):
    bound = settings_of(name)
    target = get_method(bound["_target_"])
    arguments = {key: value for key, value in bound.items() if key != "_target_"}
    dimensions = len(target(torch.zeros(RATE), **arguments))
    found = describe_feature(name, bound, dimensions=dimensions)
    assert found.centres.shape == (dimensions,)
    assert (np.diff(found.centres) > 0).all()
    assert found.values.endswith(")")  # the unit
    assert bool(found.dimension) == (dimensions > 1)


TONES = st.floats(300, 7000)


def tone(frequency: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * np.pi * frequency * torch.arange(RATE, dtype=torch.float64) / RATE)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("spectrogram", {}),
        ("spectrogram", {"bins": None, "fmax": 7500}),
        ("spectrogram", {"bins": 64, "n_fft": 1024}),
        ("logmel", {}),
        ("logmel", {"n_mels": 40, "fmin": 0, "fmax": 7600}),
        ("cochleagram", {}),
        ("cochleagram", {"n_channels": 40, "fmin": 100, "fmax": 7800}),
        ("cochleagram", {"method": "iir"}),
    ],
)
@settings(max_examples=10)
@given(frequency=TONES)
def test_a_pure_tone_lights_the_row_of_its_frequency(name, changes, frequency):
    bound = settings_of(name, **changes)
    target = get_method(bound["_target_"])
    arguments = {key: value for key, value in bound.items() if key != "_target_"}
    for pitch in (1000.0, frequency):
        values = target(tone(pitch), **arguments)[:, 5:-5].mean(dim=-1)
        found = describe_feature(name, bound, dimensions=len(values))
        nearest = np.abs(found.centres - pitch).argmin()
        # Half way between two rows, either may be the brighter one.
        exact = pitch == 1000 and not changes
        assert abs(int(values.argmax()) - nearest) <= (0 if exact else 1)
    assert found.dimension == "frequency (Hz)"


def test_centres_are_the_filters_own():
    centres = describe_feature("cochleagram", settings_of("cochleagram"), dimensions=64).centres
    arguments = {k: v for k, v in settings_of("cochleagram").items() if k != "_target_"}
    for channel in (20, 40, 63):
        loudest = cochleagram(tone(centres[channel]), **arguments | {"method": "iir"})[:, 8:-8]
        assert (loudest.argmax(dim=0) == channel).all()
        # A filter passes its centre, and only that, unchanged.
        assert float(loudest[channel].mean()) == pytest.approx(20 * np.log10(0.5**1.5), abs=0.15)


def test_slopes_of_coefficients_are_named():
    bound = settings_of("mfcc", deltas=2, n_mfcc=13)
    found = describe_feature("mfcc", bound, dimensions=39)
    assert found.dimension == "coefficient, 13 on: slope, 26 on: curvature"
    assert found.centres.tolist() == list(range(39))


def test_a_feature_that_says_nothing_is_numbered(monkeypatch):
    def toy():
        """Nothing that is called."""

    name = as_plugin(monkeypatch, "stages.acoustics.toy", toy)
    found = describe_feature("toy", {"_target_": name, "size": 3}, dimensions=5)
    assert found.centres.tolist() == [0, 1, 2, 3, 4]
    assert (found.values, found.dimension) == ("value", "dimension")


def test_a_cache_of_other_settings_is_refused():
    with pytest.raises(ValueError, match="logmel: got 40 dimensions in its cache, want 64"):
        describe_feature("logmel", settings_of("logmel"), dimensions=40)


@pytest.mark.parametrize("name", ["mfcc", "spectrogram", "cochleagram", "logmel"])
def test_ticks_stand_where_their_numbers_are(name):
    bound = settings_of(name)
    dimensions = {"mfcc": 40, "spectrogram": 128}.get(name, 64)
    centres = describe_feature(name, bound, dimensions=dimensions).centres
    places, numbers = ticks(centres)
    assert 3 <= len(places) <= 9
    assert (np.diff(places) >= dimensions / 9).all()
    assert places[0] >= -0.5 and places[-1] <= dimensions - 0.5
    rows = np.clip(np.rint(places).astype(int), 0, dimensions - 1)
    for row, place, number in zip(rows, places, numbers, strict=True):
        assert row == np.abs(centres - number).argmin() or abs(place - row) == pytest.approx(0.5)


def test_ticks_of_the_linear_spectrogram_are_round_and_evenly_spaced():
    centres = describe_feature("spectrogram", settings_of("spectrogram"), dimensions=128).centres
    places, numbers = ticks(centres)
    assert numbers.tolist() == [2000, 4000, 6000, 8000]
    np.testing.assert_allclose(places, (numbers - 46.875) / 62.5)  # bin 0: lines 1 and 2 of 31.25


# The picture


def drawn(values: dict[str, dict[str, np.ndarray]], described: dict[str, Description]):
    """Each label and the figure, which is always the same one."""
    excerpts = {
        label: Excerpt(np.full(HOP * (len(next(iter(own.values()))) - 1), 0.25, np.float32), own)
        for label, own in values.items()
    }
    with drawing.style(), rc_context({"figure.constrained_layout.use": False}):
        yield from draw_excerpts(
            excerpts,
            titles={label: [label, "note"] for label in excerpts},
            described=described,
            sample_rate=RATE,
            hop_length=HOP,
        )


HZ = Description("power (dB)", "frequency (Hz)", np.array([100.0, 200, 400, 800, 1600]))
LEVEL = Description("level (dB)", "", np.zeros(1))


def test_scales_are_the_same_for_all_labels_and_panels_share_the_time():
    rng = np.random.default_rng(0)
    values = {
        label: {"a": 20 * index + rng.normal(size=(frames, 5)), "b": rng.normal(size=(frames, 1))}
        for index, (label, frames) in enumerate({"angry": 51, "sad": 101}.items())
    }
    images, lines = [], []
    for label, figure in drawn(values, {"a": HZ, "b": LEVEL}):
        waveform, image, line = figure.axes[0], figure.axes[1], figure.axes[2]
        np.testing.assert_array_equal(image.images[0].get_array(), values[label]["a"].T)
        left, right, bottom, top = image.images[0].get_extent()
        frames = len(values[label]["a"])
        # Each column is centred on its frame's time: frame 0 at 0 s, frame 50 at 0.8 s.
        assert (left + right) / 2 == pytest.approx((frames - 1) / 2 * HOP / RATE)
        assert (right - left) / frames == pytest.approx(HOP / RATE)
        assert (bottom, top) == (-0.5, 4.5)
        np.testing.assert_allclose(line.lines[0].get_xdata(), np.arange(frames) * HOP / RATE)
        np.testing.assert_array_equal(line.lines[0].get_ydata(), values[label]["b"][:, 0])
        assert {axes.get_xlim() for axes in (waveform, image, line)} == {(0, 1.6)}
        assert [axes.get_ylabel() for axes in figure.axes] == [
            *("amplitude", "frequency (Hz)", "level (dB)", "power (dB)"),
        ]
        assert line.get_xlabel() == "time (s)"
        assert figure.get_suptitle() == f"{label}\nnote"
        images.append(image.images[0].get_clim())
        lines.append(line.get_ylim())
    together = np.concatenate([own["a"] for own in values.values()])
    assert images[0] == images[1] == tuple(np.percentile(together, (3, 98)))
    level = np.concatenate([own["b"] for own in values.values()])
    assert lines[0] == lines[1] and lines[0][0] < level.min() and lines[0][1] > level.max()


def test_a_feature_without_any_change_is_drawn():
    still = {"a": np.zeros((9, 5)), "b": np.zeros((9, 1))}
    ((_, figure),) = drawn({"sad": still}, {"a": HZ, "b": LEVEL})
    low, high = figure.axes[1].images[0].get_clim()
    assert low < 0 < high
    low, high = figure.axes[2].get_ylim()
    assert low < 0 < high
