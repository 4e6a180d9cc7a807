"""`python -m app.predict`: every path has an answer or an error, and memory does not grow with the
length of a file."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from app.models import MODEL, PRETRAINED, default_model, load_model
from app.predict import main, predict
from app.windows import read_windows
from stages.audio import decoding
from stages.audio.conditioning import conditioning
from stages.audio.store import FULL_SCALE
from stages.learning.recogniser import load_recogniser
from stages.running.entry import run_command
from stages.settings.loading import bind
from tests.support import AUDIO, LABELS, ROOT, composed, conditioned, read_clip

HEARD = conditioning(AUDIO)


def noise(seconds, rate=16000, *, channels=1, seed=0):
    """Noise whose loudness varies, differently in each second."""
    random = np.random.default_rng(seed)
    samples = round(seconds * rate)
    depth = random.uniform(0, 1, samples // rate + 1).repeat(rate)[:samples, None]
    beat = 1 + depth * np.sin(2 * np.pi * 5 * np.arange(samples) / rate)[:, None]
    return 0.05 * beat * random.standard_normal((samples, channels))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a small untrained network with two fast features."""
    small = ["model=gru", "features=[rms,zcr]", "model.network.pooling=16"]
    params = composed(*small)
    torch.manual_seed(0)
    inputs = {"rms": 1, "zcr": 1}
    network = bind(params["model"]["network"], "networks")(inputs, len(LABELS)).eval()
    network.input.fit(
        {"rms": (torch.tensor([-30.0]), torch.ones(1)), "zcr": (torch.ones(1) / 2, torch.ones(1))}
    )
    for weight in network.parameters():
        weight.data *= 2  # so that the answers differ from file to file
    path = tmp_path_factory.mktemp("model") / "model.pt"
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    torch.save(
        {**sections, "labels": LABELS, "inputs": inputs, "state": network.state_dict()}, path
    )
    return path


@pytest.fixture(scope="module")
def recogniser(model):
    return load_recogniser(model)[0]


@pytest.fixture(scope="module")
def loaded(model):
    return replace(load_model(model), audio=HEARD)


