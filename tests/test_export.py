"""ONNX files: agreement with the network, stored metadata, and models that cannot be exported."""

import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from onnx import numpy_helper
from scipy.special import softmax
from torch import nn

from stages import export as stage
from stages import exportable
from stages.audio.store import AudioStore
from stages.clips.names import segment_name
from stages.exporting import conversion as exporting
from stages.exporting import parity
from stages.exporting.card import model_card
from stages.exporting.graph import open_session, to_onnx, with_int8_weights
from stages.learning.layers import InputLayer, window_frames
from stages.learning.recogniser import Recogniser
from stages.running.entry import run_command
from stages.settings.loading import bind
from stages.splits.split_table import write_split
from tests.support import ROOT, composed, networks, sharpen, speech_like

LABELS = ["angry", "happy", "neutral", "sad"]
RATE = 16000
SPEECH = (speech_like(4 * RATE) * 32767).round().astype(np.int16)
#: Batches and seconds, shorter and longer than the traced batch of two times 1 s.
SHAPES = ((1, 0.02), (1, 3.3), (3, 0.5), (8, 0.31), (5, 2.01))
#: Features and settings that no network has by default.
FEATURES = {
    "every feature of a spectrum": "features=[logmel,shape,contrast,chroma]",
    "slopes and curvatures": "features.mfcc.deltas=2",
    "shorter windows": "train.window_s=0.6",
    "longer windows": "train.window_s=3",
    "peak level": "audio.level=peak",
    "no level": "audio.level=none",
    "another sample rate": "audio=speech22k",
}


def untrained(*overrides):
    """A recogniser with random weights, and its checkpoint."""
    params = composed(*overrides)
    features = {name: bind(settings, "acoustics") for name, settings in params["features"].items()}
    frames = {name: f(torch.from_numpy(SPEECH / 2e5).float()) for name, f in features.items()}
    inputs = {name: values.shape[0] for name, values in frames.items()}
    torch.manual_seed(0)
    network = bind(params["model"]["network"], "networks")(inputs, len(LABELS)).eval()
    network.input.fit({name: (v.mean(1), v.std(1)) for name, v in frames.items()})
    sharpen(network, factor=1.5)
    audio = params["audio"]
    recogniser = Recogniser(
        network,
        features=features,
        labels=LABELS,
        sample_rate=audio["sample_rate"],
        level=audio["level"],
        level_db=audio["level_db"],
        window=window_frames(params["train"]),
    )
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    state = {"labels": LABELS, "inputs": inputs, "state": network.state_dict()}
    return recogniser.eval(), {**sections, **state}


def small(name):
    return (f"model={name}", *(["model.network.channels=[8,8,8,8]"] if name == "conv2d" else []))


NETWORKS = networks()


@pytest.mark.parametrize(
    "overrides",
    [*map(small, NETWORKS), *(("model=gru", feature) for feature in FEATURES.values())],
    ids=[*NETWORKS, *FEATURES],
)
def test_a_graph_answers_as_torch_does_at_any_length_and_batch(overrides):
    recogniser, _ = untrained(*overrides)
    full = to_onnx(recogniser, metadata={})
    session = open_session(full)
    worst = parity.against_torch(session, recogniser, speech=SPEECH, shapes=SHAPES)
    assert worst < parity.TORCH_BOUND
    coarse = open_session(with_int8_weights(full))
    assert parity.against_torch(coarse, recogniser, speech=SPEECH, shapes=SHAPES[1:]) < 0.1
    loud = [np.resize(SPEECH[start:], RATE) / np.float32(40000) for start in (0, 9000, 17000)]
    wave = np.stack(loud).astype(np.float32)
    probabilities, logits = session.run(None, {"waveform": wave})
    assert probabilities.shape == logits.shape == (3, len(LABELS))
    assert probabilities.std(axis=0).max() > 1e-5
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities, atol=1e-5)


@pytest.mark.parametrize("overrides", [("model=ge2e",), ("model=gru", "features=[rms,ge2e]")])
def test_the_card_names_the_origin_of_pre_trained_weights(overrides):
    recogniser, _ = untrained(*overrides)
    exporting.check_exportable(composed(*overrides))
    (origin,) = exporting._origins(recogniser)
    facts = dict.fromkeys(("model", "sample_rate", "n_clips", "n_speakers", "protocol", "speech"))
    facts |= {"ua": 0.5, "ua_low": 0.4, "ua_high": 0.6, "labels": LABELS, "licences": {}}
    held_out = {"clips": 8, "int8": {"ua": 0.5, "ua_int8": 0.5}}
    facts["outside_the_graph"] = []
    card = model_card(facts | {"pretrained": [origin]}, held_out)
    assert "Resemblyzer 0.1.4 (Apache-2.0)" in card and "VoxCeleb 1 and VoxCeleb 2.\n\nA " in card
    assert model_card(facts, held_out) == card.replace(f"{origin}.\n\n", "")
    assert "speaker_mean" in model_card(facts | {"speaker_statistics": {}}, held_out)
    assert "speaker_mean" not in card


