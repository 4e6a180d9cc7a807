"""The page without a server: how it is built, what it computes, and the page in a real browser."""

import json
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest
import soundfile

from app import build_browser
from app.build_browser import OUTPUT, PACKAGE, RUNTIME, SOURCE, build, server
from app.models import PRETRAINED, load_model
from app.predict import predict
from app.profiles import Profile, enrol
from app.windows import condition, read_windows
from stages.audio.decoding import Tally, read_blocks
from stages.learning.speaker_statistics import SpeakerStatistics
from tests.support import AUDIO, LABELS, ROOT, speech_like
from tests.test_web import BROWSER, DESK, PHONE

RATE = 16000
NODE = shutil.which("node")
TRIMMED = {key: AUDIO[key] for key in AUDIO if not key.startswith("segment")} | {"trim_db": 40}


@pytest.fixture
def package(tmp_path):
    """A folder in which npm might have installed the runtime."""
    (tmp_path / "package").mkdir()
    for name in RUNTIME:
        (tmp_path / "package" / name).write_text(name)
    return tmp_path / "package"


# Building ---------------------------------------------------------------------------------------


def test_a_folder_has_all_that_the_page_needs(exported, package, tmp_path):
    site = tmp_path / "site"
    size = build(exported, output=site, package=package)
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    assert size == sum(path.stat().st_size for path in found.values())
    assert found["model.onnx"].read_bytes() == exported.read_bytes()
    model, facts = load_model(exported), json.loads(found["model.json"].read_text())
    assert (facts["labels"], facts["audio"], facts["statistics"]) == (LABELS, model.audio, None)
    assert facts["facts"]["speech"] == "synthetic" and facts["bytes"] == exported.stat().st_size
    for name, path in found.items():
        if name.endswith((".html", ".js", ".css")):
            text = path.read_text()
            assert not re.search(r"https?://(?!www.w3.org/2000/svg)", text), name
            for target in re.findall(r'(?:src=|href=|from |URL\()"([^"]+)"', text):
                assert target.removeprefix("./") in found, f"{name}: {target}"
    policy = re.search('Content-Security-Policy" content="(.+?)"', found["index.html"].read_text())
    assert "default-src 'self'; script-src 'self' 'wasm-unsafe-eval';" in policy[1]


def test_a_calibrated_model_asks_for_the_speaker(package, tmp_path):
    build(PRETRAINED, output=tmp_path / "site", package=package)
    graph = onnx.load(tmp_path / "site" / "model.onnx").graph
    assert {value.name for value in graph.input} == {"waveform", "speaker_mean", "speaker_std"}
    assert not {value.name for value in graph.input} & {value.name for value in graph.initializer}
    facts = json.loads((tmp_path / "site" / "model.json").read_text())
    assert len(facts["statistics"]["mean"]) == 1024


def test_nothing_of_others_is_replaced(exported, package, tmp_path):
    site = tmp_path / "site"
    for _ in range(2):  # a second build replaces the first
        build(exported, output=site, package=package)
    (site / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"--output: .+site holds other files.+mine.txt"):
        build(exported, output=site, package=package)
    assert (site / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"--output: .+mine.txt is a file"):
        build(exported, output=site / "mine.txt", package=package)


def test_what_cannot_be_built_is_said(exported, package, tmp_path, monkeypatch):
    site = tmp_path / "site"
    with pytest.raises(ValueError, match=r"--model: got .+a.pt"):
        build(exported.with_name("a.pt"), output=site, package=package)
    with pytest.raises(FileNotFoundError, match="npm ci"):
        build(exported, output=site, package=tmp_path)
    model = load_model(exported)
    model = replace(model, audio=model.audio | {"denoise": 0.8})
    monkeypatch.setattr(build_browser, "load_model", lambda _: model)
    with pytest.raises(ValueError, match=r"audio.denoise: got 0.8"):
        build(exported, output=site, package=package)
    assert not site.exists()


