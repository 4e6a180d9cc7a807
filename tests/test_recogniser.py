"""From waveform to probabilities in one module: equal to the cached path, at any length."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.audio.conditioning import conditioning, segmenting
from stages.audio.frames import frame_count
from stages.audio.store import FULL_SCALE, AudioStore, open_audio
from stages.clips.cache import write_cache
from stages.clips.feature_files import open_caches
from stages.clips.preparation import prepare_corpus
from stages.learning.batches import ClipData, WholeBatches
from stages.learning.recogniser import Recogniser, load_recogniser
from stages.settings.loading import bind
from stages.synthesis.demo_corpora import write_corpus
from tests.support import composed, conditioned, networks, sharpen

LABELS = ["angry", "happy", "sad"]
NETWORKS = networks()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus("emodb", folder=folder / "emodb", speakers=2, sentences=1)
    params = composed()
    rows = bind(params["corpora"]["emodb"]["reader"], "corpora")(folder / "emodb")
    clips = prepare_corpus(
        rows, corpus="emodb", root=folder / "emodb", folder=folder / "out", **params["audio"]
    )
    return folder, clips


def checkpoint_of(name, clips, folder):
    """An untrained network of a model with fitted normalisation, its data and its checkpoint."""
    params = composed(f"model={name}")
    audio, caches = params["audio"], folder / "features"
    frames = frame_count(clips["samples"].to_numpy(), hop_length=audio["hop_length"])
    clips = clips.assign(frames=frames)  # a model may have a frame clock of its own
    for feature, settings in params["features"].items():
        write_cache(
            caches / f"{feature}.npy",
            feature=bind(settings, "acoustics"),
            clips=clips,
            audio=folder / "out" / "audio.npy",
            sample_rate=audio["sample_rate"],
        )
    data = ClipData(
        caches=open_caches(caches, names=list(params["features"]), frames=int(frames.sum())),
        first=np.cumsum(frames) - frames,
        frames=frames,
        labels=np.zeros(len(clips), np.int64),
        n_classes=len(LABELS),
    )
    torch.manual_seed(0)
    network = bind(params["model"]["network"], "networks")(data.inputs, len(LABELS)).eval()
    network.input.fit(data.statistics(np.arange(len(clips))))
    sharpen(network, factor=2)
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    path = folder / f"{name}.pt"
    torch.save(
        {**sections, "labels": LABELS, "inputs": data.inputs, "state": network.state_dict()}, path
    )
    return params, network, data, path


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_recogniser_equals_the_cached_path(name, corpus):
    folder, clips = corpus
    params, network, data, path = checkpoint_of(name, clips, folder)
    recogniser, _ = load_recogniser(path)
    audio = open_audio(folder / "out" / "audio.npy")
    functions = {key: bind(settings, "acoustics") for key, settings in params["features"].items()}
    seen = []
    for batch in WholeBatches(data, np.arange(len(clips)), size=1, most_frames=1):
        clip = clips.iloc[int(batch.clips)]
        samples = audio[clip["start"] : clip["start"] + clip["samples"]]
        waveform = torch.from_numpy(samples.astype(np.float32) / FULL_SCALE)[None]
        exact = {key: f(waveform).transpose(1, 2) for key, f in functions.items()}
        got = recogniser(waveform).softmax(1)
        seen.append(got)
        torch.testing.assert_close(  # float16 in the cache
            got, network(batch.features, batch.lengths).softmax(1), atol=1e-2, rtol=0
        )
        torch.testing.assert_close(got, network(exact, batch.lengths).softmax(1), atol=1e-5, rtol=0)
    assert torch.cat(seen).std(0).max() > 1e-2


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Clips from one frame to 3 s: shorter than any window, stride or receptive field."""
    folder = tmp_path_factory.mktemp("short")
    (folder / "out").mkdir()
    audio = composed()["audio"] | {"min_duration_s": 0, "min_peak": 0}
    random = np.random.default_rng(0)
    rows = []
    with AudioStore(folder / "out" / "audio.npy") as store:
        for samples in (2, 300, 700, 1100, 1800, 48000):
            sound = 0.1 * random.standard_normal((samples, 1)).cumsum(axis=0).astype(np.float32)
            levelled = conditioned(
                sound, audio["sample_rate"], **conditioning(audio) | segmenting(audio)
            )
            rows.append((f"x/{samples}", store.samples, samples))
            store.append(levelled)
    return folder, pd.DataFrame(rows, columns=["clip", "start", "samples"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_short_clip_is_the_same_alone_beside_long_ones_and_as_a_waveform(name, short):
    folder, clips = short
    _, network, data, path = checkpoint_of(name, clips, folder)
    assert data.frames[:2].tolist() == [1, 2] and len(set(data.frames)) == len(clips)

    def answer(some):
        batch = data.cut(some, offset=np.zeros_like(some), frames=data.frames[some])
        return network(batch.features, batch.lengths).softmax(1)

    every = np.arange(len(clips))
    together, alone = answer(every), torch.cat([answer(every[i : i + 1]) for i in every])
    assert together.isfinite().all()
    assert together.std(0).max() > 1e-2
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    recogniser, _ = load_recogniser(path)
    audio = open_audio(folder / "out" / "audio.npy")
    for clip, want in zip(clips.itertuples(), alone, strict=True):
        waveform = audio[clip.start : clip.start + clip.samples].astype(np.float32) / FULL_SCALE
        got = recogniser(torch.from_numpy(waveform)[None]).softmax(1)[0]
        torch.testing.assert_close(got, want, atol=1e-2, rtol=0)  # float16 in the cache


@pytest.mark.parametrize("level", ["rms", "peak", "none"])
def test_level_does_with_any_gain_what_prepare_does(level):
    recogniser = Recogniser(
        nn.Identity(), features={}, labels=[], sample_rate=16000, level=level, level_db=-30
    )
    waveform = 0.05 * torch.randn(2, 8000)
    levelled = recogniser._levelled(waveform)
    if level == "none":
        assert torch.equal(levelled, waveform)
        return
    torch.testing.assert_close(recogniser._levelled(waveform * 7), levelled)
    size = levelled.square().mean(1).sqrt() if level == "rms" else levelled.abs().amax(1)
    torch.testing.assert_close(20 * size.log10(), torch.full((2,), -30.0))
    click = torch.zeros(1, 16000)
    click[0, 5] = 0.1
    assert recogniser._levelled(click).max() <= 1.0001
    assert torch.equal(recogniser._levelled(torch.zeros(1, 9)), torch.zeros(1, 9))


def test_missing_checkpoint_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint; `dvc repro` trains"):
        load_recogniser(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"model.pt: not a checkpoint; `dvc repro` trains"):
        load_recogniser(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["denoise", "trim_db", "min_peak"])
def test_a_model_from_before_a_setting_existed_is_refused_by_the_setting(name, corpus):
    folder, clips = corpus
    *_, path = checkpoint_of("gru", clips, folder)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["audio"][name]
    torch.save(checkpoint, folder / "old.pt")
    wanted = f"old.pt: audio.{name}: got nothing, want .*; train again with `dvc repro`"
    with pytest.raises(ValueError, match=wanted):
        load_recogniser(folder / "old.pt")


def test_a_model_trained_on_segments_hears_whole_recordings(corpus):
    folder, clips = corpus
    *_, path = checkpoint_of("gru", clips, folder)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["audio"] |= {"segment_s": 2, "segment_overlap_s": 0.5, "denoise": 0.5}
    torch.save(checkpoint, folder / "cut.pt")
    _, audio = load_recogniser(folder / "cut.pt")
    assert audio == conditioning(composed("audio.denoise=0.5")["audio"])
    assert audio["denoise"] == 0.5 and not any(name.startswith("segment") for name in audio)


def test_a_classical_model_is_refused_by_name(tmp_path):
    params = composed("model=svm")
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    state = {"labels": LABELS, "inputs": {"rms": 1}, "state": {}}
    torch.save(sections | state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds svm, want a network"):
        load_recogniser(tmp_path / "model.pt")
