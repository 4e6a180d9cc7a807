"""The report of a run of the pipeline: all sections, in their order."""

from __future__ import annotations

from stages.reporting.assembly import report
from stages.reporting.predictions import check_jobs
from stages.reporting.run import Run
from stages.reporting.sections import (
    clip_fates,
    confusion,
    corpus_facts,
    corpus_scores,
    degraded_speech,
    embedding,
    emotions,
    examples,
    fairness,
    groups,
    held_out,
    history,
    label_sets,
    overall,
    provenance,
    references,
    reliability,
    roc,
    speakers,
)

#: The sections in the order of the page. A module makes its section by `section(run)`, or None
#: where a run has nothing to show; the template of its name says it.
SECTIONS = (
    overall,
    references,
    emotions,
    confusion,
    roc,
    reliability,
    degraded_speech,
    corpus_scores,
    groups,
    speakers,
    fairness,
    examples,
    embedding,
    history,
    held_out,
    corpus_facts,
    label_sets,
    clip_fates,
    provenance,
)


def evaluate(run: Run) -> dict[str, bytes | dict[str, bytes]]:
    """Work out everything that the stage `evaluate` writes; see `assembly.report`.

    Raises
    ------
    ValueError
        if the store or a cache does not fit the clip table or the settings, predictions of a fold
        or seed are missing, or a checkpoint does not fit them
    FileNotFoundError
        naming the checkpoint that is missing
    """
    check_jobs(run.predictions, folds=run.leakage["folds"], seeds=run.settings["seeds"])
    return report(run, SECTIONS)
