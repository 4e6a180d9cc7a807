"""Waveform and features of some clips as panels one under the other, alike in all scales."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from stages.acoustics import Description
from stages.reporting.drawing import COLOURS, DPI

#: Percentiles of a feature's values between which colours change; those beyond look like the end.
SPREAD = (3, 98)
_COLOUR_MAP = "viridis"  # even steps to the eye, also to a colour-blind one, and in grey
_COLUMNS = 600  # of the waveform; more than can be seen
# In inches: a column of panels, as wide as half the page.
_WIDTH, _LEFT, _PANEL, _BAR = 4.4, 0.62, 3.0, 0.09
_IMAGE, _LINE, _GAP, _BOTTOM, _TITLE = 1.25, 0.6, 0.27, 0.42, 0.17


class Excerpt(NamedTuple):
    """The beginning of a clip: float32 [samples] in [-1, 1]; by feature [frames, dimensions]."""

    waveform: NDArray[np.float32]
    features: dict[str, NDArray[np.float32]]


def draw(
    excerpts: Mapping[str, Excerpt],
    *,
    titles: Mapping[str, Sequence[str]],
    described: Mapping[str, Description],
    sample_rate: int,
    hop_length: int,
) -> Iterator[tuple[str, Figure]]:
    """Waveform and features of each clip, one panel under the other, alike in all scales.

    Parameters
    ----------
    excerpts : by label
    titles : lines by label, as many for each
    described : by feature, in the order of panels
    sample_rate, hop_length : int
        in Hz, in samples

    Yields
    ------
    label, Figure
        always the same one, filled anew: save it before the next, which saves half of the time
    """
    waveforms = [excerpt.waveform for excerpt in excerpts.values()]
    heights = [_LINE, *(_LINE if len(of.centres) == 1 else _IMAGE for of in described.values())]
    figure, (top, *panels) = _column(heights, title_lines=max(map(len, titles.values())))
    fill_top = _waveform(
        top, loudest=max(np.abs(waveform).max() for waveform in waveforms), sample_rate=sample_rate
    )
    fillers = {}
    for axes, (name, of) in zip(panels, described.items(), strict=True):
        shown = np.concatenate([excerpt.features[name].ravel() for excerpt in excerpts.values()])
        panel = _line if len(of.centres) == 1 else _image
        fillers[name] = panel(axes, of, shown, frame_s=hop_length / sample_rate)
    for axes, name in zip((top, *panels), ("waveform", *described), strict=True):
        axes.set_title(name, loc="left", fontsize=8, y=1, pad=2)
        axes.yaxis.set_label_coords(-0.4 / _PANEL, 0.5)
        axes.set_xlim(0, max(map(len, waveforms)) / sample_rate)
        axes.tick_params(labelsize=7, length=2, labelbottom=axes is panels[-1])
    panels[-1].set_xlabel("time (s)", fontsize=8)
    for label, excerpt in excerpts.items():
        place = {"x": 0.01, "y": 1 - 0.05 / figure.get_figheight(), "ha": "left", "va": "top"}
        figure.suptitle("\n".join(titles[label]), fontsize=10.5, **place)
        fill_top(excerpt.waveform)
        for name, fill in fillers.items():
            fill(excerpt.features[name])
        yield label, figure


def _column(heights: Sequence[float], *, title_lines: int) -> tuple[Figure, list[Axes]]:
    """A figure with panels of these heights, in inches, from top to bottom."""
    head = _TITLE * title_lines
    height = head + sum(heights) + _GAP * len(heights) + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height))
    below = np.cumsum(heights) + _GAP * np.arange(1, len(heights) + 1) + head
    places = zip(1 - below / height, np.array(heights) / height, strict=True)
    return figure, [
        figure.add_axes((_LEFT / _WIDTH, bottom, _PANEL / _WIDTH, tall)) for bottom, tall in places
    ]


def _waveform(axes: Axes, *, loudest: float, sample_rate: int) -> Callable[[NDArray], None]:
    """Set up a panel for waveforms up to that size; how to fill it."""
    area = axes.fill_between([0], [0], [0], color=COLOURS[0], linewidth=0.4)
    axes.set_ylim(-loudest, loudest)
    axes.set_ylabel("amplitude", fontsize=8)

    def fill(waveform: NDArray) -> None:
        """Lowest and highest sample of each stretch too short to be seen."""
        count = min(_COLUMNS, len(waveform))
        firsts = np.arange(count) * len(waveform) // count
        low, high = (extreme.reduceat(waveform, firsts) for extreme in (np.minimum, np.maximum))
        area.set_data(firsts / sample_rate, low, high)

    return fill


def _line(
    axes: Axes, of: Description, shown: NDArray, *, frame_s: float
) -> Callable[[NDArray], None]:
    """Set up a panel for a feature of one dimension; how to fill it."""
    (line,) = axes.plot([], [], color=COLOURS[0], linewidth=0.9)
    low, high = _limits(shown, 0, 100)
    margin = 0.05 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel(of.values, fontsize=8)

    def fill(values: NDArray) -> None:
        line.set_data(np.arange(len(values)) * frame_s, values[:, 0])

    return fill


def _image(
    axes: Axes, of: Description, shown: NDArray, *, frame_s: float
) -> Callable[[NDArray], None]:
    """Set up a panel with a row for each dimension, all of one height; how to fill it."""
    rows = len(of.centres)
    low, high = _limits(shown, *SPREAD)
    image = axes.imshow(
        np.zeros((rows, 1)),
        cmap=_COLOUR_MAP,
        vmin=low,
        vmax=high,
        aspect="auto",
        origin="lower",
        interpolation="none",
    )
    axes.grid(visible=False)
    places, numbers = ticks(of.centres)
    axes.set_yticks(places, [f"{number:g}" for number in numbers])
    axes.set_ylabel(of.dimension, fontsize=8)
    box = axes.get_position()
    bar = axes.figure.add_axes((box.x1 + 0.07 / _WIDTH, box.y0, _BAR / _WIDTH, box.height))
    axes.figure.colorbar(image, cax=bar, extend="both", ticks=MaxNLocator(4))
    bar.set_ylabel(of.values, fontsize=8)
    bar.tick_params(labelsize=7, length=2)

    def fill(values: NDArray) -> None:
        image.set_data(values.T)
        image.set_extent((-0.5 * frame_s, (len(values) - 0.5) * frame_s, -0.5, rows - 0.5))

    return fill


def _limits(values: NDArray, low: float, high: float) -> tuple[float, float]:
    """Two percentiles, or a range around them where they are the same."""
    low, high = np.percentile(values, (low, high))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def compact_png(figure: Figure) -> bytes:
    """A PNG with 256 colours: a third of the bytes in less time, and no difference to be seen."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    stream = io.BytesIO()
    picture.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        stream, format="png", dpi=(DPI, DPI)
    )
    return stream.getvalue()


def ticks(centres: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round numbers along an image's rows: the place of each, in rows, and the numbers.

    Parameters
    ----------
    centres : float [rows]
        what each row's middle stands for, rising

    Returns
    -------
    float [ticks], float [ticks]
        places from -0.5, the lower edge of row 0, to rows - 0.5; as far between two rows' middles
        as the number is between their centres
    """
    steps = np.diff(centres)
    if np.allclose(steps, steps[0]):
        numbers = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(centres[0], centres[-1])
        places = (numbers - centres[0]) / steps[0]
    else:
        numbers = np.outer(10.0 ** np.arange(-3, 7), (1, 2, 5)).ravel()
        places = np.interp(numbers, centres, np.arange(len(centres)), left=-1, right=-1)
    inside = (places >= -0.5) & (places <= len(centres) - 0.5)
    numbers, places = numbers[inside], places[inside]
    far = len(centres) / 9  # nearer ones would touch
    kept: list[int] = []
    for index, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= far:
            kept.append(index)
    return places[kept], numbers[kept]
