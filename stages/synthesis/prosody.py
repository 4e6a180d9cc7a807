"""Prosody of each emotion in the demo's speech, as a table of numbers.

The directions (anger loud, bright and fast; sadness low, soft and breathy ...) follow the
literature. The sizes and spreads are chosen so that the demo is neither trivial nor hopeless for a
classifier; they are not measured on real speech.

References
----------
Scherer, Vocal communication of emotion, Speech Communication 40 (2003), table 2
"""

from __future__ import annotations

from typing import NamedTuple


class Prosody(NamedTuple):
    """Prosody and voice quality of one clip."""

    pitch_st: float  # mean pitch above the speaker's own, in semitones
    range_st: float  # height of the accents, in semitones
    final_st: float  # movement of pitch over the last syllable, in semitones
    tempo: float  # relative increase of the syllable rate
    loudness_db: float
    tilt_db: float  # per octave above 500 Hz; positive is bright and tense, negative soft
    breath_db: float  # aspiration relative to the voice
    roughness: float  # relative difference between neighbouring glottal periods
    tremor_st: float  # slow modulation of the pitch, in semitones
    smile: float  # relative rise of the formants with spread lips


# fmt: off
EMOTIONS: dict[str, Prosody] = {
    #                   pitch range final tempo loudness tilt breath rough tremor smile
    "neutral":  Prosody( 0.0,  2.8, -2.5,  0.00,    0.0,  1.0, -27.0, .006,  .10,  .000),
    "angry":    Prosody( 4.0,  5.0, -5.0,  0.14,    8.0,  4.0, -29.0, .024,  .10, -.010),
    "disgust":  Prosody(-1.0,  3.2, -5.0, -0.20,    1.0,  2.4, -22.0, .055,  .15, -.060),
    "fear":     Prosody( 6.5,  2.0,  0.5,  0.22,    2.0,  1.5, -17.0, .014,  .80,  .020),
    "happy":    Prosody( 4.5,  5.5,  0.0,  0.06,    5.0,  2.2, -25.0, .008,  .10,  .060),
    "sad":      Prosody(-1.0,  0.8, -3.5, -0.24,   -9.0, -2.8, -12.0, .010,  .60, -.010),
    "surprise": Prosody( 6.5,  6.0,  7.0, -0.04,    4.0,  1.4, -23.0, .008,  .15,  .015),
    "calm":     Prosody(-3.5,  0.6,  0.0, -0.29,   -3.0,  0.0, -13.0, .004,  .05,  .010),
    "boredom":  Prosody(-4.0,  0.5,  0.5, -0.31,   -3.0,  0.0, -14.0, .006,  .05, -.020),
}
#: Standard deviation of each number from clip to clip.
SPREAD = Prosody(       0.9,  0.5,  0.8,  0.03,    1.8,  0.5,   1.5, .003,  .06,  .012)
LOWEST = Prosody(      -7.0,  0.2, -7.0, -0.36,  -16.0, -4.5, -34.0, .002,  .00, -.080)
HIGHEST = Prosody(     12.0,  9.0, 10.0,  0.32,   14.0,  5.0,  -8.0, .080, 1.20,  .100)
# fmt: on
