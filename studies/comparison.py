"""Paired comparison of experiments that were tested on the same clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stages.metrics.counts import accuracy, f1, macro, recall, unweighted_accuracy
from stages.metrics.intervals import as_columns, paired_difference
from stages.reporting.predictions import Predictions, arrange
from stages.reporting.systems import ua_row
from stages.splits.enrolment import calibration_in_words
from stages.splits.leaks import protocol_in_words, shared_in_words

_SETTINGS = ("data.name", "features", "model.name", "split.name", "split.speaker_dependent")


@dataclass(frozen=True)
class Result:
    """Predictions of one experiment, with its settings.

    Attributes
    ----------
    name, commit : str
        name in the comparison, and the commit of the experiment; "" for the workspace
    predictions : Predictions
    folds : Series of str
        test fold of each clip, by clip; several folds are joined in one string
    seeds : list of int
    settings : mapping
        model.name, features, data.name and split, as recorded by the stage `evaluate`
    shared : list of str
        overlap of training and test in words, such as "speaker-dependent"
    calibration : list of str
        what is known of held-out speakers, one of `shared`, or nothing
    """

    name: str
    commit: str
    predictions: Predictions
    folds: pd.Series
    seeds: list[int]
    settings: Mapping[str, Any]
    shared: list[str]
    calibration: list[str]

    @property
    def protocol(self) -> str:
        """Name of the split, with the overlap of its sides in words."""
        return protocol_in_words(self.settings["split"], self.shared)

    @property
    def notes(self) -> list[str]:
        """Notes on every output: shared speakers, demo speech."""
        demo = self.settings["data.name"] == "demo"
        return self.shared + ["synthetic demo speech"] * demo


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison as tables, each with a column `protocol`.

    Attributes
    ----------
    experiments : DataFrame
        one row per experiment: its figures
    differences : DataFrame
        one row per pair: the lead of `experiment` over `reference`
    classes : DataFrame
        one row per pair and label with clips: the same for recall
    corpora, labels : list of str
    shared, calibration, notes : list of str
        see Result; those of any experiment
    title : str
        title of the protocol, or its name if no title was recorded
    """

    experiments: pd.DataFrame
    differences: pd.DataFrame
    classes: pd.DataFrame
    corpora: list[str]
    labels: list[str]
    shared: list[str]
    calibration: list[str]
    notes: list[str]
    title: str


def arrange_result(
    table: pd.DataFrame,
    *,
    name: str,
    commit: str,
    settings: Mapping[str, Any],
    leakage: Mapping[str, Any],
) -> Result:
    """Check a table of predictions and arrange it by clip and seed.

    Parameters
    ----------
    table : DataFrame
        data/predictions.csv, with text columns as strings
    name, commit, settings
        see Result
    leakage : mapping
        reports/leakage.json; a protocol that it found to be speaker-dependent is marked as such,
        whatever the settings claim

    Raises
    ------
    ValueError
        naming the experiment and the missing setting, or the clip and its fault
    """
    known = {*settings, *(f"split.{key}" for key in settings.get("split", ()))}
    if missing := [key for key in _SETTINGS if key not in known]:
        raise ValueError(
            f"{name}: got no settings {', '.join(missing)} (run by an earlier version?), want a "
            "new run"
        )
    columns = [column for column in ("clip", "fold", "seed") if column not in table]
    if columns:
        raise ValueError(f"{name}: predictions: got no column {', '.join(columns)}")
    return Result(
        name=name,
        commit=commit,
        predictions=arrange(table, known=table["clip"], name=f"{name}: predictions"),
        folds=table.astype({"fold": "str"}).groupby("clip")["fold"].agg(_joined),
        seeds=sorted(table["seed"].unique().tolist()),
        settings=settings,
        shared=shared_in_words(settings["split"], leakage),
        calibration=calibration_in_words(leakage),
    )


def check_comparable(results: Sequence[Result]) -> None:
    """Check that all experiments were tested on the same clips, labels and folds.

    Numbers of seeds may differ, because figures are means over seeds.

    Raises
    ------
    ValueError
        listing the differences to the first experiment, with counts and an example
    """
    first = results[0]
    lines = [
        f"{first.name} and {other.name} cannot be compared: {'; '.join(reasons)}"
        for other in results[1:]
        if (reasons := _differing(first, other))
    ]
    if lines:
        raise ValueError("\n".join(lines))


