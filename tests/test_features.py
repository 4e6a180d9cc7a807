"""The contract of every feature in conf/features."""

import inspect
import re
from functools import partial
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from stages.audio.frames import frame_count
from stages.clips.cache import write_cache
from tests.support import ROOT, own_features, speech_like

RATE = 16000
HOP = 256
CONF = ROOT / "conf" / "features"
ALL = sorted(path.stem for path in CONF.glob("*.yaml"))
NAMED = pytest.mark.parametrize("name", ALL)
#: All features that need nothing beyond requirements.txt, and the others.
OWN = own_features()
EVERY = pytest.mark.parametrize("name", OWN)
OPTIONAL = pytest.mark.parametrize("name", sorted(set(ALL) - set(OWN)))


def settings_of(name: str) -> dict:
    """Settings of a feature, as in a composed configuration."""
    group = OmegaConf.load(CONF / f"{name}.yaml")
    audio = OmegaConf.load(CONF.parent / "audio" / "speech16k.yaml")
    whole = OmegaConf.create({"audio": audio, "features": group})
    OmegaConf.resolve(whole)
    return OmegaConf.to_container(whole)["features"][name]


def feature_of(name: str, **changes):
    return instantiate(settings_of(name) | changes, _partial_=True)


def numbers_of(name: str) -> dict[str, float]:
    """Numeric settings of a feature."""
    return {k: v for k, v in settings_of(name).items() if type(v) in (int, float)}


def choices_of(name: str) -> list[str]:
    """Settings of a feature that are one of several names."""
    return [k for k, v in settings_of(name).items() if isinstance(v, str) and k != "_target_"]


def unit_of(name: str) -> str:
    """Quantity of a feature's values, with the unit in brackets."""
    bound = {k: v for k, v in settings_of(name).items() if k != "_target_"}
    describe = getattr(import_module(f"stages.acoustics.{name}"), "describe", None)
    return describe(**bound).values if describe else ""


# What stands where


def test_there_are_features():
    assert {"chroma", "cochleagram", "contrast", "logmel", "mfcc", "rms"} <= set(OWN)


@NAMED
def test_names_agree(name):
    bound = settings_of(name)
    assert list(OmegaConf.load(CONF / f"{name}.yaml")) == [name]
    assert bound["_target_"] == f"stages.acoustics.{name}.{name}"


@NAMED
def test_every_setting_stands_in_the_yaml(name):
    bound = settings_of(name)
    parameters = inspect.signature(feature_of(name).func).parameters.values()
    waveform, *keywords = parameters
    assert waveform.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in keywords)
    assert all(p.default is inspect.Parameter.empty for p in keywords)
    assert {p.name for p in keywords} == set(bound) - {"_target_"}
    assert {"sample_rate", "hop_length"} <= set(bound)


@OPTIONAL
def test_an_optional_feature_says_what_it_needs(name):
    needs = import_module(f"stages.acoustics.{name}").NEEDS
    assert isinstance(needs, str) and needs


# Bad settings, named before any clip is looked at


@EVERY
def test_no_count_length_or_rate_is_below_one(name):
    counts = [key for key, value in settings_of(name).items() if type(value) is int and value > 0]
    assert {"sample_rate", "hop_length"} <= set(counts)
    for key in counts:
        refused = (-1,) if key == "fmin" else (0, -1)
        for value in refused:
            with pytest.raises(ValueError, match=f"^{key}: got {value}, want "):
                feature_of(name)(torch.zeros(RATE), **{key: value})


@pytest.mark.parametrize(
    ("name", "key"), [(n, key) for n in OWN for key in ("fmin", "fmax") if key in settings_of(n)]
)
def test_no_band_lies_above_half_the_sample_rate(name, key):
    wanted = r".*\(half sample_rate\)" if key == "fmax" else ""
    with pytest.raises(ValueError, match=rf"^{key}: got 8001, want {wanted}"):
        feature_of(name)(torch.zeros(RATE), **{key: 8001})


