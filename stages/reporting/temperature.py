"""Temperature scaling: one number per training job that makes its probabilities calibrated.

A temperature divides the logits of a job (one fold and seed). It is fitted on the clips that
validate in that job, never on those that it holds out. It changes the probabilities, and never
which class is the most probable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from stages.metrics.probabilities import LEAST, fit_temperature
from stages.reporting.predictions import Predictions

_JOB = ["fold", "seed"]


def temperatures(validation: pd.DataFrame, *, labels: Sequence[str]) -> pd.DataFrame:
    """Fit the temperature of each job.

    Parameters
    ----------
    validation : DataFrame
        see `read_validation`
    labels : list of str
        the classes

    Returns
    -------
    DataFrame
        one row per job: fold, seed, clips and speakers that validate, temperature
    """
    rows = []
    for (fold, seed), table in validation.groupby(_JOB):
        truth = table["label"].map(list(labels).index).to_numpy()
        probabilities = table[[f"p_{label}" for label in labels]].to_numpy(dtype=float)
        row = {"fold": fold, "seed": seed, "clips": len(table)}
        row |= {"speakers": table["speaker"].nunique()}
        rows.append(row | {"temperature": fit_temperature(truth, _logits(probabilities))})
    return pd.DataFrame(rows).round(6)


def scale(predictions: Predictions, jobs: pd.DataFrame) -> Predictions:
    """Scale predictions by the temperature of the job that made them.

    Parameters
    ----------
    predictions : Predictions
    jobs : DataFrame
        see `temperatures`

    Raises
    ------
    ValueError
        naming the job without a temperature
    """
    wanted = pd.MultiIndex.from_product(
        [sorted(set(predictions.clips["fold"])), predictions.seeds], names=_JOB
    )
    found = jobs.set_index(_JOB)["temperature"].reindex(wanted)
    if found.isna().any():
        fold, seed = found.index[found.isna()][0]
        raise ValueError(
            f"data/validation.csv: fold {fold}, seed {seed}: got 0 validation clips, want some in "
            "every job or in none"
        )
    by_clip = found.unstack("seed").loc[predictions.clips["fold"]].to_numpy()  # [clips, seeds]
    logits = _logits(predictions.probabilities)
    return replace(predictions, probabilities=softmax(logits / by_clip[..., None], axis=-1))


def _logits(probabilities: NDArray) -> NDArray[np.float64]:
    """Logits up to a constant."""
    return np.log(np.clip(probabilities, LEAST, 1.0))
