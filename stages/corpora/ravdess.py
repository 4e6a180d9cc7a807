"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song.

24 actors say two statements in eight emotions, twice each; all emotions but neutral have two
intensities.
A name is seven codes of two digits, `03-01-06-01-02-01-12`: modality, vocal channel, emotion,
intensity, statement, repetition, actor.

References
----------
S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS). PLoS ONE 13(5), 2018, e0196391. https://doi.org/10.1371/journal.pone.0196391
"""

import re
from functools import partial
from itertools import product
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names, refuse_other

HOW_TO_GET = """\
RAVDESS: https://zenodo.org/records/1188976, file Audio_Speech_Actors_01-24.zip (CC BY-NC-SA 4.0)
Unpack it into ravdess/, so that ravdess/Actor_01/03-01-01-01-01-01-01.wav exists.
1440 files in 24 folders. Videos are not needed; songs: corpora.ravdess.reader.song=true."""

PATTERN = (
    r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
    r"-(?P<statement>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)"
)
FORM = "seven codes of two digits, 03-01-06-01-02-01-12"

AUDIO_ONLY = "03"
SPEECH, SONG = "01", "02"
NEUTRAL, STRONG = "01", "02"
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
INTENSITIES = {"01": "normal", "02": "strong"}
SCHEME = {
    "modality": ("01", "02", "03"),
    "channel": ("01", "02"),
    "emotion": tuple(EMOTIONS),
    "intensity": tuple(INTENSITIES),
    "statement": ("01", "02"),
    "repetition": ("01", "02"),
    "actor": tuple(f"{actor:02}" for actor in range(1, 25)),
}
# Other corpora name their files in the same way but mean other emotions. A stray file is excluded;
# a folder with a larger fraction of them is another corpus.
STRAY_FRACTION = 1 / 20
BANGLASER = (
    "BanglaSER, which has the same names but other emotions (01 happy, 02 sad, 03 angry, "
    "04 surprise, 05 neutral): put it into banglaser/ and choose corpora=[banglaser]"
)


def read(root: Path, *, song: bool) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it
    song : bool
        whether to use the song clips as well (`03-02-...`), which have six of the emotions

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the code of the statement (01 "Kids are talking
        by the door", 02 "Dogs are sitting by the door"; song01 and song02 if it is sung), `take`
        the code of the repetition. Songs (unless `song` is true), audio tracks of videos and files
        with codes outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, or if too many names have codes outside the scheme
    """
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=partial(_describe, song=song))
    parsed = [row for row in rows if "emotion" in row]
    refuse_other(
        root,
        strange=[f"{row['file']}: {row['excluded']}" for row in parsed if not row["emotion"]],
        total=len(parsed),
        max_fraction=STRAY_FRACTION,
        corpus="RAVDESS",
        other=BANGLASER,
    )
    return rows


def names() -> list[str]:
    """List the names of the 1440 speech clips of the release."""
    speech = {"modality": (AUDIO_ONLY,), "channel": (SPEECH,)}
    return [
        "-".join(codes)
        for codes in product(*(SCHEME | speech).values())
        if codes[2:4] != (NEUTRAL, STRONG)
    ]


def _describe(name: re.Match, *, song: bool) -> dict:
    codes = name.groupdict()
    clip = "-".join(codes.values())
    reason = outside_scheme(codes, SCHEME)
    if not reason and (codes["emotion"], codes["intensity"]) == (NEUTRAL, STRONG):
        reason = "intensity outside the scheme: got 02 (strong) with neutral, want 01"
    if reason:
        return {"clip": clip, "emotion": "", "excluded": reason}
    sung = codes["channel"] == SONG
    excluded = ""
    if sung and not song:
        excluded = "song, not speech"
    elif codes["modality"] != AUDIO_ONLY:
        # The audio files hold the same recording as the videos.
        excluded = f"audio track of a video: got modality {codes['modality']}, want {AUDIO_ONLY}"
    return {
        "clip": clip,
        "speaker": codes["actor"],
        "sex": "male" if int(codes["actor"]) % 2 else "female",
        "language": "en",
        "emotion": EMOTIONS[codes["emotion"]],
        "intensity": INTENSITIES[codes["intensity"]],
        "sentence": f"song{codes['statement']}" if sung else codes["statement"],
        "take": codes["repetition"],
        "excluded": excluded,
    }