@EVERY
def test_nan_and_more_dimensions_than_the_transform_can_tell_apart_are_refused(name):
    for key in numbers_of(name):
        counted = re.match("n_(?!fft)|bins", key)
        for value in (float("nan"), *([10**12] if counted else [])):
            with pytest.raises(ValueError, match=f"^{key}: got {value}, want "):
                feature_of(name)(torch.zeros(RATE), **{key: value})


@pytest.mark.parametrize(("name", "key"), [(n, key) for n in OWN for key in choices_of(n)])
def test_an_unknown_choice_is_refused(name, key):
    with pytest.raises(ValueError, match=f"^{key}: got 'vibes', want "):
        feature_of(name)(torch.zeros(RATE), **{key: "vibes"})


def test_a_table_without_a_usable_clip_is_refused(tmp_path):
    clips = pd.DataFrame({"clip": ["x/1"], "start": [0], "samples": [0], "frames": [0]})
    with pytest.raises(ValueError, match=r"^features\.rms: got 1 clips, none usable"):
        write_cache(
            tmp_path / "rms.npy",
            feature=feature_of("rms"),
            clips=clips,
            audio=tmp_path / "there_is_none.npy",
            sample_rate=RATE,
        )
    assert not list(tmp_path.rglob("*.npy*"))


@EVERY
def test_a_bad_setting_is_named_before_any_clip_is_read(name, tmp_path):
    clips = pd.DataFrame({"clip": ["x/1"], "start": [0], "samples": [RATE], "frames": [63]})
    for key in numbers_of(name):
        with pytest.raises(ValueError, match=rf"^features\.{name}: {key}: got nan, want "):
            write_cache(
                tmp_path / f"{name}.npy",
                feature=feature_of(name, **{key: float("nan")}),
                clips=clips,
                audio=tmp_path / "there_is_none.npy",
                sample_rate=RATE,
            )
    assert not list(tmp_path.rglob("*.npy*"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("logmel", {"n_fft": 16001}, "n_fft: got 16001, want at most 16000: the samples of the"),
        ("rms", {"frame_length": 1 << 20}, "frame_length: got 1048576, want at most 16000"),
        ("cochleagram", {"win_length": 16001}, "win_length: got 16001, want at most 16000"),
        ("logmel", {"n_fft": "many"}, "n_fft: got many, want a whole number"),
        ("logmel", {"n_fft": 512.5}, "n_fft: got 512.5, want a whole number"),
        ("logmel", {"n_mels": None}, "n_mels: got None, want a whole number"),
        ("mfcc", {"deltas": True}, "deltas: got True, want a whole number"),
        ("cochleagram", {"fmax": "high"}, "fmax: got high, want a number"),
    ],
)
def test_a_window_over_any_clip_and_what_is_no_number_are_named(name, change, message, tmp_path):
    clips = pd.DataFrame(
        {"clip": ["x/1", "x/2"], "start": [0, 9], "samples": [9, RATE], "frames": [1, 63]}
    )
    path, audio = tmp_path / f"{name}.npy", tmp_path / "there_is_none.npy"
    with pytest.raises(ValueError, match=rf"^features\.{name}: {message}"):
        feature = feature_of(name, **change)
        write_cache(path, feature=feature, clips=clips, audio=audio, sample_rate=RATE)
    assert not list(tmp_path.rglob("*.npy*"))


def test_a_store_that_ends_within_a_clip_names_it(tmp_path):
    np.save(tmp_path / "audio.npy", np.ones(RATE, np.int16))
    clips = pd.DataFrame({"clip": ["x/1"], "start": [9], "samples": [RATE], "frames": [63]})
    path, audio = tmp_path / "rms.npy", tmp_path / "audio.npy"
    with pytest.raises(ValueError, match=rf"^x/1: got {RATE - 9} samples in .*, want {RATE}$"):
        write_cache(path, feature=feature_of("rms"), clips=clips, audio=audio, sample_rate=RATE)
    assert not path.exists()


