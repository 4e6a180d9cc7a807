"""Emozionalmente, a crowdsourced Italian corpus of simulated emotional speech.

431 amateurs say eighteen sentences in seven emotions, on microphones of their own. A name is a
number without meaning, `1613655062436`. Speaker, sentence and the emotion that was meant are in
metadata/samples.csv, sex and age of the speakers in metadata/users.csv; what listeners heard, in
evaluations.csv, is no label here.

References
----------
F. Catania, J. W. Wilke, F. Garzotto: Emozionalmente: a crowdsourced corpus of simulated emotional
speech in Italian. IEEE Transactions on Audio, Speech and Language Processing 33, 2025, 1142-1155.
https://doi.org/10.1109/TASLPRO.2025.3540662
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from stages.sources.files import parse_names, read_table
from stages.sources.spelling import identity
from stages.sources.vocabulary import age_of, sex_of

HOW_TO_GET = """\
Emozionalmente: https://zenodo.org/records/12616095
Unpack it into emozionalmente/, so that audio/1613655062436.wav and metadata/samples.csv exist below
it. 6902 files of 431 speakers."""

PATTERN = r"(?P<number>\d{13})"
FORM = "a number of 13 digits, 1613655062436"
LISTED = "samples.csv"
COLUMNS = ("file_name", "actor", "emotion_expressed", "sentence")

EMOTIONS = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happy",
    "neutrality": "neutral",
    "sadness": "sad",
    "surprise": "surprise",
}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; audio and metadata may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; the speaker is the beginning of the long code that the corpus
        gives. A file is excluded if no samples.csv lists it, if it is listed in two ways, or with
        another emotion or no speaker.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, or if a table is damaged
    """
    samples = _samples(root)
    people = {line["username"]: line for line in _lines(root, "users.csv", columns=["username"])}
    return parse_names(
        root, pattern=PATTERN, form=FORM, describe=lambda name: _describe(name, samples, people)
    )


def _samples(root: Path) -> dict[str, set[tuple[str, ...]]]:
    """Read actor, emotion and sentence of each clip."""
    samples: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for line in _lines(root, LISTED, columns=COLUMNS):
        name = PurePosixPath(line["file_name"].replace("\\", "/")).stem
        samples[name].add(tuple(line[column] for column in COLUMNS[1:]))
    return samples


def _lines(root: Path, name: str, *, columns: Collection[str]) -> list[dict[str, str]]:
    """Read the lines of all tables of a name."""
    tables = sorted(path for path in root.rglob(name) if path.is_file())
    return [cells for path in tables for _, cells in read_table(path, columns=columns)]


def _describe(
    name: re.Match,
    samples: Mapping[str, set[tuple[str, ...]]],
    people: Mapping[str, Mapping[str, str]],
) -> dict:
    clip, found = name["number"], sorted(samples.get(name["number"], ()))
    if len(found) != 1:
        got = " and ".join(", ".join(cells[:2]) for cells in found) or "nothing"
        where = f"in metadata/{LISTED}" if samples else f"as there is no metadata/{LISTED}"
        return {"clip": clip, "excluded": f"no label: got {got} {where}, want one line"}
    actor, emotion, sentence = found[0]
    if emotion not in EMOTIONS:
        known = " ".join(EMOTIONS)
        reason = f"emotion outside the scheme: got {emotion or 'nothing'}, want {known}"
        return {"clip": clip, "excluded": reason}
    if not actor:
        return {"clip": clip, "excluded": f"speaker unknown: got nothing in {LISTED}, want a code"}
    person = people.get(actor, {})
    return {
        "clip": clip,
        # Of 64 digits. Should two people share these, they stand on one side of a split.
        "speaker": actor[:8],
        "sex": sex_of(person.get("gender", "")),
        "age": age_of(person.get("age", "")),
        "language": "it",
        "emotion": EMOTIONS[emotion],
        "sentence": identity(sentence),
    }
