"""Experiments on the same clips against each other: which is ahead, by how much, how surely."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stages.metrics import counts as metrics
from stages.reporting.predictions import Predictions
from stages.reporting.predictions import arrange as arrange_predictions
from stages.splits.leaks import protocol_in_words, shared_in_words

_SETTINGS = ("data.name", "features", "model.name", "split.name", "split.speaker_dependent")


@dataclass(frozen=True)
class Experiment:
    """The predictions of one experiment, and how they were made.

    Attributes
    ----------
    name, commit : str
        what it is called here, and the commit that it was read from; "" for the workspace
    predictions : Predictions
    folds : Series of str
        the fold in which each clip was tested, by clip; of several, all in one text
    seeds : list of int
    settings : mapping
        model.name, features, data.name, split as recorded when it was evaluated
    shared : list of str
        what training and test share, in words, such as "speaker-dependent"
    """

    name: str
    commit: str
    predictions: Predictions
    folds: pd.Series
    seeds: list[int]
    settings: Mapping[str, Any]
    shared: list[str]

    @property
    def protocol(self) -> str:
        """Name of the split, marked with what its sides share."""
        return protocol_in_words(self.settings["split"]["name"], self.shared)

    @property
    def notes(self) -> list[str]:
        """What everything that shows its figures must say: that, and whether it is demo speech."""
        demo = self.settings["data.name"] == "demo"
        return self.shared + ["synthetic demo speech"] * demo


@dataclass(frozen=True)
class Comparison:
    """What comes out, in tables; each has a column `protocol`.

    Attributes
    ----------
    experiments : DataFrame
        one row per experiment: its own figures
    differences : DataFrame
        one row per pair: how far `experiment` is ahead of `reference`
    classes : DataFrame
        one row per pair and label that has clips: the same for its recall
    corpora, labels : list of str
    shared : list of str
        see Experiment
    notes : list of str
        what everything made of these tables must say: that, and whether it is demo speech
    title : str
        what the protocol holds out, in words; its name, if those were not recorded
    """

    experiments: pd.DataFrame
    differences: pd.DataFrame
    classes: pd.DataFrame
    corpora: list[str]
    labels: list[str]
    shared: list[str]
    notes: list[str]
    title: str


class Effect(NamedTuple):
    """A difference with its 95 % interval and its two-sided p value; numbers or arrays."""

    value: float | NDArray[np.float64]
    low: float | NDArray[np.float64]
    high: float | NDArray[np.float64]
    p: float | NDArray[np.float64]


class Paired(NamedTuple):
    """An effect, what was left out in turn (speakers or clips), and how many of those there are."""

    effect: Effect
    unit: str
    n_units: int


def arrange(
    table: pd.DataFrame,
    *,
    name: str,
    commit: str,
    settings: Mapping[str, Any],
    leakage: Mapping[str, Any],
) -> Experiment:
    """Check a table of predictions and arrange it by clip and seed.

    Parameters
    ----------
    table : DataFrame
        data/predictions.csv, text columns read as text
    name, commit, settings
        see Experiment
    leakage : mapping
        what the split stage proved: it can make a protocol speaker-dependent, whatever the
        settings claim

    Raises
    ------
    ValueError
        naming the experiment, and the setting that is missing or the clip and what is wrong with it
    """
    known = {*settings, *(f"split.{key}" for key in settings.get("split", ()))}
    if missing := [key for key in _SETTINGS if key not in known]:
        raise ValueError(
            f"{name}: got no settings {', '.join(missing)}, as an earlier version of the pipeline "
            "left it; want it run again"
        )
    columns = [column for column in ("clip", "fold", "seed") if column not in table]
    if columns:
        raise ValueError(f"{name}: predictions: got no column {', '.join(columns)}")
    return Experiment(
        name=name,
        commit=commit,
        predictions=arrange_predictions(table, known=table["clip"], name=f"{name}: predictions"),
        folds=table.astype({"fold": "str"}).groupby("clip")["fold"].agg(_joined),
        seeds=sorted(table["seed"].unique().tolist()),
        settings=settings,
        shared=shared_in_words(settings["split"], leakage),
    )


def check_comparable(experiments: Sequence[Experiment]) -> None:
    """Prove that all experiments were tested on the same clips, labels and folds.

    Numbers of seeds may differ: a figure is the mean over seeds, which more seeds do not shift.

    Raises
    ------
    ValueError
        saying what differs from the first experiment, with numbers and an example
    """
    first = experiments[0]
    lines = [
        f"{first.name} and {other.name} cannot be compared: {'; '.join(reasons)}"
        for other in experiments[1:]
        if (reasons := _differing(first, other))
    ]
    if lines:
        raise ValueError("\n".join(lines))


def _differing(first: Experiment, other: Experiment) -> list[str]:
    """What keeps two experiments from being compared, a text each."""
    facts = {
        "data": [e.settings["data.name"] for e in (first, other)],
        "protocol": [e.protocol for e in (first, other)],
        "labels": [", ".join(sorted(e.predictions.labels)) for e in (first, other)],
    }
    reasons = [
        f"{fact} {ours} against {theirs}"
        for fact, (ours, theirs) in facts.items()
        if ours != theirs
    ]
    mine, yours = (
        e.predictions.clips.drop_duplicates("clip").set_index("clip") for e in (first, other)
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
                f"another {fact} for {len(clips)} of {len(both)} clips that both test, such as "
                f"{clips[0]}: {ours[clips[0]]} against {theirs[clips[0]]}"
            )
    return reasons


def _joined(folds: pd.Series) -> str:
    return ", ".join(sorted(set(folds)))


def compare(experiments: Sequence[Experiment], *, pairs: Sequence[tuple[int, int]]) -> Comparison:
    """Figures of each experiment, and the differences of pairs of them.

    Parameters
    ----------
    experiments : sequence of Experiment
        at least two that can be compared, see `check_comparable`
    pairs : sequence of (int, int)
        positions: reference, experiment. p values are corrected for as many as there are

    Raises
    ------
    ValueError
        see `check_comparable`
    """
    check_comparable(experiments)
    first = experiments[0]
    differences, classes = [], []
    for reference, ahead in ((experiments[i], experiments[j]) for i, j in pairs):
        names = {"reference": reference.name, "experiment": ahead.name}
        differences.append(names | _differences(ahead, reference))
        classes += [names | row for row in _classes(ahead, reference)]
    table = pd.DataFrame(differences)
    for kind in ("p", "mcnemar_p"):
        table.insert(table.columns.get_loc(kind) + 1, f"{kind}_holm", holm(table[kind]))
    protocol = {"protocol": first.protocol}
    return Comparison(
        experiments=pd.DataFrame([describe(e) for e in experiments]).assign(**protocol),
        differences=table.assign(**protocol),
        classes=pd.DataFrame(classes).assign(**protocol),
        corpora=sorted(set(first.predictions.clips["corpus"])),
        labels=first.predictions.labels,
        shared=first.shared,
        notes=first.notes,
        title=first.settings["split"].get("title", first.protocol),
    )


def describe(experiment: Experiment) -> dict[str, Any]:
    """A row of an experiment's own figures: computed per seed, pooled over folds; their mean."""
    predictions = experiment.predictions
    confusion = predictions.confusion()  # [seeds, classes, classes]
    ua = metrics.unweighted_accuracy(confusion)
    interval = predictions.interval(metrics.unweighted_accuracy)
    return {
        "experiment": experiment.name,
        "commit": experiment.commit[:7],
        "model": experiment.settings["model.name"],
        "features": "+".join(experiment.settings["features"]),
        "seeds": len(experiment.seeds),
        "clips": predictions.clips["clip"].nunique(),
        "speakers": predictions.clips["speaker"].nunique(),
        "folds": predictions.n_folds,
        "ua": ua.mean(),
        "ua_low": interval.low,
        "ua_high": interval.high,
        "interval": interval.unit,
        "ua_seed_sd": ua.std(ddof=1) if len(ua) > 1 else np.nan,
        "wa": metrics.accuracy(confusion).mean(),
        "macro_f1": metrics.macro(metrics.f1(confusion), confusion).mean(),
    }


