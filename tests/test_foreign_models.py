"""Model files of somebody else: a broken or hostile one is refused in a sentence."""

import dataclasses
import json
import os
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import settings as sampled
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from app import models, onnx_files, trials
from app.models import Model, load_model
from app.predict import main, predict
from app.profiles import Profile
from stages.audio.conditioning import conditioning
from stages.learning.checkpoints import read_checkpoint
from stages.learning.recogniser import load_recogniser
from stages.learning.speaker_statistics import SpeakerStatistics
from stages.settings.loading import bind
from studies.asking import asks_model
from tests.support import AUDIO, LABELS, composed, speech_like

FACTS = {"labels": LABELS, "audio": conditioning(AUDIO), "sample_rate": 16000, "ua": 0.5}
LINE = {"axis": [1.0, 0.0], "place": [0.5, 0.5], "around": [0.5, 0.5]}
STATISTICS = {"mean": [0.0, 1.0], "between": [1.0, 1.0], "within": [1.0, 2.0], "std": False, **LINE}


def graph(*nodes, weights=None, facts=FACTS, outputs=("probabilities",), kind=TensorProto.FLOAT):
    """A model of a few nodes from `waveform` to `probabilities`, with metadata."""
    value = helper.make_tensor_value_info
    stored = {"third": np.full((1, 3), 1 / 3, np.float32), "last": np.int64([1])} | (weights or {})
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in stored.items()]
    found = [value(name, kind, None) for name in outputs]
    content = helper.make_graph(
        list(nodes) or answering(),
        "other",
        [value("waveform", TensorProto.FLOAT, ["batch", "samples"])],
        found,
        tensors,
    )
    made = helper.make_model(content, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}
    helper.set_model_props(made, texts)
    return made


def answering(scale="third"):
    """Nodes that answer `scale`, plus nothing of the waveform."""
    node = helper.make_node
    return [
        node("ReduceMean", ["waveform"], ["mean"], axes=[1]),
        node("Sub", ["mean", "mean"], ["nothing"]),
        node("Add", ["nothing", scale], ["probabilities"]),
    ]


