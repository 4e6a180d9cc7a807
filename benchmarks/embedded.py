"""Size, speed and memory of exported files on one core, with onnxruntime and nothing else.

python -m benchmarks.embedded [FILE ...]

Each file runs in a process of its own that imports numpy and onnxruntime alone, as a product on a
small computer would. The baseline is such a process without a file. The table has the size of the
file, CPU time to load it, the median CPU time for 3 s of sound in one thread, and the largest
memory. The last line is a JSON object. No corpus is needed, so the small computer can run this too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from app.models import MODEL, PRETRAINED
from stages.running.code import ROOT
from stages.running.entry import run_command

_ROUNDS = 100
#: The process; prints load and answer in ms of CPU time, and the largest memory in MB.
_PROGRAM = f"""
import json, re, sys, time
import numpy, onnxruntime
load = answer = None
if sys.argv[1:]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    begun = time.process_time()
    session = onnxruntime.InferenceSession(sys.argv[1], options)
    load = 1000 * (time.process_time() - begun)
    rate = int(session.get_modelmeta().custom_metadata_map["sample_rate"])
    sound = numpy.random.default_rng(0).normal(0, 0.05, (1, 3 * rate)).astype(numpy.float32)
    times = []
    for _ in range({_ROUNDS} + 1):
        begun = time.process_time()
        session.run(["probabilities"], {{"waveform": sound}})
        times.append(1000 * (time.process_time() - begun))
    answer = float(numpy.median(times[1:]))
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000
print(json.dumps({{"load_ms": load, "ms_3s_cpu": answer, "peak_mb": peak}}))
"""


def measure(*file: str) -> dict[str, float]:
    """Run a file, or none, in a process of its own; load_ms, ms_3s_cpu, peak_mb."""
    command = [sys.executable, "-I", "-c", _PROGRAM, *file]
    try:
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip().splitlines()[-1]
        raise ValueError(f"{' '.join(file)}: cannot be run: {reason}") from error


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: all here")
    wanted = parser.parse_args().files
    files = wanted or [
        p
        for p in (PRETRAINED.relative_to(ROOT), MODEL, MODEL.with_name(PRETRAINED.name))
        if p.is_file()
    ]
    alone = measure()
    figures = {"without a file": {"peak_mb": alone["peak_mb"]}}
    print(f"{'':36} {'MB':>6} {'load ms':>8} {'3 s, ms':>8} {'peak MB':>8}")
    print(f"{'onnxruntime without a file':36} {'':>6} {'':>8} {'':>8} {alone['peak_mb']:8.0f}")
    for file in files:
        found = measure(str(file)) | {"file_mb": file.stat().st_size / 1e6}
        print(
            f"{file!s:36} {found['file_mb']:6.2f} {found['load_ms']:8.0f} "
            f"{found['ms_3s_cpu']:8.1f} {found['peak_mb']:8.0f}",
            flush=True,
        )
        figures[str(file)] = found
    print(
        json.dumps(
            {
                name: {key: float(f"{value:.3g}") for key, value in row.items()}
                for name, row in figures.items()
            }
        )
    )


if __name__ == "__main__":
    run_command(main)
