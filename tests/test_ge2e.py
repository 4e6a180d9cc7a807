"""The speaker encoder: equal to the network of the package that its weights come from."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from stages.acoustics.ge2e import ge2e
from stages.audio.frames import nearest_frames
from stages.running.settings import bind
from stages.signals import speaker_encoder
from tests.support import composed, speech_like

RATE = 16000


@pytest.fixture(scope="module")
def package():
    """The package's own network and front end, without what it imports for other purposes."""
    dilation = ModuleType("scipy.ndimage.morphology")
    dilation.binary_dilation = binary_dilation
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "webrtcvad", ModuleType("webrtcvad"))
        patch.setitem(sys.modules, "scipy.ndimage.morphology", dilation)
        import resemblyzer

        yield resemblyzer.VoiceEncoder("cpu", verbose=False), resemblyzer.audio


def speech(samples: int = 30000, *, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(speech_like(samples, seed=seed).astype(np.float32))


def test_the_front_end_is_the_package_s(package):
    want = package[1].wav_to_mel_spectrogram(speech().numpy())
    got = speaker_encoder.mel_power(speech()).T.numpy()
    np.testing.assert_allclose(got, want, atol=1e-6 * want.max())


def test_the_last_layer_leads_to_the_package_s_embedding(package):
    network, audio = package
    waveform = speech()
    with torch.inference_mode():
        want = network(torch.from_numpy(audio.wav_to_mel_spectrogram(waveform.numpy()))[None])[0]
        last = ge2e(waveform, sample_rate=RATE, hop_length=160, layer=3)[:, -1]
        raw = torch.relu(network.linear(last))
    torch.testing.assert_close(raw / raw.norm(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_lower_layer_feeds_the_next_one(package, layer):
    """The package's third layer, given ours below it, says what it says of the waveform."""
    states = ge2e(speech(), sample_rate=RATE, hop_length=160, layer=layer).T[None]
    above = torch.nn.LSTM(256, 256, 3 - layer, batch_first=True)
    own = package[0].lstm.state_dict()
    above.load_state_dict(
        {
            f"{kind}_l{number}": own[f"{kind}_l{number + layer}"]
            for number in range(3 - layer)
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
    )
    with torch.inference_mode():
        last = above(states)[0][0].T
    want = ge2e(speech(), sample_rate=RATE, hop_length=160, layer=3)
    torch.testing.assert_close(last, want, atol=1e-5, rtol=0)


def test_the_common_clock_takes_the_nearest_frame():
    own = ge2e(speech(), sample_rate=RATE, hop_length=160, layer=2)
    common = ge2e(speech(), sample_rate=RATE, hop_length=256, layer=2)
    centres_s = np.arange(own.shape[1]) * 0.01
    nearest = nearest_frames(centres_s, samples=30000, sample_rate=RATE, hop_length=256)
    assert common.shape == (256, 1 + 30000 // 256)
    torch.testing.assert_close(common, own[:, nearest])


def test_a_frame_does_not_depend_on_what_follows():
    whole = ge2e(speech(), sample_rate=RATE, hop_length=256, layer=2)
    begin = ge2e(speech()[:16000], sample_rate=RATE, hop_length=256, layer=2)
    sure = 16000 // 256 - 1  # frames whose window ends before the cut
    torch.testing.assert_close(begin[:, :sure], whole[:, :sure], atol=1e-6, rtol=0)


def test_fine_tuning_begins_with_the_published_weights():
    frozen = speaker_encoder.frozen_layers(2, torch.float32, torch.device("cpu"))
    trainable = speaker_encoder.recurrent_layers(2)
    assert all(parameter.requires_grad for parameter in trainable.parameters())
    for name, values in trainable.state_dict().items():
        assert torch.equal(values, frozen.state_dict()[name])
    with torch.no_grad():
        trainable.weight_ih_l0.zero_()
    assert frozen.weight_ih_l0.abs().max() > 0  # each caller has weights of its own


@pytest.mark.parametrize("layer", [0, 4, -1, 1.5, None])
def test_another_layer_is_refused(layer):
    with pytest.raises(ValueError, match=f"layer: got {layer}, want 1 to 3"):
        ge2e(speech(), sample_rate=RATE, hop_length=256, layer=layer)


def test_another_rate_is_refused():
    with pytest.raises(ValueError, match="sample_rate: got 22050, want 16000"):
        ge2e(speech(), sample_rate=22050, hop_length=256, layer=2)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An installed package whose folder is ours, and nothing read of the real one yet."""

    def install(spec):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    spec = ModuleSpec("resemblyzer", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    speaker_encoder._weights.cache_clear()
    speaker_encoder.frozen_layers.cache_clear()
    yield spec, install
    speaker_encoder._weights.cache_clear()
    speaker_encoder.frozen_layers.cache_clear()


def test_a_missing_package_and_a_damaged_file_name_the_command(elsewhere, tmp_path):
    spec, install = elsewhere
    feature = bind(composed("features=[ge2e]")["features"]["ge2e"])
    command = r"pip install --no-deps Resemblyzer==0\.1\.4"
    install(None)
    with pytest.raises(ValueError, match=command):
        feature(speech())
    install(spec)
    with pytest.raises(ValueError, match=rf"pretrained\.pt is missing.*{command}"):
        feature(speech())
    (tmp_path / "pretrained.pt").write_bytes(b"half of it")
    with pytest.raises(ValueError, match=rf"sha256.*want 39373b86598f.*{command}"):
        feature(speech())
