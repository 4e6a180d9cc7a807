"""Check the folds of others: which speakers, sentences and recordings stand on both sides.

python -m studies.folds FOLDER|FILE --corpus emodb [--output TABLE.csv]

Reads lists of file names (.jsonl, .json, .csv, .tsv, .txt) below a folder. The name of a list says
which side it is: train, test, or validation (valid, val, dev). Lists whose names differ in the side
alone form a fold. A table with a column `fold` holds all folds at once: each is tested on its own
clips and trained on all others, unless a column `side`, `split`, `set`, `subset` or `partition`
says more. The reader of the corpus finds speaker and sentence of each name, without any audio.

Exit code 0: speakers are held out in all folds; 3: in some fold they are not; 1: refused, with the
reason; 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.checks import check
from stages.settings.loading import plain
from studies.answers import NAMES, read_csv
from studies.composition import compose_params
from studies.releases import describe_names

SHARED = 3
_SIDES = {"train": "train", "test": "test", "eval": "test", "evaluation": "test"}
_SIDES |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
_SIDE = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(_SIDES, key=len, reverse=True))})(?:ing)?(?![a-z])"
)
_SIDE_COLUMNS = ("side", "split", "set", "subset", "partition")
#: What two sides may share, and the column of the clip table that says it.
_SHARED = {"speakers": "speaker", "sentences": "sentence", "recordings": "clip"}
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt")  # of two lists with one stem, the first


def read_folds(path: Path) -> pd.DataFrame:
    """Read lists of file names below a folder, or one table.

    Returns
    -------
    DataFrame
        fold, side (train, validation or test), name

    Raises
    ------
    FileNotFoundError, ValueError
        if there is no list whose name or column says a side
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    chosen: dict[Path, Path] = {}
    for suffix in _SUFFIXES:
        for file in files:
            if file.is_file() and file.suffix.lower() == suffix:
                chosen.setdefault(file.with_suffix(""), file)
    tables = [
        table
        for file in sorted(chosen.values())
        if not (table := _read_list(file, root=path if path.is_dir() else path.parent)).empty
    ]
    if not tables:
        raise ValueError(
            f"{path}: got no list of a side among {len(chosen)} files, want names such as "
            "fold_1_train.csv and fold_1_test.csv, or a table with a column fold"
        )
    folds = pd.concat(tables, ignore_index=True)
    for fold, sides in folds.groupby("fold")["side"]:
        both = {"train", "test"} <= set(sides)
        check(f"{path}: fold {fold}", ", ".join(sorted(set(sides))), both, "train and test")
    return folds


def _read_list(file: Path, *, root: Path) -> pd.DataFrame:
    """Read one list; no row if neither its name nor a column says a side."""
    columns = ["fold", "side", "name"]
    relative = file.relative_to(root).with_suffix("").as_posix().casefold()
    sides = _SIDE.findall(relative.rpartition("/")[2]) or _SIDE.findall(relative)
    records = pd.DataFrame(list(_records(file)))
    if records.empty:
        return pd.DataFrame(columns=columns)
    found = {str(column).casefold(): column for column in records}
    name = next((found[column] for column in NAMES if column in found), None)
    if name is None:
        return pd.DataFrame(columns=columns)
    names = records[name].astype("str").str.strip()
    if "fold" in found and not sides:
        return _of_table(records[found["fold"]].astype("str"), found, records, names)
    if not sides:
        return pd.DataFrame(columns=columns)
    fold = re.sub(r"[\W_]+", "_", _SIDE.sub("", relative)).strip("_") or "0"
    return pd.DataFrame({"fold": fold, "side": _SIDES[sides[-1]], "name": names})


