"""SUBESCO, the SUST Bangla Emotional Speech Corpus.

Twenty actors say ten sentences in seven emotions, five times each. A name is
`F_10_FAHMEE_S_6_FEAR_5`: sex, number, name of the actor, sentence, emotion, take.

References
----------
S. Sultana, M. S. Rahman, M. R. Selim, M. Z. Iqbal: SUST Bangla Emotional Speech Corpus (SUBESCO):
An audio-only emotional speech corpus for Bangla. PLoS ONE 16(4), 2021, e0250173.
https://doi.org/10.1371/journal.pone.0250173
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
SUBESCO: https://doi.org/10.5281/zenodo.4526477 (CC BY 4.0)
Unpack it into subesco/, in any folders, so that F_01_OISHI_S_1_ANGRY_1.wav exists below it.
7000 files."""

PATTERN = (
    r"(?i:(?P<sex>[FM])_(?P<number>\d{1,2})_(?P<name>[A-Z]+)_S_(?P<sentence>\d{1,2})"
    r"_(?P<emotion>[A-Z]+)_(?P<take>\d)\]?)"  # the release has F_02_MONIKA_S_2_SURPRISE_3].wav
)
FORM = "sex, number and name of the actor, sentence, emotion and take, F_10_FAHMEE_S_6_FEAR_5"

EMOTIONS = {
    "ANGRY": "angry",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happy",
    "NEUTRAL": "neutral",
    "SAD": "sad",
    "SURPRISE": "surprise",
}
SCHEME = {
    "number": tuple(f"{number:02}" for number in range(1, 11)),
    "sentence": tuple(str(sentence) for sentence in range(1, 11)),
    "emotion": tuple(EMOTIONS),
    "take": tuple("12345"),
}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table. The speaker is sex and number, `F10`, because women and men are
        numbered alike. Files with codes outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def _describe(name: re.Match) -> dict:
    codes = {field: code.upper() for field, code in name.groupdict().items()}
    codes |= {"number": f"{int(codes['number']):02}", "sentence": str(int(codes["sentence"]))}
    speaker = codes["sex"] + codes["number"]
    clip = f"{speaker}_S{codes['sentence']}_{codes['emotion']}_{codes['take']}"
    if reason := outside_scheme(codes, SCHEME):
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": speaker,
        "sex": "female" if codes["sex"] == "F" else "male",
        "language": "bn",
        "emotion": EMOTIONS[codes["emotion"]],
        "sentence": codes["sentence"],
        "take": codes["take"],
    }