def test_built_folders_and_packages_are_not_committed():
    text = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/{OUTPUT.parts[0]}/*" in text and "/app/browser/node_modules/" in text
    locked = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        package = locked[f"node_modules/{name}"]
        assert package["version"] == version and package["integrity"]


# The same numbers as in Python ------------------------------------------------------------------


def in_node(script: str, given: object) -> object:
    """What a function body returns of `given`, with the modules of the page at hand."""
    if NODE is None:
        pytest.skip("no node on this machine")
    program = f"""
        import {{ readFileSync }} from "node:fs";
        import * as waveforms from "{(SOURCE / "waveforms.js").as_uri()}";
        import {{ Voice }} from "{(SOURCE / "voice.js").as_uri()}";
        const given = JSON.parse(readFileSync(0, "utf8"));
        console.log(JSON.stringify((() => {{ {script} }})()));
    """
    command = [NODE, "--input-type=module", "--eval", program]
    result = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


class Channels:
    """Samples [samples, channels] as an open file."""

    samplerate = RATE

    def __init__(self, samples):
        self.channels, self._left = samples.shape[1], samples

    def read(self, count):
        block, self._left = self._left[:count], self._left[count:]
        return block


def test_sound_is_conditioned_as_in_python():
    voice = speech_like(RATE).astype(np.float32)
    padded = np.concatenate([np.full(999, 1e-5), voice, np.zeros(1111)]).astype(np.float32)
    pair = np.stack([voice, 0.5 * np.roll(voice, 7)], axis=1)
    halves = np.arange(-8000, 8000, dtype=np.float32) / 2 / 32767
    cases = {
        "plain": (voice[:, None], {}),
        "quiet ends": (padded[:, None], {}),
        "not trimmed": (padded[:, None], {"trim_db": None}),
        "two channels": (pair, {}),
        "peak": (voice[:, None], {"level": "peak", "level_db": -3}),
        "own level": (voice[:, None], {"level": "none"}),
        "held back": (voice[:, None], {"level_db": -1}),
        "large offset": (voice[:, None] + np.float32(0.25), {}),
        "small offset": (padded[:, None] + np.float32(0.004), {}),
        "halves": (halves[:, None], {"level": "none"}),
        "silent": (voice[:, None] / 1e4, {}),
        "short": (voice[:, None], {"min_duration_s": 2}),
        "cancels": (np.stack([voice, -voice], axis=1), {}),
        "broken": (np.where(np.arange(RATE) == 5, np.nan, voice)[:, None], {}),
    }
    # JSON has no NaN.
    given = [
        [[[x if np.isfinite(x) else "NaN" for x in c.tolist()] for c in s.T], TRIMMED | changes]
        for s, changes in cases.values()
    ]
    got = in_node(
        """
        return given.map(([channels, audio]) => {
          try {
            const arrays = channels.map((channel) => Float32Array.from(channel, Number));
            const samples = waveforms.mix(arrays, { sampleRate: 16000, windowS: 10 });
            const { waveform, excluded } = waveforms.condition(samples, audio);
            return [Array.from(waveform, (x) => Math.round(x * 32767)), excluded];
          } catch (error) {
            return [[], error.message];
          }
        });
        """,
        given,
    )
    for (name, (samples, changes)), (found, reason) in zip(cases.items(), got, strict=True):
        try:
            blocks = read_blocks(Channels(samples.astype(np.float32)), tally=Tally(), at_most_s=10)
            mono = np.concatenate(list(blocks))
            want, kept = condition(mono, **TRIMMED | changes)
            excluded = kept.excluded
        except ValueError as error:
            want, excluded = np.zeros(0), str(error).partition(";")[0]
        assert reason == excluded, name
        np.testing.assert_array_equal(found, want, err_msg=name)
        assert bool(excluded) == (name in ("silent", "short", "cancels", "broken")), name


def test_recordings_are_cut_as_in_python(tmp_path):
    for samples, window_s, hop_s in ((25003, 1, None), (16000, 1, None), (30001, 1, 0.5)):
        ramp = (np.arange(samples) % 30000 + 1).astype(np.int16)
        soundfile.write(tmp_path / "a.wav", ramp, RATE)
        windows = read_windows(tmp_path / "a.wav", window_s=window_s, hop_s=hop_s, **TRIMMED)
        want = [[round(w.start_s * RATE), round(w.end_s * RATE)] for w in windows]
        got = in_node(
            """
            const samples = new Float32Array(given.samples);
            const windows = given.hop
              ? waveforms.roll(samples, given.length, given.hop)
              : waveforms.cut(samples, given.length);
            return windows.map(({ start, samples }) => [start, start + samples.length]);
            """,
            {"samples": samples, "length": window_s * RATE, "hop": hop_s and round(hop_s * RATE)},
        )
        assert got == want


@pytest.mark.parametrize("std", [False, True])
def test_a_voice_is_learnt_as_in_python(exported, std):
    rng = np.random.default_rng(0)
    spread = np.r_[1 + rng.random(4), 0, 0]
    line = rng.random((2, 6)) * (spread > 0)
    statistics = SpeakerStatistics(
        rng.normal(0, 0.1, 6), spread, np.r_[rng.random(5), 0], *line, spread / 2, std
    )
    model = replace(load_model(exported), statistics=statistics)
    vectors = rng.normal(1, 0.3, (7, 6))
    vectors[3] *= -1
    profile, want = Profile.empty(model), []
    for vector in vectors:
        want.append([array.tolist() for array in profile.speaker(model)])
        profile.add(vector, weight=0.5, keep=0.9)
    others = [np.delete(vectors, n, axis=0) for n in range(7)]
    strange = [n for n in range(7) if statistics.same_speaker(vectors[n], others[n]) < -0.15]
    assert 0 < len(strange) < 7
    speakers, strangers = in_node(
        """
        const voice = new Voice(given.statistics);
        const speakers = given.vectors.map((vector) => {
          const { mean, std } = voice.speaker();
          voice.add(vector, { weight: 0.5, keep: 0.9 });
          return [Array.from(mean), Array.from(std)];
        });
        return [speakers, voice.strangers(given.vectors)];
        """,
        {
            "statistics": {
                **{name: array.tolist() for name, array in statistics.arrays.items()},
                "std": std,
            },
            "vectors": vectors.tolist(),
        },
    )
    np.testing.assert_allclose(speakers, want, rtol=1e-6, atol=1e-6)
    assert strangers == strange


# In a browser -----------------------------------------------------------------------------------


@contextmanager
def served(folder):
    """Address of a folder on a server of the command."""
    with server(folder, port=0) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(3):
        wave = speech_like((2 + number) * RATE, seed=number)
        soundfile.write(folder / f"{number}.wav", wave, RATE)
    soundfile.write(folder / "microphone.wav", speech_like(10 * RATE, seed=9), RATE)
    (folder / "diary.wav").write_text("dear diary")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    with soundfile.SoundFile(folder / "hours.flac", "w", 8000, 1) as file:
        for _ in range(11):
            file.write(np.zeros(60 * 8000))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    if not (PACKAGE / RUNTIME[0]).is_file():
        pytest.skip("npm packages are not installed: npm ci --prefix app/browser")
    folder = tmp_path_factory.mktemp("browser") / "site"
    build(PRETRAINED, output=folder)
    return folder


@pytest.fixture(scope="module")
def chromium(site, recordings):
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    arguments += ["--disable-background-networking", "--disable-component-update"]
    arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments += [f"--use-file-for-fake-audio-capture={recordings / 'microphone.wav'}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, *, script="", ready=True, **settings):
    """A page, all of whose requests stay with its server, and which logs no error."""
    context = chromium.new_context(**settings)
    requests, faults = [], []
    context.on("request", lambda request: requests.append(request.url))
    page = context.new_page()
    page.add_init_script(script)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(address)
    if ready:
        page.get_by_text("Ready.", exact=True).wait_for()
    yield page
    assert requests and all(url.startswith((address, "blob:")) for url in requests)
    context.close()
    assert not ready or not faults


def probabilities(page, name):
    """Those that the page shows for a recording."""
    heading = page.get_by_role("heading", name=re.compile(rf"^{name}: \w+, \d+"))
    heading.wait_for()
    card = page.get_by_role("article").filter(has=heading)
    values = card.locator("data").evaluate_all("all => all.map(one => Number(one.value))")
    return dict(zip(card.locator("tbody th").all_inner_texts(), values, strict=True))


def values(row):
    return {name[2:]: value for name, value in row.items() if name.startswith("p_")}


@pytest.mark.slow
def test_files_have_the_answers_of_python(chromium, site, recordings):
    model = load_model(PRETRAINED)
    dark = {"color_scheme": "dark", "viewport": PHONE, "is_mobile": True, "has_touch": True}
    with served(site) as address, opened(chromium, address, **dark) as page:
        names = ["0.wav", "2.wav", "diary.wav", "silent.wav", "hours.flac"]
        page.set_input_files("#files", [recordings / name for name in names])
        for text in (
            "hours.flac cannot be used: too long: 11.0 minutes",
            "diary.wav cannot be used: cannot be decoded",
            "silent.wav cannot be used: silent: peak 0.0000",
        ):
            page.locator(".fault").get_by_text(text).wait_for()
        for name in names[:2]:
            (want,) = predict(model, recordings / name)
            assert probabilities(page, name) == pytest.approx(values(want), abs=1e-3)
        page.get_by_text("Numbers over time").click()
        page.locator(".scroll tbody tr").first.wait_for()
        assert page.locator(".scroll tbody tr").count() == 3  # 4 s, in windows of 3 s
        # A known voice changes the answer as it does in Python.
        page.get_by_text("Let it get used to your voice").click()
        page.set_input_files("#own", [recordings / "0.wav", recordings / "1.wav"])
        page.get_by_text("known by as much as 2 recordings").wait_for()
        page.set_input_files("#files", recordings / "1.wav")
        own = [(name, str(recordings / name), "") for name in ("0.wav", "1.wav")]
        profile, _ = enrol(model, own)
        (want,) = predict(model, recordings / "1.wav", speaker=profile.speaker(model))
        got = probabilities(page, "1.wav")
        assert got == pytest.approx(values(want), abs=1e-3)
        assert got != pytest.approx(values(predict(model, recordings / "1.wav")[0]), abs=1e-2)
        page.get_by_text("Without knowing your voice, the answer is").wait_for()
        # Nothing to scroll sideways to, and dark.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        (red, *_) = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).background"))
        assert int(red) < 64


@pytest.mark.slow
def test_live_speech_and_recording_with_the_keyboard_alone(chromium, site):
    with served(site) as address, opened(chromium, address, viewport=DESK) as page:
        pressed = lambda: page.evaluate("document.activeElement.id")  # noqa: E731
        page.keyboard.press("Tab")
        assert pressed() == "live"
        page.keyboard.press("Enter")
        page.get_by_text(re.compile(r"took \d+ ms")).wait_for()
        first = page.locator("#stream path").first.get_attribute("d")
        page.wait_for_function(
            "first => document.querySelector('#stream path').getAttribute('d').length > "
            "first.length + 40",
            arg=first,
        )
        page.wait_for_function("() => document.getElementById('meter').ariaValueNow > -60")
        shown = page.locator("#stream data").evaluate_all("all => all.map(one => +one.value)")
        assert sum(shown) == pytest.approx(1, abs=1e-3)
        assert page.locator("#announcer").inner_text()
        assert pressed() == "live"
        page.keyboard.press("Enter")
        page.get_by_text("Stopped").wait_for()
        page.keyboard.press("Tab")
        assert pressed() == "record"
        page.keyboard.press("Space")
        page.get_by_role("button", name="Stop recording").wait_for()
        page.wait_for_timeout(700)
        page.keyboard.press("Space")
        assert sum(probabilities(page, "Recording 1").values()) == pytest.approx(1, abs=1e-3)
        for kind in ("NotAllowedError", "NotFoundError"):
            page.evaluate(
                "kind => navigator.mediaDevices.getUserMedia = async () => "
                "{ throw new DOMException('', kind) }",
                kind,
            )
            page.keyboard.press("Enter")
            text = {"NotAllowedError": "was refused", "NotFoundError": "No microphone"}[kind]
            page.get_by_role("alert").filter(has_text=text).wait_for()


@pytest.mark.slow
def test_a_page_that_cannot_answer_says_why(chromium, site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    with served(tmp_path / "site") as address:
        for change, want in (
            (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"), "is not the file of"),
            (lambda file: file.write_bytes(b"short"), "got 5 bytes"),
            (lambda file: file.unlink(), "model.onnx is missing"),
        ):
            change(tmp_path / "site" / "model.onnx")
            with opened(chromium, address, ready=False) as page:
                page.get_by_role("status").filter(has_text=want).wait_for()
                assert page.get_by_role("button", name="Record", exact=True).is_disabled()
        without = "WebAssembly.validate = () => false"
        with opened(chromium, address, script=without, ready=False) as page:
            page.get_by_text("has no WebAssembly SIMD").wait_for()
