"""The demo's synthetic corpora: names, codes, levels, repeatability, and audible properties."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages import demo
from stages.synthesis import demo_corpora as corpora
from stages.synthesis import voice
from stages.synthesis.prosody import EMOTIONS, HIGHEST, LOWEST, SPREAD
from tests.support import reader

NAMES = {
    "ravdess": r"Actor_(\d\d)/03-01-(?P<code>0[1-8])-0[12]-0[12]-0[12]-\1\.wav",
    "tess": r"(OAF|YAF)_(angry|disgust|happy|neutral|(?<=OAF_)(Fear|Pleasant_surprise|Sad)"
    r"|(?<=YAF_)(fear|pleasant_surprised|sad))"
    r"/\1_[a-z]+_(?P<code>angry|disgust|fear|happy|neutral|ps|sad)\.wav",
    "cremad": r"AudioWAV/1\d{3}_[A-Z]{3}_(?P<code>ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX)\.wav",
    "savee": r"AudioData/(DC|JE|JK|KL)/(?P<code>a|d|f|h|n|sa|su)\d\d\.wav",
    "emodb": r"wav/\d\d[ab]\d\d(?P<code>[WLEAFTN])[a-g]\.wav",
}
RATES = {"ravdess": 48000, "tess": 24414, "cremad": 16000, "savee": 44100, "emodb": 16000}
PEAKS = {"ravdess": 0.085, "tess": 0.19, "savee": 0.71, "emodb": 1.0}
N_CODES = {"ravdess": 8, "tess": 7, "cremad": 6, "savee": 7, "emodb": 7}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers and one sentence of every corpus."""
    folder = tmp_path_factory.mktemp("demo")
    for name in corpora.CORPORA:
        corpora.write_corpus(name, folder=folder / name, speakers=2, sentences=1)
    return folder


