"""The features wav2vec2, hubert and wavlm, on small models of the same classes."""

import re
from functools import cache
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torchaudio import pipelines

from stages.clips.cache import write_cache
from stages.settings.loading import bind
from stages.signals import pretrained
from tests.support import composed

RATE, HOP = 16000, 256
DEFAULTS = {"wav2vec2": "WAV2VEC2_BASE", "hubert": "HUBERT_BASE", "wavlm": "WAVLM_BASE_PLUS"}
EVERY = pytest.mark.parametrize("name", DEFAULTS)
SMALL = {
    "extractor_conv_layer_config": [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2],
    "encoder_embed_dim": 12,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 24,
}


class Bundle(pipelines.Wav2Vec2Bundle):
    """A bundle with random weights instead of downloaded ones; counts the requests for them."""

    asked = 0

    def _get_state_dict(self, dl_kwargs: object) -> dict[str, Tensor]:
        self.asked += 1
        torch.manual_seed(0)
        return pipelines._wav2vec2.utils._get_model(self._model_type, self._params).state_dict()


class Ruler(nn.Module):
    """A model without weights: each frame is the mean of its 400 samples."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = []

    def extract_features(self, waveforms: Tensor, num_layers: int) -> tuple[list[Tensor], None]:
        self.heard.append(waveforms.shape)
        return num_layers * [waveforms.unfold(1, 400, 320).mean(dim=2, keepdim=True)], None


def small(name: str, *, kind: type = Bundle, **changes: object) -> pipelines.Wav2Vec2Bundle:
    like = getattr(pipelines, DEFAULTS[name])
    settings = {
        "_path": "tiny.pth",
        "_params": like._params | SMALL,
        "_sample_rate": like.sample_rate,
        "_normalize_waveform": False,
        "_model_type": like._model_type,
    }
    return kind(**settings | changes)


@pytest.fixture
def bundles(monkeypatch):
    """Small models under the names in conf, none of them built yet."""
    build = pretrained._model
    build.cache_clear()
    found = {name: small(name) for name in DEFAULTS}
    for name, bundle in found.items():
        monkeypatch.setattr(pipelines, DEFAULTS[name], bundle)
        monkeypatch.setitem(pretrained.LAYERS, DEFAULTS[name], SMALL["encoder_num_layers"])
    yield found
    build.cache_clear()


@cache
def settings_of(name: str) -> dict:
    return composed(f"features=[{name}]")["features"][name]


def feature_of(name: str, **changes: object):
    return bind(settings_of(name) | changes, "acoustics")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def nearest(values: Tensor, *, samples: int) -> Tensor:
    """The model's frame whose 400 samples are centred nearest to each common frame."""
    times = HOP * torch.arange(1 + samples // HOP)
    centres = 320 * torch.arange(len(values)) + 200
    return values[(times[:, None] - centres).abs().argmin(dim=1)].T


def test_names_layers_and_rate_are_those_of_torchaudio():
    """Known without its import, so that a wrong one is refused before any work."""
    members = {
        name: (member._params["encoder_num_layers"], member.sample_rate)
        for name, member in vars(pipelines).items()
        if isinstance(member, pipelines.Wav2Vec2Bundle)
        and name.startswith(("WAV2VEC2_", "HUBERT_", "WAVLM_"))
    }
    rate = pretrained.SAMPLE_RATE
    assert members == {name: (layers, rate) for name, layers in pretrained.LAYERS.items()}


@EVERY
@pytest.mark.parametrize(("layer", "number"), [(1, 1), (2, 2), (3, 3), (-1, 3), (-3, 1)])
def test_it_is_the_output_of_that_layer_at_the_nearest_frame(bundles, name, layer, number):
    waveform = noise(30000)
    with torch.no_grad():
        outputs, _ = bundles[name].get_model().extract_features(waveform[None])
    values = feature_of(name, layer=layer)(waveform)
    assert values.shape == (12, 1 + 30000 // HOP) and values.dtype == torch.float32
    torch.testing.assert_close(values, nearest(outputs[number - 1][0], samples=30000))


@EVERY
def test_a_batch_equals_its_clips_one_by_one_and_any_run_another(bundles, name, monkeypatch):
    """Even if the model normalises its whole input at once."""
    normalising = small(name, _normalize_waveform=True)
    monkeypatch.setattr(pipelines, DEFAULTS[name], normalising)
    feature = feature_of(name)
    batch = noise(2, 3, 6000) * torch.tensor([0.1, 1.0, 5.0])[:, None]
    together = feature(batch)
    assert together.shape == (2, 3, 12, 24)
    for row in range(2):
        for column in range(3):
            assert torch.equal(together[row, column], feature(batch[row, column]))
    assert feature(batch.double()).dtype == torch.float64
    assert normalising.asked == 1  # once per process


def test_a_bundle_that_wants_the_waveform_normalised_gets_it(bundles, monkeypatch):
    waveform = noise(16000)
    layered = bundles["hubert"]._params | {"extractor_mode": "layer_norm"}
    layered["extractor_conv_bias"] = True
    shifts = {}
    for wanted in (True, False):
        bundle = small("hubert", _params=layered, _normalize_waveform=wanted)
        monkeypatch.setattr(pipelines, "HUBERT_BASE", bundle)
        pretrained._model.cache_clear()
        feature = feature_of("hubert")
        shifts[wanted] = (feature(10 * waveform) - feature(waveform)).abs().max()
    assert shifts[True] < 0.05 * shifts[False]


@EVERY
@pytest.mark.parametrize("samples", [1, 2, HOP - 1, HOP, 399, 400, 401, 719, 720, 5000])
def test_any_length_has_its_frames(bundles, name, samples):
    feature = feature_of(name)
    for waveform in (noise(samples), torch.zeros(samples), torch.ones(samples)):
        before = waveform.clone()
        values = feature(waveform)
        assert values.shape == (12, 1 + samples // HOP)
        assert values.isfinite().all()
        assert torch.equal(waveform, before)


@pytest.mark.parametrize("seconds", [4.0, 5.0, 5.001, 6.013, 9.99, 10.0, 23.456, 61.0])
def test_windows_of_a_long_clip_join_as_if_it_were_heard_whole(bundles, monkeypatch, seconds):
    ruler = Ruler()
    monkeypatch.setattr(pretrained, "_model", lambda *_: ruler)
    samples = round(seconds * RATE)
    ramp = torch.arange(samples) % 70001 / 70001.0
    values = feature_of("wavlm", window_s=5)(ramp)
    whole, _ = ruler.extract_features(ramp[None], 1)
    assert torch.equal(values, nearest(whole[0][0], samples=samples))
    heard = ruler.heard[:-1]
    assert all(batch == 1 and length <= (5 + 2 * 2 + 0.02) * RATE for batch, length in heard)
    assert (len(heard) == 1) == (seconds <= 5)
    assert min(length for _, length in heard) >= min(samples, 2.5 * RATE)


def test_models_of_several_features_stay_built(bundles):
    features = [feature_of(name) for name in DEFAULTS]
    for feature in 2 * features:
        feature(noise(2000))
    assert [bundle.asked for bundle in bundles.values()] == [1, 1, 1]


def test_a_network_can_be_trained_on_what_was_first_built_without_gradients(bundles):
    feature, head = feature_of("wavlm"), nn.Linear(12, 2)
    with torch.inference_mode():
        feature(noise(2000))
    head(feature(noise(2, 2000)).transpose(1, 2)).sum().backward()
    assert head.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "wav2vec2",
            {"bundle": "BERT"},
            "bundle: got 'BERT', want one of WAV2VEC2_.*, WAV2VEC2_BASE, ",
        ),
        ("wav2vec2", {"bundle": "HUBERT_BASE"}, "bundle: got 'HUBERT_BASE', want one of WAV2VEC2_"),
        ("hubert", {"bundle": "HUBERT_TINY"}, "want one of HUBERT_.*, HUBERT_BASE, HUBERT_LARGE, "),
        ("wavlm", {"bundle": None}, "got None, want one of WAVLM_BASE, WAVLM_BASE_PLUS, "),
        ("wavlm", {"layer": 0}, r"got 0, want 1 to 3, or -1 \(the last\) to -3 of WAVLM_BASE_PLUS"),
        ("hubert", {"layer": 4}, "layer: got 4, want 1 to 3, "),
        ("hubert", {"layer": -4}, "layer: got -4, want 1 to 3, "),
        ("hubert", {"layer": 1.5}, "layer: got 1.5, want 1 to 3, "),
        ("hubert", {"layer": None}, "layer: got None, want 1 to 3, "),
        (
            "hubert",
            {"sample_rate": 22050},
            "sample_rate: got 22050, want audio.sample_rate 16000, the only one .* HUBERT_BASE",
        ),
        ("hubert", {"hop_length": 0}, "hop_length: got 0, want at least 1"),
        ("hubert", {"window_s": 4}, "window_s: got 4, want 5 to 60"),
        ("hubert", {"window_s": 61}, "window_s: got 61, want 5 to 60"),
    ],
)
def test_bad_settings_are_named_before_weights_are_fetched(bundles, name, changes, message):
    for waveform in (noise(RATE), torch.zeros(0)):
        with pytest.raises(ValueError, match=message):
            feature_of(name, **changes)(waveform)
    assert bundles[name].asked == 0