def looping():
    """A loop that never ends."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["go"]),
            helper.make_node("Identity", ["held"], ["kept"]),
        ],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("on", TensorProto.BOOL, []),
            value("held", TensorProto.FLOAT, None),
        ],
        [value("go", TensorProto.BOOL, []), value("kept", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["", "yes", "third"], ["probabilities"], body=body)
    return graph(loop, weights={"yes": np.array(True)})


def outside():
    model = graph()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    return model


def with_function():
    model = graph(helper.make_node("Twice", ["third"], ["probabilities"], domain="own"))
    identity = helper.make_node("Identity", ["x"], ["y"])
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], [identity], opset))
    return model


def huge():
    """An answer that needs 40 GB on the way."""
    node = helper.make_node
    return graph(
        node("ReduceMean", ["waveform"], ["mean"], axes=[1]),
        node("Expand", ["mean", "size"], ["large"]),
        node("Sin", ["large"], ["larger"]),
        node("ReduceMean", ["larger"], ["little"], axes=[1]),
        node("Sub", ["little", "little"], ["nothing"]),
        node("Add", ["nothing", "third"], ["probabilities"]),
        weights={"size": np.int64([1, 10_000_000_000])},
    )


def newer():
    model = graph()
    model.opset_import[0].version = 99
    return model


HOSTILE = {
    "endless loop": (looping, "'Loop' with a graph of its own"),
    "weights in another file": (outside, "weights in another file"),
    "functions": (with_function, "functions|'own'"),
    "huge": (huge, "Failed to allocate memory"),
    "unknown opset": (newer, "cannot be loaded: .*99"),
    "NaN": (lambda: graph(weights={"third": np.float32([[np.nan] * 3])}), r"nan.*sum is 1"),
    "infinite": (lambda: graph(weights={"third": np.float32([[np.inf] * 3])}), r"inf.*sum is 1"),
    "negative": (lambda: graph(weights={"third": np.float32([[-1, 1, 1]])}), "sum is 1"),
    "no sum of 1": (lambda: graph(weights={"third": np.float32([[1, 1, 1]])}), "sum is 1"),
    "four answers": (lambda: graph(weights={"third": np.full((1, 4), 0.25, "f")}), "3 prob"),
    "two labels": (lambda: graph(facts=FACTS | {"labels": ["a", "b"]}), "want 2 probabilities"),
    "three axes": (lambda: graph(weights={"third": np.full((1, 3, 3), 1 / 9, "f")}), "3 prob"),
    "scalar": (
        lambda: graph(helper.make_node("ReduceMean", ["waveform"], ["probabilities"], keepdims=0)),
        "model",
    ),
    "empty": (
        lambda: graph(
            helper.make_node("Slice", ["waveform", "no", "no"], ["probabilities"]),
            weights={"no": np.int64([0])},
        ),
        "model",
    ),
    "other type": (
        lambda: graph(
            helper.make_node("Cast", ["third"], ["probabilities"], to=TensorProto.DOUBLE),
            kind=TensorProto.DOUBLE,
        ),
        "double.*want waveform and probabilities",
    ),
    "texts": (
        lambda: graph(
            helper.make_node("Cast", ["third"], ["probabilities"], to=TensorProto.STRING),
            kind=TensorProto.STRING,
        ),
        "string.*want waveform and probabilities",
    ),
}


def refused(path, wanted):
    """The one line that says why a file is refused."""
    with pytest.raises(ValueError, match=wanted) as refusal:
        load_model(path)
    message = str(refusal.value)
    assert (
        message.count(str(path)) == 1
        and "\n" not in message
        and len(message) < 500 + len(str(path))
    )
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused(name, tmp_path):
    build, wanted = HOSTILE[name]
    (tmp_path / "model.onnx").write_bytes(build().SerializeToString())
    refused(tmp_path / "model.onnx", wanted)


def test_a_graph_of_another_project_is_tried_and_asked_for_files_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "CPU_S", 1)
    path = tmp_path / "theirs.onnx"
    path.write_bytes(looping().SerializeToString())
    with pytest.raises(ValueError, match="theirs.onnx: got no answer to a second of sound in 1 s"):
        asks_model(path, classes=LABELS, sample_rate=16000)
    path.write_bytes(graph().SerializeToString())
    ask = asks_model(path, classes=LABELS, sample_rate=16000)
    soundfile.write(tmp_path / "a.wav", speech_like(8000), 8000)
    assert ask(tmp_path / "a.wav") == pytest.approx({f"p_{name}": 1 / 3 for name in LABELS})
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="got a named pipe, want a regular file"):
        ask(tmp_path / "pipe.wav")


def test_a_harmless_graph_is_not(tmp_path):
    (tmp_path / "model.onnx").write_bytes(graph().SerializeToString())
    assert load_model(tmp_path / "model.onnx").labels == LABELS


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"labels": "abcdefgh"}, "labels: got 'abcdefgh', want a list of 2"),
        ({"labels": ["a", "a", "b"]}, "labels: got .*distinct"),
        ({"labels": ["a", "", "b"]}, "labels: got "),
        ({"labels": ["a", "b\x1b[2J", "c"]}, "labels: got "),
        ({"labels": ["a", 1, None]}, "labels: got "),
        ({"labels": {"a": 0, "b": 1, "c": 2}}, "labels: got "),
        ({"labels": [["a"], ["b"], ["c"]]}, "labels: got "),
        ({"labels": ["a"]}, "labels: got "),
        ({"labels": [f"{n}" for n in range(10**4)]}, "labels: got "),
        ({"labels": "[" * 10**5}, "labels: got "),
        ({"audio": []}, "audio: got "),
        ({"audio": FACTS["audio"] | {"sample_rate": 10**9}}, "audio.sample_rate: got 1000000000"),
        ({"audio": FACTS["audio"] | {"sample_rate": 10}}, "audio.sample_rate: got 10, want 4000"),
        ({"audio": FACTS["audio"] | {"level_db": None}}, "audio.level_db: got None"),
        ({"ua": "high"}, "ua: got 'high', want 0 to 1"),
        ({"ua": 7}, "ua: got 7"),
        ({"corpora": "ravdess"}, "corpora: got "),
        ({"model": "x\n"}, "model: got "),
        ({"speaker_statistics": STATISTICS}, "representation as tensor"),
    ],
    ids=str,
)
def test_metadata_of_another_kind_are_named(change, wanted, tmp_path):
    content = graph(facts=FACTS | change).SerializeToString()
    with pytest.raises(ValueError, match=rf"model.onnx: .*{wanted}"):
        models._from_onnx(Path("model.onnx"), content).answer(np.ones(9, np.int16))


@pytest.mark.parametrize(
    "change",
    [
        {"mean": None},
        {"mean": "01"},
        {"mean": [0.0]},
        {"mean": [[0.0, 1.0]]},
        {"mean": []},
        {"between": [float("nan"), 1.0]},
        {"between": [10**400, 1]},
        {"within": [-1.0, 1.0]},
        {"within": [True, 1.0]},
        {"place": [float("inf"), 1.0]},
        {"around": [-1.0, 1.0]},
        {"std": 1},
    ],
    ids=str,
)
def test_statistics_of_speakers_that_cannot_be_are_named(change):
    (name,) = change
    for content in (STATISTICS | change, {k: v for k, v in STATISTICS.items() if k not in change}):
        with pytest.raises(ValueError, match=rf"speaker_statistics\.({name}|between): got"):
            SpeakerStatistics.from_json(content)
    with pytest.raises(ValueError, match="speaker_statistics: got"):
        SpeakerStatistics.from_json([])


def test_statistics_of_earlier_models_have_no_line():
    content = {key: value for key, value in STATISTICS.items() if key not in LINE}
    found = SpeakerStatistics.from_json(content)
    assert not found.axis.any() and found.around.tolist() == content["between"]


def test_profiles_of_earlier_versions_still_fit():
    model = Model(LABELS, conditioning(AUDIO), {}, lambda *_: ([], []), None)
    for line in (LINE, {key: [0.0, 0.0] for key in LINE}):
        known = SpeakerStatistics.from_json(STATISTICS | line)
        profile = Profile.empty(dataclasses.replace(model, statistics=known))
        assert profile.model == "266d6b85f1efe9f2"


@pytest.mark.parametrize("suffix", ["onnx", "pt", "wav"])
@pytest.mark.parametrize(
    "content", [b"", b"dear diary\n", b"\x80\x02}q\x00.", b"PK\x03\x04", b"\0" * 99]
)
def test_a_file_of_another_kind_is_refused(suffix, content, tmp_path):
    (tmp_path / f"model.{suffix}").write_bytes(content)
    refused(tmp_path / f"model.{suffix}", "want a file|not a checkpoint")


def test_any_damage_to_a_graph_is_refused_or_harmless():
    """Bytes that are changed, dropped or doubled never end in another error."""
    content = graph().SerializeToString()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 80):
        for part in (bytes(random.integers(0, 256, 2, np.uint8)), b"", content[place : place + 9]):
            damaged = content[:place] + part + content[place + 2 :]
            try:
                onnx_files.check_model(damaged)
                models._from_onnx(Path("a"), damaged).answer(np.ones(9, np.int16))
            except ValueError as error:
                assert "\n" not in str(error)


# Checkpoints ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def checkpoint():
    """A small untrained network on two quick features."""
    params = composed("model=gru", "features=[rms,zcr]", "model.network.pooling=16")
    params["model"]["network"] |= {"hidden": [4, 4], "dense": [4, 4]}
    inputs = {"rms": 1, "zcr": 1}
    network = bind(params["model"]["network"], "networks")(inputs, len(LABELS)).eval()
    network.input.fit({name: (torch.zeros(1), torch.ones(1)) for name in inputs})
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    sections["calibration"] = {"clips": 0, "statistics": "none"}
    sections["train"]["window_s"] = 1.0
    return {
        **sections,
        **{"labels": LABELS, "inputs": inputs, "seen": ["x/1"], "state": network.state_dict()},
    }


def paths(value, path=()):
    """Every place in a checkpoint, as keys one below the other."""
    yield path
    keys = value if isinstance(value, dict) else range(isinstance(value, list) and len(value))
    for key in keys:
        yield from paths(value[key], (*path, key))


def placed(checkpoint, path, value):
    """A checkpoint with another value in one place."""
    if not path:
        return value
    changed = deepcopy(checkpoint)
    section = changed
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return changed


def knotted():
    """A list that holds itself."""
    knot = []
    knot.append(knot)
    return knot


def laughing():
    """A few lists that hold each other so often that nobody can read them all."""
    laughs = ["ha"]
    for _ in range(30):
        laughs = [laughs] * 9
    return laughs


OTHERS = [None, True, -1, 0, 10**30, 0.5, float("nan"), "x", "", [], [1], {}, {"a": 1}, {1: 2}]
OTHERS += [torch.ones(2), torch.tensor(float("nan")), torch.ones(1).expand(9**9), b"x", (1, 2)]
OTHERS += [torch.ones(3).to_sparse(), {"_target_": "os.system"}, knotted(), laughing()]


def tried(path, content):
    """Load and use a checkpoint; a refusal names the file and takes one line."""
    torch.save(content, path)
    try:
        recogniser, audio = load_recogniser(path)
    except ValueError as refusal:
        assert str(refusal).startswith(f"{path}: ") and "\n" not in str(refusal)
        return str(refusal)
    assert set(audio) == set(conditioning(AUDIO))
    with torch.inference_mode():
        logits = recogniser(torch.from_numpy(speech_like(8000)).float()[None])
    assert logits.shape == (1, len(recogniser.labels)) and logits.isfinite().all()
    return ""


@pytest.mark.slow
@sampled(max_examples=25)
@given(data=st.data())
def test_a_checkpoint_with_another_value_anywhere_works_or_is_refused(data, checkpoint, folder):
    path = data.draw(st.sampled_from(sorted(paths(checkpoint), key=str)))
    value = data.draw(st.sampled_from(OTHERS))
    tried(folder / "model.pt", placed(checkpoint, path, value))


def test_sections_that_are_missing_are_named(checkpoint, folder):
    for key in set(checkpoint) - {"calibration", "seen"}:
        fault = tried(folder / "model.pt", {k: v for k, v in checkpoint.items() if k != key})
        assert f": {key}: got nothing" in fault


def test_a_checkpoint_is_checked_by_all_who_read_it(checkpoint, folder):
    state = checkpoint["state"]
    name = next(iter(state))
    torch.save(checkpoint | {"state": state | {name: state[name] * np.nan}}, folder / "nan.pt")
    for read in (read_checkpoint, load_recogniser, load_model):
        with pytest.raises(ValueError, match=f"nan.pt: state.{name}: got .*NaN"):
            read(folder / "nan.pt")


def test_a_checkpoint_that_builds_too_large_a_network_is_given_up(checkpoint, folder):
    torch.save(placed(checkpoint, ("model", "network", "hidden"), [10**8, 4]), folder / "big.pt")
    refused(folder / "big.pt", "model.network: got .*memory")


# Trials -----------------------------------------------------------------------------------------


def test_a_trial_ends_in_time_and_tells_what_happened(monkeypatch):
    def missing():
        raise ImportError("want pip install x")

    def stop():
        os._exit(0)

    trials.try_out(lambda: 1, name="m")
    monkeypatch.setattr(trials, "WALL_S", 0.2)
    for work, kind, message in (
        (missing, ImportError, "want pip install x"),
        (os.abort, ValueError, "m: crashed"),
        (stop, ValueError, "m: crashed"),
        (lambda: 1 / 0, ValueError, "m: got ZeroDivisionError: division by zero"),
        (lambda: bytearray(10**10), ValueError, "m: took more memory"),
        (lambda: time.sleep(60), ValueError, "m: got no answer to a second of sound in 0.2 s"),
    ):
        with pytest.raises(kind, match=message):
            trials.try_out(work, name="m")


def test_a_copy_that_does_nothing_is_made_again(monkeypatch, tmp_path):
    """It may wait for a lock that another thread held when it was made."""
    monkeypatch.setattr(trials, "_IDLE_S", 0.5)

    def wait(copies):
        (tmp_path / str(len(list(tmp_path.iterdir())))).touch()
        while len(list(tmp_path.iterdir())) <= copies:
            time.sleep(60)

    trials.try_out(lambda: wait(1), name="m")
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="m: hung, want a model"):
        trials.try_out(lambda: wait(100), name="m")


# Answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [[np.nan] * 3, [np.inf, 0, 0], [0.5, 0.6, 0.7], [-1, 1, 1], [1.0], 1.0, [[0.2, 0.3, 0.5]], []],
    ids=str,
)
def test_an_answer_that_is_none_is_an_error_of_its_file(answer, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech_like(16000), 16000)
    model = Model(LABELS, conditioning(AUDIO), {}, lambda *_: (answer, []))
    (row,) = predict(model, tmp_path / "a.wav")
    assert "answer of the model: got" in row["error"] and "emotion" not in row


def test_a_model_that_fails_later_is_an_error_of_its_file(tmp_path, monkeypatch, capsys):
    """It answers a sound that rises, and fails at a loud one."""
    nodes = [
        helper.make_node("ReduceMax", ["waveform"], ["peak"], axes=[1]),
        helper.make_node("Mul", ["peak", "two"], ["more"]),
        helper.make_node("Cast", ["more"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["third", "place"], ["taken"], axis=0),
        helper.make_node("Squeeze", ["taken", "last"], ["probabilities"]),
    ]
    facts = FACTS | {"audio": FACTS["audio"] | {"level": "none"}}
    model = graph(*nodes, facts=facts, weights={"two": np.float32(2)})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    soundfile.write(tmp_path / "a.wav", speech_like(16000), 16000)
    soundfile.write(tmp_path / "b.wav", 0.9 * np.sin(np.arange(16000)), 16000)
    command = ["predict", str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), "--format", "json"]
    monkeypatch.setattr(sys, "argv", [*command, "--model", str(tmp_path / "model.onnx")])
    with pytest.raises(SystemExit) as ended:
        main()
    good, bad = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 and good["emotion"] == "angry"
    assert "the model fails: " in bad["error"]


# Profiles ---------------------------------------------------------------------------------------


def test_a_profile_of_another_kind_is_refused(tmp_path):
    statistics = SpeakerStatistics.from_json(STATISTICS)
    model = Model(LABELS, conditioning(AUDIO), {}, lambda *_: ([], []), statistics)
    Profile.empty(model).save(tmp_path / "good.json")
    good = json.loads((tmp_path / "good.json").read_text())
    Profile.load(tmp_path / "good.json", model=model)
    for key in good:
        for value in (None, "x", -1, [], [1], [1, 2, 3], [[1, 2]], {"a": 1}, float("nan"), 10**400):
            (tmp_path / "bad.json").write_text(json.dumps(good | {key: value}))
            with pytest.raises(ValueError, match=r"bad.json: (not a profile|is of|\w+: got)"):
                Profile.load(tmp_path / "bad.json", model=model)
    for text in ("[" * 10**5, "[]", "7", '"x"', "{}"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="not a profile"):
            Profile.load(tmp_path / "bad.json", model=model)
    with pytest.raises(ValueError, match="not a profile"):
        Profile.load(tmp_path, model=model)
