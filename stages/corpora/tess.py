"""TESS, the Toronto Emotional Speech Set.

Two actresses say "Say the word ..." with 200 words in seven emotions.
A name is `OAF_back_angry`: actress (OAF older, YAF younger), word, emotion. The folders repeat the
emotion in other spellings (`OAF_Fear`, `YAF_pleasant_surprised`) and are ignored.

References
----------
M. K. Pichora-Fuller, K. Dupuis: Toronto emotional speech set (TESS). 2020.
https://doi.org/10.5683/SP2/E8H2MF
"""

import re
from pathlib import Path

from stages.sources.files import parse_names

HOW_TO_GET = """\
TESS: https://doi.org/10.5683/SP2/E8H2MF (CC BY-NC-ND 4.0)
Unpack it into tess/, so that tess/OAF_angry/OAF_back_angry.wav exists.
2800 files in 14 folders. Only the file names are read, so any folders will do."""

# One file of the release, OA_bite_neutral, lacks the F.
PATTERN = (
    r"(?i:(?P<actress>OAF?|YAF)_(?P<word>[a-z]+)"
    r"_(?P<emotion>angry|disgust|fear|happy|neutral|ps|pleasant_surprised?|sad))"
)
FORM = "OAF or YAF, a word and an emotion, OAF_back_angry"

ACTRESSES = {"OA": "OAF", "OAF": "OAF", "YAF": "YAF"}
AGES = {"OAF": "64", "YAF": "26"}
# The release abbreviates pleasant surprise to ps in file names.
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
WORDS = """
back bar base bath bean beg bite boat bone book bought burn cab calm came cause chain chair
chalk chat check cheek chief choice cool dab date dead death deep dime dip ditch dodge dog doll
door fail fall far fat fit five food gap gas gaze germ get gin goal good goose gun half hall
hash hate have haze hire hit hole home hurl hush jail jar join judge jug juice keen keep keg
kick kill king kite knock late laud lean learn lease lid life limb live loaf long lore lose lot
love luck make match merge mess met mill mob mode mood moon mop mouse nag name near neat nice
note numb pad page pain pass pearl peg perch phone pick pike pole pool puff rag raid rain raise
rat reach read red ring ripe road room rose rot rough rush said sail search seize sell shack
shall shawl sheep shirt should shout size soap soup sour south sub such sure take talk tape team
tell thin third thought thumb time tip tire ton tool tough turn vine voice void vote wag walk
wash week wheat when which whip white wife wire witch yearn yes young youth
"""


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the name in the spelling of the release, `sentence`
        is the word

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def names() -> list[str]:
    """List the names of the 2800 clips of the release, with `OA_bite_neutral` as `OAF_...`."""
    words = WORDS.split()
    return [f"{actress}_{word}_{code}" for actress in AGES for word in words for code in EMOTIONS]


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
