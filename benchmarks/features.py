"""Speed of every feature in conf/features against a loop of librosa and gammatone calls.

python -m benchmarks.features --corpora DIR [--corpus emodb] [--clips 100] [--stages]

For each file, the loop calls librosa.load, one function per feature (librosa.feature.*, librosa.yin
and pyin, gammatone's fft_gtgram and gtgram, and the definition of approximate entropy, broadcast)
and np.save, with the settings of conf/features that a function takes. The stage `features` computes
each feature by itself, from the audio store to a cache. Both run in this process and in one thread,
on the same clips, after one clip to warm up; times are CPU seconds. The floor is the least that a
spectral feature does: read, one Fourier transform of the default size, write. Other designs of the
spectral set follow: all features in one pass that shares the transforms, and a power spectrum that
is written once, as float32, and read by each feature. With --stages, whole stages also run as
processes of their own, on about 0.4, 1.5 and 3.5 h of speech. The last line is a JSON object. A
missing feature is left out, with its calls.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import librosa
import numpy as np
import pandas as pd
import torch
from gammatone.fftweight import fft_gtgram
from gammatone.gtgram import gtgram
from omegaconf import OmegaConf
from threadpoolctl import threadpool_limits

from benchmarks.processes import HEADING, ROOT, run, together, write_params
from stages.audio.frames import frame_count
from stages.audio.store import FULL_SCALE, AudioStore, open_audio
from stages.clips.cache import write_cache
from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.settings.loading import bind
from stages.signals.spectra import power_spectrum
from stages.sources.files import audio_files

Settings = Mapping[str, Any]
Call = Callable[[np.ndarray], np.ndarray]

SPECTRAL = (
    *("mfcc", "logmel", "spectrogram", "cochleagram"),
    *("chroma", "contrast", "shape", "zcr", "rms"),
)
#: Key of the JSON object -> the feature, and the loop's call for it.
SINGLE = {
    "cochleagram_iir_times": ("cochleagram iir", "gtgram"),
    "pitch_yin_times": ("pitch", "yin"),
    "pitch_pyin_times": ("pitch", "pyin"),
    "apen_times": ("apen", "entropy"),
}
SIZES = (["emodb"], ["ravdess"], ["emodb", "ravdess", "tess"])  # corpora
HOURS = 9.2  # of speech, in RAVDESS, TESS, CREMA-D, SAVEE and EMO-DB together
_ROUNDS = 2
_SLOW, _EVERY = ("gtgram", "pyin", "entropy"), 10  # slow calls run on every 10th clip


def settings_of(folder: Path, *, corpora: Path) -> dict[str, Settings]:
    """Settings of all features that need nothing beyond requirements.txt, by name."""
    known = sorted(path.stem for path in (ROOT / "conf" / "features").glob("*.yaml"))
    own = [n for n in known if not hasattr(import_module(f"stages.acoustics.{n}"), "NEEDS")]
    chosen = f"features=[{','.join(own)}]"
    params = write_params(folder, chosen, corpora=corpora, names=SIZES[0], model="svm")
    features = OmegaConf.to_container(params.features, resolve=True)
    return features | {"cochleagram iir": features["cochleagram"] | {"method": "iir"}}


def usual_calls(settings: Mapping[str, Settings], *, rate: int) -> dict[str, Call]:
    """The loop's call for each feature, by name: waveform [samples] -> array to save."""
    extract = librosa.feature

    def stft(name: str) -> dict[str, int]:
        keys = ("n_fft", "win_length", "hop_length")
        return {key: settings[name][key] for key in keys}

    def mel(name: str) -> dict[str, Any]:
        return stft(name) | {key: settings[name][key] for key in ("n_mels", "fmin", "fmax")}

    def shape(samples: np.ndarray) -> np.ndarray:
        signal, framing = {"y": samples, "sr": rate}, stft("shape")
        return np.concatenate(
            [
                extract.spectral_centroid(**signal, **framing),
                extract.spectral_bandwidth(**signal, **framing),
                extract.spectral_rolloff(**signal, **framing),
                extract.spectral_flatness(y=samples, **framing),
            ]
        )

    def frames(name: str) -> dict[str, int]:
        return {key: settings[name][key] for key in ("frame_length", "hop_length")}

    def seconds(name: str) -> tuple[float, float, int, float]:
        """Arguments of gammatone: window and hop in seconds, channels, lowest frequency."""
        bound = settings[name]
        window_s, hop_s = bound["win_length"] / rate, bound["hop_length"] / rate
        return window_s, hop_s, bound["n_channels"], bound["fmin"]

    calls = {
        "mfcc": lambda y: extract.mfcc(
            y=y, sr=rate, n_mfcc=settings["mfcc"]["n_mfcc"], **mel("mfcc")
        ),
        "logmel": lambda y: librosa.power_to_db(
            extract.melspectrogram(y=y, sr=rate, **mel("logmel"))
        ),
        "spectrogram": lambda y: librosa.amplitude_to_db(
            np.abs(librosa.stft(y, **stft("spectrogram")))
        ),
        "cochleagram": lambda y: librosa.amplitude_to_db(
            fft_gtgram(y, rate, *seconds("cochleagram"))
        ),
        "gtgram": lambda y: librosa.amplitude_to_db(gtgram(y, rate, *seconds("cochleagram"))),
        "chroma": lambda y: extract.chroma_stft(y=y, sr=rate, **stft("chroma")),
        "contrast": lambda y: extract.spectral_contrast(y=y, sr=rate, **stft("contrast")),
        "shape": shape,
        "zcr": lambda y: extract.zero_crossing_rate(y, **frames("zcr")),
        "rms": lambda y: extract.rms(y=y, **frames("rms")),
    }
    if "pitch" in settings:  # with librosa's default windows
        bound = {key: settings["pitch"][key] for key in ("fmin", "fmax", "hop_length")}
        calls["yin"] = lambda y: librosa.yin(y, sr=rate, **bound)
        calls["pyin"] = lambda y: librosa.pyin(y, sr=rate, **bound)[0]
    if "apen" in settings:
        calls["entropy"] = textbook_entropy(settings["apen"])
    return calls


