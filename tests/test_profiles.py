"""Profiles of voices: the pipeline's own answers, files that are kept, and messages."""

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import soundfile
import torch

from app import predict as command
from app.listen import listen
from app.models import load_model
from app.predict import predict
from app.profiles import Profile, enrol
from app.recordings import Recording, answer, get_used_to
from stages.audio.store import FULL_SCALE
from stages.exporting import parity
from stages.exporting.graph import open_session, to_onnx, with_int8_weights
from stages.learning.recogniser import load_recogniser
from stages.learning.speaker_head import add_head
from stages.learning.speaker_statistics import SpeakerCalibration, SpeakerStatistics
from stages.running.entry import run_command
from tests.support import AUDIO, read_clip, speech_like
from tests.test_export import LABELS, RATE, SHAPES, SPEECH, untrained


def given(*paths):
    """Recordings of a voice, named by their paths."""
    return [(str(path), str(path), "") for path in paths]


@pytest.fixture(scope="module", params=["mean", "mean_std"])
def made(request, tmp_path_factory):
    """A calibrated model as a checkpoint and as graphs, and recordings of two voices."""
    folder = tmp_path_factory.mktemp("profiles")
    recogniser, checkpoint = untrained("model=gru", "features=[mfcc]", "model.network.pooling=4")
    with torch.no_grad():
        waves = [torch.from_numpy(np.roll(SPEECH, 999 * n)[:RATE] / 2e5) for n in range(24)]
        inputs = []
        handle = recogniser.network.classifier.register_forward_pre_hook(
            lambda _, arguments: inputs.append(arguments[0])
        )
        recogniser(torch.stack(waves).float())
        handle.remove()
    vectors = inputs[0].numpy()
    calibration = SpeakerCalibration(statistics=request.param)
    normalised = calibration.fit(vectors, [f"x/{n // 6}" for n in range(24)])
    head = add_head(
        recogniser.network,
        dimensions=vectors.shape[1],
        n_classes=len(LABELS),
        estimate_std=request.param == "mean_std",
    )
    head.fit(normalised, np.arange(24) % 4, calibration.statistics)
    head.linear.weight.data *= 30  # so that answers differ
    checkpoint |= {
        "calibration": {"clips": 10, "statistics": request.param},
        "state": recogniser.network.state_dict(),
        "audio": AUDIO,
    }
    torch.save(checkpoint, folder / "model.pt")
    recogniser, _ = load_recogniser(folder / "model.pt")
    facts = {"labels": LABELS, "audio": AUDIO, "speaker_statistics": head.statistics.as_json()}
    texts = {name: json.dumps(value) for name, value in facts.items()}
    full = to_onnx(recogniser, metadata=texts)
    (folder / "model.onnx").write_bytes(full)
    (folder / "model.int8.onnx").write_bytes(with_int8_weights(full))
    for name in ("voice", "other"):
        (folder / name).mkdir()
        for number in range(5):
            wave = speech_like(RATE * (2 + number) // 2, seed=number)
            if name == "other":
                wave = np.random.default_rng(number).normal(0, 0.1, len(wave))
            soundfile.write(folder / name / f"{number}.wav", wave, RATE)
    return folder


def run(patch, capsys, *arguments: object) -> tuple[list[dict], str]:
    """Answers of the command as JSON, and what it said besides."""
    patch.setattr(sys, "argv", ["predict", *map(str, arguments), "--format", "json"])
    with pytest.raises(SystemExit) as stop:
        run_command(command.main)
    printed = capsys.readouterr()
    if stop.value.code not in (0, False):
        return [], f"{stop.value.code}{printed.err}"
    return json.loads(printed.out), printed.err


def test_a_profile_gives_the_pipelines_own_answer(made, monkeypatch, capsys):
    voice, profile = made / "voice", made / "me.json"
    model, target = made / "model.onnx", voice / "3.wav"
    known = [voice / f"{number}.wav" for number in range(3)]
    arguments = ("--model", model, "--speaker", *known, "--profile", profile)
    (direct,), said = run(monkeypatch, capsys, target, *arguments)
    assert "calibrated to a voice with 3 recordings" in said
    (again,), _ = run(monkeypatch, capsys, target, "--model", model, "--profile", profile)
    (coarse,), _ = run(
        monkeypatch, capsys, target, "--model", made / "model.int8.onnx", "--profile", profile
    )
    (torch_s,), _ = run(
        monkeypatch, capsys, target, "--model", made / "model.pt", "--profile", profile
    )
    # The pipeline: vectors of the enrolment, and the last layer on what is left of the clip.
    recogniser, _ = load_recogniser(made / "model.pt")
    clips = [read_clip(path, **AUDIO)[1] for path in (*known, target)]
    waves = [torch.from_numpy(clip / np.float32(FULL_SCALE))[None] for clip in clips]
    with torch.inference_mode():
        vectors = torch.cat([recogniser.answer(wave, None)[1] for wave in waves]).numpy()
        mean, std = recogniser.head.statistics.of_speaker(vectors[:3])
        left = torch.from_numpy((vectors[3:] - mean) / std).float()
        want = recogniser.head.normalised(left).softmax(1)[0].numpy()
    for found in (direct, again, torch_s):
        got = [found[f"p_{label}"] for label in LABELS]
        np.testing.assert_allclose(got, want, atol=1e-4)
    assert coarse["emotion"] == direct["emotion"]
    (nobody,), _ = run(monkeypatch, capsys, target, "--model", model)
    assert max(abs(nobody[f"p_{label}"] - direct[f"p_{label}"]) for label in LABELS) > 0.01


def test_the_graph_knows_what_a_speaker_is_known_by(made):
    content = (made / "model.onnx").read_bytes()
    session, model = open_session(content), onnx.load_from_string(content)
    recogniser, _ = load_recogniser(made / "model.pt")
    assert [node.name for node in session.get_inputs()] == ["waveform"]
    optional = [node.name for node in session.get_overridable_initializers()]
    assert sorted(optional) == ["speaker_mean", "speaker_std"]
    assert [value.name for value in model.graph.output][2:] == ["representation"]
    bound = parity.TORCH_BOUND
    assert parity.against_torch(session, recogniser, speech=SPEECH, shapes=SHAPES) < bound


def test_a_profile_is_kept_and_nothing_is_overwritten(made, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.json"
    mine.write_text("mine")
    arguments = ("--model", made / "model.onnx", "--speaker", made / "voice", "--profile")
    _, said = run(monkeypatch, capsys, *arguments, mine)
    assert "already exists" in said and mine.read_text() == "mine"
    answers, _ = run(monkeypatch, capsys, *arguments, tmp_path / "new.json")
    content = json.loads((tmp_path / "new.json").read_text())
    assert (
        answers == []
        and content["clips"] == 5
        and set(content)
        == {
            "model",
            "clips",
            "mean",
            "square",
        }
    )


def test_bad_profiles_are_named(made, tmp_path, exported):
    model = load_model(made / "model.onnx")
    with pytest.raises(FileNotFoundError, match=r"none.json: no such file"):
        Profile.load(tmp_path / "none.json", model=model)
    for content in ("mine", "[]", '{"model": "x"}', "\x00"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="not a profile"):
            Profile.load(tmp_path / "bad.json", model=model)
    profile, _ = enrol(model, given(made / "voice" / "0.wav"))
    profile.save(tmp_path / "good.json")
    faster = replace(model, audio=model.audio | {"sample_rate": 22050})
    with pytest.raises(ValueError, match="of another model"):
        Profile.load(tmp_path / "good.json", model=faster)
    plain = load_model(exported)
    with pytest.raises(ValueError, match="not calibrated to speakers"):
        Profile.load(tmp_path / "good.json", model=plain)


def test_bad_recordings_of_a_voice_are_said_and_left_out(made, tmp_path):
    model = load_model(made / "model.onnx")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    half = speech_like(2 * RATE, seed=1)[::2]
    soundfile.write(tmp_path / "slow.wav", half, RATE // 2)  # another rate is no fault
    names = [str(tmp_path / name) for name in ("silent.wav", "slow.wav", "none.wav")]
    profile, messages = enrol(model, given(*names))
    assert profile.clips == 1 and len(messages) == 2
    assert any("silent.wav: not used: silent" in message for message in messages)
    with pytest.raises(ValueError, match="no recording that can be used"):
        enrol(model, given(names[0]))


def test_another_voice_among_the_recordings_is_said(made):
    """Voices are told by their zero crossings here."""
    learnt = SpeakerStatistics.from_json(
        {"mean": [10.0], "between": [100.0], "within": [4.0], "std": False}
    )

    def crossings(waveform, _):
        return np.ones(4) / 4, np.array([100 * (np.diff(np.sign(waveform)) != 0).mean()])

    model = replace(load_model(made / "model.onnx"), run=crossings, statistics=learnt)
    files = [made / "voice" / f"{number}.wav" for number in range(4)]
    assert not enrol(model, given(*files))[1]
    stranger = str(made / "other" / "0.wav")
    _, messages = enrol(model, given(*files, stranger))
    assert messages == [f"{stranger}: sounds like another voice than the others"]


def test_the_page_gets_used_to_a_voice_and_shows_what_that_changes(made, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("app.profiles._OTHER_VOICE", np.inf)
    model = load_model(made / "model.onnx")
    paths = [made / "voice" / f"{number}.wav" for number in range(3)]
    own = [Recording(path.name, path.stat().st_size, path.read_bytes) for path in paths]
    broken = [Recording("diary.wav", 4, lambda: b"dear"), Recording("big.wav", 10**9, None)]
    profile, messages = get_used_to([*own, *broken], model=model)
    want, _ = enrol(model, given(*paths))
    np.testing.assert_array_equal(profile.mean, want.mean)
    assert [message.partition(":")[0] for message in messages] == ["diary.wav", "big.wav"]
    nobody, messages = get_used_to(broken, model=model)
    assert nobody.clips == 0 and len(messages) == 2
    speaker, target = profile.speaker(model), made / "voice" / "3.wav"
    got = answer(Recording("3.wav", 1, target.read_bytes), model=model, speaker=speaker)
    assert got.row == {
        k: v for k, v in predict(model, target, speaker=speaker)[0].items() if k != "file"
    }
    assert got.average["p_sad"] == predict(model, target)[0]["p_sad"] != got.row["p_sad"]
    assert not list(tmp_path.iterdir())


def blocks(samples, *, step):
    for start in range(0, len(samples), step):
        yield 0.0, samples[start : start + step].astype(np.float32)


def test_listening_gets_used_to_a_voice_and_forgets(made):
    model = load_model(made / "model.onnx")
    samples = speech_like(8 * RATE)
    settings = {"rate_hz": RATE, "window_s": 1.0}
    plain = list(listen(model, blocks(samples, step=4000), **settings))
    profile = Profile.empty(model)
    answers = list(listen(model, blocks(samples, step=4000), profile=profile, **settings))
    assert all(answer.heard_s is None for answer in plain)
    heard = [answer.heard_s for answer in answers]
    assert heard[0] == 0 and heard == sorted(heard)
    assert heard[-1] == pytest.approx(7, abs=0.5)  # all but the present window
    np.testing.assert_allclose(answers[0].probabilities, plain[0].probabilities, atol=1e-6)
    late = np.abs(answers[-1].probabilities - plain[-1].probabilities)
    assert late.max() > 0.01
    short = Profile.empty(model)
    run = listen(model, blocks(samples, step=4000), profile=short, memory_s=1.0, **settings)
    assert list(run)[-1].heard_s < 2
