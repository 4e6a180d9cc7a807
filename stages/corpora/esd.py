"""ESD, the Emotional Speech Dataset for voice conversion.

Ten speakers of Mandarin and ten of English say 350 sentences in five emotions. A name is
`0011_000351`: speaker and number, which runs over the emotions. Its own division into training,
evaluation and test is by sentence, and every speaker is on all three sides.

References
----------
K. Zhou, B. Sisman, R. Liu, H. Li: Emotional Voice Conversion: Theory, Databases and ESD. Speech
Communication 137, 2022, 1-18. https://doi.org/10.1016/j.specom.2021.11.006
"""

import re
from pathlib import Path, PurePosixPath

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
ESD: https://github.com/HLTSingapore/Emotional-Speech-Data (for research, by a form)
Unpack it into esd/, in any folders, so that 0011/Angry/0011_000351.wav exists below it.
35 000 files; folders evaluation, test and train between emotion and file do not matter."""

PATTERN = r"(?P<folders>(?:[^/]+/)*)(?P<speaker>\d{4})_(?P<number>\d{6})"
FORM = "speaker and number, 0011_000351"

# In the order of the numbers.
EMOTIONS = {
    "Neutral": "neutral",
    "Angry": "angry",
    "Happy": "happy",
    "Sad": "sad",
    "Surprise": "surprise",
}
N_SENTENCES = 350
NUMBERS = tuple(f"{number:06}" for number in range(1, len(EMOTIONS) * N_SENTENCES + 1))
SPEAKERS = tuple(f"{speaker:04}" for speaker in range(1, 21))
FIRST_ENGLISH = 11


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the language and the number of the sentence in it.
        A file is excluded if its codes are outside the scheme, or if it is in the folder of another
        emotion.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def names() -> list[str]:
    """List the names of the 35 000 clips of the release."""
    return [f"{speaker}_{number}" for speaker in SPEAKERS for number in NUMBERS]


def _describe(name: re.Match) -> dict:
    speaker, number = name["speaker"], name["number"]
    clip = f"{speaker}_{number}"
    scheme = {"speaker": SPEAKERS, "number": NUMBERS}
    if reason := outside_scheme({"speaker": speaker, "number": number}, scheme):
        return {"clip": clip, "excluded": reason}
    turn, sentence = divmod(int(number) - 1, N_SENTENCES)
    word = list(EMOTIONS)[turn]
    for folder in PurePosixPath(name["folders"]).parts:
        if folder.capitalize() in EMOTIONS and folder.capitalize() != word:
            got = f"number {number}, {word}, in the folder {folder}"
            return {"clip": clip, "excluded": f"emotion unclear: got {got}, want one emotion"}
    language = "en" if int(speaker) >= FIRST_ENGLISH else "zh"
    return {
        "clip": clip,
        "speaker": speaker,
        "language": language,
        "emotion": EMOTIONS[word],
        "sentence": f"{language}{sentence + 1:03}",
    }
