"""The server over a real connection: answers equal those of app.predict, limits have a status."""

import http.client
import io
import json
import sys
import threading
import time
import uuid
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from app import serve
from app.models import load_model
from app.predict import predict
from benchmarks import clients
from tests.support import speech_like


@pytest.fixture(scope="module")
def model(exported):
    return load_model(exported)


@contextmanager
def running(model, **limits):
    """The port of a server."""
    app = serve.build(model, **({"jobs": 1, "waiting": 1, "timeout_s": 20, "streams": 1} | limits))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port(model):
    with running(model) as port:
        yield port


def ask(port: int, path: str, body: bytes = b"", kind: str = "", method: str = "POST"):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        with connection.getresponse() as answer:
            return answer.status, json.loads(answer.read())


def send(port: int, files: dict[str, bytes], query: str = ""):
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename='
    parts = [f'{head}"{name}"\r\n\r\n'.encode() + data + b"\r\n" for name, data in files.items()]
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    return ask(port, f"/predict{query}", body, f"multipart/form-data; boundary={mark}")


def wav(seconds: float = 1.0, rate: int = 16000, **settings) -> bytes:
    return encoded(speech_like(round(seconds * rate), rate=rate), rate, **settings)


def encoded(samples: np.ndarray, rate: int, **settings) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, **settings)
    return content.getvalue()


def test_health_says_which_model_answers(port, model):
    status, found = ask(port, "/health", method="GET")
    assert status == 200 and found["labels"] == model.labels and found["model"] == "gru"


def test_files_are_answered_as_by_predict(port, model, tmp_path):
    contents = {"a.wav": wav(format="WAV"), "b.flac": wav(2, 22050, format="FLAC")}
    status, rows = send(port, contents)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    want = [predict(model, tmp_path / name)[0] | {"file": name} for name in contents]
    assert status == 200 and rows == want


def test_windows_and_raw_samples(port, model, tmp_path):
    content = wav(4, format="WAV", subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes(content)
    want = predict(model, tmp_path / "a.wav", window_s=2, hop_s=1)
    kind, raw = "audio/pcm", content[44:]
    status, rows = ask(port, "/predict?window=2&hop=1&rate=16000", raw, kind)
    assert status == 200 and rows == [row | {"file": ""} for row in want] and len(rows) == 3


def test_a_bad_file_beside_a_good_one_has_its_reason(port):
    status, rows = send(port, {"a.wav": wav(format="WAV"), "b.wav": b"no sound"})
    assert status == 200 and "emotion" in rows[0] and "cannot be decoded" in rows[1]["error"]


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"no sound", 422, "cannot be decoded"),
        (b"", 422, "Got 0 bytes"),
        (bytes(21_000_000), 413, "want at most 20 MB"),
        (encoded(np.zeros(601 * 8000), 8000, format="FLAC"), 413, "want at most 10 minutes"),
    ],
)
def test_a_file_that_cannot_be_used_has_a_status_and_a_reason(port, content, status, words):
    found, rows = send(port, {"a.wav": content})
    assert found == status and words in rows[0]["error"]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "words"),
    [
        ("/predict", b"x", "text/plain", 415, "`files`"),
        ("/predict", b"xyz", "audio/pcm", 422, "3 bytes"),
        ("/predict?rate=1", b"xx", "audio/pcm", 422, "4000"),
        ("/predict?hop=1", b"xx", "audio/pcm", 422, "window"),
    ],
)
def test_a_bad_request_is_never_an_internal_error(port, path, body, kind, status, words):
    found, answer = ask(port, path, body, kind)
    assert found == status and words in json.dumps(answer)


def test_a_request_that_is_too_large_is_refused_unread(port):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        with connection.getresponse() as answer:
            assert answer.status == 413 and "100 MB" in json.loads(answer.read())["error"]


def test_more_files_than_can_wait_are_refused(port):
    status, answer = send(port, {f"{number}.wav": b"x" for number in range(3)})
    assert status == 503 and "busy" in answer["error"]
    status, answer = send(port, {f"{number}.wav": b"x" for number in range(101)})
    assert status == 413 and "101" in answer["error"]


