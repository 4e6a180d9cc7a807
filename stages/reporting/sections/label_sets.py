"""What becomes of each corpus's codes under every label set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from stages.reporting.run import Run
from stages.reporting.section import Section
from stages.settings.loading import module_of
from stages.sources.vocabulary import EMOTIONS


def section(run: Run) -> Section:
    """Labels and losses under the chosen label set and all others."""
    chosen = run.settings["labels"]
    others = {name: mapping for name, mapping in run.label_sets.items() if name != chosen["name"]}
    label_sets = {f"{chosen['name']} (chosen)": chosen["map"]} | others
    clean = run.clean
    codes = {
        corpus: corpus_codes(run.settings["corpora"][corpus], present=emotions)
        for corpus, emotions in clean[clean["emotion"] != ""].groupby("corpus")["emotion"]
    }
    return Section(
        words={
            "labels": label_table(codes, label_sets=label_sets),
            "losses": loss_table(clean, label_sets=label_sets),
        }
    )


def read_label_sets(folder: str | Path) -> dict[str, dict[str, str | None]]:
    """Read the label sets of conf/labels, emotion -> label by name; most labels first."""
    sets: list[Any] = [
        OmegaConf.to_container(OmegaConf.load(path)) for path in Path(folder).glob("*.yaml")
    ]
    sets.sort(key=lambda group: (-len(set(group["map"].values()) - {None}), group["name"]))
    return {group["name"]: group["map"] for group in sets}


def corpus_codes(settings: Mapping[str, Any], *, present: Iterable[str]) -> dict[str, str]:
    """Find a corpus's own codes: code -> emotion.

    They are the EMOTIONS of its reader's module. Recordings of one's own have emotions in their
    place: those present, and those of the reader's setting `emotions`.

    Parameters
    ----------
    settings : mapping
        of the corpus; `reader` names the module
    present : emotions
        of the corpus's clips
    """
    reader = settings["reader"]
    module = module_of(reader, "corpora")
    words = {emotion: emotion for emotion in present} | reader.get("emotions", {})
    return getattr(module, "EMOTIONS", words)


def label_table(
    codes: Mapping[str, Mapping[str, str]],
    *,
    label_sets: Mapping[str, Mapping[str, str | None]],
) -> pd.DataFrame:
    """List codes and labels of each emotion that a corpus has.

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
        | {corpus: ", ".join(names[names.index == emotion]) for corpus, names in own.items()}
        | {name: mapping.get(emotion) or "–" for name, mapping in label_sets.items()}
        for emotion in EMOTIONS
        if any(emotion in names.index for names in own.values())
    ]
    return pd.DataFrame(rows)


def loss_table(
    clips: pd.DataFrame, *, label_sets: Mapping[str, Mapping[str, str | None]]
) -> pd.DataFrame:
    """Count the clips in use that each label set leaves out of each corpus, and name emotions."""
    used = clips[clips["excluded"] == ""]
    by_corpus = pd.crosstab(used["corpus"], used["emotion"])
    return pd.DataFrame(
        [
            {"label set": name}
            | {
                corpus: _loss(counts[counts > 0], mapping=mapping)
                for corpus, counts in by_corpus.iterrows()
            }
            for name, mapping in label_sets.items()
        ]
    )


def _loss(counts: pd.Series, *, mapping: Mapping[str, str | None]) -> str:
    lost = counts[[mapping.get(emotion) is None for emotion in counts.index]]
    named = f": {', '.join(lost.index)}" if len(lost) else ""
    return f"{lost.sum()} of {counts.sum()}{named}"