#: Weights of the encoder's three layers, which `lda` reads: two of 256 x 1024 each, one of 40.
FROZEN = 5 * 256 * 1024 + 40 * 1024


@pytest.mark.parametrize(("model", "frozen"), [("ge2e", 0), ("lda", FROZEN)])
def test_the_encoder_is_small_in_8_bits(model, frozen):
    recogniser, _ = untrained(f"model={model}")
    coarse = with_int8_weights(to_onnx(recogniser, metadata={}))
    weights = frozen + sum(weight.numel() for weight in recogniser.network.parameters())
    assert weights < len(coarse) < min(1.3 * weights, 3e6)


@pytest.fixture(scope="module")
def gru():
    recogniser, checkpoint = untrained("model=bigru", "features=[mfcc]")
    return recogniser, checkpoint, to_onnx(recogniser, metadata={"a": "b"})


def test_a_graph_is_reproducible_and_names_no_folder(gru):
    recogniser, _, full = gru
    assert to_onnx(recogniser, metadata={"a": "b"}) == full
    assert str(ROOT).encode() not in full and b".py" not in full
    model = onnx.load_from_string(full)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"a": "b"}
    assert [value.name for value in model.graph.input] == ["waveform"]
    assert [value.name for value in model.graph.output] == ["probabilities", "logits"]
    assert not recogniser.training


def test_only_the_weights_of_the_network_are_in_8_bits(gru):
    recogniser, _, full = gru
    before = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(full).graph.initializer
    }
    model = onnx.load_from_string(with_int8_weights(full))
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    coarse = {name.removesuffix("_int8") for name in after if name.endswith("_int8")}
    assert all(after[f"{name}_int8"].dtype == np.int8 for name in coarse)
    large = [
        w for name, w in recogniser.network.named_parameters() if w.ndim > 1 and w.numel() >= 1024
    ]
    assert sum(before[name].size for name in coarse) == sum(w.numel() for w in large)
    for name in coarse:
        scales = after[f"{name}_scale"]
        assert len(scales) in before[name].shape or len(scales) == np.prod(before[name].shape[:2])
        assert np.abs(after[f"{name}_int8"]).max() == 127
    for name, values in before.items():
        assert name in coarse or np.array_equal(after[name], values)
    assert len(model.SerializeToString()) < 0.6 * len(full)


def test_weights_are_off_by_at_most_half_a_step(gru):
    _, _, full = gru
    before = {t.name: t for t in onnx.load_from_string(full).graph.initializer}
    model = onnx.load_from_string(with_int8_weights(full))
    made = [
        node.output[0]
        for node in model.graph.node
        if node.op_type in ("DequantizeLinear", "Reshape")
    ]
    names = [name for name in made if name in before]
    for name in names:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = open_session(model.SerializeToString())
    got = session.run(names, {"waveform": np.ones((1, RATE), np.float32)})
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, values in zip(names, got, strict=True):
        want = numpy_helper.to_array(before[name])
        assert values.shape == want.shape
        assert np.abs(values - want).max() <= 0.501 * stored[f"{name}_scale"].max()
    assert len(names) == sum(name.endswith("_int8") for name in stored) > 3


class Frozen(nn.Module):
    """A network whose number of frames the exporter freezes."""

    def __init__(self, inputs, n_classes):
        super().__init__()
        self.input = InputLayer(inputs, normalisation="fold")
        self.linear = nn.Linear(sum(inputs.values()), n_classes)

    def forward(self, features, lengths):
        values = torch.cat(list(features.values()), dim=2)
        return self.linear(values.sum(dim=1) / int(lengths[0]))


class Unsupported(Frozen):
    """A network with an operation that ONNX lacks."""

    def forward(self, features, lengths):
        return torch.linalg.qr(self.linear(next(iter(features.values()))))[1][:, 0]


