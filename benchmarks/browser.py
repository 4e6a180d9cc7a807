"""How long the page in a browser takes to answer 3 s of speech, in headless Chromium on one core.

python -m benchmarks.browser [--model FILE] [--rounds 100]

The folder that `app.build_browser` makes is served over the loopback. A first file is given to the
page as soon as it takes one; the time runs from the call of the address. Then the page's worker
answers the same samples again and again: mixing, conditioning and the model. onnxruntime for Python
answers the same waveform with the same file between these rounds. The last line is a JSON object of
medians, with the ratio of both as `native_times`, and the size of the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from app.build_browser import build, server
from app.models import PRETRAINED, load_model
from benchmarks.processes import ROOT
from stages.audio.store import FULL_SCALE
from stages.running.entry import run_command
from stages.synthesis.demo_corpora import write_corpus

_SECONDS = 3
_BATCH = 10  # rounds of one side before the other has its turn
_BROWSERS = ("chromium", "google-chrome", "chrome")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
#: Milliseconds of each round, by the page's worker in an instance of its own.
_ROUNDS = """async ({ samples, rounds }) => {
    window.worker ??= new Worker("./answering.js", { type: "module" });
    const call = (action, content) => new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => data.error ? reject(data.error) : resolve(data.result);
        worker.postMessage({ id: 0, action, content });
    });
    window.loaded ??= await call("load");
    const times = [];
    for (let round = 0; round < rounds; round += 1) {
        const { ms } = await call("answer", { channels: [Float32Array.from(samples)] });
        times.push(ms);
    }
    return times;
}"""


def measure(path: Path, *, rounds: int) -> dict[str, Any]:
    """Answer a voice of the demo with a model, in the browser and beside it; see the module."""
    model = load_model(path)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_corpus("emodb", folder=folder / "voice", speakers=1, sentences=1)
        voice, rate_hz = soundfile.read(sorted((folder / "voice").rglob("*.wav"))[0], dtype="int16")
        samples = np.resize(voice, _SECONDS * rate_hz)
        soundfile.write(folder / "voice.wav", samples, rate_hz)
        size = build(path, output=folder / "site")
        with server(folder / "site", port=0) as http, sync_playwright() as playwright:
            threading.Thread(target=http.serve_forever, daemon=True).start()
            browser = playwright.chromium.launch(executable_path=_browser(), args=list(_FLAGS))
            page = browser.new_page()
            begin = time.perf_counter()
            page.goto(f"http://127.0.0.1:{http.server_port}/")
            page.get_by_text("Ready.", exact=True).wait_for()
            page.set_input_files("#files", folder / "voice.wav")
            page.get_by_role("article").first.wait_for()
            first_s = time.perf_counter() - begin
            given = {"samples": (samples / FULL_SCALE).tolist(), "rounds": _BATCH}
            page.evaluate(_ROUNDS, given)  # so that its code is compiled
            there: list[float] = []
            here: list[float] = []
            while len(there) < rounds:
                there += page.evaluate(_ROUNDS, given)
                for _ in range(_BATCH):
                    begin = time.perf_counter()
                    model.probabilities(samples)
                    here.append(1000 * (time.perf_counter() - begin))
            browser.close()
            http.shutdown()
    browser_ms, native_ms = np.median(there), np.median(here)
    return {
        "first_answer_s": round(first_s, 2),
        "browser_ms": round(float(browser_ms), 1),
        "browser_p95_ms": round(float(np.percentile(there, 95)), 1),
        "native_ms": round(float(native_ms), 1),
        "native_times": round(float(browser_ms / native_ms), 2),
        "folder_mb": round(size / 1e6, 1),
        "model_mb": round(path.stat().st_size / 1e6, 2),
    }


def _browser() -> str:
    """Return the path of Chromium or Chrome.

    Raises
    ------
    FileNotFoundError
        if there is none
    """
    if found := next(filter(None, map(shutil.which, _BROWSERS)), None):
        return found
    raise FileNotFoundError(f"no browser on the PATH, want one of {', '.join(_BROWSERS)}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / PRETRAINED, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=100, help="default: 100")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the browser's as well
    print(json.dumps(measure(arguments.model, rounds=arguments.rounds)))


if __name__ == "__main__":
    run_command(main)
