"""Signs that a model was trained on speakers that it is tested on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from stages.reporting.predictions import Predictions
from stages.reporting.systems import ua_row

#: Standard deviation over speakers, in log odds, of how often honest models are right. The systems
#: of docs/results.md have .3 to .6, with the chance of few clips in it.
SPREAD = 0.6
_DRAWS = 2000
_RARE = 0.01
_FEWEST = 4  # speakers, of whom two groups can be told apart


def uneven_speakers(predictions: Predictions) -> dict[str, Any] | None:
    """Test whether some speakers are recognised better than honest models recognise any.

    A model that has heard some of the speakers answers their clips far better than those of others.
    How often it is right varies over speakers with every model, so the spread is compared with that
    of simulated models, whose speakers differ by SPREAD and have as many clips.

    Parameters
    ----------
    predictions : Predictions

    Returns
    -------
    dict or None
        `p`, the fraction of simulated models with a spread as large; `flagged`, whether that is
        rare; `spread` and `usual`, standard deviations over speakers; `best`, the speakers above
        the widest gap, if flagged. None with fewer than four speakers
    """
    right = (predictions.predicted == predictions.truth[:, None]).mean(1)
    speakers = pd.Series(right).groupby(predictions.speakers)
    rates, sizes = speakers.mean(), speakers.size().to_numpy()
    if len(rates) < _FEWEST:
        return None
    spread = float(rates.std(ddof=1))
    usual = _simulated(float(right.mean()), sizes=sizes)
    p = float((1 + (usual >= spread).sum()) / (1 + len(usual)))
    ordered = rates.sort_values(ascending=False)
    gap = int(np.argmax(-np.diff(ordered.to_numpy()))) + 1
    flagged = p <= _RARE
    return {
        "p": p,
        "flagged": flagged,
        "spread": spread,
        "usual": float(usual.mean()),
        "best": sorted(ordered.index[:gap]) if flagged else [],
        "best_rate": float(ordered.iloc[:gap].mean()),
        "rest_rate": float(ordered.iloc[gap:].mean()),
    }


def _simulated(rate: float, *, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spread over speakers of models that are right at this rate, each with the same speakers."""
    generator = np.random.default_rng(0)
    rate = min(max(rate, 0.5 / sizes.sum()), 1 - 0.5 / sizes.sum())
    odds = logit(rate) + SPREAD * generator.standard_normal((_DRAWS, len(sizes)))
    return (generator.binomial(sizes, expit(odds)) / sizes).std(axis=1, ddof=1)


def above_known(pooled: Mapping[str, float], known: pd.DataFrame) -> dict[str, Any] | None:
    """Compare the UA with the best published figure for held-out speakers.

    Parameters
    ----------
    pooled : mapping
        ua, ua_low, ua_high of the model
    known : DataFrame
        see `stages.reporting.sections.references.references`; its first row is the model

    Returns
    -------
    dict or None
        `system` and `ua` of the best, and `flagged`, whether the whole interval is above; None
        without a published figure
    """
    published = known[known["source"] != "this page"]
    if published.empty:
        return None
    best = published.loc[published["ua"].idxmax()]
    return {
        "system": best["system"],
        "ua": float(best["ua"]),
        "flagged": bool(pooled["ua_low"] > best["ua"]),
    }


def apart(predictions: Predictions, *, heard: set[str]) -> pd.DataFrame:
    """UA of the speakers that a model was trained on, and of all others.

    Parameters
    ----------
    predictions : Predictions
    heard : set of str
        speakers, as the clip table names them

    Returns
    -------
    DataFrame
        speakers (heard in training, or new), n_speakers, clips, ua, ua_low, ua_high, interval
    """
    seen = np.isin(predictions.speakers, sorted(heard))
    rows = []
    for name, chosen in (("heard in training", seen), ("new", ~seen)):
        if chosen.any():
            part = predictions.select(chosen)
            rows.append(
                {
                    "speakers": name,
                    "n_speakers": part.clips["speaker"].nunique(),
                    "clips": part.clips["clip"].nunique(),
                    **ua_row(part.predicted, **part.tested),
                }
            )
    return pd.DataFrame(rows)
