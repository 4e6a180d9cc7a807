"""Figures of probabilities against scikit-learn, and their intervals against a literal loop."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score, top_k_accuracy_score

from stages.metrics import probabilities
from stages.metrics.intervals import jackknife_interval, mean_interval

N_CLASSES = 4


def _answers(seed, *, clips=120, seeds=2, digits=2):
    """Truth, probabilities [clips, seeds, classes] with many ties, and five speakers."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(N_CLASSES, size=clips)
    shares = rng.dirichlet(np.ones(N_CLASSES), size=(clips, seeds)).round(digits)
    shares[np.arange(clips), :, truth] += 0.1
    return truth, shares / shares.sum(-1, keepdims=True), rng.choice(list("abcde"), clips)


def _loop(figure, speakers, *, bounds=(0, 1)):
    """Jackknife interval of `figure(rows)`, by computing it anew for every speaker left out."""
    left_out = np.array([figure(speakers != speaker) for speaker in np.unique(speakers)])
    n = len(left_out)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, n - 1) * error
    value = figure(np.full(len(speakers), True))
    return np.clip([value - half, value + half], *bounds)


def test_clip_figures_equal_scikit_learn_for_each_seed():
    truth, shares, speakers = _answers(0, digits=12)
    labels = range(N_CLASSES)
    for seed in (0, 1):
        own = shares[:, seed]
        loss = probabilities.log_losses(truth, own).mean()
        assert loss == pytest.approx(log_loss(truth, own, labels=labels), abs=1e-12)
        brier = probabilities.squared_errors(truth, own).sum(-1).mean()
        expected = brier_score_loss(truth, own, labels=labels, scale_by_half=False)
        assert brier == pytest.approx(expected, abs=1e-12)
        for k in (1, 2, 3):
            expected = top_k_accuracy_score(truth, own, k=k, labels=labels)
            assert probabilities.in_top(truth, own, k=k).mean() == expected
    both = probabilities.log_losses(truth, shares)
    np.testing.assert_array_equal(both[:, 1], probabilities.log_losses(truth, shares[:, 1]))
    found = mean_interval(both, speakers, highest=16.2)
    expected = _loop(lambda rows: both[rows].mean(), speakers, bounds=(0, 16.2))
    np.testing.assert_allclose(found[:2], expected, atol=1e-12)
    assert found.unit == "speakers"


def test_certain_mistakes_cost_a_finite_loss():
    losses = probabilities.log_losses([0, 1], [[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(losses, [-np.log(1e-7), 0])


def test_of_equal_probabilities_the_first_class_counts():
    assert probabilities.in_top([0, 1, 2], np.full((3, 3), 1 / 3), k=2).tolist() == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("seed", range(5))
def test_roc_areas_equal_scikit_learn_whatever_is_left_out(seed):
    truth, shares, speakers = _answers(seed, clips=40)
    areas, replicates = probabilities.roc_areas(truth, shares, speakers)

    def theirs(rows):
        return [
            [roc_auc_score(truth[rows] == c, shares[rows, s, c]) for c in range(N_CLASSES)]
            for s in (0, 1)
        ]

    np.testing.assert_allclose(areas, theirs(slice(None)), atol=1e-12)
    for place, speaker in enumerate(np.unique(speakers)):
        np.testing.assert_allclose(replicates[place], theirs(speakers != speaker), atol=1e-12)
    by_clip = probabilities.roc_areas(truth, shares, np.arange(40))[1]
    np.testing.assert_allclose(by_clip[7], theirs(np.arange(40) != 7), atol=1e-12)


def test_roc_area_is_undefined_without_clips_on_both_sides():
    truth, speakers = np.array([0, 0, 1, 1]), np.array(["a", "b", "b", "b"])
    shares = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.6, 0.4, 0], [0.3, 0.7, 0]])[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        areas, replicates = probabilities.roc_areas(truth, shares, speakers)
    np.testing.assert_array_equal(areas, [[0.75, 0.75, np.nan]])
    np.testing.assert_array_equal(replicates, [[[0.5, 0.5, np.nan]], [[np.nan] * 3]])
    np.testing.assert_array_equal(probabilities.mean_defined(areas), [0.75])
    assert np.isnan(probabilities.mean_defined(replicates)[1, 0])


def test_constant_predictions_have_the_area_of_guessing():
    truth = np.array([0, 1, 2, 2])
    areas, _ = probabilities.roc_areas(truth, np.full((4, 1, 3), 1 / 3), truth)
    assert areas.tolist() == [[0.5] * 3]


def test_calibration_error_equals_a_literal_sum_over_bins():
    truth, shares, speakers = _answers(3, digits=12)
    sums = probabilities.reliability(truth, shares, speakers)
    assert sums.shape == (5, 2, 15, 3)
    assert (sums[..., 0].sum((0, 2)) == len(truth)).all()

    def theirs(rows, seed):
        confidence, right = shares[rows, seed].max(1), shares[rows, seed].argmax(1) == truth[rows]
        distance = 0
        for low in np.arange(15) / 15:
            inside = (low < confidence) & (confidence <= low + 1 / 15)
            if inside.any():
                distance += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
        return distance

    everything = np.full(len(truth), True)
    for seed, error in enumerate(probabilities.calibration_error(sums.sum(0))):
        assert error == pytest.approx(theirs(everything, seed), abs=1e-12)
    found = jackknife_interval(lambda s: probabilities.calibration_error(s).mean(-1), sums)
    expected = _loop(lambda rows: np.mean([theirs(rows, seed) for seed in (0, 1)]), speakers)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_honest_probabilities_are_calibrated_and_boasts_are_not():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 20_000)
    truth = (rng.random((20_000, 1)) > shares.cumsum(1)).sum(1)
    boasts = shares**4 / (shares**4).sum(1, keepdims=True)
    errors = [
        probabilities.calibration_error(
            probabilities.reliability(truth, p[:, None], np.zeros(20_000)).sum(0)
        )[0]
        for p in (shares, boasts)
    ]
    assert errors[0] < 0.015 and errors[1] > 0.15


def test_one_clip_has_no_interval():
    assert mean_interval([0.3], ["a"]) == (0.0, 1.0, "clips")
    assert mean_interval([0.3, 0.5], ["a", "a"]).unit == "clips"