# Shape and values


@EVERY
@pytest.mark.parametrize("samples", [1, 100, 1600])
def test_a_clip_shorter_than_the_window_is_followed_by_nothing_or_its_last_sample(name, samples):
    lengths = {"n_fft", "win_length", "frame_length"} & set(settings_of(name))
    feature = partial(feature_of(name), **dict.fromkeys(lengths, 4096))
    waveform = torch.from_numpy(speech_like(samples) + 0.01)
    alone = feature(waveform)
    assert alone.shape[1] == 1 + samples // HOP and alone.isfinite().all()
    # A slope is taken over frames, of which the longer clip has more.
    followed = [
        feature(torch.cat([waveform, last * torch.ones(4096, dtype=torch.float64)]))
        for last in (0, waveform[-1])
    ]
    difference = min((f[:, : alone.shape[1]] - alone).abs().max() for f in followed)
    assert difference < 1e-6


@EVERY
@pytest.mark.parametrize("samples", [1, 2, 200, HOP - 1, HOP, HOP + 1, 4000, 41600])
def test_shape_dtype_and_finite(name, samples):
    feature = feature_of(name)
    dimensions = feature(torch.zeros(RATE)).shape[0]
    speech = torch.from_numpy(speech_like(samples)).float()
    for waveform in (speech, torch.zeros(samples), torch.ones(samples)):
        before = waveform.clone()
        values = feature(waveform)
        assert values.shape == (dimensions, frame_count(samples, hop_length=HOP))
        assert values.dtype == torch.float32
        assert values.isfinite().all()
        assert torch.equal(waveform, before), "the feature wrote to its input"


@EVERY
def test_a_batch_equals_its_clips_one_by_one(name):
    feature = feature_of(name)
    clips = np.stack([speech_like(8000, seed=seed) for seed in range(6)])
    batch = torch.from_numpy(clips).reshape(2, 3, 8000).float()
    together = feature(batch)
    assert together.shape[:2] == (2, 3)
    for row in range(2):
        for column in range(3):
            alone = feature(batch[row, column])
            # Only the order of float32 sums may differ.
            scale = max(1.0, float(alone.abs().max()))
            torch.testing.assert_close(together[row, column], alone, rtol=0, atol=1e-5 * scale)


@EVERY
def test_float32_is_close_to_float64(name):
    feature = feature_of(name)
    waveform = torch.from_numpy(speech_like(41600)).float()  # the same samples at both precisions
    single, double = feature(waveform), feature(waveform.double())
    assert double.dtype == torch.float64
    # A thousandth of what the feature spans, far under what its dimensions vary within a clip.
    span = double.max() - double.min()
    assert (single - double).abs().max() <= 1e-3 * span


# Not coefficients, which are sums over all bands.
@pytest.mark.parametrize(
    "name", [n for n in OWN if unit_of(n).endswith("(dB)") and not unit_of(n).startswith("coeff")]
)
def test_a_float16_cache_of_levels_loses_less_than_a_twentieth_of_a_decibel(name):
    waveform = torch.from_numpy(speech_like(41600)).float()
    for scaled in (waveform, 1e-3 * waveform, 0 * waveform):
        values = feature_of(name)(scaled)
        # Below 128 dB, neighbouring numbers are at most 1/16 dB apart: rounding costs 1/32.
        assert (values.half().float() - values).abs().max() < 0.05


@EVERY
def test_a_float16_cache_keeps_every_dimension(name):
    values = feature_of(name)(torch.from_numpy(speech_like(41600)).float())
    kept = values.half().float()
    assert kept.isfinite().all()
    # A hundredth of a dimension's span, or float16's own relative rounding where it hardly varies.
    # Values so small that float16 has fewer than its 11 bits for them (under 6e-5) fail.
    span = values.amax(dim=1) - values.amin(dim=1)
    allowed = 0.01 * span + 2**-11 * values.abs().amax(dim=1)
    assert ((kept - values).abs().amax(dim=1) <= allowed).all()


