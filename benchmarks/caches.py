"""From raw corpora to feature caches: time and peak memory of each stage, against the usual loop.

python -m benchmarks.caches --corpora DIR [--names emodb ravdess tess]

The usual loop reads file by file with librosa.load, computes the same features with librosa and
saves one .npy per file and feature. It runs in one process, over every 20th file, and its time is
multiplied. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import librosa
import numpy as np
import psutil
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.clips.files import audio_files
from stages.clips.table import read_clips

ROOT = Path(__file__).parents[1]
_EVERY = 20  # files of the usual loop


def run_stage(command: list[str], *, folder: Path) -> tuple[float, float]:
    """Run a stage in a process of its own: seconds, and peak memory in MB of it and its workers."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _memory_mb(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return time.perf_counter() - begun, peak


def _memory_mb(pid: int) -> float:
    """Memory of a process and its children; what they share is counted once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
    return total / 1e6


def usual_loop(files: list[Path], *, folder: Path) -> float:
    """Seconds that reading, four features and saving take, file by file, after one to warm up."""
    seconds = []
    for number, file in enumerate([files[0], *files]):
        begun = time.perf_counter()
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
        seconds.append(time.perf_counter() - begun)
    return sum(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--names", nargs="+", default=["emodb", "ravdess", "tess"])
    arguments = parser.parse_args()
    corpora = Path(arguments.corpora).resolve()
    overrides = [
        "data=real",
        f"data.root={corpora}",
        f"corpora=[{','.join(arguments.names)}]",
        "model=svm",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        params = compose("config", overrides)
    commands = [["stages.prepare", name] for name in arguments.names]
    commands += [["stages.merge"], *(["stages.features", name] for name in params.features)]
    commands += [["stages.split"]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        OmegaConf.save(params, folder / "params.yaml", resolve=True)
        (folder / "usual").mkdir()
        files = [
            corpora / name / f for name in arguments.names for f in audio_files(corpora / name)
        ]
        usual_s = usual_loop(files[::_EVERY], folder=folder / "usual")
        usual_s *= len(files) / len(files[::_EVERY])
        print(f"{'stage':24} {'s':>8} {'peak MB':>8}")
        total_s = peak_mb = 0.0
        for command in commands:
            seconds, memory = run_stage(command, folder=folder)
            total_s, peak_mb = total_s + seconds, max(peak_mb, memory)
            print(f"{' '.join(command):24} {seconds:8.1f} {memory:8.0f}", flush=True)
        hours = read_clips(folder / "data/merged/clips.csv")["duration_s"].sum() / 3600
    print(f"{'all':24} {total_s:8.1f} {peak_mb:8.0f}   {hours:.2f} h of speech")
    print(f"{'usual loop, one process':24} {usual_s:8.1f}")
    figures = {
        "hours": round(hours, 3),
        "cores": joblib.cpu_count(),
        "total_s": round(total_s, 1),
        "usual_loop_s": round(usual_s, 1),
        "usual_loop_times": round(usual_s / total_s, 2),
        "peak_mb": round(peak_mb),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
