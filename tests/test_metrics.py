"""Metrics against scikit-learn, intervals against a literal loop and by simulation."""

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

from stages.metrics import counts as metrics

N_CLASSES = 5


def _answers(rng, *, clips=300, runs=()):
    truth = rng.integers(N_CLASSES, size=clips)
    predicted = rng.integers(N_CLASSES, size=(clips, *runs))
    right = rng.random(predicted.shape) < 0.5
    return truth, np.where(right, truth.reshape(-1, *(1 for _ in runs)), predicted)


labelled = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(arrays(np.int64, n, elements=st.integers(0, N_CLASSES - 1)),) * 3)
)


@settings(max_examples=100)
@given(labelled)
def test_metrics_equal_scikit_learn(case):
    truth, predicted, _ = case
    confusion = metrics.confusion_matrix(truth, predicted, n_classes=N_CLASSES)
    assert (confusion == sklearn_confusion(truth, predicted, labels=range(N_CLASSES))).all()
    occurring = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    for ours, theirs in (
        (metrics.recall, recall_score),
        (metrics.precision, precision_score),
        (metrics.f1, f1_score),
    ):
        value = metrics.macro(ours(confusion), confusion)
        assert value == pytest.approx(theirs(truth, predicted, **occurring), abs=1e-12)
        each = {"average": "weighted", "zero_division": 0}
        value = metrics.weighted(ours(confusion), confusion)
        assert value == pytest.approx(theirs(truth, predicted, **each), abs=1e-12)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found")
        expected = matthews_corrcoef(truth, predicted)
    assert metrics.matthews(confusion) == pytest.approx(expected, abs=1e-12)
    for label, own in enumerate(metrics.one_against_rest(confusion)):
        expected = sklearn_confusion(truth == label, predicted == label, labels=[True, False])
        assert (own == expected).all()
    assert metrics.accuracy(confusion) == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.unweighted_accuracy(confusion) == metrics.macro(
        metrics.recall(confusion), confusion
    )


def test_unweighted_accuracy_is_balanced_accuracy():
    truth, predicted = _answers(np.random.default_rng(0))
    confusion = metrics.confusion_matrix(truth, predicted, n_classes=N_CLASSES)
    expected = balanced_accuracy_score(truth, predicted)
    assert metrics.unweighted_accuracy(confusion) == pytest.approx(expected, abs=1e-12)


def test_counts_by_group_keep_seeds_apart():
    truth, predicted = _answers(np.random.default_rng(2), runs=(3,))
    groups = np.random.default_rng(3).choice(["b", "a", "c"], len(truth))
    names, counts = metrics.confusion_by_group(truth, predicted, groups, n_classes=N_CLASSES)
    assert names.tolist() == ["a", "b", "c"]
    assert counts.shape == (3, 3, N_CLASSES, N_CLASSES)
    for g, name in enumerate(names):
        for s in range(3):
            own = groups == name
            expected = sklearn_confusion(truth[own], predicted[own, s], labels=range(N_CLASSES))
            assert (counts[g, s] == expected).all()


