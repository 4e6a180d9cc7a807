"""The corpora themselves: what was found of each, what it is like, and what its labels became."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import OmegaConf

from stages.audio.loudness import rms_db
from stages.audio.store import FULL_SCALE
from stages.clips.completeness import Completeness, compare_release, read_release
from stages.reporting import corpus_figures
from stages.sources.vocabulary import EMOTIONS

#: Of durations and levels: end of the column's name -> share of the clips below.
QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_SEXES = {"female": "women", "male": "men", "": "not known"}


@dataclass(frozen=True)
class CorpusReport:
    """What the report says of the corpora.

    Attributes
    ----------
    table : DataFrame
        one row per corpus, see `describe_corpora`
    completeness : Completeness by corpus
        of those whose release is known; none in the demo, which is small by design
    labels, losses : DataFrame
        see `label_table` and `loss_table`
    """

    table: pd.DataFrame
    completeness: dict[str, Completeness]
    labels: pd.DataFrame
    losses: pd.DataFrame


def corpus_report(
    clips: pd.DataFrame,
    *,
    store: NDArray[np.int16],
    label_sets: Mapping[str, Mapping[str, str | None]],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> tuple[CorpusReport, dict[str, Figure]]:
    """Describe, compare and draw the corpora; to be called within `drawing.style`.

    Parameters
    ----------
    clips : DataFrame
        the clip table; training variants are left out of all that is made here
    store : int16 [samples]
        the audio store, best memory-mapped: it is read once, in pieces
    label_sets : emotion -> label, by name
        those to choose from; what the chosen one does is taken from the settings
    settings : mapping
        audio, corpora, data and labels of params.yaml
    notes : what every figure's title must add

    Returns
    -------
    CorpusReport, and its figures by name
    """
    clips = clips[clips["variant"] == "clean"]
    clips = clips.assign(
        used_s=clips["samples"] / settings["audio"]["sample_rate"],
        used_db=used_levels(clips, store=store),
    )
    completeness = {}
    if settings["data"]["name"] != "demo":
        for corpus, rows in clips.groupby("corpus"):
            if release := read_release(settings["corpora"][corpus].get("release")):
                completeness[corpus] = compare_release(rows, release=release)
    table = describe_corpora(clips, completeness=completeness)
    chosen, mapping = settings["labels"]["name"], settings["labels"]["map"]
    others = {name: other for name, other in label_sets.items() if name != chosen}
    label_sets = {f"{chosen} (chosen)": mapping} | others
    codes = {
        corpus: corpus_codes(settings["corpora"][corpus], present=emotions)
        for corpus, emotions in clips[clips["emotion"] != ""].groupby("corpus")["emotion"]
    }
    report = CorpusReport(
        table=table,
        completeness=completeness,
        labels=label_table(codes, label_sets=label_sets),
        losses=loss_table(clips, label_sets=label_sets),
    )
    return report, draw_corpora(clips, table=table, notes=notes)


def used_levels(clips: pd.DataFrame, *, store: NDArray[np.int16]) -> NDArray[np.float64]:
    """Level of each clip in the audio store, in dB relative to full scale; NaN of excluded ones."""
    spans = zip(clips["start"], clips["samples"], strict=True)
    return np.array(
        [
            rms_db(store[start : start + samples], full_scale=FULL_SCALE) if samples else np.nan
            for start, samples in spans
        ]
    )


def describe_corpora(
    clips: pd.DataFrame, *, completeness: Mapping[str, Completeness]
) -> pd.DataFrame:
    """Facts of each corpus, as a paper's section on its data states them.

    Parameters
    ----------
    clips : DataFrame
        clean clips of a clip table, with used_s and used_db: duration in s and level in dB
        relative to full scale, after trimming and levelling
    completeness : by corpus
        may lack some

    Returns
    -------
    DataFrame
        one row per corpus: corpus, language; files, clips (in use), excluded; expected, found,
        missing, surplus, unusable and expected_speakers (see Completeness); speakers, female, male,
        age_min, age_max; emotions, sentences; rates_hz, with the number of files; hours and
        used_hours, sums of duration_s and used_s; and the quantiles of duration_s, used_s, level_db
        and used_db. From speakers on, all is about clips in use. NA where not known
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
        "rates_hz": " ".join(f"{rate} ({number})" for rate, number in rates.items()),
        "hours": used["duration_s"].sum() / 3600,
        "used_hours": used["used_s"].sum() / 3600,
    }
    for name in ("duration_s", "used_s", "level_db", "used_db"):
        values = used[name].quantile(list(QUANTILES.values()))
        facts |= {f"{name}_{end}": value for end, value in zip(QUANTILES, values, strict=True)}
    return facts


