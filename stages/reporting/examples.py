"""One clip of each label: which one, what is cached of it, and its figure."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from stages.acoustics import Description
from stages.clips.audio import FULL_SCALE
from stages.clips.frames import first_frames, frame_count
from stages.reporting.figures import COLOURS, DPI, encode
from stages.reporting.tables import Predictions

#: Of a longer clip, no more than its beginning is drawn.
LONGEST_S = 5.0
#: Percentiles of a feature's values between which colours change; those beyond look like the end.
SPREAD = (3, 98)
_COLOUR_MAP = "viridis"  # even steps to the eye, also to a colour-blind one, and in grey
_COLUMNS = 600  # of the waveform; more than can be seen
# In inches: a column of panels, as wide as half the page.
_WIDTH, _LEFT, _PANEL, _BAR = 4.4, 0.62, 3.0, 0.09
_IMAGE, _LINE, _GAP, _BOTTOM, _TITLE = 1.25, 0.6, 0.27, 0.42, 0.17


@dataclass(frozen=True)
class Example:
    """A clip that stands for its label, with what was answered when it was held out.

    Attributes
    ----------
    label, clip, speaker, sex, sentence, take, emotion : str
        of the clip table; "" where unknown
    answer : str
        the label of the largest probability, mean over seeds
    probability, own_probability : float
        of the answer, and of the clip's own label
    duration_s : float
        of the clip, of which at most LONGEST_S is drawn
    """

    label: str
    clip: str
    speaker: str
    sex: str
    sentence: str
    take: str
    emotion: str
    answer: str
    probability: float
    own_probability: float
    duration_s: float


class Excerpt(NamedTuple):
    """The beginning of a clip: float32 [samples] in [-1, 1]; by feature [frames, dimensions]."""

    waveform: NDArray[np.float32]
    features: dict[str, NDArray[np.float32]]


def examples(
    predictions: Predictions,
    *,
    clips: pd.DataFrame,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> tuple[list[Example], dict[str, bytes]]:
    """Choose, read and draw one held-out clip of each label that has one.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    clips : DataFrame
        the clip table
    store : int16 [samples]
        the audio store
    caches : by feature, float [frames of all clips, dimensions]
    settings : mapping
        audio and features of params.yaml
    notes : what every title must add

    Returns
    -------
    list of Example, and their figures: file name -> PNG or SVG

    Raises
    ------
    ValueError
        naming the clip or the feature whose cached values are not what the table or the feature's
        settings say
    """
    chosen = choose(predictions, clips=clips)
    sample_rate, hop_length = (settings["audio"][key] for key in ("sample_rate", "hop_length"))
    excerpts = {
        row.label: read(
            row, store=store, caches=caches, sample_rate=sample_rate, hop_length=hop_length
        )
        for row in chosen.itertuples()
    }
    described = {
        name: describe(name, settings["features"][name], dimensions=cache.shape[1])
        for name, cache in caches.items()
    }
    files = {}
    # Panels in fixed places need no layout engine, which would draw everything twice.
    with rc_context({"figure.constrained_layout.use": False}):
        for label, figure in draw(
            excerpts,
            titles={row.label: [f"{row.label}: {row.clip}", *notes] for row in chosen.itertuples()},
            described=described,
            sample_rate=sample_rate,
            hop_length=hop_length,
        ):
            files[f"example_{label}.png"] = _png(figure)
            files[f"example_{label}.svg"] = encode(figure, "svg")
    facts = chosen.assign(duration_s=chosen["samples"] / sample_rate)
    rows = facts[[field.name for field in fields(Example)]].to_dict("records")
    return [Example(**row) for row in rows], files


def choose(predictions: Predictions, *, clips: pd.DataFrame) -> pd.DataFrame:
    """One held-out clip of each label, of one voice and one text as far as there are such.

    The speaker with the most labels, of the speaker's sentences the one with the most labels, of
    its takes the one with the most labels; the first in the table's order among equals. A label
    that lacks there is taken from the same speaker's other takes, then other sentences, then from
    another speaker, the same sentence and take first.

    Parameters
    ----------
    predictions : Predictions
    clips : DataFrame
        the clip table

    Returns
    -------
    DataFrame
        the columns of the clip table; first (row in the caches); label, answer, probability and
        own_probability, as of `Example`. One row for each label that has a held-out clip, in the
        order of labels
    """
    shares = predictions.probabilities.mean(axis=1)  # [clips, classes]
    held_out = predictions.clips[["clip", "label"]].assign(
        answer=np.array(predictions.labels)[shares.argmax(axis=1)],
        probability=shares.max(axis=1),
        own_probability=shares[np.arange(len(shares)), predictions.truth],
    )
    clips = clips.assign(first=first_frames(clips["frames"].to_numpy()))
    found = clips.merge(held_out, on="clip", validate="one_to_one")
    same = pd.Series(True, index=found.index)
    for column in ("speaker", "sentence", "take"):
        labels = found[same].groupby(column, sort=False)["label"].nunique()
        own = found[column] == labels.idxmax()  # the first of equals
        same &= own
        found[f"other_{column}"] = ~own
    order = ["other_speaker", "other_sentence", "other_take"]
    best = found.sort_values(order, kind="stable").drop_duplicates("label").set_index("label")
    return best.loc[[label for label in predictions.labels if label in best.index]].reset_index()


def read(
    clip: Any,
    *,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    sample_rate: int,
    hop_length: int,
) -> Excerpt:
    """Take the beginning of one clip, LONGEST_S at most, out of the store and the caches.

    `clip` has clip, start, samples, first and frames; for the rest and what is raised see
    `examples`. Nothing else is read where store and caches are memory-mapped.
    """
    samples = min(clip.samples, int(LONGEST_S * sample_rate))
    waveform = store[clip.start : clip.start + samples]
    if len(waveform) < samples:
        got = f"got {len(waveform)} samples in the audio store"
        raise ValueError(f"{clip.clip}: {got}, want {samples} from {clip.start}")
    frames = min(clip.frames, frame_count(samples, hop_length=hop_length))
    rows = slice(clip.first, clip.first + frames)
    return Excerpt(
        waveform.astype(np.float32) / FULL_SCALE,
        {name: cache[rows].astype(np.float32) for name, cache in caches.items()},
    )


def describe(name: str, settings: Mapping[str, Any], *, dimensions: int) -> Description:
    """What a feature's numbers are, as its module says; if it says nothing, they are numbered.

    Parameters
    ----------
    name : str
        of the feature, for errors
    settings : mapping
        its `_target_` and what that was called with
    dimensions : int
        of its cache

    Raises
    ------
    ValueError
        if the module describes another number of dimensions
    """
    bound = {key: value for key, value in settings.items() if key != "_target_"}
    module = import_module(settings["_target_"].rpartition(".")[0])
    if not hasattr(module, "describe"):
        return Description("value", "dimension", np.arange(dimensions))
    found = module.describe(**bound)
    if len(found.centres) != dimensions:
        got = f"got {dimensions} dimensions in its cache"
        raise ValueError(f"{name}: {got}, want {len(found.centres)} as its settings say")
    return found


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


def _png(figure: Figure) -> bytes:
    """With 256 colours: a third of the bytes in less time, and no difference to be seen."""
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
