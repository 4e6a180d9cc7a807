"""The settings that made the run."""

from __future__ import annotations

from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """Words alone: the template reads the run's settings."""
    return Section()
