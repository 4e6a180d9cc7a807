"""The page in this process: what it shows of a visitor's texts, and how it ends long work."""

import errno
import re
import tempfile
import tomllib
from dataclasses import replace
from threading import Event, Thread

import numpy as np
import pytest
import soundfile
import streamlit
from matplotlib.figure import Figure
from streamlit.testing.v1 import AppTest

from app import pictures, recordings
from app.models import PRETRAINED, load_model
from app.recordings import (
    MAX_MB,
    MAX_MILLIONS,
    MAX_S,
    Recording,
    Turns,
    answer,
    details,
    get_used_to,
)
from stages.audio import decoding
from tests.support import LABELS, ROOT, speech_like

RATE = 16000
EVIL = (
    "![x](http://evil/x.png)",
    "<img src=x onerror=alert(1)>",
    "[click](http://evil)",
    ":red[x] :material/home: $x^2$ `x` **x** _x_ ~x~",
    "# x\n\n* x | x",
    "- http://evil www.evil.example a@evil.example -> ``x``",
    "",
)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    soundfile.write(path, speech_like(RATE), RATE)
    return path.read_bytes()


@pytest.fixture
def page(exported, monkeypatch):
    """The page, before a visitor has done anything."""
    monkeypatch.setenv("INFLECT_MODEL", str(exported))
    monkeypatch.setattr(recordings, "example_recordings", dict)
    monkeypatch.setattr(pictures, "sound", lambda *_, **__: Figure())  # the slowest part
    return AppTest.from_file(str(ROOT / "app/web.py"), default_timeout=60).run()


def texts(page):
    """All texts of the page that are read as Markdown."""
    kinds = (page.error, page.warning, page.markdown, page.subheader, page.caption, page.title)
    return [element.value for elements in kinds for element in elements]


def visible(text):
    """A text as Markdown shows it if nothing in it has a meaning: fails if something has."""
    pieces = re.split(r"(?<!`)(`+) (.*?) \1(?!`)", text)
    for place in range(0, len(pieces), 3):  # outside code; then come a fence and what is inside
        bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", pieces[place]).replace("**", "")
        assert not re.search(
            r"[<>\[\]$`*~|#:]|(?<!\w)_|_(?!\w)", bare.replace(": ", "").replace(" %", "")
        ), text
        pieces[place] = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", pieces[place])
    return "".join(piece for place, piece in enumerate(pieces) if place % 3 != 1)


def test_names_of_files_are_shown_as_they_are(page, speech):
    shown = len(texts(page))
    files = [(name, speech, "audio/wav") for name in EVIL]
    files += [(f"{name}.txt", b"dear diary", "text/plain") for name in EVIL]
    page.file_uploader[0].set_value(files).run()
    assert not page.exception
    for name in EVIL:
        page.selectbox[0].select(name).run()
        assert not page.exception
        (heading,) = page.subheader
        assert visible(heading.value).startswith((" ".join(name.split()) or " ") + ": ")
        faults = [visible(fault.value) for fault in page.error]
        assert len(faults) == len(EVIL)
        assert f"{' '.join(name.split())}.txt cannot be used: cannot be" in " ".join(faults)
    assert len(texts(page)) > shown


def test_what_a_model_says_is_shown_as_it_is(page, exported, monkeypatch, speech):
    model = load_model(exported)
    facts = model.facts | {"model": EVIL[0], "corpora": list(EVIL[:2]), "protocol": EVIL[2]}
    facts |= {"ua_low": 0.4, "ua_high": 0.6}
    hostile = type(model)(list(EVIL[:3]), model.audio, facts, model.run)
    monkeypatch.setattr("app.models.load_model", lambda _: hostile)
    monkeypatch.setenv("INFLECT_MODEL", "another")
    page.run()
    page.file_uploader[0].set_value([("a.wav", speech, "audio/wav")]).run()
    assert not page.exception
    about = " ".join(visible(m.value) for m in page.markdown if "The model **" in m.value)
    assert all(name in about for name in EVIL[:3])
    (heading,) = page.subheader
    assert any(name in visible(heading.value) for name in EVIL[:3])
    monkeypatch.setenv("INFLECT_MODEL", EVIL[0])

    def missing(path):
        raise ValueError(f"{path}: no")

    monkeypatch.setattr("app.models.load_model", missing)
    page.run()
    assert EVIL[0] in visible(page.error[0].value)


def test_each_content_is_answered_once(page, speech, monkeypatch):
    heard = []

    def counting(recording, **settings):
        heard.append(recording.name)
        return answer(recording, **settings)

    monkeypatch.setattr(recordings, "answer", counting)
    files = [(f"{name}.wav", speech, "audio/wav") for name in "abc"]
    files.append(("d.wav", speech + b"\0", "audio/wav"))
    page.file_uploader[0].set_value(files).run()
    assert heard == ["a.wav", "d.wav"]
    page.selectbox[0].select("c.wav").run()
    page.file_uploader[0].set_value(files[1:]).run()
    assert heard == ["a.wav", "d.wav"] and len(page.dataframe[0].value) == 3