@pytest.fixture
def run_predict(model, monkeypatch, capsys):
    """Run the command; return its exit code and the answers that it prints as JSON."""

    def run(*arguments):
        command = ["predict", *map(str, arguments), "--model", str(model), "--format", "json"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, seconds, rate, channels in [
        ("good.flac", 2, 16000, 1),
        ("stereo.wav", 1, 44100, 2),
        ("low.wav", 1, 8000, 1),
        ("high.wav", 1, 192000, 1),
        ("long.wav", 100, 8000, 1),
        ("short.wav", 0.01, 16000, 1),
    ]:
        soundfile.write(folder / name, noise(seconds, rate, channels=channels), rate)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "silence.wav", np.zeros(35 * 16000), 16000)
    ultrasound = 0.3 * np.hanning(192_000) * np.sin(2 * np.pi * np.arange(192_000) * 50 / 192)
    soundfile.write(folder / "ultrasound.wav", ultrasound, 192_000)
    soundfile.write(folder / "phases.wav", noise(1) * [[1, -1]], 16000)  # cancels out in mono
    holed = noise(35)
    holed[[16000, -1]] = np.nan
    soundfile.write(folder / "nan.wav", holed, 16000, subtype="FLOAT")
    huge = np.float32(3e38) * np.sign(noise(1, 44100))
    soundfile.write(folder / "huge.wav", huge, 44100, subtype="FLOAT")
    for suffix in ("wav", "flac", "ogg"):
        path = folder / f"truncated.{suffix}"
        soundfile.write(path, noise(35), 16000)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("dear diary")
    (folder / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    return folder


GOOD = {"good.flac", "stereo.wav", "low.wav", "high.wav", "long.wav"}
REASONS = {
    "short.wav": "too short: 0.010 s, want at least 0.1",
    "silent.wav": "silent: peak 0.0000",
    "silence.wav": "silent: peak 0.0000",
    "ultrasound.wav": "silent: peak 0.0000",
    "phases.wav": "silent in mono: ",
    "nan.wav": "not finite: 2 samples",
    "huge.wav": "not finite: ",
    "truncated.wav": "truncated: ",
    "truncated.flac": "cannot be decoded: ",
    "truncated.ogg": "truncated: ",
    "empty.wav": "cannot be decoded: ",
    "text.wav": "cannot be decoded: ",
    "pointer.wav": "Git LFS pointer",
}


@pytest.mark.slow
def test_good_files_beside_bad_ones_have_answers(files, model):
    command = [sys.executable, "-m", "app.predict", files, "--model", model, "--format", "json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    answers = {Path(answer["file"]).name: answer for answer in json.loads(result.stdout)}
    assert set(answers) == GOOD | set(REASONS)
    for name, reason in REASONS.items():
        assert answers[name]["error"].startswith(reason) and "emotion" not in answers[name]
    for name in GOOD:
        probabilities = {label: answers[name][f"p_{label}"] for label in LABELS}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answers[name]["emotion"] == max(probabilities, key=probabilities.get)
    assert len({answers[name]["p_sad"] for name in GOOD}) == len(GOOD)


@pytest.mark.parametrize("form", ["csv", "table"])
def test_columns_do_not_depend_on_the_first_file(files, model, form, monkeypatch, capsys):
    paths = [str(files / name) for name in ("text.wav", "good.flac", "low.wav")]
    monkeypatch.setattr(sys, "argv", ["predict", *paths, "--model", str(model), "--format", form])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr().out
    assert ended.value.code == 1
    if form == "table":
        assert printed.split()[:6] == ["file", "emotion", *LABELS, "error"]
        assert printed.count("\n") == 4
        return
    table = pd.read_csv(io.StringIO(printed))
    assert table.columns.tolist() == ["file", "emotion", *(f"p_{x}" for x in LABELS), "error"]
    assert table["file"].tolist() == paths
    assert table["error"].notna().tolist() == table["emotion"].isna().tolist() == [True, 0, 0]


def test_the_exit_code_is_zero_without_errors(files, run_predict):
    code, answers = run_predict(files / "good.flac", files / "low.wav")
    assert code == 0 and not any("error" in answer for answer in answers)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "got an empty path"),
        ("gone.wav", "cannot be read: No such file or directory"),
        ("gone/", "cannot be read: "),
        ("text.txt/a.wav", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("diary", "no audio file below it, got 1 .txt"),
        ("none.wav", "no audio file below it, got nothing"),
        ("a.raw", "cannot be decoded: "),
        ("text.txt", "cannot be decoded: "),
        (os.devnull, "cannot be decoded: "),
    ],
)
def test_a_path_without_audio_has_an_error(path, reason, run_predict, tmp_path):
    soundfile.write(tmp_path / "good.wav", noise(1), 16000)
    (tmp_path / "text.txt").write_text("dear diary")
    (tmp_path / "a.raw").write_bytes(b"\x00\x01")
    (tmp_path / "none.wav").mkdir()  # a folder with the suffix of a file
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "text.txt").touch()
    named = f"{tmp_path}/{path}" if path and path != os.devnull else path
    code, answers = run_predict(named, tmp_path / "good.wav")
    assert code == 1
    assert answers[0]["file"] == named and answers[0]["error"].startswith(reason)
    assert answers[1]["emotion"] in LABELS


def test_files_and_folders_without_permission_have_an_error(run_predict, tmp_path, monkeypatch):
    """Permission is denied by a patch, because tests may run as root."""
    for name in ("good.wav", "secret.wav", "vault/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, noise(1), 16000)

    def refusing(real):
        def call(path, *arguments, **settings):
            if str(path).endswith(("secret.wav", "vault")):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **settings)

        return call

    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr("os.scandir", refusing(os.scandir))
    paths = [tmp_path / "secret.wav", tmp_path / "vault", tmp_path / "good.wav"]
    code, answers = run_predict(*paths)
    assert code == 1 and [answer["file"] for answer in answers] == [*map(str, paths)]
    assert answers[0]["error"] == "cannot be read: Permission denied"
    vault = f"{tmp_path / 'vault'} cannot be read: Permission denied"
    assert answers[1]["error"].startswith(vault)
    assert answers[2]["emotion"] in LABELS


