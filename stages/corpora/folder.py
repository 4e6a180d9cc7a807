"""Your own recordings, one folder per emotion.

Below a root, each folder is named after an emotion: `anna/angry/take1.wav` for the root `anna`.
Words that are understood stand in stages/sources/vocabulary.py; the setting `emotions` adds others.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from stages.sources.files import audio_files
from stages.sources.vocabulary import UNKNOWN_SPEAKER, emotion_of, emotion_words, sex_of

log = logging.getLogger(__name__)

HOW_TO_GET = """\
folder: your own recordings, one folder per emotion, folder/angry/take1.wav
Say in conf/corpora/folder.yaml where those folders lie and who speaks; see data/raw/README.md."""


def read(
    root: Path,
    *,
    roots: Sequence[str],
    emotions: Mapping[str, str],
    speaker: str | None,
    language: str | None,
    sex: str | None,
) -> list[dict]:
    """One row per file.

    Parameters
    ----------
    root : Path
        folder of the corpus
    roots : sequence of str
        folders below it in which the folders of emotions lie; "." is the folder of the corpus, and
        * stands for any characters in the name of a folder
    emotions : mapping
        name of a folder to emotion of the common vocabulary, for names not understood otherwise
    speaker : str or None
        regular expression with a group `speaker`, searched in each file's path below the folder of
        the corpus. None: all files are by one speaker, `unknown`. Speakers are held out, so what is
        unknown must stand on one side of a split.
    language, sex : str or None
        the same for all files: ISO 639-1; female or male

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the path without its suffix. A file outside the roots,
        in no folder of an emotion or by nobody is excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if no audio file lies below it or below one of the roots; naming a setting that is wrong
    """
    _check(roots=roots, speaker=speaker, language=language, sex=sex)
    who = _pattern(speaker) if speaker else None
    if who is None:
        log.warning(
            "%s: nothing says who speaks, so all files count as one speaker, %s, and stand on one "
            "side of every split; see the setting speaker",
            root,
            UNKNOWN_SPEAKER,
        )
    words = emotion_words(emotions)
    places = [PurePosixPath(place) for place in roots]
    files = [PurePosixPath(file) for file in audio_files(root)]
    for place in places:
        if all(_folder_below(file, place) is None for file in files):
            folders = sorted({file.parts[0] for file in files if len(file.parts) > 1})
            raise ValueError(
                f"{root}: roots: no audio file below {place}, got the folders "
                f"{', '.join(folders) or 'none'}"
            )
    known = {"language": language or "", "sex": sex_of(sex or "")}
    return [_describe(file, places=places, words=words, who=who) | known for file in files]


def _check(*, roots: object, **texts: object) -> None:
    if isinstance(roots, str):
        raise ValueError(f"roots: got {roots!r}, want a list of folders")
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name}: got {text!r}, want text in quotes, or null")
    if texts["sex"] and not sex_of(str(texts["sex"])):
        raise ValueError(f"sex: got {texts['sex']!r}, want female, male or null")


def _pattern(speaker: str) -> re.Pattern:
    wanted = "want a regular expression with a group (?P<speaker>...)"
    try:
        pattern = re.compile(speaker)
    except re.error as error:
        raise ValueError(f"speaker: got {speaker!r}, {error}; {wanted}") from error
    if "speaker" not in pattern.groupindex:
        raise ValueError(f"speaker: got {speaker!r}, {wanted}")
    return pattern


def _describe(
    file: PurePosixPath,
    *,
    places: Sequence[PurePosixPath],
    words: Mapping[str, str],
    who: re.Pattern | None,
) -> dict:
    row = {"clip": str(file.with_suffix("")), "file": str(file)}
    folders = {_folder_below(file, place) for place in places} - {None}
    if len(folders) != 1:
        wanted = f"want it below one of {', '.join(map(str, places))}"
        return row | {"excluded": f"outside the roots, or in several: got {file}, {wanted}"}
    emotion, reason = emotion_of(folders.pop(), words)
    found = who.search(str(file)) if who else None
    speaker = UNKNOWN_SPEAKER if who is None else found and found["speaker"]
    if not reason and not speaker:
        reason = f"speaker unknown: got {file}, want a match of {who.pattern}"
    if reason:
        return row | {"excluded": reason}
    return row | {"speaker": speaker, "emotion": emotion}


def _folder_below(file: PurePosixPath, place: PurePosixPath) -> str | None:
    """The folder directly below a place on the way to a file, "" if the file itself lies there."""
    depth = len(place.parts)
    if len(file.parts) <= depth or not all(map(fnmatchcase, file.parts, place.parts)):
        return None
    return file.parts[depth] if len(file.parts) > depth + 1 else ""