def test_class_that_never_occurs_or_is_never_predicted():
    confusion = metrics.confusion_matrix([0, 0, 1, 1], [0, 2, 0, 2], n_classes=4)
    np.testing.assert_array_equal(metrics.recall(confusion), [0.5, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(metrics.precision(confusion), [0.5, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(metrics.f1(confusion), [0.5, 0.0, 0.0, 0.0])
    assert metrics.unweighted_accuracy(confusion) == 0.25


def test_constant_predictions_score_chance():
    truth = np.repeat(np.arange(N_CLASSES), [50, 1, 1, 1, 1])
    confusion = metrics.confusion_matrix(truth, np.zeros_like(truth), n_classes=N_CLASSES)
    assert metrics.unweighted_accuracy(confusion) == pytest.approx(1 / N_CLASSES)
    assert metrics.accuracy(confusion) == pytest.approx(50 / 54)
    assert metrics.matthews(confusion) == 0


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
        metrics.confusion_by_group(truth, predicted, groups, n_classes=N_CLASSES)


@settings(max_examples=60)
@given(labelled)
def test_jackknife_equals_a_literal_loop(case):
    truth, predicted, speakers = case
    found = metrics.speaker_interval(
        metrics.unweighted_accuracy, truth, predicted, speakers, n_classes=N_CLASSES
    )
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

    def first_recall(counts):
        return metrics.recall(counts)[..., 0]

    low, high = metrics.jackknife_interval(first_recall, confusions)
    assert 0.0 <= low < 5 / 8 < high <= 1.0
    assert metrics.jackknife_interval(first_recall, alone) == (0.0, 1.0)
    with pytest.raises(ValueError, match="undefined"):
        metrics.jackknife_interval(first_recall, confusions[2:])


def test_interval_of_identical_speakers_has_no_width():
    confusions = np.tile(np.array([[3, 1], [2, 2]]), (5, 1, 1))
    low, high = metrics.jackknife_interval(metrics.unweighted_accuracy, confusions)
    assert low == high == pytest.approx(0.625)


def _score(truth, answers):
    return np.mean([np.mean(answers[truth == c] == c) for c in np.unique(truth)])


two_systems = st.tuples(st.integers(1, 30), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        *(arrays(np.int64, shape[0], elements=st.integers(0, N_CLASSES - 1)),) * 2,
        *(arrays(np.int64, shape, elements=st.integers(0, N_CLASSES - 1)),) * 2,
    )
)


@settings(max_examples=60)
@given(two_systems)
def test_paired_difference_equals_a_literal_loop(case):
    truth, speakers, predicted, reference = case
    value, found = metrics.paired_difference(
        statistic=metrics.unweighted_accuracy,
        truth=truth,
        predicted=predicted,
        reference=reference,
        speakers=speakers,
        n_classes=N_CLASSES,
    )

    def ahead(rows):
        ours, theirs = (
            np.mean([_score(truth[rows], run[rows]) for run in system.T])
            for system in (predicted, reference)
        )
        return ours - theirs

    estimate = ahead(np.full(len(truth), True))
    assert value == pytest.approx(estimate, abs=1e-12)
    units = speakers if len(np.unique(speakers)) > 1 else np.arange(len(truth))
    assert found.unit == ("speakers" if units is speakers else "clips")
    n = len(np.unique(units))
    if n == 1:
        assert found[:2] == (-1.0, 1.0)
        return
    left_out = [ahead(units != unit) for unit in np.unique(units)]
    error = np.sqrt((n - 1) / n * sum((left - np.mean(left_out)) ** 2 for left in left_out))
    half = stats.t.ppf(0.975, n - 1) * error
    assert found.low == pytest.approx(max(estimate - half, -1.0), abs=1e-9)
    assert found.high == pytest.approx(min(estimate + half, 1.0), abs=1e-9)


def test_what_both_systems_find_hard_does_not_widen_their_difference():
    # six speakers from easy to hard; one system gains one more of ten clips of each
    truth = np.tile(np.repeat([0, 1], 10), 6)
    speakers = np.repeat(np.arange(6), 20)
    place = np.tile(np.arange(10), 12)
    reference = np.where(place < speakers + 3, truth, 1 - truth)[:, None]
    predicted = np.where(place < speakers + 4, truth, 1 - truth)[:, None]
    both = {"truth": truth, "speakers": speakers, "n_classes": 2}
    value, interval = metrics.paired_difference(
        statistic=metrics.unweighted_accuracy, predicted=predicted, reference=reference, **both
    )
    assert value == pytest.approx(0.1)
    assert interval[:2] == pytest.approx((0.1, 0.1))
    alone = metrics.speaker_interval(
        lambda confusions: metrics.unweighted_accuracy(confusions).mean(-1),
        truth,
        predicted,
        speakers,
        n_classes=2,
    )
    assert alone.high - alone.low > 0.3
    turned, mirrored = metrics.paired_difference(
        statistic=metrics.unweighted_accuracy, predicted=reference, reference=predicted, **both
    )
    assert (turned, mirrored.low) == pytest.approx((-value, -interval.high))


@pytest.mark.parametrize(("ours", "theirs"), [((4, 1), (4, 2)), ((4, 1), (3, 1)), ((4,), (4,))])
def test_systems_without_the_same_clips_and_seeds_are_refused(ours, theirs):
    with pytest.raises(ValueError, match=r"got shapes .* want one equal \[clips, seeds\]"):
        metrics.paired_difference(
            statistic=metrics.unweighted_accuracy,
            truth=np.zeros(4, int),
            predicted=np.zeros(ours, int),
            reference=np.zeros(theirs, int),
            speakers=np.arange(4),
            n_classes=2,
        )


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
    low, high = metrics.jackknife_interval(metrics.unweighted_accuracy, confusions)
    covered = np.mean((low <= expected.mean()) & (expected.mean() <= high))
    assert 0.92 < covered < 0.98
