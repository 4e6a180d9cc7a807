"""Pitch: tones, glides and voices of known pitch, the path against all paths, librosa's pyin, and
the contract of all features."""

from itertools import product

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.acoustics.pitch import _best_path, _correlations, describe, pitch
from stages.signals.kernels import compiled
from stages.synthesis import voice

RATE, HOP = 16000, 256
BOUND = {
    "sample_rate": RATE,
    "hop_length": HOP,
    "frame_length": 1024,
    "fmin": 60,
    "fmax": 500,
    "threshold": 0.5,
    "floor_db": -60,
}


def tone(f0_hz, *, rate: int = RATE, harmonics=(1.0,), snr_db: float = 20) -> np.ndarray:
    """Harmonics of a pitch [samples], in white noise."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / rate
    clear = sum(a * np.sin(k * phase + k) for k, a in enumerate(harmonics, start=1))
    noise = np.random.default_rng(0).standard_normal(len(clear))
    return 0.1 * (clear / clear.std() + noise * 10 ** (-snr_db / 20))


def track(waveform: np.ndarray, **changes) -> tuple[np.ndarray, np.ndarray]:
    """Hz and strength of each frame."""
    semitones, strength = pitch(torch.from_numpy(waveform), **BOUND | changes).numpy()
    return 100 * 2 ** (semitones / 12), strength


def cents(hz: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(1200 * np.log2(hz / wanted))


def spoken(emotion: str, sex: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A synthetic voice, and per frame its pitch in Hz and the amplitude of its glottis."""
    known = []
    glottis = voice._glottis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voice, "_glottis", lambda *given: known.append(given) or glottis(*given))
        waveform = voice.utter(
            voice.draw_sentence(emotion, syllables=6),
            speaker=voice.draw_speaker(f"{emotion}/{sex}", sex=sex),
            emotion=emotion,
            rng=np.random.default_rng(0),
        )
    ((f0_hz, amplitude, *_),) = known
    frames = np.arange(1 + len(waveform) // HOP) * HOP // voice._HOP
    frames = frames.clip(max=len(f0_hz) - 1)
    return waveform, f0_hz[frames], amplitude[frames]


VOICES = [("neutral", "male"), ("angry", "female"), ("sad", "male"), ("surprise", "female")]
HARMONICS = pytest.mark.parametrize("harmonics", [(1.0,), (0.3, 1.0, 0.5), (1.0,) * 12])

# Properties


@HARMONICS
@settings(max_examples=15)
@given(frequency=st.floats(60, 500))
def test_a_tone_in_noise_has_its_pitch(harmonics, frequency):
    hz, strength = track(tone(np.full(RATE, frequency), harmonics=harmonics))
    assert (cents(hz, frequency)[3:-3] < 10).all()
    assert (strength[3:-3] > 0.9).all()


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("frequency", [60, 123.4, 500])
def test_a_tone_has_its_pitch_at_other_rates(rate, frequency):
    changes = {"sample_rate": rate, "hop_length": rate // 60, "frame_length": rate // 16}
    hz, _ = track(tone(np.full(rate, frequency), rate=rate), **changes)
    assert (cents(hz, frequency)[4:-4] < 10).all()


@pytest.mark.parametrize(("begin", "end"), [(60, 500), (500, 60), (300, 100)])
@pytest.mark.parametrize("harmonics", [(1.0,), (1.0, 0.7, 0.5, 0.3)])
def test_a_glide_is_followed(begin, end, harmonics):
    f0_hz = np.geomspace(begin, end, 2 * RATE)
    hz, strength = track(tone(f0_hz, harmonics=harmonics))
    assert (cents(hz[3:-3], f0_hz[::HOP][3 : len(hz) - 3]) < 10).all()
    assert (strength[3:-3] > 0.9).all()


def test_voices_have_the_pitch_that_they_were_given():
    heard, missed, errors = [], [], []
    for emotion, sex in VOICES:
        waveform, f0_hz, amplitude = spoken(emotion, sex)
        hz, strength = track(waveform)
        voiced = (amplitude > 0.5) & (f0_hz < BOUND["fmax"])
        errors.append(cents(hz, f0_hz)[voiced])
        missed.append(strength[voiced] == 0)
        # A voice is heard as long as the frame holds it, and no longer.
        far = np.convolve(amplitude, np.ones(7), mode="same") < 0.05
        heard.append(strength[far] > 0)
    error = np.concatenate(errors)
    assert np.concatenate(heard).mean() < 0.02
    assert np.concatenate(missed).mean() < 0.02
    assert (error > 300).mean() < 0.05  # octaves
    assert (error < 50).mean() > 0.9  # the voice's own roughness is a part of this
    assert np.median(error) < 12


def test_noise_and_silence_have_no_voice():
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    assert (track(noise)[1] > 0).mean() < 0.02
    for level in (0, 0.5):
        values = pitch(torch.full((RATE,), float(level)), **BOUND)
        assert (values[:, 3:-3] == 0).all()
    assert (pitch(torch.zeros(RATE), **BOUND) == 0).all()


def test_without_a_voice_the_pitch_lies_on_a_line_between_its_neighbours():
    low, pause, high = (tone(np.full(RATE, f)) for f in (100.0, 1.0, 200.0))
    waveform = np.concatenate([0 * pause, low, 0 * pause, high, 0 * pause])
    semitones, strength = pitch(torch.from_numpy(waveform), **BOUND).numpy()
    heard = np.flatnonzero(strength)
    assert abs(len(heard) - 2 * RATE / HOP) < 12
    (gap,) = np.flatnonzero(np.diff(heard) > 1)
    first, last = heard[gap], heard[gap + 1]
    np.testing.assert_allclose(np.diff(semitones[first : last + 1], n=2), 0, atol=1e-12)
    assert (semitones[: heard[0]] == semitones[heard[0]]).all()
    assert (semitones[heard[-1] :] == semitones[heard[-1]]).all()
    assert semitones[first] == pytest.approx(0, abs=1)
    assert semitones[last] == pytest.approx(12, abs=1)


def test_gain_changes_nothing_but_near_the_floor():
    waveform = tone(np.full(RATE, 150.0), snr_db=60)
    level_db = 10 * np.log10((waveform**2).mean())
    levels = [waveform * 10 ** ((to_db - level_db) / 20) for to_db in (-20, -10, -60)]
    (loud, strong), (louder, stronger), (_, half) = (track(x, threshold=0.2) for x in levels)
    inner = slice(3, -3)
    np.testing.assert_allclose(loud[inner], louder[inner], rtol=1e-4)
    np.testing.assert_allclose(strong[inner], stronger[inner], atol=1e-3)
    np.testing.assert_allclose(half[inner], 0.5, atol=0.02)


def test_a_higher_threshold_hears_fewer_voices():
    waveform = tone(np.full(RATE, 150.0), snr_db=-5)
    shares = [(track(waveform, threshold=t)[1] > 0).mean() for t in (0.1, 0.5, 0.9)]
    assert shares[0] == 1 and 0 < shares[1] < 1 and shares[2] == 0


# Definitions, written out


def test_correlations_are_those_of_the_definition():
    signal = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32) + 0.5
    starts, floor = np.array([0, 70, 200]), 0.25
    actual = compiled(_correlations)(signal, starts, 100, 40, floor)
    for w, (t, start), lag in product(range(2), enumerate(starts), range(40)):
        frame = signal[w, start : start + 100].astype(float)
        early, late = (frame - frame.mean())[: 100 - lag], (frame - frame.mean())[lag:]
        level = np.sqrt((early @ early) * (late @ late)) + floor * len(early)
        assert actual[w, t, lag] == pytest.approx(early @ late / level, abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    frames, most, silent, jump, switch = 5, 3, 0.5, 0.4, 0.2
    pitches, worths = rng.uniform(-1, 2, (1, frames, most)), rng.uniform(0, 1, (1, frames, most))
    worths[0, 1, 2] = -1e9
    strengths = worths + 0.01

    def worth(path):
        total = sum(silent if k == most else worths[0, t, k] for t, k in enumerate(path))
        for t in range(1, frames):
            if (path[t] == most) != (path[t - 1] == most):
                total -= switch
            elif path[t] < most:
                total -= jump * abs(pitches[0, t, path[t]] - pitches[0, t - 1, path[t - 1]])
        return total

    best = max(product(range(most + 1), repeat=frames), key=worth)
    found = compiled(_best_path)(pitches, strengths, worths, silent, jump, switch)
    for actual, table in zip(found, (pitches, strengths), strict=True):
        wanted = [0 if k == most else table[0, t, k] for t, k in enumerate(best)]
        np.testing.assert_array_equal(actual[0], wanted)


# The reference library, over frames of the same length


@pytest.mark.slow
@pytest.mark.parametrize(("emotion", "sex"), VOICES)
def test_voices_have_the_pitch_that_pyin_gives_them(emotion, sex):
    waveform, _, _ = spoken(emotion, sex)
    expected, voiced, _ = librosa.pyin(
        waveform, sr=RATE, fmin=60, fmax=500, frame_length=1024, hop_length=HOP
    )
    hz, strength = track(waveform)
    both = voiced & (strength > 0)
    assert both.mean() > 0.4
    # It rounds to 10 cents, and its difference function leans to short periods by a few more.
    assert (cents(hz, expected)[both] < 20).mean() > 0.9


# The contract of features


@pytest.mark.parametrize("samples", [1, 255, 256, 700, 9000])
def test_it_keeps_the_contract(samples):
    clips = np.stack([spoken("happy", "male")[0][5000 + s : 5000 + s + samples] for s in range(6)])
    batch = torch.from_numpy(clips).reshape(2, 3, samples).float()
    before = batch.clone()
    together = pitch(batch, **BOUND)
    assert together.shape == (2, 3, 2, 1 + samples // HOP)
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    assert torch.equal(batch, before)
    torch.testing.assert_close(pitch(batch.double(), **BOUND).float(), together)
    assert pitch(batch.double(), **BOUND).dtype == torch.float64
    for row, column in product(range(2), range(3)):
        assert torch.equal(together[row, column], pitch(batch[row, column], **BOUND))
    assert len(describe(**BOUND).centres) == 2


def test_what_it_cannot_use_is_refused():
    holed = torch.zeros(4000)
    holed[1234] = float("nan")
    for waveform in (torch.zeros(0), torch.zeros(2, 0), holed, torch.zeros(9, dtype=torch.int16)):
        with pytest.raises(ValueError, match="waveform: got"):
            pitch(waveform, **BOUND)
    with pytest.raises(ValueError, match="pitch: got a waveform with gradients"):
        pitch(torch.zeros(400, requires_grad=True), **BOUND)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_it_cannot_be_frozen_into_a_graph():
    with pytest.raises(ValueError, match="pitch: got .* a graph that is traced"):
        torch.jit.trace(lambda x: pitch(x, **BOUND), torch.ones(4000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 0}, "sample_rate: got 0, want at least 1"),
        ({"hop_length": 0}, "hop_length: got 0, want at least 1"),
        ({"frame_length": 533}, r"frame_length: got 533, want at least 534 \(two periods of fmin"),
        ({"fmax": 8001}, r"fmax: got 8001, want over 0 and at most 8000.0 \(half sample_rate\)"),
        ({"fmax": 0}, "fmax: got 0, want over 0"),
        ({"fmin": 0}, r"fmin: got 0, want over 0 and below 500 \(fmax\)"),
        ({"fmin": 500}, "fmin: got 500, want over 0 and below 500"),
        ({"fmin": float("nan")}, "fmin: got nan, want over 0"),
        ({"threshold": 1.1}, "threshold: got 1.1, want 0 to 1"),
        ({"floor_db": 1}, "floor_db: got 1, want -120 to 0"),
    ],
)
def test_bad_settings_are_named(change, message):
    for waveform in (torch.zeros(RATE), torch.zeros(0)):  # the setting comes before the waveform
        with pytest.raises(ValueError, match=f"^{message}"):
            pitch(waveform, **BOUND | change)


def test_the_shortest_frame_named_is_allowed():
    hz, _ = track(tone(np.full(RATE, 60.0)), frame_length=534)
    assert (cents(hz, 60.0)[3:-3] < 30).all()
