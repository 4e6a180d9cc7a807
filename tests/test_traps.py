"""Known faults of public corpora, rebuilt with synthetic sound, through reader, prepare and merge.

Each was found in a copy in use. A test passes if the clip table is true: the right label, speaker
and sound, or the row of the file with the reason for its exclusion.
"""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from stages.audio.store import open_audio
from stages.clips.completeness import compare_release, read_release
from stages.clips.merging import merge_corpora
from stages.clips.preparation import prepare_corpus
from stages.protocols import loso
from tests.official import banglaser_names, emodb_names, emovdb_names, oreau_names, ravdess_names
from tests.support import AUDIO, composed, reader

RATE = 16000


def noise(seed=0, *, seconds=0.3, peak=0.5, channels=1):
    samples = np.random.default_rng(seed).normal(size=(int(seconds * RATE), channels))
    return peak * samples / np.abs(samples).max()


class Corpora:
    """Corpora that a test writes, and the clip tables that the pipeline makes of them."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, corpus, file, samples, *, rate=RATE, kind="WAV"):
        """Write a file in any format, whatever its suffix, as float so that nothing is rounded."""
        path = self.folder / corpus / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, format=kind, subtype="FLOAT")

    def prepare(self, corpus, **settings):
        """Prepare a corpus with other settings of its reader; return the clip table by file."""
        root = self.folder / corpus
        return prepare_corpus(
            reader(corpus, **settings)(root),
            corpus=corpus,
            root=root,
            folder=self.folder / "prepared" / corpus,
            hop_length=256,
            **AUDIO,
        ).set_index("file")

    def sound(self, clip):
        """Samples of a row of the clip table."""
        audio = open_audio(self.folder / "prepared" / clip["corpus"] / "audio.npy")
        return audio[clip["start"] : clip["start"] + clip["samples"]]

    def merge(self, *corpora, duplicates="first"):
        for corpus in corpora:
            self.prepare(corpus)
        return merge_corpora(
            corpora,
            prepared=self.folder / "prepared",
            folder=self.folder / "merged",
            duplicates=duplicates,
        ).set_index("clip")


@pytest.fixture
def corpora(tmp_path):
    return Corpora(tmp_path)


def used(clips: pd.DataFrame) -> list[str]:
    return list(clips.index[clips["excluded"] == ""])


# Duplicate files and wrong corpora


_TESS = "TESS Toronto emotional speech set data"
_RAVDESS = ("Actor_01/03-01-01-01-01-01-01.wav", "Actor_02/03-01-05-01-01-01-02.wav")


@pytest.mark.parametrize(
    ("corpus", "files", "copies", "others"),
    [
        ("ravdess", _RAVDESS, "audio_speech_actors_01-24", ()),
        ("ravdess", _RAVDESS, "audio_speech_actors_01-24/audio_speech_actors_01-24", ()),
        (
            "tess",
            (f"{_TESS}/OAF_neutral/OA_bite_neutral.wav", f"{_TESS}/YAF_sad/YAF_back_sad.wav"),
            _TESS,
            (),
        ),
        (
            "tess",
            (
                f"{_TESS}/{_TESS}/OAF_angry/OAF_back_angry.wav",
                f"{_TESS}/{_TESS}/OAF_Pleasant_surprise/OAF_back_ps.wav",
            ),
            "",
            (),
        ),
        ("savee", ("ALL/DC_a01.wav", "ALL/JE_sa03.wav"), "", ()),
        ("cremad", ("AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_SAD_HI.wav"), "", ()),
        (
            "emodb",
            ("wav/03a01Fa.wav", "wav/16b10Wb.wav"),
            "",
            ("erkennung.txt", "labsilb/03a01Fa.lab"),
        ),
    ],
)
def test_copies_as_they_unpack(corpora, corpus, files, copies, others):
    """Layouts of widespread copies, below a folder with two blanks; a nested copy counts once."""
    files = [f"archive  (1)/{file}" for file in files]
    for seed, file in enumerate(files):
        corpora.write(corpus, file, noise(seed))
        if copies:
            corpora.write(corpus, f"archive  (1)/{copies}/{file.partition('/')[2]}", noise(seed))
    for other in others:
        path = corpora.folder / corpus / "archive  (1)" / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    clips = corpora.prepare(corpus)
    assert len(clips) == (4 if copies else 2)
    assert len(used(clips)) == 2 and clips.loc[used(clips), "clip"].is_unique
    reasons = clips.loc[clips["excluded"] != "", ["clip", "excluded"]]
    assert sorted(reasons["excluded"]) == [
        f"second copy: of {first}, the same bytes" for first in sorted(used(clips)) if copies
    ]
    release = read_release(composed(f"corpora=[{corpus}]")["corpora"][corpus]["release"])
    found = compare_release(clips.reset_index(), release=release)
    assert (found.found, found.surplus, found.missing) == (2, 0, release.clips - 2)
    assert len(used(corpora.merge(corpus))) == 2


@pytest.mark.parametrize("song", [False, True])
def test_song_among_speech(corpora, song):
    corpora.write("ravdess", "Actor_01/03-01-03-01-01-01-01.wav", noise(1))
    corpora.write("ravdess", "Actor_01/03-02-03-01-01-01-01.wav", noise(2))
    clips = corpora.prepare("ravdess", song=song)
    sung = clips.loc["Actor_01/03-02-03-01-01-01-01.wav"]
    assert sung["excluded"] == ("" if song else "song, not speech")
    assert set(clips["clip"]) == {f"ravdess/03-0{n}-03-01-01-01-01" for n in (1, 2)}
    assert clips["sentence"].to_dict() == {
        "Actor_01/03-01-03-01-01-01-01.wav": "ravdess/01",
        "Actor_01/03-02-03-01-01-01-01.wav": "ravdess/song01",
    }
    assert set(clips["emotion"]) == {"happy"}


def test_the_audio_track_of_a_video_is_not_another_clip(corpora):
    for modality in ("01", "03"):
        corpora.write("ravdess", f"Actor_01/{modality}-01-03-01-01-01-01.wav", noise())
    assert used(corpora.merge("ravdess")) == ["ravdess/03-01-03-01-01-01-01"]


@pytest.mark.parametrize("duplicates", ["first", "all"])
def test_one_recording_twice_under_one_label(corpora, duplicates):
    first, second = "03-01-03-01-02-01-07", "03-01-03-01-02-02-07"
    for name in (first, second):
        corpora.write("ravdess", f"Actor_07/{name}.wav", noise())
    corpora.write("ravdess", "Actor_07/03-01-03-01-01-02-07.wav", noise(1))
    clips = corpora.merge("ravdess", duplicates=duplicates)
    copy = clips.loc[f"ravdess/{second}"]
    if duplicates == "all":
        assert len(used(clips)) == 3
        assert (copy["source"], copy["excluded"]) == (f"ravdess/{first}", "")
    else:
        assert len(used(clips)) == 2
        assert copy["excluded"] == f"same recording as: ravdess/{first} (happy)"


@pytest.mark.parametrize("duplicates", ["first", "all"])
@pytest.mark.parametrize(
    ("one", "other", "emotions"),
    [
        ("1006_TIE_HAP_XX", "1006_TIE_NEU_XX", ("happy", "neutral")),
        ("1013_WSI_DIS_XX", "1013_WSI_SAD_XX", ("disgust", "sad")),
        ("1017_IWW_ANG_XX", "1017_IWW_FEA_XX", ("angry", "fear")),
    ],
)
def test_the_same_bytes_under_two_labels(corpora, one, other, emotions, duplicates):
    for name in (one, other):
        corpora.write("cremad", f"AudioWAV/{name}.wav", noise())
    corpora.write("cremad", "AudioWAV/1001_DFA_NEU_XX.wav", noise(1))
    clips = corpora.merge("cremad", duplicates=duplicates)
    assert used(clips) == ["cremad/1001_DFA_NEU_XX"]
    reason = "same recording under another label: cremad/{} ({})"
    assert clips.loc[f"cremad/{one}", "excluded"] == reason.format(other, emotions[1])
    assert clips.loc[f"cremad/{other}", "excluded"] == reason.format(one, emotions[0])


def test_one_recording_in_two_corpora(corpora):
    """The speaker has two names, so training could have one and test the other."""
    corpora.write("emodb", "wav/03a01Wa.wav", noise())
    corpora.write("folder", "angry/copy.wav", noise())
    corpora.write("emodb", "wav/03a01Na.wav", noise(1))
    corpora.write("folder", "angry/own.wav", noise(2))
    clips = corpora.merge("emodb", "folder")
    assert used(clips) == ["emodb/03a01Na", "folder/angry/own"]
    assert clips.loc["emodb/03a01Wa", "excluded"] == (
        "same recording under another speaker: folder/angry/copy (angry)"
    )


@pytest.mark.parametrize(
    ("wanted", "names", "message"),
    [
        (
            "ravdess",
            banglaser_names(("01", "02")),
            r"50 of 90 .*RAVDESS, .*BanglaSER.*banglaser/",
        ),
        (
            "banglaser",
            ravdess_names(("01", "02")),
            r"48 of 120 .*BanglaSER, .*RAVDESS.*ravdess/",
        ),
        (
            "emodb",
            list(emovdb_names(("sam",), layout="{speaker}_{folder}"))[:30],
            r"30 of 30 .*EMO-DB, .*EmoV-DB.*emovdb/",
        ),
        (
            "emovdb",
            emodb_names(),
            r"107 of 107 .*EmoV-DB, .*EMO-DB.*emodb/",
        ),
        (
            "emodb",
            oreau_names(("09", "10", "32")),
            r"/emodb: 34 of 42 .*EMO-DB, .*09a01Ca.wav: .*want speaker, text.*Oréau.*=\[table\]",
        ),
        (
            "cremad",  # of another archive
            [f"{actor}_{text}_ANG_XX" for actor in range(1000, 1003) for text in ("ABC", "DFA")],
            r"/cremad: 4 of 6 .*cremad, want at most 50%; 1000_ABC_ANG_XX.wav: actor .*to 1091",
        ),
    ],
)
def test_another_corpus_in_the_folder_is_refused(corpora, wanted, names, message):
    for name in names:
        corpora.write(wanted, f"{name}.wav", noise(seconds=0.01))
    with pytest.raises(ValueError, match=message):
        corpora.prepare(wanted)
    assert not (corpora.folder / "prepared").exists()


# Files whose content does not match their name


def test_pointers_of_a_clone_without_git_lfs(corpora):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5\nsize 82474\n"
    folder = corpora.folder / "cremad" / "AudioWAV"
    folder.mkdir(parents=True)
    for code in ("ANG", "SAD"):
        (folder / f"1001_DFA_{code}_XX.wav").write_bytes(pointer)
    with pytest.raises(ValueError, match="2 files.*2 x Git LFS pointer"):
        corpora.prepare("cremad")
    corpora.write("cremad", "AudioWAV/1001_DFA_NEU_XX.wav", noise())
    clips = corpora.prepare("cremad")
    assert used(clips) == ["AudioWAV/1001_DFA_NEU_XX.wav"]
    assert "git lfs pull" in clips.loc["AudioWAV/1001_DFA_SAD_XX.wav", "excluded"]


@pytest.mark.parametrize("name", ["YAF_angry/YAF_germ_angry", "YAF_fear/YAF_neat_fear"])
def test_aiff_inside_wav(corpora, name):
    corpora.write("tess", f"{name}.wav", noise(), kind="AIFF")
    corpora.write("tess", "YAF_sad/YAF_back_sad.wav", noise())
    clips = corpora.prepare("tess")
    sounds = [corpora.sound(clip) for _, clip in clips.iterrows()]
    assert clips.loc[f"{name}.wav", "excluded"] == ""
    assert np.array_equal(*sounds)


def test_silent_but_long(corpora):
    """A silent clip of 2.57 s is excluded, a soft and short one is used."""
    silent = np.zeros((int(2.57 * RATE), 1))
    silent[::7] = 1 / 32768
    corpora.write("cremad", "AudioWAV/1076_MTI_SAD_XX.wav", silent)
    corpora.write("cremad", "AudioWAV/1001_DFA_SAD_XX.wav", noise(seconds=0.2, peak=0.01))
    clips = corpora.prepare("cremad")
    assert used(clips) == ["AudioWAV/1001_DFA_SAD_XX.wav"]
    reason = clips.loc["AudioWAV/1076_MTI_SAD_XX.wav", "excluded"]
    assert reason.startswith("silent: peak 0.0000")


# Rates, channels and levels


def test_stereo_is_mixed_not_concatenated(corpora):
    both = noise(channels=2)
    corpora.write("ravdess", "Actor_01/03-01-03-01-01-01-01.wav", both)
    corpora.write("ravdess", "Actor_02/03-01-03-01-01-01-02.wav", both.mean(axis=1))
    clips = corpora.prepare("ravdess")
    stereo, mono = (corpora.sound(clip) for _, clip in clips.sort_index().iterrows())
    assert list(clips.sort_index()["channels"]) == [2, 1]
    assert len(stereo) == len(both)
    assert np.array_equal(stereo, mono)


def test_96_khz_among_24_khz(corpora):
    rates = {"OAF_Fear/OAF_food_fear.wav": 96000, "OAF_Fear/OAF_back_fear.wav": 24414}
    for file, rate in rates.items():
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        corpora.write("tess", file, tone, rate=rate)
    clips = corpora.prepare("tess")
    assert clips["rate_hz"].to_dict() == rates
    for _, clip in clips.iterrows():
        sound = corpora.sound(clip)
        assert abs(len(sound) - RATE) <= 1
        assert np.argmax(np.abs(np.fft.rfft(sound, RATE))) == 440


def test_levels_differ_between_corpora(corpora):
    """Without a common level, a model would learn the corpus instead of the emotion."""
    corpora.write("ravdess", "Actor_01/03-01-05-01-01-01-01.wav", noise(1, peak=0.085))
    corpora.write("tess", "OAF_angry/OAF_back_angry.wav", noise(2, peak=0.19))
    corpora.write("emodb", "wav/03a01Wa.wav", noise(3, peak=1.0))
    clips = corpora.merge("ravdess", "tess", "emodb")
    audio = open_audio(corpora.folder / "merged" / "audio.npy") / 32767
    levels = [
        20 * np.log10(np.sqrt(np.mean(audio[clip.start : clip.start + clip.samples] ** 2)))
        for clip in clips.itertuples()
    ]
    assert levels == pytest.approx([AUDIO["level_db"]] * 3, abs=0.01)


# Names


def test_speakers_of_two_corpora_with_one_number(corpora):
    corpora.write("emodb", "wav/03a01Wa.wav", noise(1))
    corpora.write("ravdess", "Actor_03/03-01-05-01-01-01-03.wav", noise(2))
    corpora.write("banglaser", "Actor 3/03-01-03-02-01-01-03.wav", noise(3))
    clips = corpora.merge("emodb", "ravdess", "banglaser")
    assert sorted(clips["speaker"]) == ["banglaser/03", "emodb/03", "ravdess/03"]
    assert ((loso.assign(clips) == "test").sum(axis=0) == [1, 1, 1]).all()


def test_the_file_without_f_is_the_older_actress(corpora):
    corpora.write("tess", "OAF_neutral/OA_bite_neutral.wav", noise(1))
    corpora.write("tess", "OAF_neutral/OAF_back_neutral.wav", noise(2))
    corpora.write("tess", "YAF_neutral/YAF_bite_neutral.wav", noise(3))
    clips = corpora.prepare("tess")
    odd = clips.loc["OAF_neutral/OA_bite_neutral.wav"]
    assert (odd["clip"], odd["speaker"], odd["age"]) == ("tess/OAF_bite_neutral", "tess/OAF", "64")
    assert set(clips["speaker"]) == {"tess/OAF", "tess/YAF"}


@pytest.mark.parametrize(
    ("corpus", "file", "facts"),
    [
        # An older copy has X for XX.
        ("cremad", "AudioWAV/1040_ITH_SAD_X", {"clip": "cremad/1040_ITH_SAD_XX", "intensity": ""}),
        # The folders of TESS are spelled differently and may contradict the file names.
        ("tess", "OAF_happy/OAF_back_sad", {"emotion": "sad", "speaker": "tess/OAF"}),
        ("tess", "OAF_Fear/OAF_back_fear", {"emotion": "fear"}),
        ("tess", "YAF_angry/OAF_back_FEAR", {"emotion": "fear", "speaker": "tess/OAF"}),
        ("tess", "oaf_back_Angry", {"emotion": "angry", "speaker": "tess/OAF"}),
        ("tess", "OAF_Pleasant_surprise/OAF_back_ps", {"emotion": "surprise"}),
        ("tess", "YAF_pleasant_surprised/YAF_back_ps", {"emotion": "surprise"}),
        # Codes of two letters beside codes of one; all four speakers are men.
        ("savee", "AudioData/DC/sa05", {"emotion": "sad", "sex": "male"}),
        ("savee", "AudioData/JE/su05", {"emotion": "surprise", "sex": "male"}),
        ("savee", "ALL/KL_a05", {"emotion": "angry", "sex": "male"}),
        # Letters stand for German words, and sex does not follow from odd and even numbers.
        ("emodb", "wav/12a01Ab", {"emotion": "fear", "sex": "male"}),
        ("emodb", "wav/09a01La", {"emotion": "boredom", "sex": "female"}),
        ("emodb", "wav/15a01Ta", {"emotion": "sad", "sex": "male"}),
    ],
)
def test_names_that_mislead(corpora, corpus, file, facts):
    corpora.write(corpus, f"{file}.wav", noise())
    clip = corpora.prepare(corpus).loc[f"{file}.wav"]
    assert clip["excluded"] == ""
    assert {column: clip[column] for column in facts} == facts


def test_neutral_has_no_strong_intensity(corpora):
    for name in list(ravdess_names(("11",))):
        corpora.write("ravdess", f"{name}.wav", noise(seconds=0.1))
    corpora.write("ravdess", "Actor_11/03-01-01-02-01-01-11.wav", noise(seconds=0.1))
    clips = corpora.prepare("ravdess")
    reason = clips.loc["Actor_11/03-01-01-02-01-01-11.wav", "excluded"]
    assert re.match(r"intensity .*: got 02 .*neutral, want 01", reason)
    assert len(used(clips)) == 60
