"""Clips of a corpus described by their names alone, without any audio."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from stages.clips.clip_table import COLUMNS, DESCRIPTION
from stages.clips.completeness import read_release
from stages.settings.loading import bind
from stages.sources.files import AUDIO_SUFFIXES


def clips_of_release(corpus: str, settings: Mapping[str, Any]) -> pd.DataFrame | None:
    """Describe all clips of a release; None if its names are not known.

    Parameters
    ----------
    corpus : str
    settings : mapping
        of the corpus, such as conf/corpora/ravdess.yaml: reader and release

    Returns
    -------
    DataFrame
        see `describe_names`
    """
    release = read_release(settings.get("release"))
    if release is None or release.names is None:
        return None
    # Files with these names: a clip named by its path would be one whose name does not parse.
    files = [f"{name}.wav" for name in release.names]
    return describe_names(files, corpus=corpus, reader=settings["reader"])


def describe_names(names: Iterable[str], *, corpus: str, reader: Mapping[str, Any]) -> pd.DataFrame:
    """Let the reader of a corpus describe files by their names.

    Parameters
    ----------
    names : iterable of str
        relative paths of files, with or without a suffix
    corpus : str
    reader : mapping
        settings of the reader; it must need nothing but names

    Returns
    -------
    DataFrame
        a clip table as far as names tell, one row per clip, sorted. Digests, levels and durations
        are empty, and each clip has one frame. `file` is the name that was given

    Raises
    ------
    ValueError, FileNotFoundError
        as the reader does
    """
    given: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        # Readers list the files of a folder, and look at nothing but their names.
        for name in dict.fromkeys(names):
            place = PurePosixPath(*(part for part in parts_of(name) if part not in ("..", ".")))
            if not place.name:
                continue
            path = Path(folder, f"{without_suffix(place.as_posix())}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            given.setdefault(path.relative_to(folder).as_posix(), name)
        try:
            rows = bind(reader, "corpora")(Path(folder))
        except FileNotFoundError as error:
            missing = str(error).removeprefix(f"{folder}/")
            raise FileNotFoundError(
                f"{corpus}: {missing}: names alone do not describe its clips; want --workspace, "
                "after a run of the stage split"
            ) from error
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    table[list(DESCRIPTION)] = table[list(DESCRIPTION)].astype("object").fillna("")
    table = table.assign(corpus=corpus, variant="clean", samples=1, frames=1)
    table["file"] = table["file"].map(given)
    for column in ("clip", "speaker", "sentence"):
        table[column] = table[column].mask(table[column] != "", corpus + "/" + table[column])
    table["source"] = table["clip"]
    numbers = [name for name in COLUMNS if name not in (*DESCRIPTION, "level_db")]
    table[numbers] = table[numbers].fillna(0)
    return table.astype(COLUMNS).sort_values("clip", kind="stable", ignore_index=True)


def key_of(name: str) -> str:
    """Name of a clip or path of a file in the form in which both are compared."""
    path = without_suffix("/".join(parts_of(name)))
    return (path if path.isascii() else unicodedata.normalize("NFC", path)).casefold()


def parts_of(name: str) -> list[str]:
    """Parts of a path, with slashes of either kind."""
    return list(filter(None, str(name).strip().replace("\\", "/").split("/")))


def without_suffix(name: str) -> str:
    """Strip the suffix of an audio file, and nothing else that follows a dot."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem.rpartition("/")[2] and suffix.lower() in AUDIO_SUFFIXES else name
