"""Tables of answers that another system gave: read, renamed and matched to clips."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.settings.checks import check
from studies.releases import describe_names, key_of, parts_of, without_suffix

#: Columns that may name the clip, that hold its label, and that number the seed.
NAMES = ("clip", "file", "filename", "file_name", "path", "name", "wav", "audio", "utterance", "id")
ANSWERS = ("prediction", "predicted", "predicted_label", "pred", "answer", "label", "emotion")
SEEDS = ("seed", "run")
_TOLERANCE = 0.01  # of the sum of the probabilities, which tables often round to two decimals
_EXACT = 1e-3  # what the project's own tables keep
_LISTED = 3


@dataclass
class Fates:
    """What became of the rows of a table, for the page.

    Attributes
    ----------
    rows : int
    kinds : list of (str, list of str)
        in words, and the names that it happened to
    notes : list of str
        other things to know
    """

    rows: int = 0
    kinds: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, names: Sequence[str]) -> None:
        """Record what happened to some names, if there are any."""
        if len(names):
            self.kinds.append((kind, sorted(map(str, dict.fromkeys(names)))))

    def lines(self) -> list[str]:
        """One line per kind, with the number of names and the first of them."""
        found = [
            f"{kind}: {len(names)}, such as {', '.join(names[:_LISTED])}"
            for kind, names in self.kinds
        ]
        return [*found, *self.notes]


def read_answers(
    path: str | Path, *, label_map: Mapping[str, str | None], rename: Mapping[str, str]
) -> tuple[pd.DataFrame, Fates]:
    """Read a table of answers.

    The delimiter (comma, semicolon or tab), a decimal comma and the encoding are found out.
    Probabilities, in columns named by labels or `p_<label>`, precede a column with one label.

    Parameters
    ----------
    path : path
        CSV with a header: one of NAMES; probabilities, or one of ANSWERS; perhaps one of SEEDS
    label_map : mapping
        label of each emotion of the common vocabulary; None: not one of the classes
    rename : mapping
        names of labels in the table to labels or emotions

    Returns
    -------
    DataFrame
        name, seed, p_<label> for each label, in the order of the label set. A label without
        probabilities has all of it
    Fates

    Raises
    ------
    FileNotFoundError, ValueError
        naming the file, the column or the first row with a fault
    """
    return parse_answers(read_csv(Path(path)), path=path, label_map=label_map, rename=rename)


def parse_answers(
    table: pd.DataFrame,
    *,
    path: str | Path,
    label_map: Mapping[str, str | None],
    rename: Mapping[str, str],
) -> tuple[pd.DataFrame, Fates]:
    """Find names, seeds and answers in a table of texts; see `read_answers`."""
    columns = {str(column).strip().casefold(): column for column in table}
    name = _choose(columns, NAMES, path=path, want="the clip or file of each row")
    seed = next((columns[column] for column in SEEDS if column in columns), None)
    labels = list(dict.fromkeys(filter(None, label_map.values())))
    fates = Fates(rows=len(table))
    answers = pd.DataFrame({"name": table[name].str.strip(), "seed": _seeds(table, seed, path)})
    probable = _probability_columns(table, label_map=label_map, rename=rename, path=path)
    if len(probable) > 1:
        values = _numbers(table[list(probable)], names=answers["name"], path=path)
        for label in labels:
            own = [column for column, given in probable.items() if given == label]
            answers[f"p_{label}"] = values[own].sum(axis=1) if own else 0.0
        return answers, fates
    column = _choose(columns, ANSWERS, path=path, want="probabilities by label, or a label")
    words = table[column].str.strip()
    known = {word: _label_of(word, label_map=label_map, rename=rename) for word in words.unique()}
    _check_words(known, label_map=label_map, path=path)
    chosen = words.map(known)
    for label in labels:
        answers[f"p_{label}"] = (chosen == label).astype(float)
    fates.notes.append("labels without probabilities: figures of probabilities are left out")
    return answers, fates


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file as text, whatever its delimiter and encoding."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype="str", keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(f"{path}: {str(error).strip()}; want a CSV file with a header") from error
    if table.empty:
        raise ValueError(f"{path}: got 0 rows, want one for each clip")
    return table


def _choose(columns: Mapping[str, str], wanted: Sequence[str], *, path: Any, want: str) -> str:
    """Choose the first column of a list that the table has."""
    for column in wanted:
        if column in columns:
            return columns[column]
    raise ValueError(
        f"{path}: got the columns {', '.join(columns.values())}; want {want}, in a column named "
        f"{', '.join(wanted[:-1])} or {wanted[-1]}"
    )


def _seeds(table: pd.DataFrame, column: str | None, path: Any) -> pd.Series:
    if column is None:
        return pd.Series(0, index=table.index)
    seeds = pd.to_numeric(table[column], errors="coerce")
    wrong = seeds.isna() | (seeds % 1 != 0)
    if wrong.any():
        got = table[column][wrong].iloc[0]
        raise ValueError(f"{path}: {column}: got {got!r}, want a whole number")
    return seeds.astype("int64")


def _label_of(
    word: str, *, label_map: Mapping[str, str | None], rename: Mapping[str, str]
) -> str | None:
    """Label that a word of the table stands for; None if there is none."""
    folded = {name.casefold(): other for name, other in rename.items()}
    word = folded.get(word.casefold(), word).casefold()
    if word in set(filter(None, label_map.values())):
        return word
    return label_map.get(word)


def _check_words(
    known: Mapping[str, str | None], *, label_map: Mapping[str, str | None], path: Any
) -> None:
    labels = list(dict.fromkeys(filter(None, label_map.values())))
    if unknown := [word for word, label in known.items() if label is None]:
        near = difflib.get_close_matches(unknown[0].casefold(), [*labels, *label_map], 1, 0.3)
        raise ValueError(
            f"{path}: got the labels {', '.join(sorted(unknown))}, want some of "
            f"{', '.join(labels)}; --rename {unknown[0]}={near[0] if near else labels[0]} gives "
            "a label another name"
        )


def _probability_columns(
    table: pd.DataFrame,
    *,
    label_map: Mapping[str, str | None],
    rename: Mapping[str, str],
    path: str | Path,
) -> dict[str, str]:
    """Label of each column that holds probabilities."""
    found = {}
    for column in table:
        marked = str(column).strip().casefold().startswith("p_")
        word = str(column).strip()[2:] if marked else str(column).strip()
        label = _label_of(word, label_map=label_map, rename=rename)
        if label is not None:
            found[column] = label
        elif marked:
            labels = list(dict.fromkeys(filter(None, label_map.values())))
            raise ValueError(
                f"{path}: {column}: got no label of the label set, want p_ and one of "
                f"{', '.join(labels)}; --rename {word}={labels[0]} gives a label another name"
            )
    return found


def _numbers(table: pd.DataFrame, *, names: pd.Series, path: Any) -> pd.DataFrame:
    """Convert probabilities from text and check them, naming the first row with a fault."""
    text = table.apply(lambda column: column.str.strip().str.replace(",", ".", regex=False))
    values = text.apply(pd.to_numeric, errors="coerce")
    total = values.sum(axis=1)
    # NaN fails each of these comparisons, so it is found as well.
    right = ((values >= 0) & (values <= 1)).all(axis=1) & ((total - 1).abs() <= _TOLERANCE)
    if not right.all():
        row = (~right).idxmax()
        got = " ".join(f"{column}={table[column][row]}" for column in table)
        raise ValueError(
            f"{path}: {names[row]}: got {got}, want probabilities between 0 and 1 with a sum of 1 "
            f"(within {_TOLERANCE}); {(~right).sum()} such rows"
        )
    # Only what tables have rounded: other probabilities keep their last digit.
    return values.div(total.where((total - 1).abs() > _EXACT, 1.0), axis=0)


def match(
    answers: pd.DataFrame,
    clips: pd.DataFrame,
    *,
    corpora: Mapping[str, Mapping[str, Any]],
    fates: Fates,
) -> pd.DataFrame:
    """Find the clip that each name stands for; rows of unknown names are left out.

    A name is a clip, with or without its corpus, or a path that ends in the name of a clip or of
    its file. What still is unknown is shown to the readers of the corpora, since the names of files
    may differ from those of clips.

    Parameters
    ----------
    answers : DataFrame
        see `read_answers`
    clips : DataFrame
        clip table; see studies.releases
    corpora : mapping
        settings of each corpus, by name
    fates : Fates
        is told which names are unknown

    Returns
    -------
    DataFrame
        the rows with a clip, which the column `clip` names
    """
    known: dict[str, str | None] = {}
    for clip, corpus, file in zip(clips["clip"], clips["corpus"], clips["file"], strict=True):
        below = {key_of(n) for n in {clip.removeprefix(f"{corpus}/"), without_suffix(file)}}
        for key in below | {f"{key_of(corpus)}/{key}" for key in below}:
            # A name of clips in two corpora stands for neither.
            known[key] = clip if known.get(key, clip) == clip else None
    found = {name: _known_end(name, known) for name in answers["name"].unique()}
    official = set(clips["clip"])
    for corpus, settings in corpora.items():
        rest = [name for name, clip in found.items() if clip is None and name]
        if not rest:
            break
        try:
            described = describe_names(rest, corpus=corpus, reader=settings["reader"])
        except (ValueError, OSError):  # not names of this corpus
            continue
        found |= {
            row.file: row.clip
            for row in described.itertuples()
            if not row.excluded and row.clip in official
        }
    matched = answers.assign(clip=answers["name"].map(found))
    fates.add("not a clip of the corpus", matched["name"][matched["clip"].isna()].tolist())
    matched = matched[matched["clip"].notna()]
    if matched.empty:
        names = ", ".join(list(found)[:_LISTED])
        raise ValueError(
            f"got no name of a clip among {len(found)} names, such as {names}; want such as "
            f"{', '.join(clips['clip'].head(_LISTED))}"
        )
    return matched


def _known_end(name: str, known: Mapping[str, str | None]) -> str | None:
    """Clip of the longest end of a path that is known."""
    key = key_of(name)
    if clip := known.get(key):
        return clip
    parts = parts_of(key)
    for first in range(1, len(parts)):
        if clip := known.get("/".join(parts[first:])):
            return clip
    return None


def one_each(answers: pd.DataFrame, *, fates: Fates) -> pd.DataFrame:
    """Keep clips that have one answer under every seed.

    Repeated rows with equal answers count once. A clip with two different answers has none.
    """
    values = [column for column in answers if column.startswith("p_")]
    seeds = sorted(answers["seed"].unique())
    answers = answers.drop_duplicates(["clip", "seed", *values])
    twice = answers.duplicated(["clip", "seed"], keep=False)
    fates.add("answered twice and differently, so left out", answers["clip"][twice].tolist())
    answers = answers[~answers["clip"].isin(answers["clip"][twice])]
    counts = answers.groupby("clip")["seed"].nunique()
    short = counts.index[counts < len(seeds)]
    fates.add(f"not answered under all of {len(seeds)} seeds, so left out", short.tolist())
    answers = answers[~answers["clip"].isin(short)]
    check("answers", len(answers), len(answers) > 0, "at least one clip with one answer per seed")
    return answers


def check_rename(texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=LABEL texts."""
    pairs = {}
    for text in texts:
        name, sign, label = text.partition("=")
        check("--rename", text, bool(sign and name and label), "such as fearful=fear")
        pairs[name.strip()] = label.strip()
    return pairs


def certain(answers: pd.DataFrame) -> bool:
    """Whether each answer is one label without probabilities."""
    values = answers[[column for column in answers if column.startswith("p_")]].to_numpy()
    return bool(np.isin(values, (0.0, 1.0)).all())