def textbook_entropy(settings: Settings) -> Call:
    """Approximate entropy of each frame by its definition, on all pairs of patterns at once."""
    m, length, hop = (settings[key] for key in ("m", "frame_length", "hop_length"))

    def phi(frames: torch.Tensor, size: int, tolerance: torch.Tensor) -> torch.Tensor:
        patterns = frames.unfold(1, size, 1)  # [frames, patterns, size]
        distance = (patterns[:, :, None] - patterns[:, None]).abs().amax(-1)
        return (distance <= tolerance[:, None, None]).float().mean(-1).log().mean(-1)

    def entropy(samples: np.ndarray) -> np.ndarray:
        padded = torch.nn.functional.pad(torch.from_numpy(samples), (length // 2, length // 2))
        values = []
        for frames in padded.unfold(0, length, hop).split(64):  # more do not fit into memory
            tolerance = settings["r"] * frames.std(-1, correction=0)
            values.append(phi(frames, m, tolerance) - phi(frames, m + 1, tolerance))
        return torch.cat(values).numpy()

    return entropy


def floor(clips: pd.DataFrame, *, audio: Path, settings: Settings, path: Path) -> None:
    """Read each clip, transform it once, and write as many numbers as a mel spectrogram has."""
    samples = open_audio(audio)
    framing = {key: settings[key] for key in ("n_fft", "win_length", "hop_length")}
    shape = (int(clips["frames"].sum()), settings["n_mels"])
    cache = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    first = 0
    for row in clips.itertuples():
        waveform = samples[row.start : row.start + row.samples].astype(np.float32) / FULL_SCALE
        power = power_spectrum(torch.from_numpy(waveform), **framing)
        cache[first : first + row.frames] = power[: shape[1]].T.to(torch.float16).numpy()
        first += row.frames
    cache.flush()


def one_pass(
    calls: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    clips: pd.DataFrame,
    *,
    audio: Path,
    folder: Path,
    dtype: type = np.float16,
) -> None:
    """Read each clip once, call functions of its waveform, and write all values of each."""
    samples = open_audio(audio)
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack, torch.no_grad():
        files = {name: stack.enter_context(open(folder / name, "wb")) for name in calls}
        for row in clips.itertuples():
            stored = samples[row.start : row.start + row.samples]
            waveform = torch.from_numpy(stored / np.float32(FULL_SCALE))
            for name, call in calls.items():
                values = call(waveform).T.numpy()
                files[name].write(np.asarray(values, dtype, order="C").data)


def designs(
    clips: pd.DataFrame, *, audio: Path, settings: Mapping[str, Settings], folder: Path
) -> dict[str, float]:
    """CPU seconds of the spectral set, reading and writing included, by design.

    Raises
    ------
    ValueError
        if the designs do not write the same bytes
    """
    calls = {name: bind(settings[name], "acoustics") for name in SPECTRAL}
    framing = {key: settings["logmel"][key] for key in ("n_fft", "win_length", "hop_length")}
    lines = framing["n_fft"] // 2 + 1
    run_pass = partial(one_pass, clips=clips, audio=audio)

    def transformed_by(own: Callable[[torch.Tensor], torch.Tensor]) -> AbstractContextManager:
        """Have features take the spectra of the default framing from a function."""

        def power(waveform: torch.Tensor, *, floor: float = 0.0, **given: int) -> torch.Tensor:
            if given != framing:
                return power_spectrum(waveform, floor=floor, **given)
            return own(waveform).clamp_min(floor) if floor else own(waveform)

        stack = ExitStack()
        for module in ("acoustics.logmel", "acoustics.spectrogram", "acoustics.contrast"):
            stack.enter_context(patch(f"stages.{module}.power_spectrum", power))
        stack.enter_context(patch("stages.signals.spectra.power_spectrum", power))
        return stack

    def separate() -> None:
        for name, call in calls.items():
            run_pass({name: call}, folder=folder / "separate")

    def shared() -> None:
        last: list[Any] = [None, None]

        def own(waveform: torch.Tensor) -> torch.Tensor:
            if last[0] is not waveform:
                last[:] = waveform, power_spectrum(waveform, **framing)
            return last[1]

        with transformed_by(own):
            run_pass(calls, folder=folder / "shared")

    def stored() -> None:
        power = {"power": partial(power_spectrum, **framing)}
        run_pass(power, folder=folder, dtype=np.float32)
        for name, call in calls.items():
            with open(folder / "power", "rb") as file:

                def own(waveform: torch.Tensor, file: BinaryIO = file) -> torch.Tensor:
                    frames = frame_count(len(waveform), hop_length=framing["hop_length"])
                    values = np.fromfile(file, np.float32, frames * lines)
                    return torch.from_numpy(values.reshape(frames, lines)).T

                with transformed_by(own):
                    run_pass({name: call}, folder=folder / "stored")

    costs = Counter[str]()
    for _ in range(_ROUNDS):
        for design in (separate, shared, stored):
            start = time.process_time()
            design()
            costs[design.__name__] += (time.process_time() - start) / _ROUNDS
    for name, other in product(calls, ("shared", "stored")):
        if not filecmp.cmp(folder / "separate" / name, folder / other / name, shallow=False):
            raise ValueError(f"{name}: {other}: got other bytes, want the same")
    return costs


def write_store(path: Path, *, waveforms: Sequence[np.ndarray], hop_length: int) -> pd.DataFrame:
    """Write waveforms to an audio store; return the table of its clips, numbered."""
    with AudioStore(path) as store:
        for samples in waveforms:
            store.append(np.rint(samples.clip(-1, 1) * FULL_SCALE))
    clips = pd.DataFrame({"samples": [len(samples) for samples in waveforms]})
    clips["frames"] = frame_count(clips["samples"], hop_length=hop_length)
    clips["start"] = clips["samples"].cumsum() - clips["samples"]
    return clips.assign(clip=[f"emodb/{number}" for number in range(len(clips))])


def compare(
    files: Sequence[Path], *, settings: Mapping[str, Settings], folder: Path
) -> tuple[dict[tuple[str, str], float], float]:
    """CPU seconds of every feature and call, per second of speech.

    Returns
    -------
    costs : dict
        by ("ours", feature), ("ours", "floor"), ("loop", call), ("loop", "load") and
        ("design", name)
    clip_s : float
        mean duration of a clip
    """
    rate, hop_length = (settings["logmel"][key] for key in ("sample_rate", "hop_length"))
    waveforms = [librosa.load(file, sr=rate)[0] for file in files]
    audio = folder / "audio.npy"
    clips = write_store(audio, waveforms=waveforms, hop_length=hop_length)

    def cache(clips: pd.DataFrame, name: str, feature: Callable) -> None:
        path = folder / "caches" / f"{name}.npy"
        write_cache(path, feature=feature, clips=clips, audio=audio, sample_rate=rate)

    def load(clips: pd.DataFrame) -> None:
        for number in clips.index:
            librosa.load(files[number], sr=rate)

    def loop(clips: pd.DataFrame, name: str, call: Call) -> None:
        for number in clips.index:
            np.save(folder / f"{number}-{name}.npy", call(waveforms[number]))

    path = folder / "floor.npy"
    calls = {("ours", "floor"): partial(floor, audio=audio, settings=settings["logmel"], path=path)}
    for name, bound in settings.items():
        calls["ours", name] = partial(cache, name=name, feature=bind(bound, "acoustics"))
    calls["loop", "load"] = load
    for name, call in usual_calls(settings, rate=rate).items():
        calls["loop", name] = partial(loop, name=name, call=call)
    costs = Counter()
    for call in calls.values():
        call(clips[:1])  # warms up
    for number in range(_ROUNDS):  # in turns: other load on the machine affects all calls alike
        for (side, name), call in calls.items():
            subset = clips[number::_EVERY] if name in _SLOW else clips
            start = time.process_time()
            call(subset)
            cost_s = time.process_time() - start
            costs[side, name] += cost_s * rate / subset["samples"].sum() / _ROUNDS
    for name, cost_s in designs(clips, audio=audio, settings=settings, folder=folder).items():
        costs["design", name] = cost_s * rate / clips["samples"].sum()
    return costs, clips["samples"].mean() / rate


def report(costs: Mapping[tuple[str, str], float], *, clip_s: float) -> dict[str, float]:
    """Print the table; return the figures of the JSON object."""
    ms = {key: 1000 * clip_s * cost for key, cost in costs.items()}
    baselines = {name: [name] for name in SPECTRAL}
    for feature, call in SINGLE.values():
        baselines.setdefault(feature, []).append(call)
    print(f"{clip_s:.2f} s, ms of a CPU per clip{'real time':>10} {'floor':>7}   in the loop")

    def line(name: str, ours: float, loop: str = "") -> None:
        floor = f"{ms['ours', 'floor'] / ours:7.0%}"
        print(f"{name:20} {ours:8.3f} {1000 * clip_s / ours:9.0f}x {floor}   {loop}")

    for (side, name), ours in ms.items():
        if side == "ours":
            calls = [call for call in baselines.get(name, []) if ("loop", call) in ms]
            times = {call: ms["loop", call] for call in calls}
            line(
                name,
                ours,
                ", ".join(f"{call} {t:.2f} ({t / ours:.1f} times)" for call, t in times.items()),
            )
    ours = sum(ms["ours", name] for name in SPECTRAL)
    loop = ms["loop", "load"] + sum(ms["loop", name] for name in SPECTRAL)
    line(
        "spectral set",
        ours,
        f"{loop:.2f} with load {ms['loop', 'load']:.2f} ({loop / ours:.1f} times)",
    )
    spectra = {name: ms["design", name] for name in ("separate", "shared", "stored")}
    for name, cost in spectra.items():
        line(f"spectra {name}", cost, f"{spectra['separate'] / cost:.2f} times as fast")
    hours_s = 3600 * HOURS / clip_s / 1000
    print(
        f"spectral set at {HOURS} h: {ours * hours_s:.0f} s of one CPU, loop {loop * hours_s:.0f} s"
    )
    figures = {"clip_s": clip_s, "spectral_ms": ours, "spectral_times": loop / ours}
    figures |= {f"{n}_times": spectra["separate"] / spectra[n] for n in ("shared", "stored")}
    for key, (feature, call) in SINGLE.items():
        if ("ours", feature) in ms:
            figures[key] = ms["loop", call] / ms["ours", feature]
    return figures


def stages(
    names: Sequence[str], *, corpora: Path, features: Sequence[str], folder: Path
) -> dict[str, float]:
    """Print the cost of each feature's stage; return that of all for the JSON object."""
    write_params(
        folder, f"features=[{','.join(features)}]", corpora=corpora, names=names, model="svm"
    )
    for command in (*(["stages.prepare", name] for name in names), ["stages.merge"]):
        run(["-m", *command], folder=folder)
    hours = read_clips(folder / "data/merged/clips.csv")["duration_s"].sum() / 3600
    print(f"\n{HEADING}   {' '.join(names)}: {hours:.2f} h")
    start = run(["-c", "import stages.features, librosa"], folder=folder)
    print(f"{'start':28} {start}")
    costs = []
    for name in features:
        costs.append(run(["-m", "stages.features", name], folder=folder))
        print(f"{name:28} {costs[-1]}", flush=True)
    total = together(costs)
    print(f"{'all':28} {total}")
    return {
        f"start_s_{hours:.1f}h": start.seconds,
        f"features_s_{hours:.1f}h": total.seconds,
        f"features_cpu_s_{hours:.1f}h": total.cpu_s,
        f"peak_mb_{hours:.1f}h": total.peak_mb,
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--corpus", default="emodb", help="corpus whose clips are compared")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--stages", action="store_true", help="whole stages as well: minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpora = Path(arguments.corpora).resolve()
    found = audio_files(corpora / arguments.corpus)
    if not 0 < arguments.clips <= len(found):
        raise ValueError(f"--clips: got {arguments.clips}, want 1 to {len(found)}")
    chosen = np.linspace(0, len(found) - 1, arguments.clips).astype(int)
    files = [corpora / arguments.corpus / found[number] for number in chosen]
    # A cache of many clips would start worker processes, whose time is not counted here.
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        settings = settings_of(Path(scratch), corpora=corpora)
        with threadpool_limits(1):  # else numpy's products spin on other cores, which is counted
            costs, clip_s = compare(files, settings=settings, folder=Path(scratch))
    del os.environ["LOKY_MAX_CPU_COUNT"]  # whole stages use all cores
    figures = report(costs, clip_s=clip_s)
    if arguments.stages:
        features = [name for name in settings if " " not in name]
        for names in SIZES:
            with tempfile.TemporaryDirectory() as scratch:
                figures |= stages(names, corpora=corpora, features=features, folder=Path(scratch))
    print(json.dumps({key: round(value, 2) for key, value in figures.items()}))


if __name__ == "__main__":
    run_command(main)
