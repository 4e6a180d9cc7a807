"""Section of a score: what was answered, and signs that test speakers were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stages.reporting.run import Run
from stages.reporting.section import Section
from stages.reporting.sections.held_out import per_fold
from stages.reporting.sections.references import references
from studies.answers import Fates
from studies.contamination import above_known, apart, uneven_speakers

#: Files of a score besides those of a report.
FILE, ANSWERS = "scored.json", "predictions.csv"


@dataclass(frozen=True)
class ScoredRun(Run):
    """Answers of another system, as the sections of a report read a run.

    Attributes
    ----------
    fates : Fates
        what became of the rows of its table
    n_wanted : int
        clips that are tested
    heard : set of str
        speakers that the system was trained on, as far as that was said
    """

    fates: Fates
    n_wanted: int
    heard: frozenset[str]

    @property
    def notes(self) -> list[str]:
        """Notes that every figure carries below its title."""
        return [*super().notes, *self._marks()]

    @cached_property
    def signs(self) -> dict[str, Any]:
        """Speakers compared with each other, and the UA with published figures."""
        known = references(
            self.predictions,
            clips=self.clips,
            completeness=self.completeness,
            settings=self.settings,
            dependent=self.dependent,
            pooled_ua=self.pooled_ua,
        )
        above = None if self.dependent else above_known(self.pooled_ua, known)
        return {"uneven": uneven_speakers(self.predictions), "above": above}

    def _marks(self) -> list[str]:
        clips = self.predictions.clips["clip"].nunique()
        partial = [f"{clips} of {self.n_wanted} clips answered"] if clips < self.n_wanted else []
        return ["answers from elsewhere", *partial]


def section(run: ScoredRun) -> Section:
    """The fates of the rows, each fold, and the signs of contamination."""
    tables = {"per_fold": per_fold(run.predictions)}
    if run.heard:
        tables["apart"] = apart(run.predictions, heard=set(run.heard)).round(6)
    return Section(tables=tables, words={"lines": run.fates.lines(), **run.signs})


def summary(run: ScoredRun) -> list[str]:
    """Say the figure, what it covers, and the signs of contamination, in lines."""
    ua, found = run.pooled_ua, run.signs
    clips, n_speakers = (run.predictions.clips[name].nunique() for name in ("clip", "speaker"))
    lines = [
        f"{run.settings['model']['name']}: UA {ua['ua']:.3f} (95 % interval {ua['ua_low']:.3f} to "
        f"{ua['ua_high']:.3f}), {clips} of {run.n_wanted} clips, {n_speakers} speakers, protocol "
        f"{run.protocol}",
        "How the system was trained is not known: the protocol is what its answers claim.",
        *run.fates.lines(),
    ]
    if (uneven := found["uneven"]) and uneven["flagged"]:
        lines.append(
            f"Some speakers stand out: {', '.join(uneven['best'])} are recognised in "
            f"{uneven['best_rate']:.2f} of their clips, the others in {uneven['rest_rate']:.2f}. "
            "Models that heard none of them rarely differ as much (p = "
            f"{uneven['p']:.3f}); training on some of them would explain it."
        )
    if (above := found["above"]) and above["flagged"]:
        lines.append(
            "The whole interval is above the best figure known for held-out speakers, "
            f"{above['ua']:.3f} of {above['system']}: the system is better, or it heard the "
            "speakers."
        )
    return lines


def recorded(run: ScoredRun) -> dict[str, Any]:
    """Settings that `studies.compare` asks of an experiment."""
    return {
        "data.name": run.settings["data"]["name"],
        "features": [],
        "model.name": run.settings["model"]["name"],
        "split": run.settings["split"],
    }