def test_equal_names_in_several_folders_and_repeated_paths(run_predict, tmp_path):
    for seed, name in enumerate(("a/x.wav", "b/x.wav", "b/x.wav/x.wav", "b/x.flac")):
        if name == "b/x.wav":
            (tmp_path / name).mkdir(parents=True)  # a folder with the name of a file
            continue
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, noise(1, seed=seed), 16000)
    code, answers = run_predict(tmp_path, tmp_path / "a/x.wav", tmp_path / "b/x.wav")
    assert code == 0
    got = [Path(answer["file"]).relative_to(tmp_path).as_posix() for answer in answers]
    assert got == ["a/x.wav", "b/x.flac", "b/x.wav/x.wav", "a/x.wav", "b/x.wav/x.wav"]
    assert answers[0] == answers[3] and answers[2] == answers[4]
    assert len({answer["p_sad"] for answer in answers}) == 3


def test_a_name_that_is_not_valid_text_can_be_printed(model, tmp_path, monkeypatch, capsys):
    name = os.fsdecode(b"\xff.wav")
    soundfile.write(tmp_path / "a.wav", noise(1), 16000)
    (tmp_path / "a.wav").rename(tmp_path / name)
    for form in ("json", "csv", "table"):
        monkeypatch.setattr(
            sys, "argv", ["predict", str(tmp_path), "--model", str(model), "--format", form]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        shown = r"\xff.wav" if form == "table" else r"\udcff.wav"
        assert ended.value.code == 0 and shown in capsys.readouterr().out


def test_a_name_does_not_command_a_terminal(model, tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / "\x1b]0;own\x07\nb.wav", noise(1), 16000)
    for option, value in (("--format", "table"), ("--profile", "\x1b[31m.json")):
        command = ["predict", str(tmp_path), "--model", str(model), option, value]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            run_command(main)
        printed = capsys.readouterr().out + str(ended.value)
        assert "\x1b" not in printed and "\\x1b" in printed
        assert "\\nb.wav" in printed or option == "--profile"


def test_what_comes_along_answers_in_any_folder_until_something_was_trained_there(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    assert default_model() == PRETRAINED == ROOT / "models/pretrained/inflect.int8.onnx"
    assert PRETRAINED.is_file() and str(PRETRAINED) in caplog.text
    (tmp_path / MODEL).parent.mkdir(parents=True)
    (tmp_path / MODEL).touch()
    assert default_model() == MODEL


def test_missing_model_is_named(files, monkeypatch, tmp_path):
    command = ["predict", str(files), "--model", str(tmp_path / "none.pt")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="none.pt: no such"):
        run_command(main)


def test_the_missing_library_of_a_feature_is_named(files, model, tmp_path, monkeypatch):
    checkpoint = torch.load(model)
    audio = {key: checkpoint["features"]["rms"][key] for key in ("sample_rate", "hop_length")}
    egemaps = {"_target_": "stages.acoustics.egemaps.egemaps", **audio}
    torch.save(checkpoint | {"features": {"egemaps": egemaps}}, tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "opensmile", None)
    command = ["predict", str(files), "--model", str(tmp_path / "model.pt")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="egemaps: .*opensmile.* pip"):
        run_command(main)


# Windows ---------------------------------------------------------------------------------------


@torch.inference_mode()
def probabilities(recogniser, samples):
    waveform = torch.from_numpy(samples).float()[None] / FULL_SCALE
    return recogniser(waveform)[0].softmax(dim=0).numpy()


def answered(loaded, path):
    (answer,) = predict(loaded, path)
    return np.array([answer[f"p_{label}"] for label in LABELS])


@pytest.mark.parametrize("rate", [1000, 8000, 16000, 24414, 44100, 192000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_single_window_equals_the_clip_of_the_prepare_stage(tmp_path, rate, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(9.9, rate, channels=channels), rate, subtype="FLOAT")
    (window,) = read_windows(path, window_s=10, **HEARD)
    _, samples = read_clip(path, **AUDIO)
    assert window.samples.dtype == samples.dtype and np.array_equal(window.samples, samples)


def test_noise_is_removed_as_in_training(tmp_path):
    """From a single window as from a clip, and from each of several windows separately."""
    denoising = HEARD | {"denoise": 0.8}
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3), 16000, subtype="FLOAT")
    (window,) = read_windows(path, window_s=10, **denoising)
    _, samples = read_clip(path, **AUDIO | denoising)
    assert np.array_equal(window.samples, samples)
    assert not np.array_equal(window.samples, read_clip(path, **AUDIO)[1])
    halves = [conditioned(half, 16000, **AUDIO | denoising) for half in np.split(noise(3), 2)]
    for window, half in zip(read_windows(path, window_s=2, **denoising), halves, strict=True):
        assert np.array_equal(window.samples, half)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_windows_joined_are_the_whole_file(tmp_path, rate, block, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK", block)
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3.3, rate, channels=2), rate)
    read = read_windows(path, window_s=0.5, **HEARD | {"level": "none"})
    windows = [window.samples for window in read]
    _, whole = read_clip(path, **AUDIO | {"level": "none"})
    assert np.array_equal(np.concatenate(windows), whole)
    lengths = [len(window) for window in windows]
    assert len(lengths) == 7 and max(lengths) <= 8000 and max(lengths) - min(lengths) < 7


@pytest.mark.parametrize("name", sorted(REASONS))
def test_a_file_is_refused_with_the_reason_of_the_prepare_stage(files, name):
    with pytest.raises(ValueError) as wanted:
        read_clip(files / name, **AUDIO)
    with pytest.raises(ValueError) as refusal:
        list(read_windows(files / name, window_s=10, **HEARD))
    assert str(refusal.value) == str(wanted.value)


def test_the_answer_is_the_mean_over_windows_levelled_separately(recogniser, loaded, tmp_path):
    parts = [gain * noise(9, seed=seed) for seed, gain in enumerate((0.1, 1, 5))]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), 16000, subtype="FLOAT")
    each = [probabilities(recogniser, conditioned(part, 16000, **AUDIO)) for part in parts]
    assert np.std(each, axis=0).max() > 0.01
    got = answered(loaded, tmp_path / "a.wav")
    np.testing.assert_allclose(got, np.mean(each, axis=0), rtol=0, atol=2e-6)


