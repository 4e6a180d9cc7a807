"""The style that all figures share, and what several of them draw.

Figures are made for print and for colour-blind readers, and repeat byte for byte.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType
from numpy.typing import ArrayLike, NDArray
from PIL import Image

#: Okabe and Ito's colours, ordered so that neighbours also differ in lightness.
COLOURS = (
    "#0072B2",
    "#F0E442",
    "#D55E00",
    "#56B4E9",
    "#666666",
    "#E69F00",
    "#009E73",
    "#CC79A7",
)
#: Of the PNG files.
DPI = 200
#: Of the training side, of the subject of a figure, and of its reference.
TRAIN, MAIN, REFERENCE = COLOURS[5], COLOURS[0], COLOURS[4]
#: Of the first and of the second turn through the colours.
HATCHES = ("", "////")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[RcKeyType, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: searchable, small
    "svg.hashsalt": "inflect",  # element names do not change from run to run
    "text.parse_math": False,  # a name may hold dollar signs
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in the report's style within this block, whatever the user's own settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def encode(figure: Figure, kind: str) -> bytes:
    """Render as `png` or `svg`, without time stamps or versions, so that bytes repeat.

    The figure is laid out once, for the kind that comes first, and drawn once for each kind;
    `Figure.savefig` would lay it out for each, and draw each twice.
    """
    stream = io.BytesIO()
    if kind == "png":
        Image.fromarray(drawn(figure)).save(stream, format="png", dpi=(DPI, DPI))
    else:
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")
    return stream.getvalue()


def drawn(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure as pixels, [rows, columns, red, green, blue]."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def encode_all(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Render each figure as PNG and SVG: content by file name."""
    return {
        f"{name}.{kind}": encode(figure, kind)
        for name, figure in figures.items()
        for kind in ("png", "svg")
    }


def new_figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """Make a figure of one panel; its size is in inches."""
    figure = new_canvas(width_in, height_in)
    return figure, figure.subplots()


def new_canvas(width_in: float, height_in: float) -> Figure:
    """Make a figure without panels; its size is in inches."""
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)  # no display, no global state
    return figure


def set_title(axes: Axes, text: str, notes: Sequence[str]) -> None:
    """Set the figure's title, and below it a line for each note."""
    _figure(axes).suptitle("\n".join([text, *notes]), x=0.01, ha="left", fontsize=10.5)


def reference_lines(
    axes: Axes, line: Callable[..., Any], *, ua: float, chance: float, name: str = "pooled UA"
) -> None:
    """Draw lines at a UA and at chance by `line`, a method of the axes, with a legend."""
    line(ua, color=REFERENCE, linewidth=1.2, label=f"{name} {ua:.3f}", zorder=1)
    line(chance, color=REFERENCE, linewidth=1.2, linestyle=":", label=f"chance {chance:.3f}")
    _figure(axes).legend(loc="outside lower right", ncols=2)


def in_legend(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out those that begin with _."""
    return f" {name}" if name.startswith("_") else name


def label_right(axes: Axes, places: ArrayLike, texts: Sequence[str]) -> None:
    """Write texts beside the right edge of a panel, at these heights in data coordinates."""
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, texts)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)


def stacked_bars(axes: Axes, lengths: pd.DataFrame, *, counts: pd.DataFrame) -> None:
    """Draw a bar per row, with a piece per column; write the counts where there is room.

    Parameters
    ----------
    axes : Axes
    lengths, counts : DataFrame
        of the same rows and columns: lengths of the pieces, and numbers to write into them
    """
    left = np.zeros(len(lengths))
    longest = lengths.sum(axis=1).max()
    for index, name in enumerate(lengths):
        turn, place = divmod(index, len(COLOURS))
        bars = axes.barh(
            range(len(lengths)),
            lengths[name],
            left=left,
            height=0.7,
            color=COLOURS[place],
            hatch=HATCHES[turn],
            edgecolor="white",
            linewidth=0.8,
            label=in_legend(name),
        )
        texts = [
            str(count) if length >= 0.05 * longest else ""
            for count, length in zip(counts[name], lengths[name], strict=True)
        ]
        ink = "black" if np.dot(to_rgb(COLOURS[place]), (0.299, 0.587, 0.114)) > 0.45 else "white"
        # A plain background, as hatching would cross the digits.
        box = {"facecolor": COLOURS[place], "edgecolor": "none", "pad": 1}
        for text in axes.bar_label(bars, texts, label_type="center", color=ink, fontsize=8):
            text.set_bbox(box if text.get_text() else None)
        left += lengths[name].to_numpy()


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were made by a figure
    return figure