def _differences(ahead: Experiment, reference: Experiment) -> dict[str, Any]:
    """UA, WA and right answers of one experiment against those of another."""
    facts = _facts(ahead, reference)
    found, unit, n_units = difference(metrics.unweighted_accuracy, **facts)
    wa = difference(metrics.accuracy, **facts).effect
    seeds = min(len(ahead.seeds), len(reference.seeds))
    right = [
        facts[side][:, :seeds] == facts["truth"][:, None] for side in ("predicted", "reference")
    ]
    better, worse, p = mcnemar(*right)
    return {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "p": found.p,
        "interval": unit,
        "units": n_units,
        "wa_difference": wa.value,
        "wa_difference_low": wa.low,
        "wa_difference_high": wa.high,
        "clips_better": better,
        "clips_worse": worse,
        "mcnemar_p": p,
        "mcnemar_seeds": seeds,
    }


def _classes(ahead: Experiment, reference: Experiment) -> list[dict[str, Any]]:
    """Recall of each label against that of another experiment, for labels that have clips."""
    facts = _facts(ahead, reference)
    rows = []
    for label in np.unique(facts["truth"]):
        # only speakers with clips of this label are left out: the others say nothing about it
        own = facts["truth"] == label
        chosen = {name: fact if name == "n_classes" else fact[own] for name, fact in facts.items()}
        found, unit, n_units = difference(
            lambda confusions, label=label: metrics.recall(confusions)[..., label], **chosen
        )
        rows.append(
            {
                "label": reference.predictions.labels[label],
                "clips": int(own.sum()),
                "recall_reference": (chosen["reference"] == label).mean(),
                "recall": (chosen["predicted"] == label).mean(),
                "difference": found.value,
                "difference_low": found.low,
                "difference_high": found.high,
                "interval": unit,
                "units": n_units,
            }
        )
    return rows


