"""The web page: answers for recordings, pictures, and the page in a real browser."""

import csv
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app import pictures, recordings
from app.models import load_model
from app.predict import predict
from app.recordings import MAX_MB, MAX_S, Recording, answer, details, example_recordings
from tests.support import LABELS, ROOT, speech_like

RATE = 16000
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def model(exported):
    return load_model(exported)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Speech of two lengths and rates, a file that is no audio, and a small file of three hours."""
    folder = tmp_path_factory.mktemp("files")
    soundfile.write(folder / "short.wav", speech_like(2 * RATE), RATE)
    soundfile.write(folder / "long.flac", speech_like(7 * 44100, rate=44100, seed=1), 44100)
    (folder / "diary.wav").write_text("dear diary")
    with soundfile.SoundFile(folder / "hours.flac", "w", 8000, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8000))
    return folder


def recording(path):
    return Recording(path.name, path.stat().st_size, path.read_bytes)


# Answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short.wav", "long.flac"])
def test_the_page_answers_like_predict(files, model, name):
    got = answer(recording(files / name), model=model)
    (want,) = predict(model, files / name)
    assert {"file": str(files / name), **got.row} == want
    shown = details(recording(files / name), model=model)
    assert shown.sample_rate == RATE
    seconds = {"short.wav": 2, "long.flac": 7}[name]
    assert len(shown.waveform) == pytest.approx(seconds * RATE, abs=2)
    assert len(shown.over_time) == {"short.wav": 1, "long.flac": 9}[name]


def test_large_and_long_files_are_refused_before_decoding(files, model, monkeypatch):
    def decoded(*_, **__):
        raise AssertionError("was decoded")

    monkeypatch.setattr(recordings, "predict", decoded)
    hours = files / "hours.flac"
    assert hours.stat().st_size < 1e6
    got = answer(recording(hours), model=model)
    assert got.row == {"error": f"too long: 180 minutes, want at most {MAX_S // 60} minutes"}
    large = Recording("large.wav", MAX_MB * 1_000_000 + 1, decoded)
    got = answer(large, model=model)
    assert got.row == {"error": f"too large: 20 MB, want at most {MAX_MB} MB"}


def test_an_unusable_recording_has_an_error(files, model):
    got = answer(recording(files / "diary.wav"), model=model)
    assert got.row["error"].startswith("cannot be decoded: ")
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(RATE), RATE, format="WAV")
    got = answer(Recording("silent.wav", 1, stream.getvalue), model=model)
    assert got.row["error"].startswith("silent: ")


def test_nothing_is_kept(files, model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("short.wav", "diary.wav", "hours.flac"):
        answer(recording(files / name), model=model)
    assert not list(tmp_path.iterdir())


def test_examples_are_one_voice_in_every_emotion(model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    examples = example_recordings()
    assert {"angry", "happy", "sad", "neutral", "boredom"} <= set(examples)
    content = examples["sad"]
    got = answer(Recording("sad", len(content), lambda: content), model=model)
    assert got.row["emotion"] in LABELS
    assert not list(tmp_path.iterdir())


def test_bars_show_the_probabilities():
    chart = pictures.bars({"emotion": "sad", "p_sad": 0.75, "p_happy": 0.25}).to_dict()
    (rows,) = chart["datasets"].values()
    assert {row["emotion"]: row["probability"] for row in rows} == {"sad": 0.75, "happy": 0.25}
    assert chart["encoding"]["x"]["scale"]["domain"] == [0, 1]


def test_lines_are_interrupted_in_silence():
    rows = [
        {"file": "a", "start_s": 0.0, "end_s": 3.0, "emotion": "sad", "p_sad": 1.0},
        {"file": "a", "start_s": 1.0, "end_s": 4.0, "emotion": None},
    ]
    (points,) = pictures.over_time(rows).to_dict()["datasets"].values()
    assert [(point["time"], point["probability"]) for point in points] == [(1.5, 1.0), (2.5, None)]


def test_the_spectrogram_has_axes_in_seconds_and_hertz():
    time_s = np.arange(2 * RATE) / RATE
    figure = pictures.sound(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32), sample_rate=RATE)
    above, below, bar = figure.axes
    assert below.get_xlabel() == "time (s)" and below.get_xlim() == (0, 2)
    assert (above.get_ylabel(), below.get_ylabel()) == ("amplitude", "frequency (Hz)")
    assert "dB" in bar.get_ylabel()
    # The loudest row is at the tick of 1000 Hz.
    loudest = below.images[0].get_array().mean(axis=1).argmax() + 0.5
    labels = [label.get_text() for label in below.get_yticklabels()]
    assert loudest == pytest.approx(below.get_yticks()[labels.index("1000")], abs=1)


# Hosting ----------------------------------------------------------------------------------------


def test_the_page_needs_the_versions_of_the_pipeline():
    pinned = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if line}
    needed = (ROOT / "app/requirements.txt").read_text().splitlines()[1:]
    assert needed and set(needed) <= pinned


def test_the_page_needs_no_torch(exported):
    code = "import sys, app.recordings, app.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# In a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(exported):
    """Address of the page, on a server that runs during these tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--server.headless=true", f"--server.port={port}", "--server.fileWatcherType=none"]
    settings += ["--server.address=127.0.0.1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app/web.py", *settings],
        cwd=ROOT,
        env=os.environ | {"INFLECT_MODEL": str(exported)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health")
                break
            except OSError:
                assert server.poll() is None, "the server has stopped"
                time.sleep(0.25)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        arguments += ["--disable-background-networking", "--disable-component-update"]
        # A fake microphone that beeps, allowed without a question.
        arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    """The page of a visitor, whose browser asks nobody else for anything."""
    page, asked = browser.new_page(viewport=DESK), []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_role("heading", name="What emotion does a voice express?").wait_for()
    yield page
    page.close()
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()


def upload(page, *paths: Path):
    page.set_input_files("input[type=file]", list(map(str, paths)))


def test_files_are_answered_with_bars_and_plots(page, files, model):
    upload(page, files / "long.flac", files / "diary.wav", files / "short.wav")
    (want,) = predict(model, files / "long.flac")
    percent = f"{100 * want['p_' + want['emotion']]:.0f} %"
    page.get_by_role("heading", name=f"long.flac: {want['emotion']}, {percent}").wait_for()
    page.get_by_text("diary.wav cannot be used: cannot be decoded").wait_for()
    page.get_by_test_id("stImage").locator("img").first.wait_for()  # waveform and spectrogram
    page.locator("[data-testid=stVegaLiteChart]").nth(1).wait_for()  # bars, and lines over time
    assert page.get_by_test_id("stDataFrame").count() == 1
    for screen in (PHONE, DESK):  # nothing to scroll sideways to
        page.set_viewport_size(screen)
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").click()
    with open(download.value.path(), encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert float(rows["long.flac"]["p_sad"]) == pytest.approx(want["p_sad"], abs=1e-6)
    assert rows["diary.wav"]["error"] and set(rows) == {"long.flac", "diary.wav", "short.wav"}


def test_a_synthetic_voice_can_be_tried_without_a_file(page):
    page.get_by_text("answers for real speech mean nothing").wait_for()
    page.get_by_test_id("stButtonGroup").get_by_text("sad", exact=True).click()
    page.get_by_role("heading", name="synthetic, sad: ").wait_for()
    page.get_by_text("Which model is this").click()
    page.get_by_text("not what a person feels").wait_for()


def test_hours_in_a_small_file_are_refused(page, files):
    upload(page, files / "hours.flac")
    page.get_by_text("too long: 180 minutes, want at most 10 minutes").wait_for()
    assert page.get_by_test_id("stImage").count() == 0


def test_a_recording_has_an_answer(page):
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_role("heading", name="your recording: ").wait_for()
