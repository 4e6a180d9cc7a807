"""Measure what unlabelled clips of a new speaker are worth: UA over the number of such clips.

python -m studies.calibration

Run it after `dvc repro` or `dvc exp run` with speakers held out and calibration=none. It trains the
model of params.yaml once more for every fold and seed, with training speakers normalised by their
own clips, and lets it predict the held-out clips with 1, 3, 5, 10 and 20 unlabelled clips of each
held-out speaker, of any emotion and of neutral speech alone, and with all other clips of the
speaker. Clips that are known are not scored, so each number is also compared with what the last run
said of the same clips. Without clips, the row is the last run itself. Two more rows let the model
get used to each speaker clip by clip, in random order, as app.listen does: the UA of a speaker's
first ten clips, and that of the later ones.

Writes reports/speaker_calibration.csv, .png and .svg.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.learning.batches import ClipData
from stages.learning.checkpoints import Job
from stages.learning.jobs import all_jobs
from stages.learning.learner import build_learner
from stages.learning.training_plan import Plan, make_plan
from stages.metrics.counts import confusion_by_group, unweighted_accuracy
from stages.metrics.intervals import jackknife_test, left_out
from stages.parallel.workers import cluster, spread
from stages.reporting.drawing import (
    COLOURS,
    MAIN,
    encode_all,
    new_figure,
    reference_lines,
    set_title,
    style,
)
from stages.reporting.predictions import Predictions
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params, processes
from stages.splits.enrolment import mark_enrolment
from stages.splits.split_table import ALL, folds_of
from studies import experiment

log = logging.getLogger(__name__)
NUMBERS = (1, 3, 5, 10, 20)
OUTPUT = Path("reports/speaker_calibration")
NEUTRAL = "neutral"
_FIRST = 10  # clips of a speaker, in running speech


class Draw(NamedTuple):
    """What is known of the held-out speakers.

    Attributes
    ----------
    speech : str
        "any" or "neutral": of which clips are drawn; "running": each clip is known after its answer
    clips : str
        how many, or "all"; of running speech, which clips are scored
    split : DataFrame
        the split table, with the clips that are drawn as `enrolment`
    place : int64 [clips]
        of running speech: how many clips of the speaker come before each clip
    """

    speech: str
    clips: str
    split: pd.DataFrame
    place: NDArray[np.int64] | None = None

    def rounds(
        self, fold: str, test: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield test clips to predict in a fold and, for each round, the clips that are known."""
        if self.place is None:
            part = "test" if self.clips == "all" else "enrolment"
            yield test, np.flatnonzero(self.split[fold] == part)
            return
        for number in np.unique(self.place[test]):
            yield test[self.place[test] == number], test[self.place[test] < number]


def draw_enrolment(
    clips: pd.DataFrame, split: pd.DataFrame, *, numbers: Sequence[int], draws: int
) -> list[Draw]:
    """Draw every number of clips several times, of any clips and of neutral ones, and then all.

    Neutral clips are drawn as long as every speaker keeps one to be scored.

    Parameters
    ----------
    clips, split : DataFrame
        clip table and split table
    numbers : sequence of int
    draws : int
        of each number
    """
    tested = (split[folds_of(split)] == "test").any(axis=1)
    table = split[["clip", "label"]].merge(clips[["clip", "speaker"]], on="clip", how="left")
    table = table.set_axis(split.index)[tested]
    neutral = table["label"] == NEUTRAL
    fewest = int(neutral.groupby(table["speaker"]).sum().min())
    if too_many := [number for number in numbers if number >= fewest]:
        log.info(
            "calibration: neutral speech: a speaker has %d clips, so no curve for %s clips",
            *(fewest, ", ".join(map(str, too_many))),
        )
    only = neutral.set_axis(table["clip"])
    wanted = [("any", number, None) for number in numbers]
    wanted += [("neutral", number, only) for number in numbers if number < fewest]
    draw = partial(mark_enrolment, clips, split, fewer="use")
    found = [
        Draw(speech, str(number), draw(number=number, seed=seed, eligible=eligible))
        for speech, number, eligible in wanted
        for seed in range(draws)
    ]
    return [*found, Draw("any", "all", split), *_running(table, split, draws=draws)]


def _running(table: pd.DataFrame, split: pd.DataFrame, *, draws: int) -> list[Draw]:
    """Put the clips of each speaker in random orders; score the first and the later ones apart."""
    found = []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(table))
        place = table.iloc[order].groupby("speaker").cumcount()
        place = place.reindex(split.index, fill_value=0).to_numpy()
        for name, scored in (
            (f"first {_FIRST}", place < _FIRST),
            ("later", place >= _FIRST),
        ):
            parts = split.copy()
            for fold in folds_of(split):
                parts[fold] = parts[fold].where(scored | (parts[fold] != "test"), "")
            found.append(Draw("running", name, parts, place))
    return found