def test_windows_are_weighted_by_their_length_after_trimming(recogniser, loaded, tmp_path):
    """Trimming leaves 9 s of one window and 1 s of the other."""
    parts = [noise(9), 1e-3 * noise(9, seed=1)]
    parts[1][3 * 16000 : 4 * 16000] = noise(2, seed=3)[16000:]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), 16000, subtype="FLOAT")
    trimmed = [conditioned(part, 16000, **AUDIO | {"trim_db": 40}) for part in parts]
    first, second = (probabilities(recogniser, samples) for samples in trimmed)
    weight = len(trimmed[1]) / (len(trimmed[0]) + len(trimmed[1]))
    assert 0.08 < weight < 0.12 and np.abs(second - first).max() > 0.01
    trimming = replace(loaded, audio=HEARD | {"trim_db": 40})
    (answer,) = predict(trimming, tmp_path / "a.wav")
    got = np.array([answer[f"p_{label}"] for label in LABELS])
    np.testing.assert_allclose(got, first + weight * (second - first), rtol=0, atol=2e-6)


def test_silent_windows_are_left_out(recogniser, loaded, tmp_path):
    speech, pause = noise(9), np.zeros((9 * 16000, 1))
    soundfile.write(tmp_path / "speech.wav", speech, 16000)
    soundfile.write(tmp_path / "pauses.wav", np.concatenate([pause, speech, pause]), 16000)
    one, with_pauses = (answered(loaded, tmp_path / f"{name}.wav") for name in ("speech", "pauses"))
    assert np.array_equal(one, with_pauses)
    silence = probabilities(recogniser, np.zeros(9 * 16000, np.int16))
    assert np.abs(silence - one).max() > 0.01  # so that counting it would show


