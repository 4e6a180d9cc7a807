"""TESS, the Toronto Emotional Speech Set.

Two actresses say 200 words after "Say the word ..." in seven emotions.
A name is `OAF_back_angry`: actress (OAF older, YAF younger), word, emotion. The folders repeat the
emotion in wordings of their own (`OAF_Fear`, `YAF_pleasant_surprised`) and are not read.

References
----------
M. K. Pichora-Fuller, K. Dupuis: Toronto emotional speech set (TESS). 2020.
https://doi.org/10.5683/SP2/E8H2MF
"""

import re
from pathlib import Path

from stages.clips.files import parse_names

HOW_TO_GET = """\
TESS: https://doi.org/10.5683/SP2/E8H2MF (CC BY-NC-ND 4.0)
Unpack it into tess/, so that tess/OAF_angry/OAF_back_angry.wav exists.
2800 files in 14 folders; only the names of the files count, so any folders will do."""

# One file of the release, OA_bite_neutral, lacks the F.
PATTERN = (
    r"(?i:(?P<actress>OAF?|YAF)_(?P<word>[a-z]+)"
    r"_(?P<emotion>angry|disgust|fear|happy|neutral|ps|pleasant_surprised?|sad))"
)
FORM = "OAF or YAF, a word and an emotion, OAF_back_angry"

ACTRESSES = {"OA": "OAF", "OAF": "OAF", "YAF": "YAF"}
AGES = {"OAF": "64", "YAF": "26"}
# The release says ps for pleasant surprise in its file names.
CODES = {"pleasant_surprise": "ps", "pleasant_surprised": "ps"}
EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sad",
}


def read(root: Path) -> list[dict]:
    """One row per file.

    Parameters
    ----------
    root : Path
        folder of the corpus, in any depth of subfolders

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the name as the release would write it, `sentence`
        is the word

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if no audio file lies below it
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def _describe(name: re.Match) -> dict:
    actress = ACTRESSES[name["actress"].upper()]
    word = name["word"].lower()
    spelling = name["emotion"].lower()
    code = CODES.get(spelling, spelling)
    return {
        "clip": f"{actress}_{word}_{code}",
        "speaker": actress,
        "sex": "female",
        "age": AGES[actress],
        "language": "en",
        "emotion": EMOTIONS[code],
        "sentence": word,
    }