def settings_of(*overrides, **network):
    params = composed(*overrides)
    params["model"]["network"] |= network
    return params


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("features=[mfcc,pitch]",), "features.pitch: cannot be exported: .* compiled loop"),
        (("features=[apen]",), "features.apen: cannot be exported: .* compiled loop"),
        (("features.cochleagram.method=iir",), "features.cochleagram: .* got iir, want fft"),
        (("features=[wavlm]",), "features.wavlm: cannot be exported: it needs weights"),
        (("features=[egemaps]",), "features.egemaps: cannot be exported: it needs .*opensmile"),
        (("model=svm",), "model svm: cannot be exported"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_before_training(overrides, message):
    with pytest.raises(ValueError, match=f"{message}.* or run with -S export=false"):
        exporting.check_exportable(composed(*overrides))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Frozen, "model gru: exported with random weights, a probability differs by .*, want at"),
        (Unsupported, "model gru: cannot be exported: .* or run with -S export=false"),
    ],
)
def test_a_network_that_the_exporter_breaks_is_refused(network, message, monkeypatch):
    monkeypatch.setattr(
        exporting, "bind", lambda s, folder: partial(network) if "hidden" in s else bind(s, folder)
    )
    with pytest.raises(ValueError, match=message):
        exporting.check_exportable(composed("model=gru"))


def test_the_check_leaves_the_random_state_alone():
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    exporting.check_exportable(composed("model=gru"))
    assert torch.rand(1) == want