def answer(job: Job, plan: Plan, draws: Sequence[Draw]) -> tuple[Job, NDArray[np.int64]]:
    """Train a job and predict its test clips under every draw; the job, int64 [clips, draws]."""
    torch.set_num_threads(1)
    data = plan.open_data()
    learner: Any = build_learner(plan.settings)
    parts = {
        part: np.flatnonzero(plan.clips[job.fold] == part)
        for part in ("train", "validation", "test")
    }
    learner.fit(
        data,
        train=parts["train"],
        validation=parts["validation"],
        seed=job.seed,
        logs=plan.logs / job.name,
        on_epoch=lambda: None,
    )
    members = [part.learner for part in getattr(learner, "members", {}).values()]
    for model in members or [learner]:
        model.vectors = _Remembered(model.vectors)
    test = parts["test"]
    found = np.zeros((len(test), len(draws)), dtype=np.int64)
    for number, draw in enumerate(draws):
        for clips, known in draw.rounds(job.fold, test):
            heard = dataclasses.replace(data, enrolment=known)
            rows = np.searchsorted(test, clips)
            found[rows, number] = learner.predict(heard, clips).argmax(axis=1)
    return job, found


class _Remembered:
    """Vectors of clips, each computed once, as all draws ask for the same ones."""

    def __init__(self, compute: Callable[[ClipData, NDArray], NDArray]) -> None:
        self._compute = compute
        self._rows: dict[int, NDArray] = {}

    def __call__(self, data: ClipData, clips: NDArray[np.int64]) -> NDArray:
        missing = np.array([clip for clip in clips if clip not in self._rows], dtype=np.int64)
        if len(missing):
            self._rows |= dict(zip(missing.tolist(), self._compute(data, missing), strict=True))
        return np.stack([self._rows[clip] for clip in clips])


def row_of(
    draws: Sequence[Draw],
    answers: NDArray[np.int64],
    *,
    last: Predictions,
) -> dict[str, Any]:
    """Work out UA with its interval, and the difference to the run without calibration.

    Parameters
    ----------
    draws : sequence of Draw
        of one number of clips
    answers : int64 [clips, draws, seeds]
        predicted classes, in the order of the predictions
    last : Predictions
        of the run without calibration

    Returns
    -------
    dict
        speech, clips, draws, seeds, scored (clips, a mean over draws), ua, ua_low, ua_high,
        uncalibrated (UA of the run without, on the same clips), difference, difference_low,
        difference_high, interval
    """
    table, n_classes = last.clips, len(last.labels)
    groups, unit = left_out(table["speaker"], clips=table["clip"])
    names = np.unique(groups)
    sums, scored = [], []
    for number, draw in enumerate(draws):
        part, folds = draw.split.set_index("clip"), table["fold"].astype(str)
        places = zip(table["clip"], folds, strict=True)
        keep = np.array([part.at[clip, fold] == "test" for clip, fold in places])
        runs = np.concatenate([answers[:, number], last.predicted], axis=1)[keep]
        found, counts = confusion_by_group(
            last.truth[keep], runs, groups[keep], n_classes=n_classes
        )
        whole = np.zeros((len(names), *counts.shape[1:]), dtype=np.int64)
        whole[np.searchsorted(names, found)] = counts
        sums.append(whole.reshape(len(names), 2, -1, n_classes, n_classes))
        scored.append(int(keep.sum()))
    counts = np.stack(sums, axis=2)  # [speakers, calibrated or not, draws, seeds, classes, classes]

    def figures(counts: NDArray) -> NDArray[np.float64]:
        ua = unweighted_accuracy(counts).mean(axis=(-1, -2))  # [..., calibrated or not]
        return np.stack([ua[..., 0], ua[..., 1], ua[..., 0] - ua[..., 1]], axis=-1).round(12)

    value, low, high, _ = jackknife_test(figures, counts)
    return {
        "speech": draws[0].speech,
        "clips": draws[0].clips,
        "draws": len(draws),
        "seeds": last.n_seeds,
        "scored": round(float(np.mean(scored)), 1),
        "ua": value[0],
        "ua_low": max(low[0], 0),
        "ua_high": high[0],
        "uncalibrated": value[1],
        "difference": value[2],
        "difference_low": low[2],
        "difference_high": high[2],
        "interval": unit,
    }


