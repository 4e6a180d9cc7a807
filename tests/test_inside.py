"""What networks do inside with clips that they never heard: attention, and the last layer."""

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.decomposition import PCA
from torch import nn

from stages.audio.frames import first_frames
from stages.learning.checkpoints import build_network
from stages.learning.layers import AttentiveStatistics
from stages.reporting import drawing
from stages.reporting.fold_networks import FoldNetworks
from stages.reporting.predictions import arrange
from stages.reporting.sections.embedding import MOST_CLIPS, embedding, embedding_figure
from stages.reporting.sections.examples import attention
from stages.settings.loading import bind
from tests.support import ROOT, as_plugin

LABELS = ["angry", "happy", "sad"]
INPUTS = {"logmel": 20, "rms": 1, "melpower": 40}  # which a network may ask for
MODELS = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))


class Mean(nn.Module):
    """Logits without a linear layer."""

    def __init__(self, inputs, n_classes):
        super().__init__()

    def forward(self, features, lengths):
        return features["logmel"].mean(dim=1)[:, : len(LABELS)]


def settings_of(model: str) -> dict:
    audio = {"sample_rate": 16000, "hop_length": 256}
    whole = {"audio": audio, "model": OmegaConf.load(ROOT / f"conf/model/{model}.yaml")}
    return OmegaConf.to_container(OmegaConf.create(whole), resolve=True)["model"]


def write_checkpoint(folder, *, model, fold, labels=LABELS):
    """As the train stage would, untrained; each fold with weights of its own."""
    torch.manual_seed(fold)
    build, state = bind(model["network"], "networks"), {}
    if issubclass(build.func, nn.Module):
        state = build(INPUTS, len(labels)).state_dict()
    checkpoint = {"model": model, "labels": list(labels), "inputs": INPUTS, "state": state}
    torch.save(checkpoint, folder / f"fold_{fold}-seed_0.pt")


