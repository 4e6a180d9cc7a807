"""How the demo's speakers sound in each emotion, as one table of numbers.

The directions (anger loud, bright and fast; sadness low, soft and breathy ...) are those that
listeners and measurements agree on; the sizes and spreads are chosen so that the demo is neither
trivial nor hopeless for a classifier. They are not measurements of anyone's speech.

References
----------
Scherer, Vocal communication of emotion, Speech Communication 40 (2003), table 2
"""

from __future__ import annotations

from typing import NamedTuple


class Prosody(NamedTuple):
    """The manner of speaking of one clip."""

    pitch_st: float  # mean pitch above the speaker's own, in semitones
    range_st: float  # height of the accents, in semitones
    final_st: float  # movement of pitch over the last syllable, in semitones
    tempo: float  # share by which syllables come faster than usual
    loudness_db: float
    tilt_db: float  # per octave above 500 Hz; positive is bright and tense, negative soft
    breath_db: float  # aspiration against the voice
    roughness: float  # share by which one glottal period differs from the next
    tremor_st: float  # wavering of the pitch, in semitones
    smile: float  # share by which the formants rise when the lips are spread


# fmt: off
EMOTIONS: dict[str, Prosody] = {
    #                   pitch range final tempo loudness tilt breath rough tremor smile
    "neutral":  Prosody( 0.0,  2.0, -2.0,  0.00,    0.0,  1.0, -26.0, .006,  .10,  .000),
    "angry":    Prosody( 4.0,  5.0, -4.0,  0.12,    8.0,  3.5, -28.0, .020,  .10, -.010),
    "disgust":  Prosody(-1.0,  2.8, -4.0, -0.18,    1.0,  2.0, -24.0, .028,  .15, -.050),
    "fear":     Prosody( 6.5,  2.0,  0.5,  0.20,    2.0,  1.5, -17.0, .014,  .70,  .020),
    "happy":    Prosody( 4.5,  5.5,  0.0,  0.06,    5.0,  2.2, -25.0, .008,  .10,  .060),
    "sad":      Prosody(-0.5,  1.0, -2.0, -0.20,   -6.0, -1.4, -15.0, .010,  .35, -.010),
    "surprise": Prosody( 6.5,  6.0,  7.0, -0.04,    4.0,  1.4, -23.0, .008,  .15,  .015),
    "calm":     Prosody(-1.5,  1.4, -2.5, -0.10,   -3.0, -0.2, -22.0, .005,  .08,  .010),
    "boredom":  Prosody(-3.0,  0.7, -1.0, -0.20,   -4.0,  0.0, -25.0, .008,  .08, -.020),
}
#: Standard deviation of each number from clip to clip.
SPREAD = Prosody(       1.0,  0.7,  1.0,  0.04,    1.8,  0.5,   1.8, .003,  .07,  .012)
LOWEST = Prosody(      -6.0,  0.2, -7.0, -0.28,  -14.0, -3.0, -34.0, .002,  .00, -.080)
HIGHEST = Prosody(     12.0,  9.0, 10.0,  0.32,   14.0,  5.0, -10.0, .045, 1.20,  .100)
# fmt: on