@pytest.mark.parametrize("wanted", [True, False])
def test_the_stage_before_training_always_writes_the_same(wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OmegaConf.save(composed("model=gru", f"export={wanted}"), "params.yaml")
    exportable.main()
    assert (tmp_path / "models/exportable.ok").read_text() == "checked, or not wanted\n"
    OmegaConf.save(composed("model=svm", f"export={wanted}"), "params.yaml")
    if wanted:
        with pytest.raises(SystemExit, match="model svm: cannot be exported"):
            run_command(exportable.main)
    else:
        exportable.main()


def test_a_classical_model_is_not_exported_by_default():
    assert composed("model=svm")["export"] is False
    assert composed()["export"] is True


@pytest.fixture
def trained(tmp_path, monkeypatch, gru):
    """The outputs of `train` and `evaluate`: a network, and its predictions from caches."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/merged", "models/folds", "reports"):
        (tmp_path / folder).mkdir(parents=True)
    recogniser, checkpoint, _ = gru
    for fold in ("0", "all"):
        torch.save(checkpoint, f"models/folds/fold_{fold}-seed_7.pt")
    rows, predicted = [], []
    with AudioStore("data/merged/audio.npy") as store:
        for number in range(8):
            samples = 4000 + 2000 * number
            wave = np.roll(SPEECH, 900 * number)[:samples]
            level = recogniser._levelled(torch.from_numpy(wave / np.float32(32768))[None])
            wave = (level * 32768).round()
            segmented = number > 5  # two segments of one file
            file = "long.wav" if segmented else f"{number}.wav"
            clip = f"savee/{number}"
            clip = segment_name(clip, number, segments=2) if segmented else clip
            rows.append((clip, "clean", "savee", file, store.samples, samples))
            store.append(wave[0].numpy().astype(np.int16))
            with torch.inference_mode():
                answer = recogniser(wave / 32768).softmax(1)[0].numpy()
            if segmented:  # the gain of its file, which the graph does not know
                answer = np.roll(answer, 1)
            predicted.append((clip, "0" if number < 8 else "1", 7, LABELS[number % 4], *answer))
    columns = ["clip", "variant", "corpus", "file", "start", "samples"]
    clips = pd.DataFrame(rows, columns=columns)
    names = ["clip", "fold", "seed", "label", *(f"p_{label}" for label in LABELS)]
    predictions = pd.DataFrame(predicted, columns=names).astype({"fold": int})
    predictions.to_csv("data/predictions.csv", index=False)
    figures = {"protocol": "speakers held out", "ua": 0.5, "ua_low": 0.4, "ua_high": 0.6}
    figures |= {"n_clips": 8, "n_speakers": 2}
    (tmp_path / "reports/metrics.json").write_text(json.dumps(figures))
    overrides = ("model=bigru", "features=[mfcc]", "seeds=[7]", "corpora=[savee]")
    OmegaConf.save(composed(*overrides), "params.yaml")
    clips["speaker"] = [f"savee/{number % 2}" for number in range(8)]
    parts = ["enrolment"] * 3 + ["test"] * 5
    split = pd.DataFrame({"clip": clips["clip"], "label": predictions["label"], "0": parts})
    write_split(split, "data/split.csv")
    monkeypatch.setattr(stage, "read_clips", lambda _: clips)
    monkeypatch.setattr(parity, "SHAPES", SHAPES)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "models/export").iterdir()}


def test_the_stage_writes_both_files_and_the_report(trained):
    stage.main()
    report = json.loads((trained / "reports/export.json").read_text())
    files = contents(trained)
    card = files.pop("README.md").decode()
    assert report["bytes"] == {name: len(content) for name, content in files.items()}
    assert set(files) == {"inflect.onnx", "inflect.int8.onnx"}
    assert "| `savee` | research use, after registration |" in card and "0.400 to 0.600" in card
    assert "trimming both ends" in card and "angry, happy, neutral, sad" in card
    assert "synthetic demo speech" in card and "speakers held out" in card
    assert 0 <= report["from_torch"]["largest_difference"] < 1e-4
    held_out = report["held_out"]
    assert held_out["clips"] == 8 and held_out["from_caches"]["clips"] == 6
    assert held_out["from_caches"]["largest_difference"] < 1e-2
    for name, content in files.items():
        session = open_session(content)
        said = session.get_modelmeta().custom_metadata_map
        assert json.loads(said["labels"]) == LABELS and json.loads(said["sample_rate"]) == RATE
        assert json.loads(said["corpora"]) == ["savee"] and said["speech"] == "synthetic"
        assert said["protocol"] == "speakers held out" and json.loads(said["ua"]) == 0.5
        assert any("trim_db=40" in step for step in json.loads(said["outside_the_graph"])), name
        assert session.get_inputs()[0].shape == ["batch", "samples"]
        assert session.get_inputs()[0].type == "tensor(float)"
    files, text = contents(trained), (trained / "reports/export.json").read_text()
    stage.main()
    assert contents(trained) == files
    assert (trained / "reports/export.json").read_text() == text


def test_a_label_that_reads_like_a_missing_value_stays_text(trained, monkeypatch):
    given = {}

    def export(**arguments):
        given.update(arguments)
        return SimpleNamespace(files={"README.md": b""}, report={})

    monkeypatch.setattr(exporting, "export", export)
    words = ["NA", "null", "None", "nan", "", "N/A", "sad", "1"]
    pd.read_csv("data/predictions.csv").assign(label=words).to_csv(
        "data/predictions.csv", index=False
    )
    stage.main()
    assert given["predictions"]["label"].tolist() == words


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ("TORCH_BOUND", r"inflect.onnx: a probability differs by .*, want at most -1; run with"),
        ("CACHED_BOUND", r"inflect.onnx: a probability, from caches, differs by"),
    ],
)
def test_a_graph_that_differs_is_not_written(trained, monkeypatch, bound, message):
    (trained / "models/export").mkdir()
    (trained / "models/export/inflect.onnx").write_bytes(b"before")
    monkeypatch.setattr(parity, bound, -1)
    with pytest.raises(ValueError, match=message):
        stage.main()
    assert contents(trained) == {"inflect.onnx": b"before"}
    assert not (trained / "reports/export.json").exists()


def test_weights_in_8_bits_that_lose_accuracy_are_not_written(trained, monkeypatch):
    def ruined(graph):
        model = onnx.load_from_string(with_int8_weights(graph))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_scale"):
                tensor.CopyFrom(
                    numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name)
                )
        return model.SerializeToString()

    monkeypatch.setattr(exporting, "with_int8_weights", ruined)
    table = pd.read_csv("data/predictions.csv")
    columns = [f"p_{label}" for label in LABELS]
    best = table[columns].idxmax(axis=1).str.removeprefix("p_")
    table.assign(label=best).to_csv("data/predictions.csv", index=False)
    monkeypatch.setattr(parity, "CACHED_BOUND", 1)
    with pytest.raises(ValueError, match=r"inflect.int8.onnx: the UA of 8 held-out clips differs"):
        stage.main()
    assert not (trained / "models/export").exists()


def test_without_export_a_line_says_so_and_no_library_is_imported(tmp_path):
    OmegaConf.save(composed("export=false"), tmp_path / "params.yaml")
    program = (
        "import sys; from stages import export, exportable; export.main(); exportable.main(); "
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert contents(tmp_path) == {"README.md": stage.NOTHING.encode()}
    assert json.loads((tmp_path / "reports/export.json").read_text()) == {"exported": False}
