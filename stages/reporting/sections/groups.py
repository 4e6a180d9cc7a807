"""UA and WA by sex, age, language and intensity."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.reporting.grouped import UNKNOWN, per_group
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section

#: Age group -> its least age in years: young adults, two halves of middle age, and old age, which
#: listeners hear from about 60. CREMA-D has 20 to 74 years.
AGE_GROUPS = {"under 30": 0, "30 to 44": 30, "45 to 59": 45, "60 and over": 60}
#: Facts that clips are grouped by, and the order of their values after any others.
_ORDERS: dict[str, list[str]] = {
    "sex": [],
    "age_group": list(AGE_GROUPS),
    "language": [],
    "intensity": ["low", "normal", "medium", "strong"],
}


def section(run: Run) -> Section:
    """A table for each fact, or a sentence where all clips are alike."""
    tables = breakdowns(run.predictions, clips=run.clips)
    return Section(
        tables={f"per_{name}": table for name, table in tables.items()},
        words={"names": list(tables)},
    )


def breakdowns(predictions: Predictions, *, clips: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Compute UA and WA by sex, age_group, language and intensity; see `per_group`.

    Clips of which a fact is not known are a group of their own, UNKNOWN, and come last.

    Parameters
    ----------
    predictions : Predictions
    clips : DataFrame
        the clip table
    """
    facts = clips.set_index("clip").loc[predictions.clips["clip"]].reset_index()
    age = pd.to_numeric(facts["age"], errors="coerce")
    edges = [*AGE_GROUPS.values(), np.inf]
    facts["age_group"] = pd.cut(age, edges, right=False, labels=list(AGE_GROUPS)).astype("str")
    facts["age_group"] = facts["age_group"].where(age.notna(), "")
    facts["sex"] = predictions.clips["sex"]
    tables = {}
    for name, order in _ORDERS.items():
        table = per_group(predictions, facts[name].replace("", UNKNOWN))
        places = {group: place for place, group in enumerate([*order, UNKNOWN], start=1)}
        rank = table[name].map(places).fillna(0).to_numpy().argsort(kind="stable")
        tables[name] = table.iloc[rank].reset_index(drop=True)
    return tables
