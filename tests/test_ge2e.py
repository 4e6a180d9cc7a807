"""The speaker encoder: equal to the network of the package that its weights come from."""

import importlib.util
import math
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from stages.acoustics.ge2e import ge2e
from stages.audio.frames import nearest_frames
from stages.learning.loop import parameter_groups
from stages.settings.loading import bind
from stages.signals import speaker_encoder
from tests.support import composed, speech_like

RATE = 16000
INPUTS = {"melpower": 40, "rms": 1}


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
        kind, number = name[:-1], int(name[-1])
        assert torch.equal(values, frozen[number].state_dict()[f"{kind}0"])
    with torch.no_grad():
        trainable.weight_ih_l0.zero_()
    assert frozen[0].weight_ih_l0.abs().max() > 0  # each caller has weights of its own


def test_several_layers_are_each_of_them_beside_the_others():
    alone = [ge2e(speech(), sample_rate=RATE, hop_length=256, layer=number) for number in (2, 3)]
    for order in ([2, 3], [3, 2]):
        both = ge2e(speech(), sample_rate=RATE, hop_length=256, layer=order)
        assert torch.equal(both, torch.cat(alone))


@pytest.mark.parametrize("layer", [0, 4, -1, 1.5, None, [], [2, 4], [2, 2], "2"])
def test_another_layer_is_refused(layer):
    with pytest.raises(ValueError, match=f"layer: got {re.escape(repr(layer))}, want 1 to 3"):
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
    feature = bind(composed("features=[ge2e]")["features"]["ge2e"], "acoustics")
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


# The network


def network(inputs=INPUTS, **settings):
    return bind(composed("model=ge2e")["model"]["network"] | settings, "networks")(inputs, 3)


def test_without_the_encoder_s_input_or_with_settings_out_of_range_it_is_refused():
    with pytest.raises(ValueError, match=r"^features: got \['logmel', 'rms'\], want melpower"):
        network({"logmel": 64, "rms": 1})
    for key, value in (("encoder_lr", -0.1), ("warp", 0.5), ("warp", -0.1), ("layers", 4)):
        with pytest.raises(ValueError, match=f"{key.removesuffix('s')}.*: got {value}, want "):
            network(**{key: value})


def test_other_features_are_heard_and_normalised_by_fold_alone():
    torch.manual_seed(0)
    model = network().eval()
    features = {"melpower": torch.rand(1, 9, 40), "rms": torch.ones(1, 9, 1)}
    louder = features | {"rms": 2 * features["rms"]}
    lengths = torch.tensor([9])
    assert (model(features, lengths) - model(louder, lengths)).abs().max() > 1e-4
    # A clip's own mean would leave nothing of them.
    with pytest.raises(ValueError, match="normalisation: got 'clip', want fold"):
        network(normalisation="clip")


def test_every_weight_has_one_learning_rate_which_falls_with_depth():
    model = network(layers=3, encoder_lr=0.4)
    groups = parameter_groups(model, lr=0.01)
    grouped = [weight for group in groups for weight in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))
    rates = {weight: group["lr"] for group in groups for weight in group["params"]}
    layers = {"_l0": 0.001, "_l1": 0.002, "_l2": 0.004}
    for name, weight in model.named_parameters():
        layer = name[-3:] if name.startswith("encoder.") else ""
        assert rates[weight] == pytest.approx(layers.get(layer, 0.01)), name


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "plateau", "constant"])
def test_a_schedule_keeps_the_fractions_at_every_step(schedule):
    settings = composed("model=ge2e", f"train/schedule={schedule}")["train"]["schedule"]
    groups = parameter_groups(network(layers=2, encoder_lr=0.3), lr=0.01)
    optimiser = torch.optim.AdamW(groups, lr=0.01)
    scheduler = bind(settings, "learning")().scheduler(optimiser, steps=40)
    rates = []
    for _ in range(40):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        scheduler.step(*([1.0] if schedule == "plateau" else []))
    fractions = [sorted(rate / max(rates_now) for rate in rates_now) for rates_now in rates]
    np.testing.assert_allclose(fractions, [[0.15, 0.3, 1]] * 40, rtol=1e-6)
    assert max(map(max, rates)) == pytest.approx(0.01)
    assert (len({max(rates_now) for rates_now in rates}) > 1) == (schedule != "constant")


def test_without_fractions_all_weights_have_the_rate():
    model = bind(composed("model=gru")["model"]["network"], "networks")({"rms": 1}, 3)
    (group,) = parameter_groups(model, lr=0.01)
    assert group["lr"] == 0.01 and list(map(id, group["params"])) == list(
        map(id, model.parameters())
    )


def test_the_warp_is_drawn_per_clip_in_training_only():
    features, lengths = {"melpower": torch.rand(2, 9, 40)}, torch.tensor([9, 9])
    model = network({"melpower": 40}, dropout=0.0, warp=0.2)
    model.norm.eval()
    answers = model.eval()(features, lengths)
    assert torch.equal(model(features, lengths), answers)
    model.train().norm.eval()
    assert not torch.equal(model(features, lengths), answers)
    model.warp = 0
    torch.testing.assert_close(model(features, lengths), answers)


def test_the_warp_moves_a_tone_by_its_factor(monkeypatch):
    model = network({"melpower": 40}, warp=0.2)
    tone = torch.zeros(3, 5, 40)
    tone[:, :, 20] = 1.0
    drawn = torch.tensor([[0.5], [0.0], [1.0]])  # factors 1, 0.8 and 1.2
    monkeypatch.setattr(torch, "rand", lambda *shape, device: drawn)
    warped = model._warped(tone)
    assert torch.equal(warped[0], tone[0])
    # Band b takes the power of band b * factor, between whole bands in parts.
    assert warped[1].argmax(dim=1).tolist() == [25] * 5 and math.isclose(warped[1, 0, 25], 1)
    assert warped[2].argmax(dim=1).tolist() == [17] * 5 and 0.5 < warped[2, 0, 17] < 1


def test_the_model_brings_its_training_which_can_be_replaced():
    own = composed("model=ge2e", "data=real")
    assert own["train"] == composed("train=finetune", "model=ge2e", "data=real")["train"]
    assert own["train"]["epochs"] != composed("data=real")["train"]["epochs"]
    plain = composed("model=ge2e", "train=plain")["train"]
    assert plain["schedule"] == composed("train/schedule=constant")["train"]["schedule"]
    assert plain == composed("train=plain", "model=gru")["train"]