def overview(report: CorpusReport) -> pd.DataFrame:
    """The same facts for the eye: a row for each, a column for each corpus."""
    columns = {}
    for row in report.table.itertuples():
        of = report.completeness.get(row.corpus)
        sexless = row.speakers - row.female - row.male
        columns[row.corpus] = {
            "language": row.language,
            "files": str(row.files),
            "the release's clips found": f"{of.found} of {of.expected}" if of else "",
            "clips in use": str(row.clips),
            "speakers": f"{row.speakers} of {of.expected_speakers}" if of else str(row.speakers),
            "women, men": f"{row.female}, {row.male}"
            + (f", {sexless} not known" if sexless else ""),
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
    """Clips found of those expected, by emotion, of the corpora that are partial."""
    columns = {
        corpus: of.emotions["found"].astype("str") + " of " + of.emotions["expected"].astype("str")
        for corpus, of in completeness.items()
        if of.missing and of.emotions["expected"].notna().all()
    }
    table = pd.DataFrame(columns).reindex(EMOTIONS).dropna(how="all").fillna("")
    return table.rename_axis("emotion").reset_index()


def read_label_sets(folder: str | Path) -> dict[str, dict[str, str | None]]:
    """The label sets to choose from, emotion -> label by name; those of most labels first."""
    sets = [OmegaConf.to_container(OmegaConf.load(path)) for path in Path(folder).glob("*.yaml")]
    sets.sort(key=lambda of: (-len(set(of["map"].values()) - {None}), of["name"]))
    return {of["name"]: of["map"] for of in sets}


def corpus_codes(settings: Mapping[str, Any], *, present: Iterable[str]) -> dict[str, str]:
    """A corpus's own codes: code -> emotion.

    They are what the module of its reader calls EMOTIONS. Recordings of one's own have words in
    their place: the emotions that are present, and those in the reader's setting `emotions`.

    Parameters
    ----------
    settings : mapping
        of the corpus; `reader` names the module
    present : emotions
        of the corpus's clips
    """
    reader = settings["reader"]
    module = import_module(reader["_target_"].rpartition(".")[0])
    words = {emotion: emotion for emotion in present} | reader.get("emotions", {})
    return getattr(module, "EMOTIONS", words)


def label_table(
    codes: Mapping[str, Mapping[str, str]],
    *,
    label_sets: Mapping[str, Mapping[str, str | None]],
) -> pd.DataFrame:
    """What becomes of each corpus's codes: a row for each emotion that one of them has.

    Parameters
    ----------
    codes : code -> emotion, by corpus
    label_sets : emotion -> label, by name

    Returns
    -------
    DataFrame
        of text: `common name`, a column for each corpus and one for each label set; "" where a
        corpus lacks the emotion, and – where a label set leaves it out
    """
    own = {
        corpus: pd.Series(emotions.keys(), index=emotions.values(), dtype="str")
        for corpus, emotions in codes.items()
    }
    rows = [
        {"common name": emotion}
        | {corpus: ", ".join(of[of.index == emotion]) for corpus, of in own.items()}
        | {name: mapping.get(emotion) or "–" for name, mapping in label_sets.items()}
        for emotion in EMOTIONS
        if any(emotion in of.index for of in own.values())
    ]
    return pd.DataFrame(rows)


def loss_table(
    clips: pd.DataFrame, *, label_sets: Mapping[str, Mapping[str, str | None]]
) -> pd.DataFrame:
    """How many clips in use each label set leaves out of each corpus, and of which emotions."""
    used = clips[clips["excluded"] == ""]
    counts = pd.crosstab(used["corpus"], used["emotion"])
    return pd.DataFrame(
        [
            {"label set": name}
            | {corpus: _loss(of[of > 0], mapping=mapping) for corpus, of in counts.iterrows()}
            for name, mapping in label_sets.items()
        ]
    )


def _loss(counts: pd.Series, *, mapping: Mapping[str, str | None]) -> str:
    lost = counts[[mapping.get(emotion) is None for emotion in counts.index]]
    named = f": {', '.join(lost.index)}" if len(lost) else ""
    return f"{lost.sum()} of {counts.sum()}{named}"


def draw_corpora(
    clips: pd.DataFrame, *, table: pd.DataFrame, notes: Sequence[str]
) -> dict[str, Figure]:
    """Figures by name: clips, durations, speakers, levels and, where there are any, excluded files.

    Parameters
    ----------
    clips, table : DataFrame
        clean clips, and what `describe_corpora` made of them
    notes : what every title must add
    """
    used, excluded = (clips[(clips["excluded"] == "") == keep] for keep in (True, False))
    corpora = list(table["corpus"])  # in each figure, for like colours
    speakers = used.drop_duplicates("speaker")
    by_emotion = pd.crosstab(used["emotion"], used["corpus"]).reindex(columns=corpora, fill_value=0)
    by_sex = pd.crosstab(speakers["corpus"], speakers["sex"])
    reasons = excluded["excluded"].str.split(":", n=1).str[0]
    drawn = {
        "clips": corpus_figures.counts_figure(
            by_emotion.reindex([emotion for emotion in EMOTIONS if emotion in by_emotion.index]),
            heading="Clips in use, by emotion and corpus",
            unit="clips",
            notes=notes,
        ),
        "durations": corpus_figures.spreads_figure(
            _quantiles(table, {"duration_s": "in the file", "used_s": "in use"}),
            heading="Duration of the clips",
            label="duration (s)",
            lowest=0,
            notes=notes,
        ),
        "voices": corpus_figures.counts_figure(
            by_sex.reindex(columns=[sex for sex in _SEXES if sex in by_sex]).rename(columns=_SEXES),
            heading="Speakers, by corpus and sex",
            unit="speakers",
            notes=notes,
        ),
        "levels": corpus_figures.spreads_figure(
            _quantiles(table, {"level_db": "in the file", "used_db": "in use"}),
            heading="Level of the clips",
            label="root mean square (dB relative to full scale)",
            lowest=None,
            notes=notes,
        ),
    }
    if len(excluded):
        drawn["excluded"] = corpus_figures.counts_figure(
            pd.crosstab(reasons, excluded["corpus"]).reindex(columns=corpora, fill_value=0),
            heading="Files that are not used, by reason and corpus",
            unit="files",
            notes=notes,
        )
    return {f"corpora_{name}": figure for name, figure in drawn.items()}


def _quantiles(table: pd.DataFrame, names: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Of the quantities with these columns: what to call each -> [corpora, quantiles]."""
    rows = table.set_index("corpus")
    return {
        title: rows[[f"{name}_{end}" for end in QUANTILES]].set_axis(list(QUANTILES), axis=1)
        for name, title in names.items()
    }
