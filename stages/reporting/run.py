"""One run of the pipeline, as the sections of its report read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.clips.completeness import Completeness, compare_release, read_release
from stages.reporting.predictions import Predictions
from stages.reporting.systems import ua_row
from stages.reporting.temperature import scale, temperatures
from stages.splits.enrolment import calibration_in_words
from stages.splits.leaks import protocol_in_words, shared_in_words, trained_on_in_words


@dataclass(frozen=True)
class Run:
    """What a run has made, and the facts of it that several sections need.

    Attributes
    ----------
    predictions : Predictions
        of the held-out clips
    validation : DataFrame
        predictions of validation clips by the same jobs; without a row nothing is calibrated
    clips : DataFrame
        the clip table
    store, caches : int16 [samples], and by feature float [frames, dimensions]
        samples and features of all clips, best memory-mapped: no more than one clip is held at a
        time, or those of a batch
    checkpoints : Path
        folder of the trained models
    training : DataFrame
        one row per job and epoch; `fold` is text
    leakage : mapping
        proof of the split stage; a protocol that it found to be speaker-dependent is marked as
        such, whatever the settings claim
    robustness : DataFrame
        of degraded clips, see `robustness_table`; without a row if no degradation was chosen
    label_sets : emotion -> label, by name
        all that there are, to compare with the chosen one
    settings : mapping
        audio, corpora, data, features, labels, model, seeds, split, variants of params.yaml
    """

    predictions: Predictions
    validation: pd.DataFrame
    clips: pd.DataFrame
    store: NDArray[np.int16]
    caches: Mapping[str, NDArray]
    checkpoints: Path
    training: pd.DataFrame
    leakage: Mapping[str, Any]
    robustness: pd.DataFrame
    label_sets: Mapping[str, Mapping[str, str | None]]
    settings: Mapping[str, Any]

    @property
    def shared(self) -> list[str]:
        """What training and test share or know, in words, such as "speaker-dependent"."""
        return shared_in_words(self.settings["split"], self.leakage)

    @property
    def calibration(self) -> list[str]:
        """What is known of held-out speakers, in one note; no note if nothing is."""
        return calibration_in_words(self.leakage)

    @property
    def dependent(self) -> bool:
        """Whether training and test share speakers, or variants of one recording."""
        return self.shared != self.calibration

    @property
    def protocol(self) -> str:
        """Name of the split, marked with what its sides share and what else is trained on."""
        return protocol_in_words(self.settings["split"], self.shared)

    @property
    def demo(self) -> bool:
        """Whether the speech is synthetic."""
        return self.settings["data"]["name"] == "demo"

    @property
    def notes(self) -> list[str]:
        """Notes that every figure carries below its title."""
        trained_on = trained_on_in_words(self.settings["split"])
        return self.shared + trained_on + ["synthetic demo speech"] * self.demo

    @property
    def mark(self) -> str:
        """What headings of the page carry behind them."""
        return f" ({', '.join(self.shared)})" if self.shared else ""

    @property
    def chance(self) -> float:
        """UA of guessing."""
        return 1 / len(self.predictions.labels)

    @property
    def clean(self) -> pd.DataFrame:
        """The clip table without training variants."""
        return self.clips[self.clips["variant"] == "clean"]

    @cached_property
    def pooled_ua(self) -> dict[str, float]:
        """The UA pooled over folds and its interval, with six decimals: ua, ua_low, ua_high."""
        row = ua_row(self.predictions.predicted, **self.predictions.tested)
        return {name: round(row[name], 6) for name in ("ua", "ua_low", "ua_high")}

    @cached_property
    def completeness(self) -> dict[str, Completeness]:
        """Each corpus against its release, if that is known; empty for the demo."""
        found = {}
        if not self.demo:
            for corpus, rows in self.clean.groupby("corpus"):
                if release := read_release(self.settings["corpora"][corpus].get("release")):
                    found[corpus] = compare_release(rows, release=release)
        return found

    @cached_property
    def temperatures(self) -> pd.DataFrame | None:
        """Temperature of each job, see `temperatures`; None without validation clips."""
        if self.validation.empty:
            return None
        return temperatures(self.validation, labels=self.predictions.labels)

    @cached_property
    def calibrated(self) -> Predictions | None:
        """The predictions after temperature scaling; None without validation clips."""
        return None if self.temperatures is None else scale(self.predictions, self.temperatures)
