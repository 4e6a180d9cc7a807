"""Speed and memory of the exported model, against librosa and torch.

python -m benchmarks.inference --corpora DIR [--export models/export] [--checkpoint PATH]

Measures the files that `dvc repro` exports on real speech of any corpora: 3 s of speech; a stream
in steps of 0.25 s; `app.predict` as a process on one file, on a thousand files and on long files
made of them; and some of the same clips with the features of librosa and gammatone and the same
network in torch. All run in one thread, except `app.predict`, which uses all cores. The last line
is a JSON object with times in ms and s, memory in MB, and the ratio of CPU times as
`librosa_torch_times`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from app.listen import listen
from app.models import Model, load_model
from app.windows import condition
from benchmarks.features import usual_calls
from benchmarks.processes import HEADING, run
from stages.audio.store import FULL_SCALE
from stages.exporting.conversion import FULL, INT8
from stages.learning.checkpoints import build_network, read_checkpoint
from stages.running.entry import run_command
from stages.sources.files import audio_files

_FILES = 1000
_ROUNDS = 200  # with 3 s of speech
_STARTS = 5  # cold starts of app.predict
_STREAM_S, _STEP_S, _WINDOW_S = 60, 0.25, 3.0
_LONG = (600, 3600)  # seconds
_COMPARED = 100  # clips


def sample_files(corpora: Path, *, count: int) -> list[Path]:
    """Choose files at equal distances from all corpora in a folder."""
    folders = sorted(path for path in corpora.iterdir() if path.is_dir())
    files = [folder / file for folder in folders for file in audio_files(folder)]
    chosen = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
    return [files[i] for i in chosen]


def median_ms(call: Callable[[], object], *, clock: Callable[[], float]) -> float:
    """Return the median time of many rounds, after one round to warm up."""
    call()
    times = []
    for _ in range(_ROUNDS):
        begun = clock()
        call()
        times.append(clock() - begun)
    return 1000 * statistics.median(times)


def streaming_load(model: Model, speech: np.ndarray) -> float:
    """Measure the CPU seconds per second of a stream with an answer for each step."""
    rate = model.audio["sample_rate"]
    step = round(_STEP_S * rate)
    stream = np.resize(speech, _STREAM_S * rate)
    blocks = ((0.0, stream[i : i + step]) for i in range(0, len(stream), step))
    begun = time.process_time()
    answers = sum(1 for _ in listen(model, blocks, rate_hz=rate, window_s=_WINDOW_S))
    assert answers == _STREAM_S / _STEP_S
    return (time.process_time() - begun) / _STREAM_S


def usual_answer(checkpoint: Path, *, audio: Mapping[str, Any]) -> Callable[[np.ndarray], Tensor]:
    """Return what most code does with a network: librosa, gammatone and torch, one clip at a time.

    Parameters
    ----------
    checkpoint : path
        of a network that needs only features that librosa or gammatone has
    audio : mapping
        see app.models.Model

    Returns
    -------
    callable
        takes float32 [samples] at the model's rate, returns probabilities [labels]
    """
    described = read_checkpoint(checkpoint)
    network, sizes = build_network(described).eval(), described["inputs"]
    calls = usual_calls(described["features"], rate=audio["sample_rate"])
    target = 10 ** (audio["level_db"] / 20)

    @torch.inference_mode()
    def usual(waveform: np.ndarray) -> Tensor:
        levelled, _ = librosa.effects.trim(waveform, top_db=audio["trim_db"] or 60)
        levelled = levelled * (target / np.sqrt(np.mean(levelled**2)))
        found = {name: calls[name](levelled)[:size] for name, size in sizes.items()}
        frames = min(feature.shape[1] for feature in found.values())
        batch = {k: torch.from_numpy(v[:, :frames].T[None]).float() for k, v in found.items()}
        return network(batch, torch.tensor([frames])).softmax(dim=1)[0]

    return usual


def against_librosa(model: Model, checkpoint: Path, waveforms: list[np.ndarray]) -> float:
    """Measure the CPU time of librosa and torch, relative to the exported file."""
    usual = usual_answer(checkpoint, audio=model.audio)

    def own(waveform: np.ndarray) -> None:
        model.mean([condition(waveform, **model.audio)[0]])

    seconds = []
    for answer in (usual, own):
        answer(waveforms[0])  # to warm up
        begun = time.process_time()
        for waveform in waveforms:
            answer(waveform)
        seconds.append(time.process_time() - begun)
    print(f"{'librosa and torch, ms a clip':28} {1000 * seconds[0] / len(waveforms):8.1f}")
    print(f"{'exported file, ms a clip':28} {1000 * seconds[1] / len(waveforms):8.1f}")
    return seconds[0] / seconds[1]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, required=True, help="folder of all corpora")
    parser.add_argument("--export", type=Path, default=Path("models/export"))
    checkpoint = Path("models/folds/fold_all-seed_0.pt")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = (arguments.export / FULL).resolve()
    model = load_model(path)
    rate = model.audio["sample_rate"]
    files = sample_files(arguments.corpora.resolve(), count=_FILES)
    speech_s = sum(soundfile.info(file).duration for file in files)
    waveforms = [librosa.load(file, sr=rate)[0] for file in files[:: len(files) // _COMPARED]]
    speech = np.concatenate(waveforms)
    three = (speech[: 3 * rate] * FULL_SCALE).astype(np.int16)
    figures = {
        "ms_3s_median": median_ms(lambda: model.probabilities(three), clock=time.perf_counter),
        "ms_3s_cpu": median_ms(lambda: model.probabilities(three), clock=time.thread_time),
        "int8_mb": (arguments.export / INT8).stat().st_size / 1e6,
        "streaming_core_share": streaming_load(model, speech),
    }
    with threadpool_limits(1):  # or the products of numpy would add time on other cores
        times = against_librosa(model, arguments.checkpoint, waveforms)
    figures["librosa_torch_times"] = times
    print(HEADING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def predict(*paths: Path | str, label: str) -> tuple[float, float]:
            command = ["-m", "app.predict", *map(str, paths), "--model", str(path)]
            cost = run([*command, "--format", "csv"], folder=folder)
            print(f"{label:28} {cost}", flush=True)
            return cost.seconds, cost.peak_mb

        starts = [predict(files[0], label="one file")[0] for _ in range(_STARTS)]
        figures["cold_s"] = statistics.median(starts)
        seconds, few_mb = predict(*files[: _FILES // 10], label=f"{_FILES // 10} files")
        seconds, many_mb = predict(*files, label=f"{len(files)} files, {speech_s / 3600:.2f} h")
        figures["times_real_time"] = speech_s / seconds
        peaks = [few_mb, many_mb]
        for length_s in _LONG:
            long = folder / f"{length_s}.wav"
            soundfile.write(long, np.resize(speech, length_s * rate), rate)
            peaks.append(predict(long, label=f"one file of {length_s // 60} min")[1])
    figures |= {"peak_mb": max(peaks), "peak_times": many_mb / few_mb}
    print(json.dumps({name: float(f"{value:.3g}") for name, value in figures.items()}))


if __name__ == "__main__":
    run_command(main)
