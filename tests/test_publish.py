"""The model card of the network in the box says what the run measured, and nothing else."""

import pandas as pd
import pytest

from stages.reporting.degradation_table import COLUMNS, read_robustness
from studies.publish import write_card

UA = {"ua": 0.7, "ua_low": 0.6, "ua_high": 0.8}


def card(degraded):
    return write_card(
        metadata={"model": "ge2e"},
        metrics=UA | {"ece": 0.05},
        unknown=UA,
        others=[{"corpus": "tess", "clips": 9, "speakers": 2, "classes": 7, **UA}],
        speakers={"emodb": ["03", "08"]},
        languages=["de"],
        clips=20,
        degraded=degraded,
        card="# Card",
    )


@pytest.fixture
def degraded(tmp_path):
    """What the stage `robustness` writes, read again."""
    rows = [
        ["clean", None, "", 9, 2, 0.7, 0.6, 0.8, None, None, None, "speakers", "speaker"],
        ["white", 20, "dB", 9, 2, 0.5, 0.4, 0.6, -0.2, -0.3, -0.1, "speakers", "speaker"],
        ["telephone", None, "", 9, 2, 0.6, 0.5, 0.7, -0.1, -0.2, 0.05, "speakers", "speaker"],
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "robustness.csv", index=False)
    return read_robustness(tmp_path / "robustness.csv")


def test_a_run_with_degraded_speech_says_so_on_the_card(degraded):
    text = card(degraded)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["clean", "", "0.700", "0.600 – 0.800", ""] in lines
    assert ["white", "20 dB", "0.500", "0.400 – 0.600", "-0.200 (-0.300 – -0.100)"] in lines
    assert ["telephone", "", "0.600", "0.500 – 0.700", "-0.100 (-0.200 – +0.050)"] in lines
    assert "-S 'degradations=[white,telephone]'\npython -m studies.publish" in text


def test_a_run_without_degraded_speech_says_nothing_of_it(degraded):
    text = card(degraded[:0])
    assert "egrad" not in text and "split.validation=0\npython -m studies.publish" in text
