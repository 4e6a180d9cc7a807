"""Pitch against librosa: speed, and agreement on real speech and on voices of known pitch.

python -m benchmarks.pitch --corpora DIR [--corpus emodb] [--every 15]

Times are CPU milliseconds per clip, in one thread, after one call to warm up. Pitch is compared
with librosa.pyin over frames of the feature's own length and over librosa's default, 2048 samples.
For frames that both call voiced, the table has the fractions that differ by less than 20 and 50
cents and by more than half an octave. The pitch of the synthetic voices is known and decides
between the two. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import librosa
import numpy as np
import torch
from hydra import compose, initialize_config_dir

from benchmarks.processes import ROOT
from stages.running.entry import run_command
from stages.settings.loading import bind
from stages.sources.files import audio_files
from stages.synthesis import prosody, voice

_LEVEL_DB = -30  # as the stage `prepare` levels speech
_LIBROSA_LENGTH = 2048


def speech(folder: Path, *, rate: int, every: int) -> list[np.ndarray]:
    """Every n-th file of a corpus, levelled."""
    clips = []
    for file in audio_files(folder)[::every]:
        samples, _ = librosa.load(folder / file, sr=rate, mono=True)
        clips.append(samples * 10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(samples**2)))
    return clips


def voices(*, hop_length: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Synthetic voices in each emotion, and the pitch of all their frames in Hz; 0: unvoiced."""
    clips, known = [], []
    for emotion in prosody.EMOTIONS:
        for sex in ("female", "male"):
            with patch.object(voice, "_glottis", wraps=voice._glottis) as glottis:
                clip = voice.utter(
                    voice.draw_sentence(emotion, syllables=6),
                    speaker=voice.draw_speaker(f"{emotion}/{sex}", sex=sex),
                    emotion=emotion,
                    rng=np.random.default_rng(0),
                )
            f0_hz, amplitude, *_ = glottis.call_args.args
            places = np.arange(1 + len(clip) // hop_length) * hop_length * len(f0_hz) // len(clip)
            known.append(np.where(amplitude > 0.5, f0_hz, 0)[places.clip(max=len(f0_hz) - 1)])
            clips.append(clip.astype(np.float32))
    return clips, np.concatenate(known)


def timed(function: Callable, clips: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Results of a function for all clips, and CPU milliseconds per clip."""
    function(clips[0])
    start = time.process_time()
    results = [function(clip) for clip in clips]
    return np.concatenate(results), 1000 * (time.process_time() - start) / len(clips)


def agreement(hz: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Fraction of frames with both pitches, and of these the fractions that agree and differ."""
    both = (hz > 0) & (theirs > 0)
    cents = 1200 * np.abs(np.log2(hz[both] / theirs[both]))
    frames = {"both": both, "20_cents": cents <= 20, "50_cents": cents <= 50, "octave": cents > 600}
    return {name: round(float(chosen.mean()), 4) for name, chosen in frames.items()}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--corpus", default="emodb")
    parser.add_argument("--every", type=int, default=15, help="use every n-th file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        settings = compose("config", ["features=[pitch]"]).features.pitch
    pitch, rate, hop_length = bind(settings, "acoustics"), settings.sample_rate, settings.hop_length
    same = {"sr": rate, "hop_length": hop_length, "fmin": settings.fmin, "fmax": settings.fmax}

    def ours(length: int, clip: np.ndarray) -> np.ndarray:
        semitones, strength = pitch(torch.from_numpy(clip), frame_length=length).numpy()
        return np.where(strength > 0, 100 * 2 ** (semitones / 12), 0)

    def pyin(length: int, clip: np.ndarray) -> np.ndarray:
        return np.nan_to_num(librosa.pyin(clip, frame_length=length, **same)[0])

    folder = Path(arguments.corpora, arguments.corpus).resolve()
    clips = speech(folder, rate=rate, every=arguments.every)
    spoken, known = voices(hop_length=hop_length)
    known[known > settings.fmax] = 0
    print(f"{'frames':8}{'':24}" + "".join(f"{n:>10}" for n in agreement(known, known)))
    figures, ms = {"clips": len(clips), "cases": []}, {}
    for length in (settings.frame_length, _LIBROSA_LENGTH):
        heard, ms[f"pitch_{length}"] = timed(lambda clip, n=length: ours(n, clip), clips)
        theirs, ms[f"pyin_{length}"] = timed(lambda clip, n=length: pyin(n, clip), clips)
        cases = {
            "speech: pitch, pyin": (heard, theirs),
            "voices: pitch, known": (np.concatenate([ours(length, c) for c in spoken]), known),
            "voices: pyin, known": (np.concatenate([pyin(length, c) for c in spoken]), known),
        }
        for name, pair in cases.items():
            row = agreement(*pair)
            print(f"{length:<8}{name:24}" + "".join(f"{v:10.3f}" for v in row.values()), flush=True)
            figures["cases"].append({"frame_length": length, "case": name} | row)
    _, ms["yin_2048"] = timed(lambda clip: librosa.yin(clip, **same), clips)
    ours_ms = ms[f"pitch_{settings.frame_length}"]
    for name, value in ms.items():
        print(f"{name:32}{value:10.2f} ms  {value / ours_ms:6.1f}")
    figures |= {f"{name}_ms": round(value, 2) for name, value in ms.items()}
    figures["yin_times"] = round(ms["yin_2048"] / ours_ms, 2)
    figures["pyin_times"] = round(ms[f"pyin_{_LIBROSA_LENGTH}"] / ours_ms, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