def write_long(path, *, seconds, rate, channels):
    block = noise(10, rate, channels=channels)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for _ in range(seconds // 10):
            file.write(block)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (192000, 2)])
def test_memory_does_not_grow_with_the_length_of_a_file(loaded, tmp_path, rate, channels):
    """Samples are numpy arrays, which tracemalloc sees, until a window reaches the network."""
    peaks = []
    for seconds in (30, 120):
        path = tmp_path / f"{seconds}.wav"
        write_long(path, seconds=seconds, rate=rate, channels=channels)
        tracemalloc.start()
        try:
            assert "emotion" in predict(loaded, path)[0]
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] > 1e6  # tracemalloc sees the memory of numpy
    assert peaks[1] < 1.1 * peaks[0]


def test_memory_does_not_grow_with_the_number_of_channels(loaded, tmp_path):
    path = tmp_path / "many.wav"
    sound = noise(4, 8000) * np.ones(256)
    soundfile.write(path, sound, 8000)
    tracemalloc.start()
    try:
        assert "emotion" in predict(loaded, path)[0]
        assert tracemalloc.get_traced_memory()[1] < sound.size * 4 / 2  # half of it in float32
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_an_hour_has_an_answer(loaded, tmp_path):
    path = tmp_path / "hour.wav"
    write_long(path, seconds=3600, rate=8000, channels=1)
    windows = []

    def counting(waveform, speaker):
        windows.append(len(waveform))
        return loaded.run(waveform, speaker)

    assert "emotion" in predict(replace(loaded, run=counting), path)[0]
    assert len(windows) == 360 and sum(windows) == 3600 * 16000


# Over time --------------------------------------------------------------------------------------


def test_each_window_has_an_answer_unless_it_is_silent(loaded, recogniser, tmp_path):
    samples = np.concatenate([noise(2), np.zeros((2 * 16000, 1)), noise(1.25, seed=1)])
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    answers = predict(loaded, tmp_path / "a.wav", window_s=1, hop_s=0.5)
    times = [(answer["start_s"], answer["end_s"]) for answer in answers]
    assert times == [*((k / 2, k / 2 + 1) for k in range(9)), (4.5, 5.25)]
    silent = [answer["start_s"] for answer in answers if answer["emotion"] is None]
    assert silent == [2, 2.5, 3]
    for answer in (answers[1], answers[-1]):
        part = samples[int(16000 * answer["start_s"]) : int(16000 * answer["end_s"])]
        want = probabilities(recogniser, conditioned(part, 16000, **AUDIO))
        got = [answer[f"p_{label}"] for label in LABELS]
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


def test_windows_of_a_longer_hop_are_among_those_of_a_shorter_one(loaded, files):
    every, some = (
        predict(loaded, files / "long.wav", window_s=3, hop_s=hop_s) for hop_s in (0.5, 2)
    )
    assert every[-1]["end_s"] == some[-1]["end_s"] == 100
    by_start = {answer["start_s"]: answer for answer in every}
    for answer in some[:-1]:  # the last one may be shorter
        assert answer == by_start[answer["start_s"]]


def test_a_file_no_longer_than_the_window_is_one_window(loaded, files):
    (over_time,) = predict(loaded, files / "good.flac", window_s=2, hop_s=0.1)
    (whole,) = predict(loaded, files / "good.flac")
    assert over_time == whole | {"start_s": 0, "end_s": 2}


@pytest.mark.parametrize("name", ["silence.wav", "nan.wav", "truncated.flac", "text.wav"])
def test_a_bad_file_has_no_windows(loaded, files, name):
    (answer,) = predict(loaded, files / name, window_s=1, hop_s=1)
    assert answer["error"].startswith(REASONS[name]) and set(answer) == {"file", "error"}


