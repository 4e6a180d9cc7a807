"""Sections put together: one page, and the files of tables, plots and figures.

It imports no section, so that a report of few sections does not wait for the libraries of others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from stages.reporting.drawing import encode_all, style
from stages.reporting.html import fill, with_intervals
from stages.reporting.run import Run
from stages.reporting.section import Section


def report(run: Run, modules: Sequence[ModuleType]) -> dict[str, bytes | dict[str, bytes]]:
    """Work out the report of a run.

    Parameters
    ----------
    run : Run
    modules : sequence of module
        sections in the order of the page, such as report.SECTIONS; their templates lie beside them

    Returns
    -------
    bytes by file name, or by folder and file name
        metrics.json, index.html, the files of sections; tables, plots, figures
    """
    sections, pictures = {}, {}
    folders = {}
    with style():
        for module in modules:
            if section := module.section(run):
                name = module.__name__.rpartition(".")[2]
                sections[name] = section
                pictures[name] = encode_all(section.figures) | dict(section.pictures)
                folders[name] = Path(str(module.__file__)).parent
    metrics: dict[str, Any] = {"protocol": run.protocol}
    tables: dict[str, bytes] = {}
    plots: dict[str, bytes] = {}
    figures: dict[str, bytes] = {}
    files: dict[str, bytes] = {}
    for name, section in sections.items():
        metrics |= section.metrics
        tables |= _csv_files(section.tables, protocol=run.protocol)
        plots |= _csv_files(section.plots)
        figures |= pictures[name]
        files |= section.files
    page = _page(run, sections, pictures=pictures, folders=folders, metrics=metrics)
    return {
        "tables": tables,
        "plots": plots,
        "figures": figures,
        **files,
        "index.html": page.encode(),
        "metrics.json": (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
    }


def _csv_files(tables: Mapping[str, pd.DataFrame], **first: str) -> dict[str, bytes]:
    """CSV files by name; `first` are columns to put before the others."""
    return {
        f"{name}.csv": table.assign(**first)[[*first, *table]]
        .to_csv(index=False, lineterminator="\n")
        .encode()
        for name, table in tables.items()
    }


def _page(
    run: Run,
    sections: Mapping[str, Section],
    *,
    pictures: Mapping[str, Mapping[str, bytes]],
    folders: Mapping[str, Path],
    metrics: Mapping[str, Any],
) -> str:
    """Fill in the template of each section, and the page around them."""
    parts = [
        fill(
            f"{name}.html.j2",
            files=pictures[name],
            folder=folders[name],
            run=run,
            metrics=metrics,
            tables={key: with_intervals(table) for key, table in section.tables.items()},
            **section.words,
        )
        for name, section in sections.items()
    ]
    return fill("page.html.j2", files={}, run=run, sections=parts)
