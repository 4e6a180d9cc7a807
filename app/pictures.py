"""Pictures of the page: probabilities, emotion over time, waveform and mel spectrogram."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import altair as alt
import librosa
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.reporting.drawing import COLOURS, style

_PREFIX = "p_"
_N_FFT = 512
_N_MELS = 64
_MAX_COLUMNS = 1000  # horizontal resolution of the pictures
_PROBABILITY = alt.Axis(format=".1f", values=[0, 0.2, 0.4, 0.6, 0.8, 1])


def bars(row: Mapping[str, object]) -> alt.Chart:
    """Draw the probability of each emotion, the most probable first; `row` is of app.predict."""
    chart = alt.Chart(_long([row])).mark_bar(color=COLOURS[0])
    return chart.encode(
        x=alt.X(
            "probability", title="probability", scale=alt.Scale(domain=[0, 1]), axis=_PROBABILITY
        ),
        y=alt.Y("emotion", sort="-x", title=None),
        tooltip=["emotion", alt.Tooltip("probability", format=".2f")],
    )


def over_time(rows: Sequence[Mapping[str, object]]) -> alt.Chart:
    """Draw the probabilities of windows at their middle; lines are interrupted in silence."""
    table = _long(rows)
    table["time"] = (table["start_s"] + table["end_s"]) / 2
    labels = sorted(table["emotion"].unique())
    colours = alt.Scale(domain=labels, range=list(COLOURS))
    chart = alt.Chart(table).mark_line(point=True)
    return chart.encode(
        x=alt.X("time", title="middle of the window (s)"),
        y=alt.Y("probability", scale=alt.Scale(domain=[0, 1]), axis=_PROBABILITY),
        color=alt.Color("emotion", scale=colours, legend=alt.Legend(orient="bottom", columns=4)),
        tooltip=["emotion", "time", alt.Tooltip("probability", format=".2f")],
    )


def _long(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Reshape answers to one row per answer and label, with the label in `emotion`."""
    table = pd.DataFrame(rows).drop(columns=["file", "emotion"], errors="ignore")
    labels = [name for name in table.columns if name.startswith(_PREFIX)]
    others = [name for name in table.columns if name not in labels]
    table = table.melt(others, labels, "emotion", "probability")
    return table.assign(emotion=table["emotion"].str.removeprefix(_PREFIX))


def sound(waveform: NDArray[np.float32], *, sample_rate: int) -> Figure:
    """Draw the waveform and the mel spectrogram on one time axis.

    Parameters
    ----------
    waveform : float32 [samples]
        mono
    sample_rate : int
        in Hz
    """
    seconds = len(waveform) / sample_rate
    with style():
        figure = Figure(figsize=(7, 4.5))
        above, below = figure.subplots(2, sharex=True, height_ratios=(1, 2))
        low, high, times = _envelope(waveform, sample_rate=sample_rate)
        above.fill_between(times, low, high, color=COLOURS[0], linewidth=0.5)
        above.set(ylabel="amplitude", xlim=(0, seconds))
        hop_length = max(_N_FFT // 4, len(waveform) // _MAX_COLUMNS)
        # A damaged file may hold numbers whose squares have no number.
        loudest = np.abs(waveform).max() or 1
        power = librosa.feature.melspectrogram(
            y=waveform / loudest,
            sr=sample_rate,
            n_fft=_N_FFT,
            hop_length=hop_length,
            n_mels=_N_MELS,
        )
        mesh = below.imshow(
            librosa.power_to_db(power, ref=np.max, top_db=70),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, _N_MELS),
            cmap="magma",
        )
        centres = librosa.mel_frequencies(_N_MELS, fmax=sample_rate / 2)
        shown = [hz for hz in (250, 500, 1000, 2000, 4000, 8000) if hz <= sample_rate / 2]
        below.set_yticks(np.interp(shown, centres, np.arange(_N_MELS) + 0.5))
        below.yaxis.set_major_formatter(matplotlib.ticker.FixedFormatter([f"{h}" for h in shown]))
        below.set(xlabel="time (s)", ylabel="frequency (Hz)")
        below.grid(visible=False)
        figure.colorbar(
            mesh, ax=[above, below], label="power (dB relative to the maximum)", pad=0.01
        )
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as a file."""
    file = io.BytesIO()
    figure.savefig(file, dpi=200, bbox_inches="tight")
    return file.getvalue()


def _envelope(
    waveform: NDArray[np.float32], *, sample_rate: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return the lowest and highest sample of each column, and its start in seconds."""
    width = max(1, len(waveform) // _MAX_COLUMNS)
    starts = np.arange(0, len(waveform), width)
    low, high = (extreme.reduceat(waveform, starts) for extreme in (np.minimum, np.maximum))
    return low, high, starts / sample_rate
