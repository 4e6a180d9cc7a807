"""What chance alone gives each group, and the gap between the sexes, against literal sums."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from stages.metrics.intervals import jackknife_interval
from stages.reporting.predictions import arrange
from stages.reporting.sections import fairness, speakers
from stages.reporting.two_sides import lead

LABELS = ["angry", "happy", "sad"]


def _predictions(rng, *, recall=(0.5, 0.7, 0.9), shift=None, clips=20, sexes="ffffmmmm", seeds=1):
    """Each speaker says each label so many times; `shift` is how much better it is recognised."""
    rows = []
    for number, sex in enumerate(sexes):
        for label, chance in zip(LABELS, recall, strict=True):
            chance = chance + (0 if shift is None else shift[number])
            for take in range(clips):
                for seed in range(seeds):
                    right = rng.random() < chance
                    answer = label if right else rng.choice([x for x in LABELS if x != label])
                    rows.append({"clip": f"x/{number}-{label}-{take:03}", "label": label})
                    rows[-1] |= {"speaker": f"x/{number:02}", "corpus": "x", "fold": number % 2}
                    rows[-1] |= {"sex": {"f": "female", "m": "male", "u": ""}[sex], "seed": seed}
                    rows[-1] |= {f"p_{x}": float(x == answer) for x in LABELS}
    table = pd.DataFrame(rows)
    return arrange(table, known=table["clip"], name="x"), table


def test_bands_are_binomial_for_one_emotion_and_their_sum_for_all():
    predictions, table = _predictions(np.random.default_rng(0), seeds=2)
    answers = np.array(LABELS)[table[[f"p_{x}" for x in LABELS]].to_numpy().argmax(1)]
    right = (table["label"] == answers).astype(float)
    recall = right.groupby(table["label"]).mean()
    bands = fairness.chance_bands(predictions).set_index(["by", "group"])
    row = bands.loc[("sex and emotion", "female, happy")]
    low, high = stats.binom(80, recall["happy"]).interval(0.95)
    found = row[["band_low", "band_high"]].astype(float) * 80
    np.testing.assert_allclose(found, [low, high], atol=1e-4)
    assert row["expected"] == pytest.approx(recall["happy"], abs=1e-6)
    own = (table["sex"] == "female") & (table["label"] == "happy")
    assert row["recognised"] == pytest.approx(right[own].mean(), abs=1e-6)
    assert row["speakers"] == 4 and row["clips"] == 80
    rng = np.random.default_rng(1)
    drawn = sum(rng.binomial(20, recall[label], 100_000) for label in LABELS)
    row = bands.loc[("speaker", "x/03")]
    np.testing.assert_allclose(
        row[["band_low", "band_high"]].astype(float) * 60,
        np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"),
        atol=1e-4,
    )
    assert row["expected"] == pytest.approx(recall.mean(), abs=1e-6)


def test_like_speakers_stay_within_and_a_poor_one_falls_below():
    rng = np.random.default_rng(2)
    verdicts = []
    for _ in range(8):
        bands = fairness.chance_bands(_predictions(rng, sexes="f" * 25)[0])
        verdicts.append(bands.loc[bands["by"] == "speaker", "verdict"] != "within")
    assert pd.concat(verdicts).mean() < 0.06
    shift = np.zeros(8)
    shift[3], shift[6] = -0.35, 0.3
    predictions, _ = _predictions(rng, recall=(0.6, 0.6, 0.6), shift=shift, clips=40)
    bands = fairness.chance_bands(predictions)
    found = bands[bands["by"] == "speaker"].set_index("group")["verdict"]
    assert found["x/03"] == "below" and found["x/06"] == "above"


def test_constant_answers_leave_no_room_for_chance():
    table = _predictions(np.random.default_rng(3))[1].assign(p_angry=1.0, p_happy=0.0, p_sad=0.0)
    predictions = arrange(table, known=table["clip"], name="x")
    bands = fairness.chance_bands(predictions)
    assert set(bands["verdict"]) == {"within"} and bands.notna().all(axis=None)
    assert fairness.sex_gap(predictions)[["gap", "gap_low", "gap_high"]].values.tolist() == [
        [0] * 3
    ]


def test_gap_between_the_sexes_equals_a_literal_loop():
    rng = np.random.default_rng(4)
    _, table = _predictions(rng, shift=rng.uniform(-0.1, 0.1, 9), sexes="fffmmmmmu", seeds=2)
    # only women are happy: the label cannot be compared
    table = table[(table["label"] != "happy") | (table["sex"] == "female")].reset_index(drop=True)
    predictions = arrange(table, known=table["clip"], name="x")
    answers = np.array(LABELS)[table[[f"p_{x}" for x in LABELS]].to_numpy().argmax(1)]

    def gap(voices):
        sides = []
        for sex in ("female", "male"):
            own = table["speaker"].isin(voices) & (table["sex"] == sex)
            recalls = [
                np.mean(answers[own & (table["seed"] == seed) & (table["label"] == label)] == label)
                for seed in (0, 1)
                for label in ("angry", "sad")
            ]
            sides.append(np.mean(recalls))
        return sides[0] - sides[1]

    everyone = sorted(set(table["speaker"][table["sex"] != ""]))
    left_out = np.array([gap(set(everyone) - {one}) for one in everyone])
    n = len(everyone)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, n - 1) * error
    row = fairness.sex_gap(predictions).iloc[0]
    assert row[["female_speakers", "male_speakers", "labels"]].tolist() == [3, 5, 2]
    assert row["gap"] == pytest.approx(gap(everyone), abs=1e-6)
    assert row["gap_low"] == pytest.approx(gap(everyone) - half, abs=1e-6)
    assert row["gap_high"] == pytest.approx(gap(everyone) + half, abs=1e-6)


def test_gap_of_all_labels_is_that_of_balanced_accuracies():
    predictions, table = _predictions(np.random.default_rng(5))
    answers = np.array(LABELS)[table[[f"p_{x}" for x in LABELS]].to_numpy().argmax(1)]
    female = table["sex"] == "female"
    ua = [balanced_accuracy_score(table["label"][own], answers[own]) for own in (female, ~female)]
    row = fairness.sex_gap(predictions).iloc[0]
    assert [row["female_ua"], row["male_ua"]] == pytest.approx(ua, abs=1e-6)


@pytest.mark.parametrize(("sexes", "compared"), [("fff", False), ("uuu", False), ("fffm", True)])
def test_a_sex_that_is_not_there_or_has_one_speaker(sexes, compared):
    row = fairness.sex_gap(_predictions(np.random.default_rng(6), sexes=sexes)[0]).iloc[0]
    assert np.isfinite(row["gap"]) == compared
    assert np.isnan(row["gap_low"]) and np.isnan(row["gap_high"])
    assert row["female_speakers"] == sexes.count("f")


@pytest.mark.parametrize("figure", ["ua", "wa"])
def test_gap_of_the_extreme_speakers_equals_a_literal_loop(figure):
    rng = np.random.default_rng(8)
    _, table = _predictions(rng, shift=rng.uniform(-0.3, 0.1, 4), sexes="ffmm", clips=9, seeds=2)
    table = table.iloc[4:]  # two clips fewer of the first label of the first speaker
    again = table.assign(fold=table["fold"] + 2)  # as where each clip is tested in two folds
    predictions = arrange(pd.concat([table, again]), known=table["clip"], name="x")
    answers = np.array(LABELS)[table[[f"p_{x}" for x in LABELS]].to_numpy().argmax(1)]
    right = (table["label"] == answers).groupby(table["clip"]).mean()
    facts = table.groupby("clip")[["speaker", "label"]].first()

    def of(speaker, without=""):
        own = (facts["speaker"] == speaker) & (facts.index != without)
        by = facts["label"][own] if figure == "ua" else np.zeros(own.sum())
        return right[own].groupby(by).mean().mean()

    def interval(value, left_out, lowest):
        n = len(left_out)
        half = stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(left_out))
        return pytest.approx((max(value - half, lowest), min(value + half, 1)), abs=2e-6)

    per_speaker = speakers.per_speaker(predictions)
    values = {speaker: of(speaker) for speaker in sorted(set(facts["speaker"]))}
    assert per_speaker["speaker"].tolist() == list(values)
    assert per_speaker[figure].tolist() == pytest.approx(list(values.values()), abs=1e-6)
    assert per_speaker["clips"].tolist() == [25, 27, 27, 27]
    for row in per_speaker.to_dict("records"):
        own = facts.index[facts["speaker"] == row["speaker"]]
        left_out = [of(row["speaker"], clip) for clip in own]
        found = (row[f"{figure}_low"], row[f"{figure}_high"])
        assert found == interval(values[row["speaker"]], left_out, 0)
    row = speakers.speaker_gap(predictions, per_speaker).set_index("figure").loc[figure]
    worst, best = min(values, key=values.get), max(values, key=values.get)
    assert (row["worst"], row["best"]) == (worst, best)
    left_out = [
        of(best, clip) - of(worst, clip)
        for clip in facts.index[facts["speaker"].isin([worst, best])]
    ]
    gap = values[best] - values[worst]
    assert row["gap"] == pytest.approx(gap, abs=1e-6)
    assert (row["gap_low"], row["gap_high"]) == interval(gap, left_out, -1)


def test_one_speaker_has_no_gap_to_be_sure_of():
    predictions, _ = _predictions(np.random.default_rng(9), sexes="f")
    gap = speakers.speaker_gap(predictions, speakers.per_speaker(predictions))
    assert gap["gap"].tolist() == [0, 0] and gap["worst"].tolist() == gap["best"].tolist()
    assert gap[["gap_low", "gap_high"]].isna().all(axis=None)


def test_interval_of_the_gap_covers_the_truth():
    rng = np.random.default_rng(7)
    experiments, n, clips = 3000, 12, 30
    hits = rng.binomial(clips, 0.6 + rng.uniform(-0.15, 0.15, (n, experiments)))
    sides = np.zeros((n, experiments, 2, 1, 2, 2), dtype=int)  # as `lead` wants them
    for speaker, found in enumerate(hits):
        sides[speaker, :, speaker % 2, 0, 0, 0] = found
        sides[speaker, :, speaker % 2, 0, 0, 1] = clips - found
    low, high = jackknife_interval(lead, sides, lowest=-1.0)
    assert 0.93 < np.mean((low <= 0) & (high >= 0)) < 0.98
