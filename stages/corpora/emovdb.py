"""EmoV-DB, the Emotional Voices Database. Not to be confused with EMO-DB, the Berlin corpus.

Two women and two men read sentences of CMU Arctic in five emotions.
A file is `bea_Amused/amused_57-84_0057`, in other copies `bea/Amused/amused_57-84_0057`: speaker,
emotion, range of sentences of the recording session, sentence. File names spell the emotions in
several ways.

References
----------
A. Adigwe, N. Tits, K. El Haddad, S. Ostadabbas, T. Dutoit: The Emotional Voices Database: Towards
Controlling the Emotion Dimension in Voice Generation Systems. 2018. https://arxiv.org/abs/1806.09514
"""

import re
from pathlib import Path

from stages.sources.files import parse_names, refuse_other

HOW_TO_GET = """\
EmoV-DB: https://www.openslr.org/115/ (for non-commercial use)
Unpack its 18 archives into emovdb/, each into a folder of its own name,
so that emovdb/bea_Amused/amused_1-15_0001.wav exists."""

SPEAKERS = r"(?:bea|jenie|josh|sam)"
# The rest of the name varies and is needed only for the sentence.
PATTERN = (
    rf"(?i:(?P<speaker>{SPEAKERS})[_/](?P<folders>(?:(?!{SPEAKERS}[_/])[^/]+/)*)"
    r"(?P<emotion>amused|angry|anger|disgusted|disgust|neutral|sleepy|sleepiness)(?P<rest>_[^/]+))"
)
FORM = "speaker, emotion, range and number of the sentence, bea_Amused/amused_57-84_0057"

SEXES = {"bea": "female", "jenie": "female", "josh": "male", "sam": "male"}
EMOTIONS = {
    "amused": "amused",
    "anger": "angry",
    "angry": "angry",
    "disgust": "disgust",
    "disgusted": "disgust",
    "neutral": "neutral",
    "sleepiness": "sleepy",
    "sleepy": "sleepy",
}
# arctic_a0001 to arctic_a0593. At least one name has a larger number, a typing error.
SENTENCES = range(1, 594)
# A corpus often mistaken for this one: 03a01Wa.wav
EMODB_FILE = re.compile(r"(?:^|/)\d\d[ab]\d\d[WLEAFTN][a-z]\.[^./]+$")


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; a speaker is a folder, at any depth, or the first part of the name of
        a folder or file

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the number of the sentence in CMU Arctic, or "" if
        the name does not end with one. A file in the folder of another emotion is excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, or if most are named as in EMO-DB
    """
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)
    refuse_other(
        root,
        strange=[row["file"] for row in rows if EMODB_FILE.search(row["file"])],
        total=len(rows),
        max_fraction=1 / 2,
        corpus="EmoV-DB",
        other="EMO-DB: put it into emodb/ and choose corpora=[emodb]",
    )
    return rows


def _describe(name: re.Match) -> dict:
    speaker, emotion = name["speaker"].lower(), EMOTIONS[name["emotion"].lower()]
    clip = f"{speaker}_{emotion}{name['rest']}"
    for folder in name["folders"].split("/"):
        if EMOTIONS.get(folder.lower(), emotion) != emotion:
            got = f"{name['emotion']} in the folder {folder}"
            return {"clip": clip, "excluded": f"emotion unclear: got {got}, want one emotion"}
    number = re.search(r"_(\d{1,4})$", name["rest"])
    return {
        "clip": clip,
        "speaker": speaker,
        "sex": SEXES[speaker],
        "language": "en",
        "emotion": emotion,
        "sentence": f"{number[1]:0>4}" if number and int(number[1]) in SENTENCES else "",
    }