@EVERY
def test_unusable_waveforms_are_refused(bundles, name):
    holed = noise(4000)
    holed[1234] = torch.nan
    for waveform in (torch.zeros(0), torch.zeros(2, 0), holed, holed.nan_to_num(torch.inf)):
        with pytest.raises(ValueError, match="waveform"):
            feature_of(name)(waveform)


def broken_download(url, target, *_, **__):
    raise URLError("no route to host")


def half_a_download(url, target, *_, **__):
    with open(target, "wb") as file:
        file.write(b"half of")


@pytest.mark.parametrize(
    ("download", "reason"), [(broken_download, "no route to host"), (half_a_download, "")]
)
def test_what_is_missing_is_said_before_any_clip_is_read(
    bundles, monkeypatch, tmp_path, capsys, download, reason
):
    monkeypatch.setattr(pipelines, "HUBERT_BASE", small("hubert", kind=pipelines.Wav2Vec2Bundle))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    clips = pd.DataFrame({"clip": ["x/1"], "start": [0], "samples": [4000], "frames": [16]})
    where = re.escape(f"{tmp_path}/home/hub/checkpoints")
    with pytest.raises(
        ValueError,
        match=rf"(?s)features.hubert: weights of HUBERT_BASE: .*{reason}.* kept in {where}",
    ) as raised:
        write_cache(
            tmp_path / "hubert.npy",
            feature=feature_of("hubert"),
            clips=clips,
            audio=tmp_path / "no such store",
            sample_rate=RATE,
        )
    assert raised.value.__cause__.__suppress_context__  # without the trace of the library's own
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert capsys.readouterr().out == ""  # where app.predict writes its answers
