"""Time and peak memory of each stage from raw corpora to feature caches, against a librosa loop.

python -m benchmarks.caches --corpora DIR [--names emodb ravdess tess]

The loop reads file by file with librosa.load, computes the same features with librosa and saves one
.npy per file and feature. It runs in one process on every 20th file, and its time is scaled up; the
start of its process, imports included, is left out. Other programs slow both down, so compare CPU
seconds on a busy machine. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import joblib
import librosa
import numpy as np

from benchmarks.processes import HEADING, run, together, write_params
from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.sources.files import audio_files

_EVERY = 20  # step between the files of the loop
_FEATURES = ("mfcc", "logmel", "zcr", "rms")  # of both


def usual_loop(files: list[Path], *, folder: Path) -> tuple[float, float]:
    """Read, compute four features and save, file by file; return the seconds, and of CPU time."""
    seconds = []
    for number, file in enumerate([files[0], *files]):  # the first file warms up
        begun = time.perf_counter(), time.process_time()
        samples, rate = librosa.load(file, sr=16000)
        settings = {"n_fft": 512, "hop_length": 256}
        mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=64, **settings)
        features = {
            "mfcc": librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40, n_mels=64, **settings),
            "logmel": librosa.power_to_db(mel),
            "zcr": librosa.feature.zero_crossing_rate(samples, frame_length=512, hop_length=256),
            "rms": librosa.feature.rms(y=samples, frame_length=512, hop_length=256),
        }
        for name, values in features.items():
            np.save(folder / f"{number}-{name}.npy", values)
        seconds.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    wall_s, cpu_s = np.sum(seconds[1:], axis=0)
    return wall_s, cpu_s


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--names", nargs="+", default=["emodb", "ravdess", "tess"])
    arguments = parser.parse_args()
    corpora = Path(arguments.corpora).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        chosen = f"features=[{','.join(_FEATURES)}]"
        write_params(folder, chosen, corpora=corpora, names=arguments.names, model="svm")
        commands = [["stages.prepare", name] for name in arguments.names]
        commands += [["stages.merge"], *(["stages.features", name] for name in _FEATURES)]
        commands += [["stages.split"]]
        (folder / "usual").mkdir()
        files = [
            corpora / name / file
            for name in arguments.names
            for file in audio_files(corpora / name)
        ]
        scale = len(files) / len(files[::_EVERY])
        usual = usual_loop(files[::_EVERY], folder=folder / "usual")
        usual_s, usual_cpu_s = (scale * seconds for seconds in usual)
        print(HEADING)
        costs = []
        for command in commands:
            costs.append(run(["-m", *command], folder=folder))
            print(f"{' '.join(command):28} {costs[-1]}", flush=True)
        hours = read_clips(folder / "data/merged/clips.csv")["duration_s"].sum() / 3600
    total = together(costs)
    print(f"{'all':28} {total}   {hours:.2f} h of speech")
    print(f"{'librosa loop, one process':28} {usual_s:8.1f} {usual_cpu_s:8.1f}")
    figures = {
        "hours": round(hours, 3),
        "cores": joblib.cpu_count(),
        "total_s": round(total.seconds, 1),
        "usual_loop_s": round(usual_s, 1),
        "usual_loop_times": round(usual_s / total.seconds, 2),
        "cpu_s": round(total.cpu_s, 1),
        "usual_loop_cpu_s": round(usual_cpu_s, 1),
        "usual_loop_cpu_times": round(usual_cpu_s / total.cpu_s, 2),
        "peak_mb": round(total.peak_mb),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
