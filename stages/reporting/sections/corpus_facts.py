"""The corpora: what was found of each, and what it is like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.audio.loudness import rms_db
from stages.audio.store import FULL_SCALE
from stages.clips.completeness import Completeness, summary
from stages.clips.feature_files import release
from stages.reporting.drawing import MAIN, REFERENCE, new_figure, set_title, stacked_bars
from stages.reporting.run import Run
from stages.reporting.section import Section
from stages.sources.vocabulary import EMOTIONS

#: Quantiles of durations and levels: end of the column's name -> fraction of the clips below.
QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_SEXES = {"female": "women", "male": "men", "": "not known"}


def section(run: Run) -> Section:
    """The facts of each corpus, as reports/corpora.csv and for the eye, with figures."""
    clips = run.clean
    clips = clips.assign(
        used_s=clips["samples"] / run.settings["audio"]["sample_rate"],
        used_db=used_levels(clips, store=run.store),
    )
    table = describe_corpora(clips, completeness=run.completeness)
    return Section(
        files={"corpora.csv": table.to_csv(index=False, lineterminator="\n").encode()},
        figures=draw_corpora(clips, table=table, notes=run.notes),
        words={
            "corpora": list(table["corpus"]),
            "found": {corpus: summary(found) for corpus, found in run.completeness.items()},
            "lacking": missing_table(run.completeness),
            "overview": overview(table, completeness=run.completeness),
        },
    )


def used_levels(clips: pd.DataFrame, *, store: NDArray[np.int16]) -> NDArray[np.float64]:
    """Level of each clip in the audio store, in dB relative to full scale; NaN if excluded."""
    levels = []
    for start, samples in zip(clips["start"], clips["samples"], strict=True):
        sound = store[start : start + samples]
        levels.append(rms_db(sound, full_scale=FULL_SCALE) if samples else np.nan)
        release(store)
    return np.array(levels)


def describe_corpora(
    clips: pd.DataFrame, *, completeness: Mapping[str, Completeness]
) -> pd.DataFrame:
    """Collect the facts of each corpus that a paper's section on its data states.

    Parameters
    ----------
    clips : DataFrame
        clean clips of a clip table, with used_s and used_db: duration in s and level in dB
        relative to full scale, after trimming and levelling
    completeness : by corpus
        of some or all corpora

    Returns
    -------
    DataFrame
        one row per corpus: corpus, language; files, clips (in use), excluded; expected, found,
        missing, surplus, unusable and expected_speakers (see Completeness); speakers, female, male,
        age_min, age_max; emotions, sentences; rates_hz, with the number of files; hours and
        used_hours, sums of duration_s and used_s; quantiles of duration_s, used_s, level_db and
        used_db. From speakers on, all refer to clips in use. NA where not known
    """
    return pd.DataFrame(
        [
            {"corpus": corpus} | _facts(rows, completeness=completeness.get(corpus))
            for corpus, rows in clips.groupby("corpus")
        ]
    ).round(3)


def _facts(clips: pd.DataFrame, *, completeness: Completeness | None) -> dict[str, Any]:
    """The row of one corpus."""
    used = clips[clips["excluded"] == ""]
    speakers = used.groupby("speaker")[["sex", "age"]].first()
    ages = pd.to_numeric(speakers["age"]).astype("Int64")
    rates = used.drop_duplicates("file")["rate_hz"].value_counts().sort_index()
    compared = ("expected", "found", "missing", "surplus", "unusable", "expected_speakers")
    facts = {
        "language": " ".join(sorted(set(used["language"]) - {""})),
        "files": clips["file"].nunique(),
        "clips": len(used),
        "excluded": len(clips) - len(used),
        **{name: getattr(completeness, name, pd.NA) for name in compared},
        "speakers": len(speakers),
        "female": int((speakers["sex"] == "female").sum()),
        "male": int((speakers["sex"] == "male").sum()),
        "age_min": ages.min(),
        "age_max": ages.max(),
        "emotions": used["emotion"].nunique(),
        "sentences": len(set(used["sentence"]) - {""}),
        "rates_hz": " ".join(f"{rate} ({count})" for rate, count in rates.items()),
        "hours": used["duration_s"].sum() / 3600,
        "used_hours": used["used_s"].sum() / 3600,
    }
    for name in ("duration_s", "used_s", "level_db", "used_db"):
        values = used[name].quantile(list(QUANTILES.values()))
        facts |= {f"{name}_{end}": value for end, value in zip(QUANTILES, values, strict=True)}
    return facts


def overview(table: pd.DataFrame, *, completeness: Mapping[str, Completeness]) -> pd.DataFrame:
    """Turn the facts round for the eye: a row for each fact, a column for each corpus.

    Parameters
    ----------
    table : DataFrame
        see `describe_corpora`
    completeness : by corpus
    """
    columns = {}
    for row in table.itertuples():
        release = completeness.get(row.corpus)
        unknown = row.speakers - row.female - row.male
        speakers = f"{row.speakers} of {release.expected_speakers}" if release else row.speakers
        columns[row.corpus] = {
            "language": row.language,
            "files": str(row.files),
            "the release's clips found": f"{release.found} of {release.expected}"
            if release
            else "",
            "clips in use": str(row.clips),
            "speakers": str(speakers),
            "women, men": f"{row.female}, {row.male}"
            + (f", {unknown} not known" if unknown else ""),
            "age in years": "" if pd.isna(row.age_min) else f"{row.age_min} to {row.age_max}",
            "emotions": str(row.emotions),
            "sentences": str(row.sentences),
            "rate of the files (Hz)": re.sub(r" \(\d+\)", "", row.rates_hz),
            "hours in the files": f"{row.hours:.2f}",
            "hours in use": f"{row.used_hours:.2f}",
            **_spread("duration in the file (s)", row, "duration_s"),
            **_spread("duration in use (s)", row, "used_s"),
            **_spread("level in the file (dB)", row, "level_db"),
            **_spread("level in use (dB)", row, "used_db"),
        }
    return pd.DataFrame(columns).rename_axis("fact").reset_index()


def _spread(title: str, row: Any, name: str) -> dict[str, str]:
    low, middle, high = (getattr(row, f"{name}_{end}") for end in ("p05", "p50", "p95"))
    return {f"{title}: median": f"{middle:.1f}", f"{title}: 5 to 95 %": f"{low:.1f} to {high:.1f}"}


def missing_table(completeness: Mapping[str, Completeness]) -> pd.DataFrame:
    """Clips found of those expected, by emotion, in partial corpora."""
    columns = {
        corpus: found.emotions["found"].astype("str")
        + " of "
        + found.emotions["expected"].astype("str")
        for corpus, found in completeness.items()
        if found.missing and found.emotions["expected"].notna().all()
    }
    table = pd.DataFrame(columns).reindex(EMOTIONS).dropna(how="all").fillna("")
    return table.rename_axis("emotion").reset_index()


def draw_corpora(
    clips: pd.DataFrame, *, table: pd.DataFrame, notes: Sequence[str]
) -> dict[str, Figure]:
    """Draw clips, durations, speakers, levels and, where there are any, excluded files.

    Parameters
    ----------
    clips, table : DataFrame
        clean clips, and their facts by `describe_corpora`
    notes : list of str
        lines below each title

    Returns
    -------
    Figure by name
    """
    used, excluded = (clips[(clips["excluded"] == "") == keep] for keep in (True, False))
    corpora = list(table["corpus"])  # in every figure, so that colours agree
    speakers = used.drop_duplicates("speaker")
    by_emotion = pd.crosstab(used["emotion"], used["corpus"]).reindex(columns=corpora, fill_value=0)
    by_sex = pd.crosstab(speakers["corpus"], speakers["sex"])
    reasons = excluded["excluded"].str.split(":", n=1).str[0]
    drawn = {
        "clips": counts_figure(
            by_emotion.reindex([emotion for emotion in EMOTIONS if emotion in by_emotion.index]),
            heading="Clips in use, by emotion and corpus",
            unit="clips",
            notes=notes,
        ),
        "durations": spreads_figure(
            _quantiles(table, {"duration_s": "in the file", "used_s": "in use"}),
            heading="Duration of the clips",
            label="duration (s)",
            lowest=0,
            notes=notes,
        ),
        "voices": counts_figure(
            by_sex.reindex(columns=[sex for sex in _SEXES if sex in by_sex]).rename(columns=_SEXES),
            heading="Speakers, by corpus and sex",
            unit="speakers",
            notes=notes,
        ),
        "levels": spreads_figure(
            _quantiles(table, {"level_db": "in the file", "used_db": "in use"}),
            heading="Level of the clips",
            label="root mean square (dB relative to full scale)",
            lowest=None,
            notes=notes,
        ),
    }
    if len(excluded):
        drawn["excluded"] = counts_figure(
            pd.crosstab(reasons, excluded["corpus"]).reindex(columns=corpora, fill_value=0),
            heading="Excluded files, by reason and corpus",
            unit="files",
            notes=notes,
        )
    return {f"corpora_{name}": figure for name, figure in drawn.items()}


def _quantiles(table: pd.DataFrame, names: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Quantiles [corpora, quantiles] by title, of the columns that `names` maps to titles."""
    rows = table.set_index("corpus")
    return {
        title: rows[[f"{name}_{end}" for end in QUANTILES]].set_axis(list(QUANTILES), axis=1)
        for name, title in names.items()
    }