def _differing(first: Result, other: Result) -> list[str]:
    """List the reasons why two experiments cannot be compared."""
    facts = {
        "data": [result.settings["data.name"] for result in (first, other)],
        # What else was trained on, or known of the speakers, may differ: whether that helps is a
        # question to ask. Clips that only one of them scores are found below.
        "protocol": [
            protocol_in_words(
                {"name": result.settings["split"]["name"]},
                [mark for mark in result.shared if mark not in result.calibration],
            )
            for result in (first, other)
        ],
        "labels": [", ".join(sorted(result.predictions.labels)) for result in (first, other)],
    }
    reasons = [
        f"{fact} {ours} against {theirs}"
        for fact, (ours, theirs) in facts.items()
        if ours != theirs
    ]
    mine, yours = (
        result.predictions.clips.drop_duplicates("clip").set_index("clip")
        for result in (first, other)
    )
    sides = {first.name: mine.index.difference(yours.index)}
    sides[other.name] = yours.index.difference(mine.index)
    if any(len(only) for only in sides.values()):
        counts = [
            f"{len(only)} only in {name}" + (f", such as {only[0]}" if len(only) else "")
            for name, only in sides.items()
        ]
        reasons.append(f"{len(mine)} test clips against {len(yours)}: {'; '.join(counts)}")
    both = mine.index.intersection(yours.index)
    columns = {fact: (mine[fact], yours[fact]) for fact in ("label", "speaker")}
    columns["fold"] = (first.folds, other.folds)
    for fact, (ours, theirs) in columns.items():
        ours, theirs = ours.loc[both], theirs.loc[both]
        if len(clips := both[ours != theirs]):
            reasons.append(
                f"different {fact} for {len(clips)} of {len(both)} shared test clips, such as "
                f"{clips[0]}: {ours[clips[0]]} against {theirs[clips[0]]}"
            )
    return reasons


def _union(lists: Iterable[list[str]]) -> list[str]:
    """Join lists, each text once, in order."""
    return list(dict.fromkeys(text for texts in lists for text in texts))


def _joined(folds: pd.Series) -> str:
    return ", ".join(sorted(set(folds)))


def compare_results(results: Sequence[Result], *, pairs: Sequence[tuple[int, int]]) -> Comparison:
    """Compute the figures of each experiment, and the differences of pairs of them.

    Parameters
    ----------
    results : sequence of Result
        at least two
    pairs : sequence of (int, int)
        indices of reference and experiment; p values are corrected for the number of pairs

    Raises
    ------
    ValueError
        if the experiments cannot be compared, see `check_comparable`
    """
    check_comparable(results)
    first = results[0]
    differences, classes = [], []
    for reference, experiment in ((results[i], results[j]) for i, j in pairs):
        names = {"reference": reference.name, "experiment": experiment.name}
        differences.append(names | _differences(experiment, reference))
        classes += [names | row for row in _classes(experiment, reference)]
    table = pd.DataFrame(differences)
    for kind in ("p", "mcnemar_p"):
        table.insert(table.columns.get_loc(kind) + 1, f"{kind}_holm", holm(table[kind]))
    protocol = {"protocol": "; ".join(dict.fromkeys(result.protocol for result in results))}
    return Comparison(
        experiments=pd.DataFrame([describe_result(result) for result in results]).assign(
            protocol=[result.protocol for result in results]
        ),
        differences=table.assign(**protocol),
        classes=pd.DataFrame(classes).assign(**protocol),
        corpora=sorted(set(first.predictions.clips["corpus"])),
        labels=first.predictions.labels,
        shared=_union(result.shared for result in results),
        calibration=_union(result.calibration for result in results),
        notes=_union(result.notes for result in results),
        title=first.settings["split"].get("title", first.protocol),
    )