def _of_table(
    fold: pd.Series, found: Mapping[str, Any], records: pd.DataFrame, names: pd.Series
) -> pd.DataFrame:
    """Folds of a table that holds all of them."""
    side = next((found[column] for column in _SIDE_COLUMNS if column in found), None)
    if side is not None:
        words = records[side].astype("str").str.strip().str.casefold()
        known = words.map(_SIDES)
        wrong = words[known.isna()]
        check(str(side), wrong.iloc[0] if len(wrong) else "", wrong.empty, "train, test or valid")
        return pd.DataFrame({"fold": fold, "side": known, "name": names})
    parts = []
    for number in sorted(fold.unique()):
        sides = (fold == number).map({True: "test", False: "train"})
        parts.append(pd.DataFrame({"fold": number, "side": sides, "name": names}))
    return pd.concat(parts, ignore_index=True)


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of a list as dicts; a line of text is a name."""
    suffix = file.suffix.lower()
    if suffix in (".csv", ".tsv"):
        yield from read_csv(file).to_dict("records")
        return
    text = file.read_text(encoding="utf-8-sig")
    if suffix == ".txt":
        lines = filter(None, map(str.strip, text.splitlines()))
        yield from ({"name": re.split(r"\s*[,;|\t]|\s+\S+$", line)[0]} for line in lines)
        return
    try:
        if suffix == ".jsonl":
            rows: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}, want JSON") from error
    if isinstance(rows, dict):
        rows = [row if isinstance(row, dict) else {"name": key} for key, row in rows.items()]
    yield from (row if isinstance(row, dict) else {"name": str(row)} for row in rows)


def count_shared(folds: pd.DataFrame, *, corpus: str, reader: Mapping[str, Any]) -> pd.DataFrame:
    """Count what training and test of each fold share; validation clips count as training.

    Parameters
    ----------
    folds : DataFrame
        see `read_folds`
    corpus : str
    reader : mapping
        its settings

    Returns
    -------
    DataFrame
        fold, train_clips, test_clips, unknown (names in which the reader finds no speaker),
        test_speakers, shared_speakers, shared_sentences, shared_recordings, example (of a recording
        or speaker)
    """
    described = describe_names(folds["name"].unique(), corpus=corpus, reader=reader)
    # A name may say the speaker and not the emotion, which IEMOCAP has in tables.
    described = described[described["speaker"] != ""].drop_duplicates("file").set_index("file")
    if described.empty:
        raise ValueError(
            f"{corpus}: got no name of this corpus among {folds['name'].nunique()}, such as "
            f"{folds['name'].iloc[0]}"
        )
    table = folds.join(described[["clip", "speaker", "sentence"]], on="name")
    rows = []
    for fold, own in table.groupby("fold", sort=False):
        tested = own["side"] == "test"
        sides = {"test": own[tested].dropna(), "train": own[~tested].dropna()}
        row: dict[str, Any] = {"fold": fold}
        row |= {f"{side}_clips": part["clip"].nunique() for side, part in sides.items()}
        row["unknown"] = int(own["clip"].isna().sum())
        row["test_speakers"] = sides["test"]["speaker"].nunique()
        shared = {
            kind: sorted(set(sides["test"][column]) & set(sides["train"][column]) - {""})
            for kind, column in _SHARED.items()
        }
        row |= {f"shared_{kind}": len(values) for kind, values in shared.items()}
        example = next(iter(shared["recordings"] or shared["speakers"]), "")
        rows.append(row | {"example": example})
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> str:
    """Say in a sentence whether speakers are held out."""
    shared = int((table["shared_speakers"] > 0).sum())
    count = len(table)
    if not shared:
        return f"Speakers are held out in all {count} folds."
    twice = int((table["shared_recordings"] > 0).sum())
    more = f" In {twice}, recordings do as well." if twice else ""
    return f"In {shared} of {count} folds, speakers stand on both sides.{more}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folds", type=Path, metavar="FOLDER|FILE")
    parser.add_argument("--corpus", required=True, help="whose reader knows the names")
    parser.add_argument("--output", type=Path, help="a new CSV file")
    wanted = parser.parse_args()
    if wanted.output:
        check("--output", str(wanted.output), not wanted.output.exists(), "a new file")
    settings = plain(compose_params(["data=real", f"corpora=[{wanted.corpus}]"]))
    table = count_shared(
        read_folds(wanted.folds),
        corpus=wanted.corpus,
        reader=settings["corpora"][wanted.corpus]["reader"],
    )
    if wanted.output:
        with complete(wanted.output) as part:
            table.to_csv(part, index=False, lineterminator="\n")
    print(table.to_string(index=False), end="\n\n")
    print(verdict(table))
    if (table["shared_speakers"] > 0).any():
        sys.exit(SHARED)


if __name__ == "__main__":
    run_command(main)
