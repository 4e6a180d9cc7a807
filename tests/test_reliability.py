"""Temperatures: found where they are known, fitted on validation clips, and changing no answer."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from stages.metrics.probabilities import (
    BINS,
    LEAST,
    calibration_error,
    fit_temperature,
    reliability,
)
from stages.reporting import temperature
from stages.reporting.predictions import arrange
from stages.reporting.sections.overall import overall
from stages.reporting.sections.reliability import reliability_table

LABELS = ["angry", "happy", "sad"]
COLUMNS = [f"p_{label}" for label in LABELS]


def _clips(rng, *, clips, temperature):
    """Truth, and probabilities that are too sure by this temperature."""
    logits = rng.normal(size=(clips, 3)) * 2
    truth = (rng.random((clips, 1)) > softmax(logits, axis=1).cumsum(1)).sum(1)
    return truth, softmax(logits * temperature, axis=1)


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(known):
    truth, shares = _clips(np.random.default_rng(0), clips=20_000, temperature=known)
    found = fit_temperature(truth, np.log(shares))
    assert found == pytest.approx(known, rel=0.05)

    def loss(value):
        return log_loss(truth, softmax(np.log(shares) / value, axis=1))

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_temperature_stays_finite():
    shares = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert fit_temperature(np.array([0, 1]), np.log(shares)) == pytest.approx(1 / 20, rel=0.01)
    assert fit_temperature(np.array([1, 0]), np.log(shares)) == pytest.approx(20, rel=0.01)
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(fit_temperature(np.array([0, 0]), np.log(sure.clip(LEAST))))


def _tables(factors):
    """Predictions of two folds with two seeds, too sure by a factor of each job; what validates."""
    rng = np.random.default_rng(1)
    held_out, validation = [], []
    for (fold, seed), factor in factors.items():
        for rows, name in ((held_out, fold), (validation, f"v{fold}")):
            truth, shares = _clips(np.random.default_rng(fold), clips=800, temperature=1)
            logits = np.log(shares) + rng.normal(scale=0.05, size=shares.shape)
            table = pd.DataFrame(softmax(logits * factor, axis=1), columns=COLUMNS)
            facts = {"corpus": "x", "speaker": f"x/{name}", "sex": "", "fold": fold, "seed": seed}
            clips = [f"x/{name}-{number:04}" for number in range(800)]
            rows.append(table.assign(clip=clips, label=np.array(LABELS)[truth], **facts))
    held_out, validation = pd.concat(held_out), pd.concat(validation)
    return arrange(held_out, known=held_out["clip"], name="x"), validation


def test_each_job_has_its_own_temperature():
    factors = {(0, 0): 1.0, (0, 7): 2.0, (1, 0): 0.5, (1, 7): 4.0}
    predictions, validation = _tables(factors)
    jobs = temperature.temperatures(validation, labels=LABELS)
    assert jobs["clips"].tolist() == [800] * 4 and jobs["speakers"].tolist() == [1] * 4
    np.testing.assert_allclose(jobs["temperature"], list(factors.values()), rtol=0.15)
    scaled = temperature.scale(predictions, jobs)
    np.testing.assert_allclose(scaled.probabilities.sum(-1), 1)
    np.testing.assert_array_equal(scaled.predicted, predictions.predicted)
    groups = np.zeros(len(predictions.truth))
    before, after = (
        calibration_error(reliability(p.truth, p.probabilities, groups).sum(0))
        for p in (predictions, scaled)
    )
    assert (after < 0.04).all() and (before > 0.05).all()
    figures = overall(scaled).set_index("figure")
    assert figures.loc["ece", "value"] == pytest.approx(after.mean(), abs=1e-6)


def test_a_job_without_validation_clips_is_named():
    predictions, validation = _tables({(0, 0): 1.0, (0, 7): 2.0, (1, 0): 0.5, (1, 7): 4.0})
    lacking = validation[(validation["fold"] == 0) | (validation["seed"] == 0)]
    jobs = temperature.temperatures(lacking, labels=LABELS)
    with pytest.raises(ValueError, match="fold 1, seed 7: got 0 validation clips"):
        temperature.scale(predictions, jobs)


def test_reliability_counts_every_answer():
    predictions, _ = _tables({(0, 0): 1.0, (1, 0): 3.0})
    table = reliability_table({"one": predictions, "again": predictions})
    assert len(table) == 2 * BINS and table["probabilities"].unique().tolist() == [
        "one",
        "again",
    ]
    own = table[table["probabilities"] == "one"]
    assert own["answers"].sum() == 1600
    used = own[own["answers"] > 0]
    assert ((used["from"] < used["confidence"]) & (used["confidence"] <= used["to"])).all()
    empty = own[own["answers"] == 0]
    assert len(empty) and empty[["confidence", "accuracy"]].isna().all(axis=None)
    right = (used["accuracy"] * used["answers"]).sum() / 1600
    assert right == pytest.approx(
        (predictions.predicted[:, 0] == predictions.truth).mean(), abs=1e-5
    )
