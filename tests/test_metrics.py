"""Metrics against scikit-learn, intervals against a literal loop and by simulation."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion

from stages.metrics import counts, intervals

N_CLASSES = 5


def _answers(rng, *, clips=300, runs=()):
    truth = rng.integers(N_CLASSES, size=clips)
    predicted = rng.integers(N_CLASSES, size=(clips, *runs))
    right = rng.random(predicted.shape) < 0.5
    return truth, np.where(right, truth.reshape(-1, *(1 for _ in runs)), predicted)


labelled = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(arrays(np.int64, n, elements=st.integers(0, N_CLASSES - 1)),) * 3)
)


@pytest.mark.slow
@settings(max_examples=50)
@given(labelled)
def test_metrics_equal_scikit_learn(case):
    truth, predicted, _ = case
    confusion = counts.confusion_matrix(truth, predicted, n_classes=N_CLASSES)
    assert (confusion == sklearn_confusion(truth, predicted, labels=range(N_CLASSES))).all()
    occurring = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    for ours, theirs in (
        (counts.recall, recall_score),
        (counts.precision, precision_score),
        (counts.f1, f1_score),
    ):
        value = counts.macro(ours(confusion), confusion)
        assert value == pytest.approx(theirs(truth, predicted, **occurring), abs=1e-12)
        each = {"average": "weighted", "zero_division": 0}
        value = counts.weighted(ours(confusion), confusion)
        assert value == pytest.approx(theirs(truth, predicted, **each), abs=1e-12)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found")
        expected = matthews_corrcoef(truth, predicted)
    assert counts.matthews(confusion) == pytest.approx(expected, abs=1e-12)
    for label, own in enumerate(counts.one_against_rest(confusion)):
        expected = sklearn_confusion(truth == label, predicted == label, labels=[True, False])
        assert (own == expected).all()
    assert counts.accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted))
    assert counts.unweighted_accuracy(confusion) == counts.macro(
        counts.recall(confusion), confusion
    )


def test_unweighted_accuracy_is_balanced_accuracy():
    truth, predicted = _answers(np.random.default_rng(0))
    confusion = counts.confusion_matrix(truth, predicted, n_classes=N_CLASSES)
    expected = balanced_accuracy_score(truth, predicted)
    assert counts.unweighted_accuracy(confusion) == pytest.approx(expected, abs=1e-12)


def test_counts_by_group_keep_seeds_apart():
    truth, predicted = _answers(np.random.default_rng(2), runs=(3,))
    groups = np.random.default_rng(3).choice(["b", "a", "c"], len(truth))
    names, found = counts.confusion_by_group(truth, predicted, groups, n_classes=N_CLASSES)
    assert names.tolist() == ["a", "b", "c"]
    assert found.shape == (3, 3, N_CLASSES, N_CLASSES)
    for g, name in enumerate(names):
        for s in range(3):
            own = groups == name
            expected = sklearn_confusion(truth[own], predicted[own, s], labels=range(N_CLASSES))
            assert (found[g, s] == expected).all()


def test_class_that_never_occurs_or_is_never_predicted():
    confusion = counts.confusion_matrix([0, 0, 1, 1], [0, 2, 0, 2], n_classes=4)
    np.testing.assert_array_equal(counts.recall(confusion), [0.5, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(counts.precision(confusion), [0.5, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(counts.f1(confusion), [0.5, 0.0, 0.0, 0.0])
    assert counts.unweighted_accuracy(confusion) == 0.25


def test_constant_predictions_score_chance():
    truth = np.repeat(np.arange(N_CLASSES), [50, 1, 1, 1, 1])
    confusion = counts.confusion_matrix(truth, np.zeros_like(truth), n_classes=N_CLASSES)
    assert counts.unweighted_accuracy(confusion) == pytest.approx(1 / N_CLASSES)
    assert counts.accuracy(confusion) == pytest.approx(50 / 54)
    assert counts.matthews(confusion) == 0


@pytest.mark.parametrize(
    ("truth", "predicted", "groups", "message"),
    [
        ([], [], [], "want one equal length over 0"),
        ([0, 1], [0], ["a", "a"], "2, 1 and 2 clips"),
        ([0, 1], [0, 1], ["a"], "2, 2 and 1 clips"),
        ([0, 5], [0, 1], ["a", "a"], "truth: got class indices 0 to 5"),
        ([0, 1], [0, -1], ["a", "a"], "predicted: got class indices -1 to 0"),
    ],
)
def test_bad_input_is_named(truth, predicted, groups, message):
    with pytest.raises(ValueError, match=message):
        counts.confusion_by_group(truth, predicted, groups, n_classes=N_CLASSES)


@settings(max_examples=60)
@given(labelled)
def test_jackknife_equals_a_literal_loop(case):
    truth, predicted, speakers = case
    tested = {"truth": truth, "predicted": predicted, "speakers": speakers}
    found = intervals.speaker_interval(counts.unweighted_accuracy, **tested, n_classes=N_CLASSES)
    units = speakers if len(np.unique(speakers)) > 1 else np.arange(len(truth))
    assert found.unit == ("speakers" if units is speakers else "clips")

    def score(rows):
        present = np.unique(truth[rows])
        return np.mean([np.mean(predicted[rows][truth[rows] == c] == c) for c in present])

    n = len(np.unique(units))
    if n == 1:
        assert found[:2] == (0.0, 1.0)
        return
    left_out = [score(units != unit) for unit in np.unique(units)]
    error = np.sqrt((n - 1) / n * sum((value - np.mean(left_out)) ** 2 for value in left_out))
    half = stats.t.ppf(0.975, n - 1) * error
    estimate = score(np.full(len(truth), True))
    assert found.low == pytest.approx(max(estimate - half, 0.0), abs=1e-9)
    assert found.high == pytest.approx(min(estimate + half, 1.0), abs=1e-9)


def test_replicate_without_the_class_does_not_count():
    # only the first two of four speakers have class 0: the other two say nothing of its recall
    confusions = np.zeros((4, 2, 2), dtype=int)
    confusions[0, 0] = [3, 1]
    confusions[1, 0] = [2, 2]
    confusions[2:, 1] = [0, 4]
    alone = np.delete(confusions, [1, 2, 3], axis=0)

    def first_recall(confusions):
        return counts.recall(confusions)[..., 0]

    low, high = intervals.jackknife_interval(first_recall, confusions)
    assert 0.0 <= low < 5 / 8 < high <= 1.0
    assert intervals.jackknife_interval(first_recall, alone) == (0.0, 1.0)
    with pytest.raises(ValueError, match="undefined"):
        intervals.jackknife_interval(first_recall, confusions[2:])


def test_interval_of_identical_speakers_has_no_width():
    confusions = np.tile(np.array([[3, 1], [2, 2]]), (5, 1, 1))
    low, high = intervals.jackknife_interval(counts.unweighted_accuracy, confusions)
    assert low == high == pytest.approx(0.625)


@pytest.mark.parametrize("n_speakers", [4, 10, 24])
def test_interval_covers_the_truth_as_often_as_it_says(n_speakers):
    rng = np.random.default_rng(n_speakers)
    experiments = 4000
    clips = np.array([8, 8, 16, 4])
    expected = np.array([0.7, 0.5, 0.4, 0.6])
    # a speaker shifts all recalls alike, and each emotion a little more, with mean 0
    shift = rng.uniform(-0.2, 0.2, (n_speakers, experiments, 1))
    shift = shift + rng.uniform(-0.1, 0.1, (n_speakers, experiments, 4))
    hits = rng.binomial(clips, expected + shift)
    confusions = np.zeros((n_speakers, experiments, 4, 4), dtype=int)
    for label in range(4):
        confusions[:, :, label, label] = hits[..., label]
        confusions[:, :, label, (label + 1) % 4] = clips[label] - hits[..., label]
    low, high = intervals.jackknife_interval(counts.unweighted_accuracy, confusions)
    covered = np.mean((low <= expected.mean()) & (expected.mean() <= high))
    assert 0.92 < covered < 0.98


# Two systems


two_systems = st.tuples(st.integers(1, 30), st.integers(1, 3), st.integers(1, 3)).flatmap(
    lambda size: st.tuples(
        arrays(np.int64, size[0], elements=st.integers(0, 2)),
        arrays(np.int64, size[0], elements=st.integers(0, 4)),
        arrays(np.int64, (size[0], size[1]), elements=st.integers(0, 2)),
        arrays(np.int64, (size[0], size[2]), elements=st.integers(0, 2)),
    )
)


@pytest.mark.slow
@settings(max_examples=20)
@given(two_systems)
def test_paired_difference_equals_a_literal_loop_with_scikit_learn(case):
    truth, speakers, predicted, reference = case

    def ua(rows, run):
        present = {"labels": np.unique(truth[rows]), "average": "macro", "zero_division": 0}
        return recall_score(truth[rows], run[rows], **present)

    def ahead(rows):
        ours, theirs = (np.mean([ua(rows, run) for run in s.T]) for s in (predicted, reference))
        return round(ours - theirs, 12)

    systems = {"predicted": predicted, "reference": reference}
    found = intervals.paired_difference(
        counts.unweighted_accuracy, truth=truth, speakers=speakers, **systems, n_classes=3
    )
    several = len(np.unique(speakers)) > 1
    units = speakers if several else np.arange(len(truth))
    names, value = np.unique(units), ahead(np.full(len(units), True))
    n = len(names)
    assert (found.unit, found.n_units) == ("speakers" if several else "clips", n)
    if n == 1:
        assert found[:4] == pytest.approx((value, -1, 1, 1))
        return
    left_out = np.array([ahead(units != name) for name in names])
    error = np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
    half = stats.t.ppf(0.975, n - 1) * error
    p = 2 * (1 - stats.t.cdf(abs(value) / error, n - 1)) if error > 1e-9 else float(value == 0)
    expected = (value, max(value - half, -1), min(value + half, 1), p)
    assert found[:4] == pytest.approx(expected, abs=1e-6)
    if found.low > -1 and found.high < 1:
        without = found.low > 0 or found.high < 0
        assert (found.p < 0.05) == without or abs(found.p - 0.05) < 1e-6


def test_any_number_of_seeds_of_equal_predictions_differs_by_nothing():
    rng = np.random.default_rng(0)
    truth, one = rng.integers(3, size=70), rng.integers(3, size=(70, 1))
    tested = {"truth": truth, "speakers": np.arange(70) % 7, "n_classes": 3}
    for seeds in (1, 3, 7):
        found = intervals.paired_difference(
            counts.unweighted_accuracy,
            predicted=np.repeat(one, seeds, axis=1),
            reference=one,
            **tested,
        )
        assert found == (0.0, 0.0, 0.0, 1.0, "speakers", 7)


def test_a_difference_that_all_speakers_share_is_certain():
    truth = np.tile([0, 0, 1, 1], 5)
    systems = {"predicted": truth[:, None], "reference": np.tile([0, 1, 1, 1], 5)[:, None]}
    found = intervals.paired_difference(
        counts.unweighted_accuracy,
        truth=truth,
        speakers=np.repeat(np.arange(5), 4),
        n_classes=2,
        **systems,
    )
    assert found[:4] == pytest.approx((0.25, 0.25, 0.25, 0.0))


def test_rows_of_one_clip_are_left_out_together():
    truth = np.array([0, 0, 1, 1, 0, 0])
    clips = np.array(["a", "a", "b", "b", "c", "c"])
    systems = {"predicted": truth[:, None], "reference": np.array([0, 1, 1, 1, 0, 0])[:, None]}
    tested = {"truth": truth, "speakers": np.zeros(6), "n_classes": 2}
    apart, together = (
        intervals.paired_difference(counts.accuracy, clips=names, **systems, **tested)
        for names in (None, clips)
    )
    assert apart.value == together.value == pytest.approx(1 / 6)
    assert (apart.n_units, together.n_units) == (6, 3)
    left_out = np.array([0, 1 / 4, 1 / 4])  # without clip a, b, c
    half = stats.t.ppf(0.975, 2) * np.sqrt(2 * np.var(left_out))
    assert together.high == pytest.approx(1 / 6 + half)


def test_what_both_systems_find_hard_does_not_widen_their_difference():
    # six speakers from easy to hard; one system gains one more of ten clips of each
    truth = np.tile(np.repeat([0, 1], 10), 6)
    speakers = np.repeat(np.arange(6), 20)
    place = np.tile(np.arange(10), 12)
    reference = np.where(place < speakers + 3, truth, 1 - truth)[:, None]
    predicted = np.where(place < speakers + 4, truth, 1 - truth)[:, None]
    both = {"truth": truth, "speakers": speakers, "n_classes": 2}
    found = intervals.paired_difference(
        counts.unweighted_accuracy, predicted=predicted, reference=reference, **both
    )
    assert found[:3] == pytest.approx((0.1, 0.1, 0.1))
    alone = intervals.speaker_interval(
        lambda confusions: counts.unweighted_accuracy(confusions).mean(-1),
        predicted=predicted,
        **both,
    )
    assert alone.high - alone.low > 0.3
    turned = intervals.paired_difference(
        counts.unweighted_accuracy, predicted=reference, reference=predicted, **both
    )
    assert (turned.value, turned.low) == pytest.approx((-found.value, -found.high))


@pytest.mark.parametrize(("ours", "theirs"), [((4, 1), (3, 1)), ((4,), (4,)), ((4, 1), (4,))])
def test_systems_without_the_same_clips_are_refused(ours, theirs):
    with pytest.raises(ValueError, match=re.escape(f"got shapes {ours} and {theirs}, want")):
        intervals.paired_difference(
            counts.unweighted_accuracy,
            truth=np.zeros(4, int),
            predicted=np.zeros(ours, int),
            reference=np.zeros(theirs, int),
            speakers=np.arange(4),
            n_classes=2,
        )


def simulated(ahead: float, *, speakers: int) -> np.ndarray:
    """p values of 4000 experiments: two systems on some speakers, one ahead of the other.

    Speakers are easy or hard for both, and lie more or less well for either, so clips of one
    speaker are not independent; emotions are not equally frequent.
    """
    rng = np.random.default_rng(1)
    experiments, clips = 4000, np.array([8, 8, 16, 4])
    both = rng.uniform(-0.15, 0.15, (speakers, experiments, 1, 1))
    either = rng.uniform(-0.1, 0.1, (speakers, experiments, 2, 1))
    expected = np.array([0.6, 0.5, 0.4, 0.5]) + both + either
    expected[:, :, 1] += ahead
    hits = rng.binomial(clips, expected)  # [speakers, experiments, systems, classes]
    confusions = np.zeros((*hits.shape, 4), dtype=np.int64)
    for label in range(4):
        confusions[..., label, label] = hits[..., label]
        confusions[..., label, (label + 1) % 4] = clips[label] - hits[..., label]

    def difference(confusions):
        figures = counts.unweighted_accuracy(confusions)
        return figures[..., 1] - figures[..., 0]

    return intervals.jackknife_test(difference, confusions)[3]


@pytest.mark.parametrize("speakers", [4, 10, 24])
def test_equal_systems_are_called_different_as_seldom_as_p_says(speakers):
    assert 0.035 < np.mean(simulated(0.0, speakers=speakers) < 0.05) < 0.07


@pytest.mark.parametrize(("speakers", "found"), [(4, 0.15), (10, 0.55), (24, 0.9)])
def test_systems_far_apart_are_called_different(speakers, found):
    assert np.mean(simulated(0.12, speakers=speakers) < 0.05) > found