def calibration_figure(
    table: pd.DataFrame, *, heading: str, chance: float, notes: Sequence[str]
) -> Figure:
    """Draw UA over the number of clips, with its interval; one curve for each kind of speech.

    Parameters
    ----------
    table : DataFrame
        rows of `row_of`
    heading : str
        title of the figure
    chance : float
        drawn as a line, as is the UA without calibration
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7, 4.2)
    table = table[table["speech"] != "running"]
    numbers = list(dict.fromkeys(table["clips"]))
    places = {number: place for place, number in enumerate(numbers)}
    kinds = (
        ("any", MAIN, "o", "clips of any emotion"),
        ("neutral", COLOURS[2], "s", "neutral clips"),
    )
    for shift, (speech, colour, marker, name) in zip((-0.07, 0.07), kinds, strict=True):
        rows = table[table["speech"] == speech]
        x = rows["clips"].map(places).to_numpy() + shift
        axes.vlines(x, rows["ua_low"], rows["ua_high"], color=colour, linewidth=1.4)
        axes.plot(x, rows["ua"], color=colour, marker=marker, linewidth=1, label=name)
    axes.set_xticks(range(len(numbers)), numbers)
    axes.set_xlabel("unlabelled clips of each held-out speaker, not scored (all: every other clip)")
    axes.set_ylabel("UA, with 95 % interval")
    axes.grid(visible=False, axis="x")
    ua = float(table["uncalibrated"].iloc[0])
    reference_lines(axes, axes.axhline, ua=ua, chance=chance, name="UA without")
    set_title(axes, heading, notes)
    return figure


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=NUMBERS, metavar="N")
    parser.add_argument("--draws", type=int, default=5, help="of each number; default: 5")
    parser.add_argument(
        "--statistics", choices=("mean", "mean_std"), default="mean", help="default: mean"
    )
    arguments = parser.parse_args()
    if min(*arguments.clips, arguments.draws, 1) < 1:
        parser.error("--clips, --draws: got less than 1, want at least 1")
    params = load_params()
    try:
        if params.calibration.clips or params.split.speaker_dependent:
            raise ValueError(
                f"calibration={params.calibration.name}, split={params.split.name}: want "
                "calibration=none and a split that holds speakers out"
            )
        last = experiment.read_experiment(params)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error}; run `dvc exp run` first") from error
    table = measure(
        last, numbers=arguments.clips, draws=arguments.draws, statistics=arguments.statistics
    )
    demo = ["synthetic demo speech"] * (params.data.name == "demo")
    corpora = ", ".join(sorted(set(last.predictions.clips["corpus"])))
    speakers = last.predictions.clips["speaker"].nunique()
    heading = (
        f"{params.model.name} on {', '.join(params.features)}, calibrated to speakers\n"
        f"{corpora}, {params.split.name}: "
        f"{len(last.predictions.clips)} clips, {speakers} speakers, "
        f"{arguments.draws} draws, seeds {', '.join(map(str, last.seeds))}"
    )
    table = table.assign(protocol=params.split.name)
    with style():
        files = encode_all(
            {
                OUTPUT.name: calibration_figure(
                    table, heading=heading, chance=1 / len(last.labels), notes=demo
                )
            }
        )
    files[f"{OUTPUT.name}.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
    for name, content in files.items():
        with complete(OUTPUT.with_name(name)) as part:
            part.write_bytes(content)
    print("\n".join([heading, *demo, ""]))
    print(table.drop(columns=["seeds", "interval", "protocol"]).to_string(index=False))


def measure(
    last: experiment.Experiment, *, numbers: Sequence[int], draws: int, statistics: str
) -> pd.DataFrame:
    """Train every job, predict under every draw, and tabulate; see `row_of`."""
    section = {"name": "speaker", "clips": "all", "statistics": statistics}
    plan = make_plan(
        last.clips,
        last.split,
        labels=last.labels,
        caches=experiment.CACHES,
        scratch=experiment.SCRATCH,
        logs=experiment.LOGS,
        settings={**last.settings, "calibration": section},
    )
    drawn = draw_enrolment(last.clips, last.split, numbers=numbers, draws=draws)
    jobs = [job for job in all_jobs(last.split, last.seeds) if job.fold != ALL]
    predictions = last.predictions
    place = {
        key: row
        for row, key in enumerate(
            zip(predictions.clips["clip"], predictions.clips["fold"].astype(str), strict=True)
        )
    }
    answers = np.zeros((len(place), len(drawn), len(last.seeds)), dtype=np.int64)
    with cluster() as client:
        calls = [partial(answer, job, plan, drawn) for job in jobs]
        results = spread(calls, processes=processes(len(jobs)), client=client)
        for number, (job, found) in enumerate(results, start=1):
            clips = plan.clips.loc[plan.clips[job.fold] == "test", "clip"]
            rows = [place[clip, job.fold] for clip in clips]
            answers[rows, :, last.seeds.index(job.seed)] = found
            log.info("calibration: fold %s, seed %d (%d of %d)", *job, number, len(jobs))
    nothing = Draw("any", "0", last.split)
    table = [row_of([nothing], predictions.predicted[:, None], last=predictions)]
    for key in dict.fromkeys((draw.speech, draw.clips) for draw in drawn):
        chosen = [n for n, draw in enumerate(drawn) if (draw.speech, draw.clips) == key]
        table.append(row_of([drawn[n] for n in chosen], answers[:, chosen], last=predictions))
    return pd.DataFrame(table).round(6)


if __name__ == "__main__":
    run_command(main)
