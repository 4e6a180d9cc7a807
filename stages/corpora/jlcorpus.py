"""JL-Corpus, emotional speech of New Zealand English for interaction with robots.

Two women and two men speak in five primary and five secondary emotions. A name is
`female1_angry_1a_1`: speaker, emotion, sentence, take.

References
----------
J. James, L. Tian, C. I. Watson: An Open Source Emotional Speech Corpus for Human Robot Interaction
Applications. Interspeech 2018, 2768-2772. https://doi.org/10.21437/Interspeech.2018-1349
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
JL-Corpus: https://github.com/tli725/JL-Corpus (CC0 1.0)
Unpack it into jlcorpus/, in any folders, so that female1_angry_1a_1.wav exists below it.
2400 files of 4 speakers; the text file beside each is not needed."""

PATTERN = (
    r"(?i:(?P<speaker>(?:fe)?male\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d{1,2}[a-z])_(?P<take>\d))"
)
FORM = "speaker, emotion, sentence and take, female1_angry_1a_1"

EMOTIONS = {
    "angry": "angry",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "excited": "excited",
    "anxious": "anxious",
    "apologetic": "apologetic",
    "assertive": "assertive",
    "concerned": "concerned",
    "encouraging": "encouraging",
}
SCHEME = {"speaker": ("female1", "female2", "male1", "male2"), "emotion": tuple(EMOTIONS)}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table. Files with a speaker or emotion outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def _describe(name: re.Match) -> dict:
    codes = {field: code.lower() for field, code in name.groupdict().items()}
    clip = "_".join(codes.values())
    if reason := outside_scheme(codes, SCHEME):
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": codes["speaker"],
        "sex": codes["speaker"][:-1],
        "language": "en",
        "emotion": EMOTIONS[codes["emotion"]],
        "sentence": codes["sentence"],
        "take": codes["take"],
    }
