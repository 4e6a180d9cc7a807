"""`ensemble`: several models, the average of whose probabilities is the prediction."""

from __future__ import annotations

from collections.abc import Mapping

from stages.learning.committee import Committee
from stages.learning.learner import Part
from stages.settings.checks import check


class Ensemble(Committee):
    """At least two members; for the settings see Committee."""

    def __init__(self, members: Mapping[str, Part], *, weights: str) -> None:
        check("model.members", list(members), len(members) > 1, "at least 2 members")
        super().__init__(members, weights=weights)
