"""Time to read corpora into one audio store: `prepare` and `merge` against a loop of librosa.load.

python -m benchmarks.prepare --corpora DIR [--corpus emodb ravdess ...]

The loop reads the same files, mono and at the same rate, one after the other in one process. It
keeps nothing and does not check, trim, level or tabulate. All files are read once beforehand, so
that both sides find them in memory. Times are those of whole processes, including their start. The
last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import joblib

from benchmarks.processes import HEADING, ROOT, run, together, write_params
from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.sources.files import audio_files

_LOOP = """
import sys, librosa
for file in open(sys.argv[1]).read().splitlines():
    librosa.load(file, sr=int(sys.argv[2]), mono=True)
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--corpus", nargs="+", help="default: all corpora there")
    arguments = parser.parse_args()
    corpora = Path(arguments.corpora).resolve()
    known = sorted(path.stem for path in (ROOT / "conf" / "corpora").glob("*.yaml"))
    names = arguments.corpus or [name for name in known if (corpora / name).is_dir()]
    size = 0
    for name in names:
        for file in audio_files(corpora / name):
            size += len((corpora / name / file).read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        params = write_params(folder, corpora=corpora, names=names, model="svm")
        commands = [["-m", "stages.prepare", name] for name in names] + [["-m", "stages.merge"]]
        print(HEADING)
        costs = []
        for command in commands:
            costs.append(run(command, folder=folder))
            print(f"{' '.join(command[1:]):28} {costs[-1]}", flush=True)
        clips = read_clips(folder / "data/merged/clips.csv")
        used = clips[clips["excluded"] == ""]
        files = [str(corpora / row.corpus / row.file) for row in used.itertuples()]
        (folder / "files.txt").write_text("\n".join(files))
        rate = params.audio.sample_rate
        loop = run(["-c", _LOOP, "files.txt", str(rate)], folder=folder)
    total = together(costs)
    hours = used["duration_s"].sum() / 3600
    print(f"{'all':28} {total}   {len(used)} clips, {hours:.2f} h, {size / 1e6:.0f} MB")
    print(f"{'librosa.load, one process':28} {loop}")
    other_rate = used.loc[used["rate_hz"] != rate, "duration_s"].sum() / used["duration_s"].sum()
    print(f"not at {rate} Hz: {other_rate:.0%} of the speech")
    figures = {
        "clips": len(used),
        "hours": round(hours, 3),
        "cores": joblib.cpu_count(),
        "total_s": round(total.seconds, 1),
        "loop_s": round(loop.seconds, 1),
        "prepare_times": round(loop.seconds / total.seconds, 2),
        "cpu_times": round(loop.cpu_s / total.cpu_s, 2),
        "hours_per_s": round(hours / total.seconds, 3),
        "peak_mb": round(total.peak_mb),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
