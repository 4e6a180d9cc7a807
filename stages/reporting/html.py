"""Pages that stand alone: filled-in templates that hold their figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from stages.reporting.drawing import DPI

_FOLDER = Path(__file__).parent


def fill(
    template: str, *, files: Mapping[str, bytes], folder: Path = _FOLDER, **values: Any
) -> Markup:
    """Fill in a template, which may include those of this folder and of its folder `sections`.

    Parameters
    ----------
    template : str
        its file name
    folder : Path
        where the template lies
    files : mapping of file name to content
        the template sees the PNG ones as `figures`, by their names without the suffix
    values
        whatever else the template names

    Returns
    -------
    Markup
        HTML without links, scripts, dates or paths
    """
    figures = {
        file.removesuffix(".png"): {
            "source": "data:image/png;base64," + b64encode(content).decode("ascii"),
            # The header's first field, in pixels; 128 to the inch make text as large as the page's.
            "width": int.from_bytes(content[16:20]) * 128 // DPI,
        }
        for file, content in files.items()
        if file.endswith(".png")
    }
    return Markup(_environment(folder).get_template(template).render(figures=figures, **values))


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _FOLDER, _FOLDER / "sections"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment


def cell(value: Any) -> str:
    """Text of a table cell: fractions with three decimals, a dash for an empty one."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"  # only NaN differs from itself
    return "–" if value == "" else str(value)


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Put <figure>, <figure>_low and <figure>_high in one column of text; keep other columns."""
    shown = {}
    for name in table:
        low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
        if low in table:
            shown[name] = [
                cell(value)
                if value != value or low != low
                else f"{value:.3f} ({low:.3f}–{high:.3f})"
                for value, low, high in zip(table[name], table[low], table[high], strict=True)
            ]
        elif name not in ("low", "high") and not name.endswith(("_low", "_high")):
            shown[name] = table[name]
    return pd.DataFrame(shown)