def files(folder: Path) -> dict[str, str]:
    """Relative path -> hash of all files in a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def say(speaker: voice.Speaker, emotion: str, *, take: int = 0) -> np.ndarray:
    said = voice.draw_sentence("test", syllables=6)
    return voice.utter(said, speaker=speaker, emotion=emotion, rng=np.random.default_rng(take))


def average(name: str, sex: str) -> voice.Speaker:
    """A speaker without habits."""
    speaker = voice.draw_speaker(name, sex=sex)
    return speaker._replace(habits=(0.0,) * len(SPREAD), expression=1.0)


def pitch_hz(waveform: np.ndarray) -> float:
    """Median over loud frames of the first high peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 800)[::400]
    frames = frames[np.std(frames, axis=1) > 0.6 * np.std(waveform)] * np.hanning(800)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :400]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(800), 2048)) ** 2)[:400]
    lags = np.arange(voice.SAMPLE_RATE // 600, 300)
    return voice.SAMPLE_RATE / np.median(lags[np.argmax((correlation / window)[:, lags], axis=1)])


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_the_real_corpus(small: Path, name: str) -> None:
    found = [re.fullmatch(NAMES[name], path) for path in files(small / name)]
    assert all(found)
    assert len({match["code"] for match in found}) == N_CODES[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_of_the_corpus_understands_all(small: Path, name: str) -> None:
    rows = reader(name)(small / name)
    corpus = corpora.CORPORA[name]
    meant = {
        clip.path: (clip.speaker, corpus.speakers[clip.speaker], clip.emotion)
        for speaker in corpus.speakers
        for clip in corpus.clips(speaker, corpus.sentences[:1])
    }
    assert not [row for row in rows if row.get("excluded")]
    read = {row["file"]: (row["speaker"], row["sex"], row["emotion"]) for row in rows}
    assert read == {path: meant[path] for path in read}
    assert len(read) == len(files(small / name))


@pytest.mark.parametrize("name", ["ravdess", "cremad", "emodb"])
def test_two_speakers_are_a_woman_and_a_man(name: str) -> None:
    assert set(list(corpora.CORPORA[name].speakers.values())[:2]) == {"female", "male"}


def test_like_texts_of_savee_have_like_codes() -> None:
    corpus = corpora.CORPORA["savee"]
    clips = list(corpus.clips("DC", corpus.sentences))
    texts = {Path(clip.path).stem: clip.sentence for clip in clips}
    assert texts["n16"] == texts["n01"] == texts["su01"]
    assert texts["n19"] == texts["a04"] != texts["n04"]


@pytest.mark.parametrize("name", NAMES)
def test_format_duration_and_level(small: Path, name: str) -> None:
    peaks = []
    for path in files(small / name):
        info = soundfile.info(small / name / path)
        assert (info.samplerate, info.channels) == (RATES[name], 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert 0.9 < info.duration < 3.0, path
        waveform = soundfile.read(small / name / path)[0]
        peaks.append(np.abs(waveform).max())
        # One or two samples touch the peak; a run of them would be clipping.
        assert np.sum(np.abs(waveform) >= peaks[-1] - 1e-6) < 4, path
    assert min(peaks) > 0.005
    if name in PEAKS:
        assert np.median(peaks) == pytest.approx(PEAKS[name], rel=0.35)


@pytest.mark.slow
def test_bytes_depend_on_the_clip_alone(small: Path, tmp_path: Path) -> None:
    # Another process, another hash seed, another order, fewer speakers.
    script = (
        "from pathlib import Path; from stages.synthesis.demo_corpora import write_corpus;"
        f"[write_corpus(name, folder=Path({str(tmp_path)!r}, name), speakers=1, sentences=1)"
        " for name in ('savee', 'ravdess')]"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    root = Path(demo.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root, env=environment)
    again, first = files(tmp_path), files(small)
    assert len(again) == 15 + 8
    assert again == {path: first[path] for path in again}


def test_no_two_clips_are_alike(small: Path) -> None:
    hashes = list(files(small).values())
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("emovo", {}, "got 'emovo', want one of ravdess"),
        ("tess", {"speakers": 3}, "tess: speakers: got 3, want 1 to 2"),
        ("ravdess", {"sentences": 0}, "ravdess: sentences: got 0, want 1 to 2"),
    ],
)
def test_what_a_corpus_lacks_is_named(
    tmp_path: Path, name: str, numbers: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        corpora.write_corpus(name, folder=tmp_path, **numbers)


def test_unknown_emotion_and_sex_are_named() -> None:
    speaker = voice.draw_speaker("x", sex="male")
    with pytest.raises(ValueError, match="emotion: got 'bliss', want one of neutral"):
        say(speaker, "bliss")
    with pytest.raises(ValueError, match="speaker x: got sex 'm', want female or male"):
        voice.draw_speaker("x", sex="m")


def test_the_table_of_emotions_lies_within_its_limits() -> None:
    table = np.array(list(EMOTIONS.values()))
    assert np.all(np.array(LOWEST) <= table)
    assert np.all(table <= np.array(HIGHEST))
    assert np.all(np.array(SPREAD) > 0)


@pytest.mark.parametrize("sex", ["female", "male"])
def test_pitch_is_that_of_speaker_and_emotion(sex: str) -> None:
    speaker = average("pitch", sex)
    # Own ways, takes, declination and accents: some semitones either way.
    heard = {emotion: pitch_hz(say(speaker, emotion)) for emotion in ("neutral", "fear", "boredom")}
    assert heard["neutral"] == pytest.approx(speaker.f0_hz, rel=0.3)
    assert heard["fear"] > 1.2 * heard["neutral"]
    assert heard["boredom"] < heard["neutral"]


def test_women_speak_higher_than_men() -> None:
    women = [pitch_hz(say(voice.draw_speaker(f"w{n}", sex="female"), "neutral")) for n in range(6)]
    men = [pitch_hz(say(voice.draw_speaker(f"m{n}", sex="male"), "neutral")) for n in range(6)]
    assert min(women) > max(men)


def test_anger_is_louder_and_sadness_softer_than_neutral() -> None:
    for index in range(4):
        speaker = average(f"loud{index}", "male")
        angry, neutral, sad = (
            np.mean([rms(say(speaker, emotion, take=take)) for take in range(3)])
            for emotion in ("angry", "neutral", "sad")
        )
        assert angry > 1.3 * neutral > 1.69 * sad


def test_sadness_is_slower_than_fear() -> None:
    speaker = average("tempo", "female")
    seconds = {
        emotion: np.mean([len(say(speaker, emotion, take=take)) for take in range(3)])
        for emotion in ("sad", "fear")
    }
    assert seconds["sad"] > 1.2 * seconds["fear"]


def test_surprise_rises_at_the_end() -> None:
    speaker = average("question", "male")
    ends = {}
    for emotion in ("surprise", "angry"):
        waveform = say(speaker, emotion)
        loud = np.flatnonzero(np.abs(waveform) > 0.1 * np.abs(waveform).max())
        end = waveform[: loud[-1]][-1600:]  # the last tenth of a second of the voice
        ends[emotion] = pitch_hz(end) / pitch_hz(waveform)
    assert ends["surprise"] > 1.15 * ends["angry"]


def test_vowels_have_their_formants() -> None:
    def level_db(formants_hz: tuple[float, float, float], low_hz: float, high_hz: float) -> float:
        vowel = voice.Phone(1.0, 1.0, 0.0, 3000.0, formants_hz)
        waveform = voice.utter(
            [voice.Syllable((vowel,), False)],
            speaker=average("vowel", "male")._replace(tract=1.0),
            emotion="neutral",
            rng=np.random.default_rng(0),
        )
        power = np.abs(np.fft.rfft(waveform)) ** 2
        hz = np.fft.rfftfreq(len(waveform), 1 / voice.SAMPLE_RATE)
        band = (low_hz < hz) & (hz < high_hz)
        return 10 * np.log10(power[band].sum() / power.sum())

    see, soon = voice.VOWELS_HZ[0], voice.VOWELS_HZ[-1]
    assert level_db(see, 2000, 2600) > level_db(soon, 2000, 2600) + 10
    assert level_db(soon, 700, 1000) > level_db(see, 700, 1000) + 10


def test_sentences_and_speakers_depend_on_their_names_alone() -> None:
    assert voice.draw_sentence("a", syllables=6) == voice.draw_sentence("a", syllables=6)
    assert voice.draw_sentence("a", syllables=6) != voice.draw_sentence("b", syllables=6)
    assert voice.draw_speaker("a", sex="male") == voice.draw_speaker("a", sex="male")
    assert voice.draw_speaker("a", sex="male") != voice.draw_speaker("b", sex="male")


@pytest.mark.slow
def test_stage_replaces_its_folder_only_when_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    old, neighbour = Path("data/demo/old.wav"), Path("data/keep.csv")
    old.parent.mkdir(parents=True)
    old.touch()
    neighbour.touch()
    tiny = {
        name: corpus._replace(
            speakers=dict(list(corpus.speakers.items())[:1]), sentences=corpus.sentences[:1]
        )
        for name, corpus in corpora.CORPORA.items()
    }
    broken = tiny["cremad"]._replace(speakers={"1001": "unknown"})
    monkeypatch.setattr(corpora, "CORPORA", {"savee": tiny["savee"], "cremad": broken})
    with pytest.raises(ValueError, match="cremad/1001"):
        demo.main()
    assert set(files(Path("data"))) == {"demo/old.wav", "keep.csv"}

    monkeypatch.setattr(corpora, "CORPORA", tiny)
    with caplog.at_level("INFO"):
        demo.main()
    assert not old.exists()
    assert neighbour.exists()
    written = files(Path("data/demo"))
    assert {path.partition("/")[0] for path in written} == set(NAMES)
    assert len(written) == 15 + 7 + 16 + 8 + 7
    assert "ravdess 15, tess 7, cremad 16, savee 8, emodb 7 clips" in caplog.text
    assert "mean nothing for real speech" in caplog.text