def experiment(folder, *, model="bigru", sizes=(2, 3), seeds=(0, 1), target=None):
    """Clips of some folds, a speaker each, their predictions, caches and checkpoints."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(len(sizes)), sizes)
    clips = pd.DataFrame({"clip": [f"x/{number:04}" for number in range(len(folds))]})
    clips["frames"] = rng.integers(9, 40, len(clips))
    facts = clips.assign(
        corpus="x",
        speaker=[f"x/{fold}" for fold in folds],
        sex="",
        fold=folds,
        label=[LABELS[number % 3] for number in range(len(folds))],
        **{f"p_{label}": 1 / 3 for label in LABELS},
    )
    table = pd.concat([facts.assign(seed=seed) for seed in seeds]).drop(columns="frames")
    total = clips["frames"].sum()
    caches = {
        name: rng.normal(size=(total, size)).astype(np.float16) for name, size in INPUTS.items()
    }
    for fold in range(len(sizes)):
        plugin = {"name": "plugin", "network": {"_target_": target}}
        settings = settings_of(model) if target is None else plugin
        write_checkpoint(folder, model=settings, fold=fold)
    predictions = arrange(table, known=clips["clip"], name="predictions")
    return clips, FoldNetworks(folder, predictions, caches)


def chosen(clips, networks, *positions):
    """Rows as those of the examples."""
    first = first_frames(clips["frames"].to_numpy())
    rows = clips.assign(first=first, fold=networks.predictions.clips["fold"])
    return rows.iloc[list(positions)].reset_index(drop=True)


def test_attention_weights_are_shares_of_what_is_no_padding():
    torch.manual_seed(0)
    layer = AttentiveStatistics(4, hidden=8)
    values, lengths = torch.randn(3, 7, 4), torch.tensor([7, 3, 1])
    weights = layer.weights(values, lengths)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert not weights[1, 3:].any() and not weights[2, 1:].any()
    mean = layer(values, lengths)[:, :4]
    torch.testing.assert_close(mean, (weights[..., None] * values).sum(dim=1))


def test_attention_is_that_of_the_fold_that_holds_the_clip_out(tmp_path):
    clips, networks = experiment(tmp_path, sizes=(2, 3, 2))
    (tmp_path / "fold_1-seed_0.pt").unlink()  # none of its clips is asked for
    rows = chosen(clips, networks, 6, 0, 1)
    found = attention(rows, networks=networks)
    for weights, row in zip(found, rows.itertuples(), strict=True):
        network = networks.load(str(row.fold))
        taken = slice(row.first, row.first + row.frames)
        features = {
            name: torch.from_numpy(cache[taken]).float()[None]
            for name, cache in networks.caches.items()
        }
        lengths = torch.tensor([row.frames])
        with torch.inference_mode():
            values = torch.cat(list(network.input(features, lengths).values()), dim=2)
            values, steps = network.pooling(values, lengths)
            expected = network.statistics.weights(network.gru(values, steps), steps)[0].numpy()
        factor = network.pooling.factor
        assert weights.shape == (row.frames,) and factor > 1
        np.testing.assert_allclose(weights[::factor], expected * len(expected), rtol=1e-5)
        assert (
            weights[: factor * (row.frames // factor)].reshape(-1, factor).std(axis=1) == 0
        ).all()
        assert weights.std() > 0


@pytest.mark.parametrize("model", ["gru", "svm"])
def test_a_model_without_attention_has_none(tmp_path, model):
    clips, networks = experiment(tmp_path, model=model)
    assert attention(chosen(clips, networks, 0, 4), networks=networks) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_last_layer_of_every_network_is_found(tmp_path, model):
    clips, networks = experiment(tmp_path, model=model, sizes=(2, 7))
    found = embedding(clips=clips, networks=networks)
    network = networks.load("1")
    if network is None:
        assert found is None
        return
    assert found.fold == "1" and found.held_out == len(found.clips) == 7
    assert set(found.clips["speaker"]) == {"x/1"}
    rows = chosen(clips, networks, *range(2, 9))
    vectors, logits = [], []
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    linear = [layer for layer in linear if layer.out_features == len(LABELS)][-1]
    linear.register_forward_hook(lambda _, given, result: vectors.append(given[0][0].numpy()))
    with torch.inference_mode():
        for row in rows.itertuples():
            taken = slice(row.first, row.first + row.frames)
            features = {
                name: torch.from_numpy(cache[taken]).float()[None]
                for name, cache in networks.caches.items()
            }
            logits.append(network(features, torch.tensor([row.frames]))[0].numpy())
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    np.testing.assert_allclose(np.array(vectors) @ weight.T + bias, logits, atol=1e-5)
    pca = PCA(2, svd_solver="full")
    plane = pca.fit_transform(np.array(vectors, dtype=float))
    np.testing.assert_allclose(abs(found.clips[["x", "y"]]), abs(plane), atol=1e-4)
    np.testing.assert_allclose(found.shares, pca.explained_variance_ratio_, atol=1e-4)


def test_of_many_clips_some_are_drawn_and_always_the_same(tmp_path):
    clips, networks = experiment(tmp_path, sizes=(2, MOST_CLIPS + 30))
    found, again = (embedding(clips=clips, networks=networks) for _ in range(2))
    assert found.held_out == MOST_CLIPS + 30 and len(found.clips) == MOST_CLIPS
    assert found.clips["clip"].is_monotonic_increasing and found.clips["clip"].is_unique
    pd.testing.assert_frame_equal(found.clips, again.clips, check_exact=True)


def test_a_network_without_a_linear_layer_has_no_plane(tmp_path, monkeypatch):
    target = as_plugin(monkeypatch, "stages.networks.mean", Mean)
    clips, networks = experiment(tmp_path, target=target)
    assert embedding(clips=clips, networks=networks) is None


def test_clips_that_all_look_alike_have_no_plane(tmp_path):
    clips, networks = experiment(tmp_path)
    for cache in networks.caches.values():
        cache[:] = 0
    assert embedding(clips=clips.assign(frames=9), networks=networks) is None


def test_a_missing_or_other_checkpoint_is_named(tmp_path):
    clips, networks = experiment(tmp_path)
    write_checkpoint(tmp_path, model=settings_of("bigru"), fold=1, labels=[*LABELS, "other"])
    with pytest.raises(ValueError, match=r"fold_1-seed_0.pt: labels: got .*'other'\], want"):
        embedding(clips=clips, networks=networks)
    networks.caches["rms"] = networks.caches["rms"].repeat(2, axis=1)
    with pytest.raises(ValueError, match="fold_0-seed_0.pt: inputs: got .*'rms': 1, .*, want"):
        networks.load("0")
    with pytest.raises(FileNotFoundError, match="fold_7-seed_0.pt: no such checkpoint"):
        networks.load("7")


def test_a_student_may_hear_fewer_features_than_its_teacher(tmp_path):
    _, networks = experiment(tmp_path)
    path = tmp_path / "fold_0-seed_0.pt"
    checkpoint = torch.load(path, weights_only=True) | {"inputs": {"rms": 1}}
    network = bind(checkpoint["model"]["network"], "networks")({"rms": 1}, len(LABELS))
    torch.save(checkpoint | {"state": network.state_dict()}, path)
    assert networks.load("0").input.names == ("rms",)


def test_networks_are_ready_to_predict(tmp_path):
    _, networks = experiment(tmp_path)
    assert not networks.load("0").training
    checkpoint = torch.load(tmp_path / "fold_0-seed_0.pt", weights_only=True)
    assert not build_network(checkpoint).training


@pytest.mark.parametrize(
    ("corpora", "speakers", "grouped"),
    [(1, 1, "label"), (1, 3, "speaker"), (2, 9, "corpus"), (1, 7, "label")],
)
def test_markers_stand_for_corpora_or_few_speakers_else_for_labels(corpora, speakers, grouped):
    rows = [
        {"corpus": f"c{s % corpora}", "speaker": f"s{s}", "label": label, "x": float(s), "y": 1.0}
        for s in range(speakers)
        for label in LABELS[:2]
    ]
    with drawing.style():
        figure = embedding_figure(
            pd.DataFrame(rows), labels=LABELS, shares=(0.5, 0.25), heading="x", notes=["a note"]
        )
        svg = drawing.encode(figure, "svg").decode()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    names = {"corpus": ["c0", "c1"], "speaker": ["s0", "s1", "s2"], "label": []}[grouped]
    assert legend == [*LABELS, *names]
    drawn = [points for points in figure.axes[0].collections if len(points.get_offsets())]
    assert sum(len(points.get_offsets()) for points in drawn) == len(rows)
    shapes = {points.get_paths()[0].vertices.tobytes() for points in drawn}
    assert len(shapes) == len(names or LABELS[:2])
    assert ">second principal component (25 % of the variance)<" in svg and ">a note<" in svg
