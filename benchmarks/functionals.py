"""What functionals cost: a loop over clips and dimensions with the usual libraries, against ours.

python -m benchmarks.functionals --corpora DIR [--corpus emodb] [--clips 20]

CPU seconds of one thread for the functionals and features of `svm`. The loop calls numpy and scipy
for one contour after the other. Before timing, both are checked to be equal. The last line is a
JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.processes import run, write_params
from benchmarks.training import open_data
from stages.learning.batches import ClipData
from stages.learning.functionals import functionals
from stages.running.entry import run_command


def _mean_std(values: Sequence[float]) -> list[float]:
    return [float(np.mean(values)), float(np.std(values))] if len(values) else [0.0, 0.0]


def _change(x: np.ndarray) -> list[float]:
    steps = np.diff(x) if len(x) > 1 else np.zeros(1)
    return [np.abs(steps).mean(), steps.std()]


def _quartiles(x: np.ndarray) -> list[float]:
    p1, p25, p50, p75, p99 = np.percentile(x, (1, 25, 50, 75, 99))
    return [p1, p25, p75, p99, p50 - p25, p75 - p50, p75 - p25, p99 - p1]


def _moments(x: np.ndarray) -> list[float]:
    return [0, 0] if np.ptp(x) == 0 else [stats.skew(x), stats.kurtosis(x, fisher=False)]


def _extremes(x: np.ndarray) -> list[float]:
    last = max(len(x) - 1, 1)
    return [np.ptp(x), np.argmax(x) / last, np.argmin(x) / last, x.max() - x.mean()]


def _fit(x: np.ndarray, degree: int) -> tuple[np.ndarray, float]:
    """Coefficients of a polynomial over relative time, the highest first; mean squared error."""
    time, fitted = np.linspace(0, 1, len(x)), min(degree, len(x) - 1)
    values = np.polyfit(time, x, fitted)
    error = np.square(np.polyval(values, time) - x).mean()
    return np.concatenate([np.zeros(degree - fitted), values]), error


def _regression(x: np.ndarray) -> list[float]:
    (line, line_error), (curve, error) = _fit(x, 1), _fit(x, 2)
    return [line[1], line_error, *curve, error]


def _peaks(x: np.ndarray) -> list[float]:
    found = [t for t in range(1, len(x) - 1) if x[t - 1] < x[t] >= x[t + 1] and x[t] - x.mean() > 0]
    return [len(found) / len(x), *_mean_std(np.diff(found)), *_mean_std(x[found] - x.mean())]


def _times(x: np.ndarray) -> list[float]:
    above = [np.mean(x - x.min() > f * np.ptp(x)) for f in (0.25, 0.5, 0.75, 0.9)]
    steps = np.diff(x) if len(x) > 1 else np.zeros(1)
    return [*above, np.mean(steps > 0), np.mean(np.diff(steps) > 0) if len(x) > 2 else 0]


def _rises(x: np.ndarray) -> list[float]:
    steps = np.diff(x)
    return [*_mean_std(steps[steps > 0]), *_mean_std(-steps[steps < 0])]


def _segments(x: np.ndarray) -> list[float]:
    is_above = x - x.min() > 0.75 * np.ptp(x)
    lengths = [len(list(run)) for above, run in groupby(is_above) if above]
    return [
        len(lengths) / len(x),
        *_mean_std(lengths),
        max(lengths, default=0),
        min(lengths, default=0),
    ]


def _centroid(x: np.ndarray) -> list[float]:
    above = x - x.min()
    is_flat = above.sum() == 0
    return [0.5 if is_flat else np.average(np.linspace(0, 1, len(x)), weights=above)]


def _autocorrelation(x: np.ndarray) -> list[float]:
    c = x - x.mean()
    if np.ptp(x) == 0:
        return [0.0] * 5
    return [float(c[:-k] @ c[k:] / (c @ c)) if k < len(x) else 0.0 for k in range(1, 6)]


def deltas(x: np.ndarray) -> np.ndarray:
    """Slope of the line through five frames around each; the edges are repeated."""
    return np.convolve(np.pad(x, 2, mode="edge"), (2, 1, 0, -1, -2), mode="valid") / 10


#: Functional -> values of one contour [frames], by their definitions.
LOOP: dict[str, Callable[[np.ndarray], Sequence[float]]] = {
    "mean": lambda x: [x.mean()],
    "deviation": lambda x: [x.std()],
    "slope": lambda x: [np.polyfit(np.arange(len(x)), x, 1)[0] if len(x) > 1 else 0],
    "percentiles": lambda x: np.percentile(x, (5, 20, 50, 80, 95)),
    "change": _change,
    "quartiles": _quartiles,
    "moments": _moments,
    "extremes": _extremes,
    "regression": _regression,
    "peaks": _peaks,
    "times": _times,
    "rises": _rises,
    "segments": _segments,
    "centroid": _centroid,
    "autocorrelation": _autocorrelation,
}


def loop(data: ClipData, clips: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Compute functionals one contour at a time, as `functionals` orders them."""
    result = []
    for clip in clips:
        rows = slice(data.first[clip], data.first[clip] + data.frames[clip])
        contours = np.hstack([cache[rows] for cache in data.caches.values()]).astype(np.float64).T
        changes = [deltas(x) for x in contours] if any("delta_" in name for name in names) else []
        vector = []
        for name in names:
            some = changes if name.startswith("delta_") else contours
            vector.append(
                np.transpose([LOOP[name.removeprefix("delta_")](x) for x in some]).ravel()
            )
        result.append(np.concatenate(vector))
    return np.asarray(result)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--corpus", default="emodb")
    parser.add_argument("--clips", type=int, default=20, help="clips of the loop")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, corpora = Path(scratch), Path(arguments.corpora).resolve()
        params = write_params(folder, corpora=corpora, names=[arguments.corpus], model="svm")
        for command in (["prepare", arguments.corpus], ["merge"], ["split"]):
            run(["-m", f"stages.{command[0]}", *command[1:]], folder=folder)
        for name in params.features:
            run(["-m", "stages.features", name], folder=folder)
        data = open_data(folder, params.features)
        everything = np.arange(len(data.labels))
        chosen = everything[:: max(1, len(everything) // arguments.clips)]
        names = list(params.model.network.functionals)
        begun = time.process_time()
        want = loop(data, chosen, names=names)
        loop_ms = 1000 * (time.process_time() - begun) / len(chosen)
        begun = time.process_time()
        vectors = functionals(data, everything, names=names)
        ours_ms = 1000 * (time.process_time() - begun) / len(everything)
        scale = np.abs(want).max(axis=0)
        assert (np.abs(vectors[chosen] - want) <= 1e-4 * (scale + 1e-3)).all()
    times = loop_ms / ours_ms
    print(f"{vectors.shape[1]} functionals, {len(everything)} clips; ms of a CPU per clip")
    print(f"blocks of clips {ours_ms:9.2f}\none by one {loop_ms:14.2f} ({times:.0f} times)")
    figures = {"values": vectors.shape[1], "clip_ms": ours_ms, "loop_times": times}
    print(json.dumps({key: round(value, 2) for key, value in figures.items()}))


if __name__ == "__main__":
    run_command(main)