@EVERY
def test_unusable_waveforms_are_refused(name):
    feature = feature_of(name)
    holed = torch.from_numpy(speech_like(4000)).float()
    holed[1234] = float("nan")
    infinite = holed.nan_to_num(nan=float("inf"))
    for waveform in (torch.zeros(0), torch.zeros(2, 0), holed, infinite):
        with pytest.raises(ValueError, match="waveform"):
            feature(waveform)


@EVERY
def test_the_same_waveform_gives_the_same_bits(name):
    waveform = torch.from_numpy(speech_like(8000)).float()
    assert torch.equal(feature_of(name)(waveform), feature_of(name)(waveform))


# Where it is computed


# Recurrent layers check the size of their input, and the first of these filters counts.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning:torch.nn.modules.rnn")
@pytest.mark.filterwarnings("error:Converting a tensor:torch.jit.TracerWarning")  # to a branch
@pytest.mark.filterwarnings("ignore:torch.from_numpy:torch.jit.TracerWarning")
@EVERY
def test_traced_it_follows_other_lengths_and_batches_or_says_that_it_cannot(name):
    """The shape of the example must not be frozen into an exported graph."""
    feature, example = feature_of(name), torch.ones(2, 4000)
    feature(example)  # builds constants, which a trace would include
    try:
        traced = torch.jit.trace(lambda x: feature(x), example, check_trace=False)
    except ValueError as error:
        assert "export" in str(error)
        return
    assert "view_as_real" not in str(traced.inlined_graph)  # it knows no complex numbers
    for shape in ((1, 1), (3, 300), (5, 9000)):
        waveform = torch.from_numpy(speech_like(shape[0] * shape[1])).float().reshape(shape)
        torch.testing.assert_close(traced(waveform), feature(waveform), rtol=1e-4, atol=1e-4)


@EVERY
def test_gradients_pass_sound_and_stay_finite_in_silence_or_are_refused(name):
    feature = feature_of(name)
    waveform = torch.cat([torch.from_numpy(speech_like(4000)).float(), torch.zeros(4000)])
    waveform.requires_grad_()
    try:
        values = feature(waveform)
    except ValueError as error:
        assert "gradients" in str(error)
        return
    if not values.requires_grad:  # a count, as of zero crossings, is constant around a waveform
        assert torch.equal(feature(1.001 * waveform), values)
        return
    values.square().sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad[:4000].abs().max() > 0


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("shape", [(1,), (300,), (2, 3, 9000), (200_000,)])
def test_it_is_the_same_with_gradients_which_compiled_loops_do_not_pass(name, shape):
    feature = feature_of(name)
    waveform = torch.from_numpy(speech_like(int(np.prod(shape)))).reshape(shape)
    waveform[..., waveform.shape[-1] // 2 :] = 0  # as many lines at the floor as there are
    try:
        values = feature(waveform.clone().requires_grad_()).detach()
    except ValueError as error:
        assert "gradients" in str(error)
        return
    # Sums in another order; 60 dB or 8 kHz are the largest values.
    torch.testing.assert_close(feature(waveform), values, rtol=0, atol=1e-9)


@EVERY
def test_all_tensors_are_on_the_device_of_the_waveform_or_it_is_computed_on_a_cpu(
    name, monkeypatch
):
    """The device `meta` computes shapes and no values, and refuses tensors of another device."""
    feature = feature_of(name)
    monkeypatch.setattr("stages.signals.spectra.check_waveform", lambda waveform: None)
    try:
        feature(torch.ones(400, requires_grad=True))
    except ValueError as error:  # a compiled loop
        assert "gradients" in str(error)
        return
    values = feature(torch.empty(2, 3, 9000, device="meta"))
    assert values.device.type == "meta"
    assert values.shape == (2, 3, *feature(torch.ones(9000)).shape)
