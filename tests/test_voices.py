"""Calibration through the stages, and the study of how many clips it takes."""

import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from stages import split, train
from stages.reporting.html import fill
from stages.reporting.run import Run
from stages.reporting.sections import references
from stages.running.entry import run_command
from studies import calibration
from tests.support import composed, inside
from tests.test_ablation import SVM as SHORT
from tests.test_ablation import trained
from tests.test_enrolment import clip_table, split_of

#: Without validation clips, which the final fit of an SVM includes.
SVM = (*SHORT, "split.validation=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pipeline as far as `train`, without calibration."""
    return trained(tmp_path_factory.mktemp("voices"), *SVM)


def study(folder, *arguments: str) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "processes", lambda _: 1)
        inside(folder, calibration.main, *arguments)
    return pd.read_csv(folder / "reports/speaker_calibration.csv", dtype={"clips": "str"})


def test_the_study_counts_what_clips_are_worth_and_touches_nothing_else(folder):
    def others():
        found = {path for path in folder.rglob("*") if path.is_file()}
        return {p: p.read_bytes() for p in found if "speaker_calibration" not in p.name}

    before = others()
    table = study(folder, "--clips", "1", "3", "--draws", "2")
    assert others().keys() - before.keys() <= {p for p in others() if "logs" in p.parts}
    assert all(others()[path] == content for path, content in before.items())
    # No clip is neutral here.
    assert table["clips"].tolist() == ["0", "1", "3", "all", "first 10", "later"]
    assert table["draws"].tolist() == [1, 2, 2, 1, 2, 2] and set(table["seeds"]) == {2}
    assert table["scored"].tolist() == [54, 51, 45, 54, 30, 24]
    predictions = pd.read_csv(folder / "data/predictions.csv")
    names = [column for column in predictions if column.startswith("p_")]
    guess = predictions[names].idxmax(axis=1).str[2:]
    correct = (guess == predictions["label"]).groupby(predictions["label"]).mean()
    first = table.iloc[0]
    assert first["ua"] == pytest.approx(correct.mean(), abs=1e-6)
    assert first["difference"] == 0 and first["uncalibrated"] == first["ua"]
    differences = (table["ua"] - table["uncalibrated"]).to_numpy()
    np.testing.assert_allclose(table["difference"], differences, atol=2e-6)
    assert (table["ua_low"] <= table["ua"]).all() and (table["ua"] <= table["ua_high"]).all()
    for kind in ("png", "svg"):
        assert (folder / f"reports/speaker_calibration.{kind}").stat().st_size > 0


def test_neutral_clips_are_drawn_while_one_is_left_to_score():
    clips = clip_table().replace({"label": {"sad": "neutral"}})
    split = split_of(clips)
    drawn = calibration.draw_enrolment(clips, split, numbers=[1, 3, 4], draws=2)
    keys = [(draw.speech, draw.clips) for draw in drawn]
    assert keys.count(("any", "4")) == keys.count(("neutral", "3")) == 2
    assert ("neutral", "4") not in keys and keys.count(("any", "all")) == 1
    test = np.flatnonzero(split["0"] == "test")
    for draw in drawn:
        rounds = list(draw.rounds("0", test))
        if draw.speech == "running":
            assert [len(known) for _, known in rounds] == list(range(0, 24, 2))
            assert all(not set(clips) & set(known) for clips, known in rounds)
            assert sorted(np.concatenate([clips for clips, _ in rounds])) == test.tolist()
            continue
        ((clips, known),) = rounds
        assert clips.tolist() == test.tolist()
        assert len(known) == (24 if draw.clips == "all" else 2 * int(draw.clips))
        assert draw.speech == "any" or set(split["label"].iloc[known]) == {"neutral"}


def test_the_pipeline_repeats_a_point_of_the_study(folder, tmp_path):
    """With the draw of seed 0, calibrated predictions are those that the study scores."""
    table = study(folder, "--clips", "3", "--draws", "1").iloc[1]
    copy = tmp_path / "copy"
    for name in ("merged", "features"):
        shutil.copytree(folder / "data" / name, copy / "data" / name)
    overrides = (*SVM, "calibration=speaker", "calibration.clips=3")
    OmegaConf.save(composed(*overrides), copy / "params.yaml")
    inside(copy, split.main)
    leakage = json.loads((copy / "reports/leakage.json").read_text())
    assert leakage["calibration"]["clips"] == 3
    assert [fold.get("enrolment_clips") for fold in leakage["folds"]] == [3, 3, 3, None]
    inside(copy, train.main)
    parts = pd.read_csv(copy / "data/split.csv", dtype=str, keep_default_na=False)
    predictions = pd.read_csv(copy / "data/predictions.csv")
    for fold, rows in predictions.groupby("fold"):
        enrolled = parts.loc[parts[str(fold)] == "enrolment", "clip"]
        assert len(enrolled) == 3 and not set(enrolled) & set(rows["clip"])
    names = [column for column in predictions if column.startswith("p_")]
    predictions["guess"] = predictions[names].idxmax(axis=1).str[2:]
    uas = [
        (rows["guess"] == rows["label"]).groupby(rows["label"]).mean().mean()
        for _, rows in predictions.groupby("seed")
    ]
    assert table["ua"] == pytest.approx(np.mean(uas), abs=1e-6)


@pytest.mark.parametrize("clips", [3, "all"])
def test_the_page_says_what_is_known_and_shows_no_published_figure(clips):
    section = {"name": "speaker", "clips": clips, "statistics": "mean"}
    settings = composed("model=svm")
    facts = dict.fromkeys(Run.__dataclass_fields__) | {"settings": settings}
    run, plain = (
        Run(**facts | {"leakage": {"speaker_dependent": False} | known})
        for known in ({"calibration": section}, {})
    )
    (said,) = run.calibration
    assert run.mark == f" ({said})" and run.notes[0] == said and not run.dependent
    assert run.protocol == f"speaker ({said})"
    assert references.section(run) is None
    page, other = (fill("page.html.j2", files={}, run=r, sections=[]) for r in (run, plain))
    assert f"<strong>{said[0].upper()}{said[1:]}.</strong>" in page
    assert ("transductive" in page) == (clips == "all")
    assert "Speaker-dependent" not in page and "calibrated" not in other


def test_a_run_that_knows_its_speakers_is_refused(folder, tmp_path):
    overrides = [o for o in SVM if not o.startswith("split")]
    for choice in (("split=random",), ("split=loso", "calibration=speaker")):
        OmegaConf.save(composed(*overrides, *choice), tmp_path / "params.yaml")
        with pytest.raises(SystemExit, match="want calibration=none"):
            inside(tmp_path, partial(run_command, calibration.main))