def _facts(ahead: Experiment, reference: Experiment) -> dict[str, Any]:
    """What `difference` wants to know, classes in the order of the reference."""
    ours, theirs = ahead.predictions, reference.predictions
    order = [ours.labels.index(label) for label in theirs.labels]
    return {
        "truth": theirs.truth,
        "predicted": ours.probabilities[..., order].argmax(-1),
        "reference": theirs.predicted,
        "speakers": theirs.clips["speaker"].to_numpy(),
        "n_classes": len(theirs.labels),
    }


def difference(
    statistic: Callable[[NDArray], NDArray],
    *,
    truth: NDArray,
    predicted: NDArray,
    reference: NDArray,
    speakers: NDArray,
    n_classes: int,
) -> Paired:
    """By how much one system is ahead of another on the same clips: value, interval and p value.

    The same jackknife as `metrics.paired_difference`, which wants as many seeds of both systems.

    Parameters
    ----------
    statistic : callable
        counts [..., classes, classes] -> values [...], in [0, 1], such as `unweighted_accuracy`
    truth : int [clips]
        index of the actual class
    predicted, reference : int [clips, seeds]
        index of the class that each system predicts; numbers of seeds may differ
    speakers : [clips]
        what is left out in turn; the clips, if there is one speaker
    n_classes : int
    """
    several = len(np.unique(speakers)) > 1
    units = speakers if several else np.arange(len(truth))
    runs = np.concatenate([predicted, reference], axis=1)  # [clips, seeds of both]
    _, confusions = metrics.confusion_by_group(truth, runs, units, n_classes=n_classes)
    own = predicted.shape[1]

    def ahead(confusions: NDArray) -> NDArray:
        figures = statistic(confusions)  # [..., seeds of both]
        # Equal systems differ by nothing, and not by what summing in another order leaves.
        return np.round(figures[..., :own].mean(-1) - figures[..., own:].mean(-1), 12)

    effect = Effect(*map(float, jackknife_test(ahead, confusions)))
    return Paired(effect, "speakers" if several else "clips", len(confusions))


def jackknife_test(statistic: Callable[[NDArray], NDArray], confusions: NDArray) -> Effect:
    """Test whether a difference is 0, from leaving out one group at a time.

    The difference over its jackknife standard error follows, if it is 0, about a t distribution
    with n - 1 degrees of freedom. So p is below .05 just where the 95 % interval leaves 0 out.

    Parameters
    ----------
    statistic : callable
        counts [..., *rest] -> differences [...], in [-1, 1], for any leading axes
    confusions : int [groups, *rest]
        counts per group, such as [speakers, systems, classes, classes]; no group may be the only
        one in which the difference is defined

    Returns
    -------
    Effect
        1 for p with fewer than two groups, which say nothing

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11
    """
    value = np.asarray(statistic(confusions.sum(0)), dtype=float)
    low, _ = metrics.jackknife_interval(statistic, confusions, lowest=-np.inf)
    freedom = max(len(confusions) - 1, 1)
    error = (value - low) / stats.t.ppf(0.975, freedom)
    # without any error, a difference is certain, and none is none
    ratio = np.divide(np.abs(value), error, out=np.where(value == 0, 0.0, np.inf), where=error > 0)
    bounds = metrics.jackknife_interval(statistic, confusions, lowest=-1.0)
    return Effect(value, *bounds, 2 * stats.t.sf(ratio, freedom))


def mcnemar(right: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[int, int, float]:
    """McNemar's exact test on clips, each counted once.

    With one seed this is the test as McNemar gave it. With several, a clip speaks for the system
    that is right under more seeds. It takes clips as independent of each other, which clips of one
    speaker are not: it finds differences where there are none more often than p says.

    Parameters
    ----------
    right, reference : bool [clips, seeds]
        whether each system is right; as many seeds of both, as otherwise the one with more of them
        is seldom wholly right or wholly wrong, and equal systems do not come out equal

    Returns
    -------
    better, worse, p
        clips on which the system is right more often than the reference, and less often;
        the two-sided binomial probability of a split as uneven as this one

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
    """Correct p values for how many they are, so that any false one among them stays as rare.

    Parameters
    ----------
    p : float [tests]

    Returns
    -------
    float [tests]
        in the order given, each at least p and at most 1

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
