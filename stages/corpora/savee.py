"""SAVEE, the Surrey Audio-Visual Expressed Emotion database.

Four men say TIMIT sentences in seven emotions.
A name is the initials of the speaker, the emotion and a number: `DC/a01`, in other copies `DC_a01`.

The documentation lists 15 sentences per emotion: 3 common to all, 2 specific to the emotion and 10
generic ones that differ between the emotions. Neutral repeats the 3 common sentences and the 2 x 6
specific ones, 30 in all. The documentation does not say which number is which sentence. This reader
assumes the order above, and for neutral the order of `NEUTRAL_AGAIN`, as in MEAD, which uses the
sentences of SAVEE. The durations of the clips agree: 03, by far the shortest common sentence, is
mostly the shortest clip of its speaker and emotion, and n18 is as short; of all 720 orders of the
six emotions, this one fits n19 to n30 best (correlation with the specific sentences, mean log
durations: .97). If the order were wrong, a split by sentences would leak no more than with a
separate code for every number.

References
----------
S. Haq, P. J. B. Jackson: Multimodal Emotion Recognition. In W. Wang (ed.), Machine Audition:
Principles, Algorithms and Systems. IGI Global, 2010, 398-423. http://kahlan.eps.surrey.ac.uk/savee/
K. Wang et al.: MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face Generation.
ECCV 2020.
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
SAVEE: http://kahlan.eps.surrey.ac.uk/savee/ (for research, after registration)
Unpack AudioData.zip into savee/, so that savee/AudioData/DC/a01.wav exists.
480 files in 4 folders. A copy with all files in one folder, as DC_a01.wav, is read as well."""

SPEAKERS = ("DC", "JE", "JK", "KL")
PATTERN = rf"(?P<speaker>{'|'.join(SPEAKERS)})[/_](?P<emotion>sa|su|a|d|f|h|n)(?P<number>\d\d)"
FORM = "speaker, emotion and number, DC/a01 or DC_a01"

EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
COMMON = ("common01", "common02", "common03")
NEUTRAL_AGAIN = (
    *COMMON,
    *("a04", "a05", "d04", "d05", "f04", "f05"),
    *("su04", "su05", "sa04", "sa05", "h04", "h05"),
)
N_SENTENCES = 15


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; speakers are folders, at any depth, or part of the file names

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is `DC_a01` in both layouts, `sentence` is `common01` to
        `common03`, or the emotion and number of its first use (`a04`). Files with numbers outside
        the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def names() -> list[str]:
    """List the names of the 480 clips of the release."""
    return [
        f"{speaker}_{emotion}{number}"
        for speaker in SPEAKERS
        for emotion in EMOTIONS
        for number in _numbers(emotion)
    ]


def _describe(name: re.Match) -> dict:
    emotion, number = name["emotion"], name["number"]
    clip = f"{name['speaker']}_{emotion}{number}"
    reason = outside_scheme(name.groupdict(), {"number": _numbers(emotion)})
    if reason:
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": name["speaker"],
        "sex": "male",
        "language": "en",
        "emotion": EMOTIONS[emotion],
        "sentence": _sentence(emotion, int(number)),
    }


def _numbers(emotion: str) -> list[str]:
    last = N_SENTENCES + len(NEUTRAL_AGAIN) if emotion == "n" else N_SENTENCES
    return [f"{number:02}" for number in range(1, last + 1)]


def _sentence(emotion: str, number: int) -> str:
    if number <= len(COMMON):
        return COMMON[number - 1]
    if number > N_SENTENCES:
        return NEUTRAL_AGAIN[number - N_SENTENCES - 1]
    return f"{emotion}{number:02}"