def test_a_short_file_of_many_samples_is_refused_before_decoding(exported, monkeypatch, tmp_path):
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 655_350, 8) as file:
        file.write(np.zeros((65_535, 8)))
    content = path.read_bytes()
    model = load_model(exported)
    many = Recording("a.flac", len(content), lambda: content)
    assert "too many samples" not in answer(many, model=model).row["error"]
    monkeypatch.setattr(recordings, "MAX_MILLIONS", 0.5)
    for module in ("app.recordings", "app.windows"):
        monkeypatch.setattr(f"{module}.read_blocks", None)
    fault = "too many samples: .*655350 Hz in 8 channels"
    assert re.match(fault, answer(many, model=model).row["error"])
    assert 2 * MAX_S * 96_000 <= MAX_MILLIONS * 1e6


def test_a_file_of_unknown_length_is_measured_up_to_the_limit(exported, tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(60 * RATE), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    model = load_model(exported)
    endless, ticks = Recording("a.flac", len(content), lambda: bytes(content)), []
    monkeypatch.setattr(recordings, "MAX_MILLIONS", 0.5)
    monkeypatch.setattr(decoding, "_BLOCK", 1000)
    fault = answer(endless, model=model, tick=lambda: ticks.append(0)).row["error"]
    assert re.match("too many samples: .*16000 Hz in 1 channels", fault)
    assert len(ticks) == 501
    # Meanwhile another visitor's file is measured.
    with pytest.raises(GoneError), recordings.stored(endless, tick=other(content, model)):
        pass


def other(content, model):
    """A tick in which another visitor asks for an answer, and has it."""

    def tick():
        short = Recording("b.flac", 1, lambda: bytes(content))
        asking = Thread(target=answer, args=(short,), kwargs={"model": model}, daemon=True)
        asking.start()
        asking.join(20)
        assert not asking.is_alive()
        raise GoneError

    return tick


def test_recordings_of_a_voice_are_open_one_at_a_time(speech, tmp_path, monkeypatch):
    calibrated = replace(load_model(PRETRAINED), run=lambda *_: (np.ones(7) / 7, np.zeros(1024)))
    made, open_file = [], tempfile.TemporaryFile

    def only():
        assert all(file.closed for file in made)
        made.append(open_file())
        return made[-1]

    monkeypatch.setattr("tempfile.TemporaryFile", only)
    own = [Recording(f"{number}.wav", 1, lambda: speech) for number in range(5)]
    profile, messages = get_used_to(own, model=calibrated)
    assert profile.clips == len(made) == 5 and not messages

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert "No space left" in answer(own[0], model=calibrated).row["error"]
    assert get_used_to(own[:1], model=calibrated)[1] == [
        "0.wav: not used: cannot be stored meanwhile: No space left on device"
    ]


def test_the_settings_of_the_page_are_as_it_says():
    settings = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())
    assert settings["server"]["maxUploadSize"] == MAX_MB
    assert settings["browser"] == {"gatherUsageStats": False}


def test_no_visitor_can_clear_the_queue():
    queue = recordings.visitors()
    streamlit.cache_resource.clear()
    assert recordings.visitors() is queue


class GoneError(BaseException):
    """What Streamlit raises in a run whose visitor has left, for one."""


def gone():
    raise GoneError


def test_long_work_is_given_up_and_leaves_nothing(exported, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = load_model(exported)
    recording = Recording("a.wav", len(speech), lambda: speech)
    for work in (answer, details):
        with pytest.raises(GoneError):
            work(recording, model=model, tick=gone)

    def look():
        """No file has a name while it is decoded, so a process that is killed leaves none."""
        assert not list(tmp_path.iterdir())

    assert answer(recording, model=model, tick=look).row["emotion"] in LABELS
    assert details(recording, model=model, tick=look).over_time


def test_visitors_are_served_in_turn_and_told_their_place():
    turns, told, served = Turns(1), {}, []
    begin, end = Event(), Event()

    def visit(name):
        with turns.turn(told.setdefault(name, []).append):
            served.append(name)
            begin.set()
            end.wait(10)

    threads = [Thread(target=visit, args=("first",))]
    threads[0].start()
    begin.wait(10)
    for name in ("second", "third"):
        threads.append(Thread(target=visit, args=(name,)))
        threads[-1].start()
        while not told.get(name):
            pass
    with pytest.raises(GoneError), turns.turn(lambda place: gone()):
        raise AssertionError("was served")
    end.set()
    for thread in threads:
        thread.join(10)
    assert served == ["first", "second", "third"]
    assert told["first"] == [] and told["second"][0] == 1 and told["third"][0] == 2
    with turns.turn(told["first"].append):
        assert told["first"] == []
