"""What a section of the report hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """Tables, figures and words of one subject, before they are written.

    Attributes
    ----------
    metrics : mapping
        flat figures for metrics.json
    tables, plots : DataFrame by name
        tables/<name>.csv, for readers, which get a first column `protocol`; plots/<name>.csv, for
        `dvc plots`
    figures : Figure by name
        figures/<name>.png and .svg
    pictures : bytes by file name
        in figures/, where the section has drawn them itself
    files : bytes by file name
        beside the folders
    words : mapping
        what the section's template names, besides `run`, `metrics` of all sections, `tables` (with
        intervals in brackets) and `figures` of its own
    """

    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    plots: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)
