"""Audio files with wrong headers, damaged ones, and formats that libsndfile does not read."""

import contextlib
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.windows import read_windows
from stages.audio import isolation
from stages.audio.conditioning import CONDITIONING
from stages.audio.containers import sound_parts
from stages.audio.decoding import Tally, opened, read_blocks
from stages.audio.mpeg import _frame
from stages.audio.views import View
from tests.support import AUDIO, conditioned, read_clip, speech_like

RATE = 16000
VOICE = speech_like(RATE)
SAMPLES = (32767 * VOICE).astype("<i2").tobytes()


def refusal(path) -> str:
    with pytest.raises(ValueError) as error:
        read_clip(path, **AUDIO)
    return str(error.value)


def seconds(path) -> float:
    """Length by decoding, which is also the length that the file says to have."""
    tally = Tally()
    with opened(path) as file:
        for _ in read_blocks(file, tally=tally):
            pass
        assert abs(file.frames() - tally.samples) < 0.1 * file.samplerate
        return tally.samples / file.samplerate


def encoded(path, waveform=VOICE, *, rate=RATE, **settings) -> bytes:
    soundfile.write(path, waveform, rate, **settings)
    return path.read_bytes()


def window(path) -> np.ndarray:
    """Samples of the only window that is heard of a file."""
    (only,) = read_windows(path, window_s=10, **{name: AUDIO[name] for name in CONDITIONING})
    return only.samples


# What is no regular file


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (make_socket, "a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to("gone.wav"), "a link to gone.wav, which is missing"),
        (lambda path: path.symlink_to(path.name), "Too many levels"),
    ],
)
def test_what_is_no_file_is_refused_without_waiting(tmp_path, monkeypatch, make, kind):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make(Path("x.wav"))
    assert kind in refusal(tmp_path / "x.wav")


def test_a_pipe_that_replaces_a_file_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x.wav")
    (tmp_path / "y.wav").write_bytes(SAMPLES)
    stat, before = os.stat, os.stat(tmp_path / "y.wav")
    monkeypatch.setattr(
        os, "stat", lambda path, **_: before if "x.wav" in str(path) else stat(path)
    )
    assert "a named pipe" in refusal(tmp_path / "x.wav")


# Chunks of WAV


def chunk(name: bytes, body: bytes, said: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if said is None else said) + body


def wav(
    *before: bytes, said=None, data=SAMPLES, after=b"", rate=RATE, channels=1, code=1, magic=b"RIFF"
) -> bytes:
    sizes = (2 * rate & 0xFFFFFFFF, 2 * channels, 16)
    form = struct.pack("<HHIIHH", code, channels, rate, *sizes)
    body = chunk(b"fmt ", form) + b"".join(before) + chunk(b"data", data, said) + after
    return magic + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


ENDLESS = chunk(b"LIST", b"INFO" + b"IZZZ" + struct.pack("<i", -13) + b"abcdefgh")
LONG = chunk(b"ds64", struct.pack("<QQQI", 0, len(SAMPLES), 0, 0))


@pytest.mark.parametrize(
    "content",
    [
        wav(ENDLESS),
        wav(after=ENDLESS),
        wav(chunk(b"note", b"odd")),  # without the byte that fills up
        wav(chunk(b"note", b"odd\0", 3)),
        wav(said=len(SAMPLES) + 44),
        wav(said=len(SAMPLES) + 2),
        wav(said=0),
        wav(said=36),
        wav(said=0x7FFFFFFF),
        wav(said=0xFFFFFFFF),
        wav(chunk(b"LIST", bytes(10)), said=0xFFFFFFFF),
        wav(LONG, said=0xFFFFFFFF, after=chunk(b"LIST", bytes(999)), magic=b"RF64"),
        wav(said=0xFFFFFFFF, magic=b"RF64"),
        wav(after=b"TAG" + bytes(125)),
        b"ID3\x04\0\0\0\0\0\x05hello" + wav(),
    ],
)
def test_the_sound_of_a_wav_is_read_whatever_stands_around_it(tmp_path, content):
    (tmp_path / "x.wav").write_bytes(content)
    _, samples = read_clip(tmp_path / "x.wav", **AUDIO)
    want = conditioned(np.frombuffer(SAMPLES, "<i2") / 32768, RATE, **AUDIO)
    assert np.array_equal(samples, want)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (wav(said=2 * len(SAMPLES)), "truncated: 32000 bytes of samples, its header says 64000"),
        (wav(LONG, said=0xFFFFFFFF, data=SAMPLES[:9000], magic=b"RF64"), "truncated: 9000 bytes"),
        (wav(data=b"", after=chunk(b"LIST", bytes(400))), "empty: no samples"),
        (wav(rate=0), "sample rate: got 0 Hz"),
        (wav(rate=1), "sample rate: got 1 Hz, want 1000 to"),
        (wav(rate=16), "sample rate: got 16 Hz"),
        (wav(rate=999), "sample rate: got 999 Hz"),
        (wav(rate=800_000), "sample rate: got 800000 Hz"),
        (wav(rate=1 << 31), "sample rate: got 2147483648 Hz"),
        (wav(channels=257), "channels: got 257, want 1 to 256"),
        (wav(code=0x1234), "cannot be decoded"),
    ],
)
def test_a_wav_that_cannot_be_true_has_the_reason(tmp_path, content, reason):
    (tmp_path / "x.wav").write_bytes(content)
    assert reason in refusal(tmp_path / "x.wav")


