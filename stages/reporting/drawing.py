"""The one style of all figures: for print, for the colour-blind, equal byte for byte."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Okabe and Ito's colours, ordered so that neighbours also differ in lightness
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
#: of the PNG files
DPI = 200
#: what is trained on, what a figure is about, what it is compared with
TRAIN, MAIN, REFERENCE = COLOURS[5], COLOURS[0], COLOURS[4]
#: the second turn through the colours is hatched
HATCHES = ("", "////")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE = {
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
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text: searchable, small
    "svg.hashsalt": "inflect",  # element names do not change from run to run
}
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save within this block: the report's style, whatever the user's own settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def encode(figure: Figure, kind: str) -> bytes:
    """Render as `png` or `svg`, without time stamps or versions, so that bytes repeat."""
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata=_METADATA[kind])
    return stream.getvalue()


def reference_lines(
    axes: Axes, line: Callable, *, ua: float, chance: float, name: str = "pooled UA"
) -> None:
    """Lines at a UA and at chance, drawn by `line`, a method of the axes, with a legend."""
    line(ua, color=REFERENCE, linewidth=1.2, label=f"{name} {ua:.3f}", zorder=1)
    line(chance, color=REFERENCE, linewidth=1.2, linestyle=":", label=f"chance {chance:.3f}")
    axes.figure.legend(loc="outside lower right", ncols=2)


def set_title(axes: Axes, text: str, notes: Sequence[str]) -> None:
    """The figure's heading, and under it a line for each note."""
    axes.figure.suptitle("\n".join([text, *notes]), x=0.01, ha="left", fontsize=10.5)


def new_figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure of one panel; its size in inches."""
    figure = new_canvas(width_in, height_in)
    return figure, figure.subplots()


def new_canvas(width_in: float, height_in: float) -> Figure:
    """A figure without a panel yet; its size in inches."""
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)  # no display, no global state
    return figure