def counts_figure(counts: pd.DataFrame, *, heading: str, unit: str, notes: Sequence[str]) -> Figure:
    """Draw counts: a bar for each row, a piece of it for each column, the sum at its end.

    Parameters
    ----------
    counts : int DataFrame
        at least one row and one column
    heading : str
    unit : str
        of the counts
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7, max(1.4 + 0.3 * len(counts), 0.9 + 0.2 * counts.shape[1]))
    stacked_bars(axes, counts, counts=counts)
    for place, total in enumerate(counts.sum(axis=1)):
        axes.annotate(
            str(total), (total, place), xytext=(3, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(counts)), counts.index)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(unit)
    axes.locator_params(axis="x", integer=True)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside right center")
    set_title(axes, heading, notes)
    return figure


def spreads_figure(
    quantiles: Mapping[str, pd.DataFrame],
    *,
    heading: str,
    label: str,
    lowest: float | None,
    notes: Sequence[str],
) -> Figure:
    """Draw median, middle half and middle nine tenths of two quantities of one kind.

    Parameters
    ----------
    quantiles : DataFrame by name of the quantity
        columns p05, p25, p50, p75, p95; the same rows in each
    heading, label : str
        title, and axis label with its unit
    lowest : float or None
        start of the axis; None: near the lowest value
    notes : list of str
        lines below the title
    """
    names = next(iter(quantiles.values())).index
    figure, axes = new_figure(7, 1.6 + 0.55 * len(names))
    for number, (quantity, table) in enumerate(quantiles.items()):
        colour = (REFERENCE, MAIN)[number]
        places = np.arange(len(table)) + 0.36 * (number - 0.5)
        axes.hlines(places, table["p05"], table["p95"], color=colour, linewidth=1.2)
        half = table["p75"] - table["p25"]
        axes.barh(places, half, left=table["p25"], height=0.24, color=colour, label=quantity)
        axes.scatter(table["p50"], places, color="white", edgecolor=colour, s=26, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=lowest)
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower right", ncols=2)
    set_title(axes, heading, notes)
    return figure