def test_joined_wavs_are_read_to_the_end(tmp_path):
    content = wav(after=chunk(b"LIST", bytes(9)) + b"\0") + wav(ENDLESS)
    (tmp_path / "x.wav").write_bytes(content)
    assert seconds(tmp_path / "x.wav") == 2
    (tmp_path / "x.wav").write_bytes(wav() + wav(rate=8000))
    assert "changes midway: got 8000 Hz" in refusal(tmp_path / "x.wav")


def test_more_than_4_gb_need_a_longer_head(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav(said=0, data=b""))
    os.truncate(path, 5 << 30)  # takes no room on the disk
    with path.open("rb") as file:
        (part,), plain = sound_parts(file.fileno())
        with soundfile.SoundFile(View(file.fileno(), part)) as sound:
            assert plain and sound.frames == ((5 << 30) - 44) // 2


# Lengths of compressed files


def mp3(path, **settings) -> tuple[bytes, bytes]:
    """The first frame, which holds the length alone, and the others."""
    content = encoded(path, format="MP3", **settings)
    first = _frame(content[:4]).length
    assert b"Info" in content[:first] or b"Xing" in content[:first]
    return content[:first], content[first:]


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_is_read_to_its_end_without_a_length(tmp_path, rate, mode):
    voice = speech_like(2 * rate, rate=rate)
    voice[rate:] = 0  # of which a variable rate makes next to nothing
    path = tmp_path / "x.mp3"
    head, body = mp3(path, waveform=voice, rate=rate, bitrate_mode=mode)
    assert seconds(path) == 2
    path.write_bytes(body)
    assert 2 <= seconds(path) < 2.1
    assert np.array_equal(window(path), read_clip(path, **AUDIO)[1])
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x05hello" + body + b"TAG" + bytes(125))
    assert 2 <= seconds(path) < 2.1
    path.write_bytes(2 * (head + body))
    assert 4 <= seconds(path) < 4.1
    path.write_bytes(head + body + body)
    assert 4 <= seconds(path) < 4.2
    path.write_bytes(head + body[: len(body) // 3])
    assert refusal(path).startswith("truncated: ")


def test_an_mp3_that_changes_its_rate_is_refused(tmp_path):
    parts = [mp3(tmp_path / "x.mp3", rate=rate)[1] for rate in (16000, 22050)]
    (tmp_path / "x.mp3").write_bytes(b"".join(parts))
    assert "changes from 16000 Hz with 1 channel to 22050 Hz" in refusal(tmp_path / "x.mp3")


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "FLAC"},
    ],
)
def test_streams_one_after_the_other_are_all_read(tmp_path, settings):
    path = tmp_path / "x"
    content = encoded(path, **settings)
    path.write_bytes(3 * content)
    assert seconds(path) == pytest.approx(3, abs=0.01)
    path.write_bytes(content + content[: len(content) * 2 // 3])
    assert refusal(path)


def test_a_flac_without_a_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "x.flac"
    content = bytearray(encoded(path))
    _, want = read_clip(path, **AUDIO)
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert seconds(path) == 1
    assert np.array_equal(window(path), want)


def with_total(content: bytes, samples: int) -> bytes:
    """A FLAC file with another number of samples in its header, of 36 bits."""
    numbers = int.from_bytes(content[18:26], "big")
    return content[:18] + (numbers >> 36 << 36 | samples).to_bytes(8, "big") + content[26:]


def test_a_flac_with_more_sound_than_its_header_says_is_refused(tmp_path):
    path = tmp_path / "x.flac"
    noise = np.random.default_rng(0).normal(scale=0.1, size=4 * RATE)
    content = encoded(path, noise)
    for joined in (with_total(content, RATE), content + with_total(content, RATE)):
        path.write_bytes(joined)
        assert "length unclear: its header says 16000 samples, and more are there" in refusal(path)
    path.write_bytes(content + b"APETAGEX" + bytes(4000) + b"TAG" + bytes(125))
    assert seconds(path) == 4


def test_counting_ends_where_nobody_wants_more(tmp_path):
    path = tmp_path / "x.flac"
    path.write_bytes(with_total(encoded(path, np.zeros(600 * RATE)), 0))
    counts = []

    def watch(samples):
        counts.append(samples)
        if samples > 200 * RATE:
            raise ValueError("enough")

    with opened(path) as file, pytest.raises(ValueError, match="enough"):
        file.frames(watch)
    assert len(counts) > 1 and counts[-1] < 300 * RATE
    with opened(path) as file:
        assert file.frames() == 600 * RATE


@pytest.mark.parametrize("length", range(12, 60, 3))
def test_a_cut_aiff_is_refused(tmp_path, length):
    path = tmp_path / "x.aiff"
    path.write_bytes(encoded(path)[:length])
    assert refusal(path).startswith(("cannot be decoded", "truncated"))


# Formats that are decoded in another process


@pytest.fixture
def helpers(monkeypatch):
    """Helper processes of this test alone."""
    idle = []
    monkeypatch.setattr(isolation, "_IDLE", idle)
    yield idle
    for process in idle:
        process.stop()


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64", "NIST", "VOC"])
def test_rare_formats_give_the_same_samples(tmp_path, kind):
    encoded(tmp_path / "x.wav")
    encoded(tmp_path / "x", format=kind, subtype="PCM_16")
    wanted, got = (read_clip(tmp_path / name, **AUDIO) for name in ("x.wav", "x"))
    assert got[0] == wanted[0] and np.array_equal(got[1], wanted[1])


@pytest.mark.parametrize("said", [0, 0.5, 0.7])
@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_compressed_samples_beyond_what_the_header_says_are_named(tmp_path, subtype, said):
    """libsndfile would stop there without a word; where they end it alone knows."""
    content = encoded(tmp_path / "x.wav", format="WAV", subtype=subtype)
    assert seconds(tmp_path / "x.wav") == pytest.approx(1, abs=0.07)
    place = content.find(b"data") + 4
    size = struct.unpack("<I", content[place : place + 4])[0]
    for count, after, reason in (
        (int(said * size), b"", "length unclear: its header says"),
        (size + 44, b"", ""),
        (0xFFFFFFFF, b"", ""),
        (size, chunk(b"LIST", bytes(4000)), ""),
    ):
        head = content[:place] + struct.pack("<I", count) + content[place + 4 :]
        (tmp_path / "x.wav").write_bytes(head + after)
        if reason:
            assert reason in refusal(tmp_path / "x.wav")
        else:
            assert seconds(tmp_path / "x.wav") == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_an_aiff_of_two_lengths_is_refused(tmp_path, subtype):
    content = encoded(tmp_path / "x.aiff", format="AIFF", subtype=subtype)
    assert seconds(tmp_path / "x.aiff") == 1
    place = content.find(b"SSND") + 4
    (size,) = struct.unpack(">I", content[place : place + 4])
    for count, fine in ((0, True), (0xFFFFFFFF, True), (size - 100, True), (size // 2, False)):
        head = content[:place] + struct.pack(">I", count) + content[place + 4 :]
        (tmp_path / "x.aiff").write_bytes(head)
        if fine:
            assert seconds(tmp_path / "x.aiff") == pytest.approx(1, abs=0.1)
        else:
            assert "length unclear" in refusal(tmp_path / "x.aiff")


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
def test_a_short_nist_file_is_truncated(tmp_path, subtype):
    content = encoded(tmp_path / "x.sph", format="NIST", subtype=subtype)
    assert seconds(tmp_path / "x.sph") == 1
    (tmp_path / "x.sph").write_bytes(content[: len(content) * 3 // 4])
    assert refusal(tmp_path / "x.sph").startswith("truncated: ")


def test_a_file_that_libsndfile_never_comes_back_from_is_given_up(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(isolation, "_CPU_S", 0.3)
    (tmp_path / "x.wav").write_bytes(wav(ENDLESS, chunk(b"note", b"", 1 << 30)))
    assert "cannot be decoded: libsndfile takes over 0.3 s" in refusal(tmp_path / "x.wav")
    assert not helpers
    encoded(tmp_path / "y.au", format="AU")
    assert seconds(tmp_path / "y.au") == 1 and len(helpers) == 1


def test_a_process_serves_one_file_after_the_other_and_is_replaced(tmp_path, helpers):
    path = tmp_path / "x.au"
    encoded(path, format="AU")
    with opened(path) as file:  # nothing is read
        assert file.samplerate == RATE
    (tmp_path / "text").write_text("dear diary")
    assert refusal(tmp_path / "text").startswith("cannot be decoded: ")
    with opened(path) as first, opened(path) as second:
        assert len(first.read(100)) == len(second.read(100)) == 100
    assert len(helpers) == 2
    process = helpers[-1]._process
    with opened(path) as file, pytest.raises(ValueError, match="cannot be decoded: .* crashes"):
        process.kill()
        file.read(100)
    helpers[0]._process.kill()  # while it waits
    helpers[0]._process.wait()
    assert seconds(path) == 1 and len(helpers) == 1


def test_nothing_is_printed_into_the_answers(tmp_path, capfd):
    content = encoded(tmp_path / "x.sds", format="SDS", subtype="PCM_16")
    for place in range(0, 60, 4):
        damaged = content[:place] + b"\xff" + content[place + 1 : len(content) - 40 - place]
        (tmp_path / "x.sds").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            read_clip(tmp_path / "x.sds", **AUDIO)
    assert capfd.readouterr().out == ""


# ffmpeg


FOREIGN = b"\0\0\0\x18ftypM4A " + bytes(64)


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """A command that notes its arguments and its input, prints a file and fails if told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "ffmpeg"
    command.write_text(
        '#!/bin/sh\ncd "$(dirname "$0")"\necho "$@" > arguments\n'
        "cat > input\ncat sound\ncat errors >&2\nexit $(cat code)\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(sound: bytes, *, errors: str = "", code: int = 0):
        (folder / "sound").write_bytes(sound)
        (folder / "errors").write_text(errors)
        (folder / "code").write_text(str(code))
        return folder

    return answer


def au(waveform: np.ndarray, rate: int) -> bytes:
    """What ffmpeg prints."""
    head = struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, rate, waveform.shape[1])
    return head + b"encoder\0" + waveform.astype(">f4").tobytes()


def test_ffmpeg_decodes_what_libsndfile_does_not(tmp_path, fake_ffmpeg):
    stereo = speech_like(22050, rate=22050)[:, None] * [1, 0.5]
    folder = fake_ffmpeg(au(stereo, 22050))
    (tmp_path / "-x.m4a").write_bytes(FOREIGN)
    facts, samples = read_clip(tmp_path / "-x.m4a", **AUDIO)
    assert (facts["rate_hz"], facts["channels"], facts["duration_s"]) == (22050, 2, 1)
    want = conditioned(stereo.astype(np.float32), 22050, **AUDIO)
    assert np.array_equal(samples, want)
    assert seconds(tmp_path / "-x.m4a") == 1
    assert (folder / "input").read_bytes() == FOREIGN
    arguments = (folder / "arguments").read_text().split()
    assert arguments[0] == "-nostdin" and str(tmp_path) not in " ".join(arguments)
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file,pipe"
    assert "hls" not in arguments[arguments.index("-format_whitelist") + 1]


@pytest.mark.parametrize(
    ("sound", "errors", "code", "reason"),
    [
        (b"", "[mov @ 0x55] moov\n[in @ 0x56] Invalid data\n", 1, "Invalid data"),
        (b"RIFF", "", 0, "cannot be decoded: "),
        (au(VOICE[:, None], RATE), "[mov] stream 0: partial file\n", 0, "truncated: "),
        (au(VOICE[:, None], RATE), "Conversion failed!\n", 69, "Conversion failed!"),
        (au(VOICE[:, None], 4), "", 0, "sample rate: got 4 Hz"),
        (au(VOICE[:0, None], RATE), "", 0, "empty: no samples"),
    ],
)
def test_what_ffmpeg_refuses_has_its_reason(tmp_path, fake_ffmpeg, sound, errors, code, reason):
    fake_ffmpeg(sound, errors=errors, code=code)
    (tmp_path / "x.m4a").write_bytes(FOREIGN)
    assert reason in refusal(tmp_path / "x.m4a") and "0x5" not in refusal(tmp_path / "x.m4a")


@pytest.mark.parametrize(
    ("head", "fine"),
    [
        (b"TTA1" + struct.pack("<HHHII", 1, 1, 16, RATE, RATE), True),
        (b"TTA1" + struct.pack("<HHHII", 1, 1, 16, RATE, 2 * RATE), False),
        (b"wvpk" + struct.pack("<IHBBI", 0, 0x410, 0, 0, RATE), True),
        (b"wvpk" + struct.pack("<IHBBI", 0, 0x410, 0, 0, 2 * RATE), False),
        (b"wvpk" + struct.pack("<IHBBI", 0, 0x410, 0, 0, 0xFFFFFFFF), True),
    ],
)
def test_what_ffmpeg_does_not_miss_is_compared_with_the_header(tmp_path, fake_ffmpeg, head, fine):
    fake_ffmpeg(au(VOICE[:, None], RATE))
    (tmp_path / "x").write_bytes(head + bytes(64))
    if fine:
        assert seconds(tmp_path / "x") == 1
    else:
        assert refusal(tmp_path / "x") == f"truncated: {RATE} samples, its header says {2 * RATE}"


def test_a_caf_of_another_code_is_decoded_by_ffmpeg(tmp_path, fake_ffmpeg):
    """Voice messages of phones are AAC or Opus in CAF."""
    content = encoded(tmp_path / "x.caf", format="CAF", subtype="PCM_16")
    (tmp_path / "x.caf").write_bytes(content.replace(b"lpcm", b"opus", 1))
    fake_ffmpeg(au(VOICE[:, None], RATE))
    assert seconds(tmp_path / "x.caf") == 1


@pytest.mark.parametrize(
    "begin",
    [
        FOREIGN,
        b"\x1a\x45\xdf\xa3",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"#!AMR\n",
        b"\xff\xf1\x50\x80",
        b"ID3\x04\0\0\0\0\0\x05hello\xff\xf1\x50\x80",
        b"OggS\0\x02" + bytes(22) + b"Speex   1.2",
    ],
)
def test_without_ffmpeg_the_message_says_what_to_do(tmp_path, monkeypatch, begin):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x").write_bytes(begin + bytes(64))
    assert refusal(tmp_path / "x").startswith("cannot be decoded here: ")
    assert "install ffmpeg" in refusal(tmp_path / "x")


# A constant offset


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("offset", [0.001, -0.01, 0.3])
def test_an_offset_changes_neither_ends_nor_level(rate, offset):
    voice = np.r_[np.zeros(rate), speech_like(rate, rate=rate), np.zeros(rate)]
    settings = AUDIO | {"trim_db": 40}
    want = conditioned(voice, rate, **settings)
    got = conditioned(voice + offset, rate, **settings)
    assert len(got) == len(want) < 1.3 * RATE
    assert np.abs(got.astype(int) - want).max() < 60  # the mean of speech itself goes, too


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("value", [0.3, -0.002, 1.0])
def test_a_constant_is_silence(tmp_path, rate, value):
    soundfile.write(tmp_path / "x.wav", np.full((rate, 2), value), rate, subtype="FLOAT")
    assert refusal(tmp_path / "x.wav").startswith("silent: ")


@pytest.mark.parametrize("offset", [0, 0.2])
def test_channels_that_cancel_each_other_are_named(tmp_path, offset):
    noise = np.random.default_rng(0).normal(0, 0.1, (8000, 1))
    soundfile.write(tmp_path / "x.wav", noise * [1, -1] + offset, RATE)
    assert "2 channels cancel each other out" in refusal(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", noise * [1, -0.9], RATE)
    assert len(read_clip(tmp_path / "x.wav", **AUDIO)[1]) == 8000
