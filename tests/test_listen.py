"""`python -m app.listen`: files in real time, raw samples and a microphone, with the answers of
`app.predict`."""

import io
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from app import listen as listening
from app.listen import from_file, from_microphone, from_pipe, listen, main
from app.models import Model, load_model
from app.predict import predict
from stages.audio.conditioning import conditioning
from stages.running.entry import run_command
from tests.support import AUDIO, LABELS, ROOT, speech_like

RATE = 16000
#: Samples of full scale without an offset.
ALTERNATING = np.tile(np.float32([1, -1]), 2 * RATE)


@pytest.fixture(scope="module")
def model(exported):
    return load_model(exported)


@pytest.fixture
def no_waiting(monkeypatch):
    """Files are read without waiting; the fixture lists the waiting times."""
    waits = []
    clock = SimpleNamespace(sleep=waits.append, perf_counter=time.perf_counter)
    monkeypatch.setattr(listening, "time", clock)
    return waits


def loudness() -> Model:
    """A model that returns the root mean square of the waveform, and the rest to 1."""
    audio = conditioning(AUDIO | {"level": "none"})

    def run(waveform, _):
        rms = np.sqrt(np.mean(waveform**2))
        return [rms, 1 - rms], []

    return Model(["rms", "rest"], audio, {}, run)


def pieces(waveform, *, step):
    return [(0.0, waveform[i : i + step].astype(np.float32)) for i in range(0, len(waveform), step)]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_last_answer_is_that_of_predict(model, tmp_path, no_waiting, rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(round(2.6 * rate), rate=rate), rate)
    rate_hz, blocks = from_file(path, step_s=0.25)
    answers = list(listen(model, blocks, rate_hz=rate_hz, window_s=10))
    (want,) = predict(model, path)
    assert rate_hz == rate and len(answers) >= 11
    assert answers[-1].end_s == pytest.approx(2.6, abs=1e-3)
    got = answers[-1].probabilities
    np.testing.assert_allclose(got, [want[f"p_{x}"] for x in LABELS], rtol=0, atol=2e-6)


def test_a_file_is_heard_in_real_time(model, tmp_path, no_waiting):
    soundfile.write(tmp_path / "a.wav", speech_like(RATE), RATE)
    _, blocks = from_file(tmp_path / "a.wav", step_s=0.25)
    assert len(list(blocks)) == 4
    np.testing.assert_allclose(no_waiting, [0.25, 0.5, 0.75, 1], atol=0.2)


def test_each_block_has_an_answer_for_the_last_window():
    steps = np.repeat([0.1, 0.2, 0.3, 0.4], RATE) * ALTERNATING[: 4 * RATE]
    blocks = pieces(steps, step=RATE // 2)
    answers = list(listen(loudness(), blocks, rate_hz=RATE, window_s=1))
    assert [answer.end_s for answer in answers] == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    got = [answer.probabilities[0] for answer in answers]
    mixed = [np.sqrt((a**2 + b**2) / 2) for a, b in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4))]
    want = [0.1, 0.1, mixed[0], 0.2, mixed[1], 0.3, mixed[2], 0.4]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_windows_softer_than_the_gate_have_no_answer():
    waveform = np.repeat([0, 0.01, 0.1], RATE) * ALTERNATING[: 3 * RATE]
    for gate_db, want in ((None, [True, False, False]), (-30, [True, True, False])):
        answers = listen(
            loudness(), pieces(waveform, step=RATE), rate_hz=RATE, window_s=1, gate_db=gate_db
        )
        assert [answer.probabilities is None for answer in answers] == want


def test_latency_counts_from_the_arrival_of_the_samples():
    def late():
        yield time.perf_counter() - 0.2, 0.1 * ALTERNATING[:RATE]

    (answer,) = listen(loudness(), late(), rate_hz=RATE, window_s=1)
    assert answer.latency_ms >= 200


