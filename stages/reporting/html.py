"""Pages that need nothing beside them: templates filled in, with the figures in the page itself."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from stages.reporting.drawing import DPI


def fill(template: str, *, files: Mapping[str, bytes], **values: Any) -> str:
    """Fill in a template of this folder.

    Parameters
    ----------
    template : str
        its file name
    files : mapping of file name to content
        figures: the PNG ones among them are `figures`, by their names without the suffix
    values
        what else the template names

    Returns
    -------
    str
        HTML without links, scripts, dates or paths
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    figures = {
        file.removesuffix(".png"): {
            "source": "data:image/png;base64," + b64encode(content).decode("ascii"),
            # the header's first field, in pixels; at 128 to the inch, text is as large as ours
            "width": int.from_bytes(content[16:20]) * 128 // DPI,
        }
        for file, content in files.items()
        if file.endswith(".png")
    }
    return environment.get_template(template).render(figures=figures, **values)


def cell(value: Any) -> str:
    """Text of a table cell: fractions with three decimals, a dash where there is nothing."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"  # only NaN differs from itself
    return "–" if value == "" else str(value)