def test_silence_is_given_up_like_speech(model):
    content = io.BytesIO()
    soundfile.write(content, np.zeros(60 * 16000), 16000, format="FLAC")
    begin = time.monotonic()
    with running(model, timeout_s=0.5) as port:
        status, answer = send(port, {"a.flac": content.getvalue()}, "?window=30&hop=0.0001")
        assert status == 504 and "0.5 s" in answer["error"]
        status, _ = send(port, {"a.wav": wav(format="WAV")})  # a thread is free again
        assert status == 200
    assert time.monotonic() - begin < 10


def test_a_name_that_is_no_text_is_answered(port):
    mark = "mark"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="\\ud800.wav"'
    body = head.encode() + b"\r\n\r\n" + wav(format="WAV") + f"\r\n--{mark}--\r\n".encode()
    kind = f"multipart/form-data; charset=unicode_escape; boundary={mark}"
    status, rows = ask(port, "/predict", body, kind)
    assert status == 200 and rows[0]["file"] == r"\ud800.wav"


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "99999"), ("--waiting", "-5"), ("--jobs", "0")]
)
def test_wrong_arguments_are_refused(option, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serve", option, value])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert ended.value.code == 2 and f"{option}: got {value}, want" in capsys.readouterr().err


def test_work_that_takes_too_long_is_given_up(model):
    def slow(waveform, speaker):
        time.sleep(0.3)
        return model.run(waveform, speaker)

    with running(replace(model, run=slow), timeout_s=0.2) as port:
        status, answer = send(port, {"a.wav": wav(format="WAV"), "b.wav": wav(format="WAV")})
    assert status == 504 and "0.2 s" in answer["error"]


def test_a_stream_is_answered_as_it_comes(port, model):
    samples = (speech_like(16000) * 32767).astype("<i2").tobytes()
    with connect(f"ws://127.0.0.1:{port}/stream?rate=16000&window=1&step=0.25") as socket:
        for first in range(0, len(samples), 5000):  # pieces that are no steps
            socket.send(samples[first : first + 5000])
        socket.send("end")
        answers = [json.loads(text) for text in socket]
    assert answers[-1]["end_s"] == 1.0 and answers[-1]["emotion"] in model.labels


def test_samples_that_are_overdue_come_at_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(serve.time, "monotonic", lambda: now[0])
    pipe = serve._Pipe(rate_hz=1000)
    for _ in range(6):
        assert pipe.put(bytes(500))
    assert len(pipe.read(500)) == 500  # ahead of real time: step by step
    now[0] = 1.3  # 2600 bytes are due, of which 500 were read
    assert len(pipe.read(500)) == 2000
    pipe.put(b"")
    assert [len(pipe.read(500)) for _ in range(2)] == [500, 0]


def test_the_clients_of_the_benchmark_get_answers(model):
    with running(model, jobs=2, waiting=2, streams=2) as port:
        posted = clients.upload(port, [wav(format="WAV", subtype="PCM_16")], clients=2, seconds=0.1)
        samples = (speech_like(16000) * 32767).astype("<i2").tobytes()
        spoken = clients.stream(port, samples, streams=2, seconds=0.5, step_s=0.25)
        refused = clients.stream(port, samples, streams=3, seconds=0.25, step_s=0.25)
    assert posted.faults == spoken.faults == [] and all(posted.latencies_s)
    assert [len(own) for own in spoken.latencies_s] == [2, 2]
    assert len(refused.faults) == 1 and "busy" in refused.faults[0]


@pytest.mark.parametrize(
    ("query", "message", "code"),
    [
        ("?rate=1", None, 1008),
        ("?window=9&step=10", None, 1008),
        ("", "hello", 1003),
        ("", bytes(1_000_000), 1008),
    ],
)
def test_a_bad_stream_is_closed_with_its_reason(port, query, message, code):
    with connect(f"ws://127.0.0.1:{port}/stream{query}") as socket:
        if message:
            socket.send(message)
        with suppress(ConnectionClosed):
            list(socket)
        assert socket.close_code == code and socket.close_reason


def test_more_streams_than_there_is_room_for_are_refused(port):
    address = f"ws://127.0.0.1:{port}/stream"
    with connect(address) as first:
        first.send(np.zeros(8000, "<i2").tobytes())
        assert json.loads(first.recv())["emotion"] is None
        with connect(address) as second:
            with suppress(ConnectionClosed):
                list(second)
            assert second.close_code == 1013