def test_only_the_window_stays_in_memory():
    held = []
    model = loudness()
    watching = Model(["n"], model.audio, {}, lambda x, _: (held.append(len(x)) or [1.0], []))
    blocks = ((0.0, 0.1 * ALTERNATING[:4000]) for _ in range(100))
    assert len(list(listen(watching, blocks, rate_hz=RATE, window_s=3))) == 100
    assert max(held) == 3 * RATE


def test_a_pipe_is_read_until_it_ends():
    samples = np.arange(-500, 500, dtype="<i2") * 30
    data = samples.tobytes() + b"\x01"  # and half a sample, as if the sender was stopped
    blocks = list(from_pipe(io.BytesIO(data), rate_hz=1000, step_s=0.3))
    assert [len(block) for _, block in blocks] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]) * 32768, samples)


def test_the_command_reads_a_pipe(exported, tmp_path):
    samples = (32768 * speech_like(RATE)).astype("<i2")
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    (want,) = predict(load_model(exported), tmp_path / "a.wav")
    command = [sys.executable, "-m", "app.listen", "-", "--format", "json", "--model", exported]
    result = subprocess.run(command, cwd=ROOT, input=samples.tobytes(), capture_output=True)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["end_s"] for answer in answers] == [0.25, 0.5, 0.75, 1.0]
    assert answers[-1]["emotion"] == want["emotion"]
    for label in LABELS:
        assert answers[-1][f"p_{label}"] == pytest.approx(want[f"p_{label}"], abs=2e-6)


class FakeMicrophone:
    """A stand-in for the library sounddevice, which calls back with given blocks."""

    PortAudioError = RuntimeError

    def __init__(self, *, blocks=()):
        self.blocks, self.settings = blocks, None

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return "  0 fake, ALSA"
        if device not in (None, 0):
            raise ValueError(f"No input device matching {device}")
        return {"default_samplerate": 44100.0}

    def InputStream(self, **settings):
        self.settings = settings
        return self

    def __enter__(self):
        for block in self.blocks:
            self.settings["callback"](block, len(block), None, None)

    def __exit__(self, *error):
        self.closed = True


def test_a_microphone_is_recorded_at_its_own_rate(monkeypatch):
    recorded = [np.full((11025, 1), value, np.float32) for value in (0.1, 0.2)]
    library = FakeMicrophone(blocks=recorded)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    rate_hz, blocks = from_microphone(0, step_s=0.25)
    _, block = next(blocks)  # both came before the first was requested
    assert rate_hz == 44100 and library.settings["blocksize"] == 11025
    np.testing.assert_array_equal(block, np.concatenate(recorded)[:, 0])
    blocks.close()
    assert library.closed


def test_a_missing_microphone_is_named(monkeypatch, exported):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeMicrophone())
    monkeypatch.setattr(sys, "argv", ["listen", "--device", "7", "--model", str(exported)])
    with pytest.raises(SystemExit, match="--device: No input device matching 7; .*\n  0 fake"):
        run_command(main)


def test_the_missing_recording_library_is_named(monkeypatch, exported):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr(sys, "argv", ["listen", "--model", str(exported)])
    with pytest.raises(SystemExit, match="--device: .*pip install sounddevice"):
        run_command(main)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be decoded: "), (None, "cannot be read: No such file")],
)
def test_a_bad_file_is_named_with_the_reason(content, reason, tmp_path, monkeypatch, exported):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["listen", "--file", str(path), "--model", str(exported)])
    with pytest.raises(SystemExit, match=f"a.wav: {reason}"):
        run_command(main)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--device", "0"], "one of --device, --file and -"),
        (["--step", "0"], "--step, --window: got 0 and 3, want more than 0"),
        (["--step", "4"], "--step, --window: got 4 and 3"),
        (["--window", "61"], "--step, --window: got 0.25 and 61"),
        (["-", "--rate", "0"], "--rate: got 0, want 1 to 768000"),
        (["-", "--rate", "99999999999"], "--rate: got 99999999999, want 1 to 768000"),
        (["--gate", "nan"], "--gate: got nan, want a number"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["listen", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and message in capsys.readouterr().err