def test_windows_are_printed_with_their_times(files, model, monkeypatch, capsys):
    paths = [str(files / name) for name in ("good.flac", "text.wav")]
    command = ["predict", *paths, "--model", str(model), "--format", "csv", "--window", "1"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    names = ["file", "start_s", "end_s", "emotion", *(f"p_{x}" for x in LABELS), "error"]
    assert ended.value.code == 1 and table.columns.tolist() == names
    assert table["start_s"].tolist()[:2] == [0, 1] and table["end_s"].tolist()[:2] == [1, 2]
    assert table["error"].notna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hop", "1"], "--hop: got no --window"),
        (["--window", "1", "--hop", "2"], "--hop: got 2, want more than 0, at most --window 1"),
        (["--window", "1", "--hop", "0"], "--hop: got 0"),
        (["--window", "nan"], "--window: got nan"),
        (["--window", "inf"], "--window: got inf"),
    ],
)
def test_wrong_windows_are_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["predict", "a.wav", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and message in capsys.readouterr().err


# The exported file ------------------------------------------------------------------------------


def test_the_exported_file_answers_like_the_checkpoint(files, loaded, exported):
    graph = load_model(exported)
    assert graph.labels == loaded.labels and graph.audio == loaded.audio
    assert graph.facts["ua"] == 0.5 and graph.facts["speech"] == "synthetic"
    for name in sorted(GOOD):
        np.testing.assert_allclose(
            answered(graph, files / name), answered(loaded, files / name), rtol=0, atol=1e-4
        )


def test_the_exported_file_needs_no_torch(files, exported):
    """Nor pandas, nor other libraries that take seconds to import."""
    code = (
        "import sys; from app.predict import main\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'torch', 'pandas', 'librosa', 'scipy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, files / "good.flac", "--model", exported]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "good.flac" in result.stdout


def test_answers_are_in_the_order_of_the_files_for_any_number_of_threads(
    files, exported, monkeypatch, capsys
):
    paths = [str(files / name) for name in sorted(GOOD) * 5]
    monkeypatch.setattr(sys, "argv", ["predict", *paths, "--model", str(exported)])
    printed = []
    for threads in (1, 7):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        with pytest.raises(SystemExit):
            main()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert [line.split()[0] for line in printed[0].splitlines()[1:]] == paths


def test_patterns_are_matched(run_predict, tmp_path):
    for name in ("a/1.wav", "b/2.wav", "[c].wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, noise(1), 16000)
    code, answers = run_predict(tmp_path / "*" / "?.wav", tmp_path / "[c].wav", tmp_path / "*.mp3")
    got = [Path(answer["file"]).relative_to(tmp_path).as_posix() for answer in answers]
    assert got == ["a/1.wav", "b/2.wav", "[c].wav", "*.mp3"]
    assert code == 1 and answers[-1]["error"] == "no file matches this pattern"


def other_graph(**metadata):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["waveform"], ["probabilities"])],
        "other",
        [value("waveform", TensorProto.FLOAT, ["batch", "samples"])],
        [value("probabilities", TensorProto.FLOAT, ["batch", "samples"])],
    )
    graph = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(graph, metadata)
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file.*dvc repro"),
        (b"", "cannot be loaded: .*want"),
        (b"RIFF\x00\x00", "cannot be loaded: .*want"),
        (other_graph(), "not a model of Inflect: .*waveform.*probabilities.*labels"),
        (other_graph(labels='["a"]'), "audio.sample_rate: got nothing, want .*dvc repro"),
    ],
)
def test_a_file_that_is_not_an_exported_model_is_refused(content, message, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["predict", "a.wav", "--model", str(path)])
    with pytest.raises(SystemExit, match=f"model.onnx: {message}"):
        run_command(main)


def test_nothing_is_reported_to_the_makers_of_libraries(tmp_path):
    """What onnxruntime would send waits in files, whether or not a network is there."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    code = "import sys; from app.models import load_model; load_model(sys.argv[1])"
    command = [sys.executable, "-c", code, str(PRETRAINED)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    found = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in found if "onnxruntime" in name or name in (".ses", "deviceid")]