def describe_result(result: Result) -> dict[str, Any]:
    """Return the figures of an experiment, pooled over folds and averaged over seeds."""
    predictions = result.predictions
    confusion = predictions.confusion()  # [seeds, classes, classes]
    ua = unweighted_accuracy(confusion)
    return {
        "experiment": result.name,
        "commit": result.commit[:7],
        "model": result.settings["model.name"],
        "features": "+".join(result.settings["features"]),
        "seeds": len(result.seeds),
        "clips": predictions.clips["clip"].nunique(),
        "speakers": predictions.clips["speaker"].nunique(),
        "folds": predictions.n_folds,
        **ua_row(predictions.predicted, **predictions.tested),
        "ua_seed_sd": ua.std(ddof=1) if len(ua) > 1 else np.nan,
        "wa": accuracy(confusion).mean(),
        "macro_f1": macro(f1(confusion), confusion).mean(),
    }


def _differences(experiment: Result, reference: Result) -> dict[str, Any]:
    """Compare UA, WA and correct answers of two experiments."""
    both = _predicted(experiment, reference)
    tested = reference.predictions.tested
    ua = paired_difference(unweighted_accuracy, **both, **tested)
    wa = paired_difference(accuracy, **both, **tested)
    seeds = min(len(experiment.seeds), len(reference.seeds))
    right = {
        name: predicted[:, :seeds] == tested["truth"][:, None] for name, predicted in both.items()
    }
    better, worse, p = mcnemar(right["predicted"], right["reference"])
    return {
        **as_columns("difference", ua.value, ua),
        "p": ua.p,
        "interval": ua.unit,
        "units": ua.n_units,
        **as_columns("wa_difference", wa.value, wa),
        "clips_better": better,
        "clips_worse": worse,
        "mcnemar_p": p,
        "mcnemar_seeds": seeds,
    }


def _classes(experiment: Result, reference: Result) -> list[dict[str, Any]]:
    """Compare the recall of two experiments for each label with clips."""
    both = _predicted(experiment, reference)
    tested = reference.predictions.tested
    rows = []
    for label in np.unique(tested["truth"]):
        # Speakers without clips of the label carry no information about its recall.
        own = tested["truth"] == label
        chosen = {name: predicted[own] for name, predicted in both.items()}

        def one(confusions: NDArray, label: int = label) -> NDArray:
            return recall(confusions)[..., label]

        facts = {name: tested[name][own] for name in ("truth", "speakers", "clips")}
        found = paired_difference(one, **chosen, **facts, n_classes=tested["n_classes"])
        rows.append(
            {
                "label": reference.predictions.labels[label],
                "clips": int(own.sum()),
                "recall_reference": (chosen["reference"] == label).mean(),
                "recall": (chosen["predicted"] == label).mean(),
                **as_columns("difference", found.value, found),
                "interval": found.unit,
                "units": found.n_units,
            }
        )
    return rows


def _predicted(experiment: Result, reference: Result) -> dict[str, Any]:
    """Return the predicted classes [clips, seeds] of both, in the reference's order of labels."""
    ours, theirs = experiment.predictions, reference.predictions
    order = [ours.labels.index(label) for label in theirs.labels]
    return {
        "predicted": ours.probabilities[..., order].argmax(-1),
        "reference": theirs.predicted,
    }


def mcnemar(right: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Apply McNemar's exact test to clips, each counted once.

    With several seeds, a clip counts for the system that is right under more of them. The test
    treats clips as independent. Clips of one speaker are not, so false positives are more frequent
    than p states.

    Parameters
    ----------
    right, reference : bool [clips, seeds]
        whether each system is right; both have the same number of seeds, because a system with more
        seeds is rarely right or wrong under all of them, which would bias the counts

    Returns
    -------
    better, worse, p
        number of clips on which the system is right more often than the reference, and less often;
        two-sided binomial probability of counts at least as uneven

    Raises
    ------
    ValueError
        if the shapes differ

    References
    ----------
    McNemar, Note on the sampling error of the difference between correlated proportions, 1947
    """
    if right.shape != reference.shape or right.ndim != 2:
        got = f"{right.shape} and {reference.shape}"
        raise ValueError(f"right, reference: got shapes {got}, want one equal [clips, seeds]")
    ahead = right.sum(1) - reference.sum(1)
    better, worse = int((ahead > 0).sum()), int((ahead < 0).sum())
    p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    return better, worse, float(p)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for multiple comparisons, by Holm's method.

    Parameters
    ----------
    p : float [tests]

    Returns
    -------
    float [tests]
        corrected p values in the same order, at most 1

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, 1979
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
