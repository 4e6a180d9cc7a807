"""Official names of the corpora's files, spelled out here and not taken from the readers.

Each function gives path without suffix -> (emotion, speaker).
"""

import itertools

TESS_WORDS = """
    back bar base bath bean beg bite boat bone book bought burn cab calm came cause chain chair
    chalk chat check cheek chief choice cool dab date dead death deep dime dip ditch dodge dog
    doll door fail fall far fat fit five food gap gas gaze germ get gin goal good goose gun half
    hall hash hate have haze hire hit hole home hurl hush jail jar join judge jug juice keen
    keep keg kick kill king kite knock late laud lean learn lease lid life limb live loaf long
    lore lose lot love luck make match merge mess met mill mob mode mood moon mop mouse nag name
    near neat nice note numb pad page pain pass pearl peg perch phone pick pike pole pool puff
    rag raid rain raise rat reach read red ring ripe road room rose rot rough rush said sail
    search seize sell shack shall shawl sheep shirt should shout size soap soup sour south sub
    such sure take talk tape team tell thin third thought thumb time tip tire ton tool tough
    turn vine voice void vote wag walk wash week wheat when which whip white wife wire witch
    yearn yes young youth
"""
# Listeners chose which versions were kept, so there is no rule.
EMODB_NAMES = """
    03a01Fa 03a01Nc 03a01Wa 03a02Fc 03a02Nc 03a02Ta 03a02Wb 03a02Wc 03a04Ad 03a04Fd 03a04Lc
    03a04Nc 03a04Ta 03a04Wc 03a05Aa 03a05Fc 03a05Nd 03a05Tc 03a05Wa 03a05Wb 03a07Fa 03a07Fb
    03a07La 03a07Nc 03a07Wc 03b01Fa 03b01Lb 03b01Nb 03b01Td 03b01Wa 03b01Wc 03b02Aa 03b02La
    03b02Na 03b02Tb 03b02Wb 03b03Nb 03b03Tc 03b03Wc 03b09La 03b09Nc 03b09Tc 03b09Wa 03b10Ab
    03b10Ec 03b10Na 03b10Nc 03b10Wb 03b10Wc 08a01Ab 08a01Fd 08a01Lc 08a01Na 08a01Wa 08a01Wc
    08a02Ab 08a02Ac 08a02Fe 08a02La 08a02Na 08a02Tb 08a02Wc 08a04Ff 08a04La 08a04Nc 08a04Tb
    08a04Wc 08a05Fe 08a05Lc 08a05Nb 08a05Ta 08a05Wa 08a07Fd 08a07La 08a07Na 08a07Ta 08a07Tb
    08a07Wc 08b01Aa 08b01Fd 08b01Fe 08b01Lb 08b01Na 08b01Wa 08b02Ff 08b02La 08b02Nb 08b02Tc
    08b02Wd 08b03Fe 08b03Lc 08b03Nb 08b03Tc 08b03Wd 08b09Ab 08b09Fd 08b09Lc 08b09Nb 08b09Tb
    08b09Wa 08b09Wc 08b10Aa 08b10Fd 08b10La 08b10Nc 08b10Tc 08b10Wa
"""


def ravdess_names(actors: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    names = {}
    for actor, (code, emotion) in itertools.product(actors, enumerate(emotions, 1)):
        for level, statement, take in itertools.product((1, 2), repeat=3):
            if emotion == "neutral" and level == 2:
                continue
            name = f"Actor_{actor}/03-01-{code:02}-{level:02}-{statement:02}-{take:02}-{actor}"
            names[name] = (emotion, actor)
    return names


def tess_names() -> dict[str, tuple[str, str]]:
    codes = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    folders = {
        "OAF": {"fear": "Fear", "ps": "Pleasant_surprise", "sad": "Sad"},
        "YAF": {"ps": "pleasant_surprised"},
    }
    names = {}
    for actress, code, word in itertools.product(folders, codes, TESS_WORDS.split()):
        folder = f"{actress}_{folders[actress].get(code, code)}"
        emotion = "surprise" if code == "ps" else code
        names[f"{folder}/{actress}_{word}_{code}"] = (emotion, actress)
    names["OAF_neutral/OA_bite_neutral"] = names.pop("OAF_neutral/OAF_bite_neutral")
    return names


def cremad_names(actors: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = {
        "ANG": "angry",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
    sentences = "DFA IEO IOM ITH ITS IWL IWW MTI TAI TIE TSI WSI"
    names = {}
    for actor, sentence, code in itertools.product(actors, sentences.split(), emotions):
        levels = ("LO", "MD", "HI") if sentence == "IEO" and code != "NEU" else ("XX",)
        for level in levels:
            names[f"AudioWAV/{actor}_{sentence}_{code}_{level}"] = (emotions[code], actor)
    return names


def savee_names(speakers: tuple[str, ...], *, layout: str) -> dict[str, tuple[str, str]]:
    emotions = {
        "a": "angry",
        "d": "disgust",
        "f": "fear",
        "h": "happy",
        "n": "neutral",
        "sa": "sad",
        "su": "surprise",
    }
    return {
        layout.format(speaker=speaker, name=f"{code}{number:02}"): (emotion, speaker)
        for speaker in speakers
        for code, emotion in emotions.items()
        for number in range(1, 31 if code == "n" else 16)
    }


def emodb_names() -> dict[str, tuple[str, str]]:
    emotions = {
        "W": "angry",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    }
    return {f"wav/{name}": (emotions[name[5]], name[:2]) for name in EMODB_NAMES.split()}


def emovdb_names(speakers: tuple[str, ...], *, layout: str) -> dict[str, tuple[str, str]]:
    """By the rule: the release lacks some of them, and which it has nobody has listed."""
    folders = {
        "Amused": ("amused", "amused"),
        "Angry": ("anger", "angry"),
        "Disgusted": ("Disgust", "disgust"),
        "Neutral": ("neutral", "neutral"),
        "Sleepy": ("sleepiness", "sleepy"),
    }
    names = {}
    for speaker, (folder, (prefix, emotion)) in itertools.product(speakers, folders.items()):
        for number in range(1, 561):
            first = (number - 1) // 28 * 28 + 1
            name = f"{prefix}_{first}-{first + 27}_{number:04}"
            place = layout.format(speaker=speaker, folder=folder)
            names[f"{place}/{name}"] = (emotion, speaker)
    return names


def banglaser_names(actors: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = {
        "01-01": "happy",
        "02-01": "sad",
        "03-02": "angry",
        "04-02": "surprise",
        "05-01": "neutral",
    }
    return {
        f"Actor {int(actor)}/03-01-{code}-{statement:02}-{take:02}-{actor}": (emotions[code], actor)
        for actor, code in itertools.product(actors, emotions)
        for statement, take in itertools.product((1, 2, 3), repeat=2)
    }


def oreau_names(speakers: tuple[str, ...]) -> list[str]:
    """Alike to EMO-DB: speaker, sentence, first letter of the emotion in French, take."""
    return [
        f"m/sess{sentence[0]}/{speaker}{sentence}{letter}a"
        for speaker, sentence, letter in itertools.product(speakers, ("a01", "b02"), "CDJNPST")
    ]
