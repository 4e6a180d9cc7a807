"""Are probabilities as sure as they are right, and what one temperature makes of them.

A temperature divides the logits of a job (one fold and seed). It is fitted on clips that validated
in that job, never on those that it holds out, and changes no answer, only how sure it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from stages.metrics import probabilities as scores
from stages.reporting.predictions import Predictions
from stages.reporting.tables import overall

#: Temperatures are sought between its inverse and this: all validation clips being right, or
#: their answers saying nothing, would lead to 0 or to infinity.
MOST = 20.0
_JOB = ["fold", "seed"]


def fit_temperature(truth: NDArray[np.int64], probabilities: NDArray) -> float:
    """The temperature at which the mean log loss is least.

    Parameters
    ----------
    truth : int [clips]
        index of the actual class
    probabilities : float [clips, classes]

    Returns
    -------
    float
        over 1 where the probabilities are too sure; between 1 / MOST and MOST

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017
    """
    logs = _logs(probabilities)
    clips = np.arange(len(truth))

    def loss(log_temperature: float) -> float:  # has one minimum: convex in 1 / temperature
        return -log_softmax(logs / np.exp(log_temperature), axis=1)[clips, truth].mean()

    limit = np.log(MOST)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def temperatures(validation: pd.DataFrame, *, labels: Sequence[str]) -> pd.DataFrame:
    """The temperature of each job.

    Parameters
    ----------
    validation : DataFrame
        see `read_validation`
    labels : list of str
        the classes

    Returns
    -------
    DataFrame
        one row per job: fold, seed, clips, speakers (that validated), temperature
    """
    rows = []
    for (fold, seed), table in validation.groupby(_JOB):
        truth = table["label"].map(list(labels).index).to_numpy()
        shares = table[[f"p_{label}" for label in labels]].to_numpy(dtype=float)
        row = {"fold": fold, "seed": seed, "clips": len(table)}
        row |= {"speakers": table["speaker"].nunique()}
        rows.append(row | {"temperature": fit_temperature(truth, shares)})
    return pd.DataFrame(rows).round(6)


def scale(predictions: Predictions, jobs: pd.DataFrame) -> Predictions:
    """The same predictions, each with the temperature of the job that made it.

    Parameters
    ----------
    predictions : Predictions
    jobs : DataFrame
        see `temperatures`

    Raises
    ------
    ValueError
        naming the job that has none
    """
    wanted = pd.MultiIndex.from_product(
        [sorted(set(predictions.clips["fold"])), predictions.seeds], names=_JOB
    )
    found = jobs.set_index(_JOB)["temperature"].reindex(wanted)
    if found.isna().any():
        fold, seed = found.index[found.isna()][0]
        raise ValueError(
            f"data/validation.csv: no clip validates in fold {fold}, seed {seed}; want some in "
            "every job, or in none"
        )
    by_clip = found.unstack("seed").loc[predictions.clips["fold"]].to_numpy()  # [clips, seeds]
    logs = _logs(predictions.probabilities)
    return replace(predictions, probabilities=softmax(logs / by_clip[..., None], axis=-1))


def scaled_figures(scaled: Predictions) -> pd.DataFrame:
    """Those rows of `tables.overall` that a temperature changes, as <figure>_scaled; last the ece.

    The intervals take the temperatures as given.
    """
    figures = overall(scaled).set_index("figure").loc[["loss", "brier", "ece"]]
    return figures.rename(index=lambda figure: f"{figure}_scaled").reset_index()


def reliability_table(stages: dict[str, Predictions]) -> pd.DataFrame:
    """How often answers were right, by how sure they were.

    Parameters
    ----------
    stages : Predictions by name
        such as before and after scaling

    Returns
    -------
    DataFrame
        a row for each name and bin: probabilities, from, to (confidence; the upper end belongs to
        the bin), answers (clips times seeds), confidence (their mean), accuracy; the last two are
        empty where a bin has no answer
    """
    tables = []
    for name, predictions in stages.items():
        one = np.zeros(len(predictions.truth))
        sums = scores.reliability(predictions.truth, predictions.probabilities, one)[0].sum(0)
        answers = sums[:, 0].astype(int)
        means = sums[:, 1:] / np.where(answers, answers, np.nan)[:, None]
        edges = np.arange(scores.BINS + 1) / scores.BINS
        table = {"probabilities": name, "from": edges[:-1], "to": edges[1:], "answers": answers}
        tables.append(pd.DataFrame(table | {"confidence": means[:, 0], "accuracy": means[:, 1]}))
    return pd.concat(tables, ignore_index=True).round(6)


def _logs(probabilities: NDArray) -> NDArray[np.float64]:
    """Logits up to a constant."""
    return np.log(np.clip(probabilities, scores.LEAST, 1.0))
