"""Folds: speakers on one side, variants with their source, validation out of training, proofs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.clips.folds import (
    ALL,
    folds_of,
    label_clips,
    label_order,
    leakage,
    read_split,
    split_clips,
    write_split,
)
from stages.protocols import loso, random, ravdess6, speaker
from tests.support import composed

LABELS = ("angry", "happy", "neutral", "sad")


def clips_of(speakers=6, takes=3, corpora=("x",), variants=0):
    rows = []
    for corpus in corpora:
        for who in range(1, speakers + 1):
            for label in LABELS:
                for take in range(takes):
                    clip = f"{corpus}/{who:02}-{label}-{take}"
                    for variant in ("clean", *(f"v{i}" for i in range(variants))):
                        rows.append(
                            {
                                "clip": clip if variant == "clean" else f"{clip}#{variant}",
                                "source": clip,
                                "variant": variant,
                                "corpus": corpus,
                                "speaker": f"{corpus}/{who:02}",
                                "emotion": label,
                                "label": label,
                                "sha256": f"{clip}#{variant}",
                                "excluded": "",
                            }
                        )
    return pd.DataFrame(rows)


def by_speaker(folds=5):
    return lambda clips: speaker.assign(clips, folds=folds, seed=0)


def at_random(clips):
    return random.assign(clips, folds=5, seed=0)


def cut(clips, protocol, *, speaker_dependent=False, validation=0.15):
    return split_clips(
        clips, protocol=protocol, speaker_dependent=speaker_dependent, validation=validation
    )


def speakers_of(clips, split, fold, part):
    return set(clips.merge(split[split[fold] == part][["clip"]], on="clip")["speaker"])


@settings(max_examples=25)
@given(
    speakers=st.integers(2, 9),
    takes=st.integers(3, 5),
    folds=st.integers(2, 6),
    corpora=st.sampled_from([("x",), ("x", "y")]),
    variants=st.integers(0, 2),
)
def test_speakers_are_held_out_and_every_clip_is_tested_once(
    speakers, takes, folds, corpora, variants
):
    clips = clips_of(speakers, takes, corpora, variants)
    split = cut(clips, by_speaker(folds))
    tested = [fold for fold in folds_of(split) if fold != ALL]
    clean = split["clip"].isin(clips.loc[clips["variant"] == "clean", "clip"])
    assert ((split[tested] == "test").sum(axis=1) == clean).all()
    assert len(tested) == min(folds, speakers * len(corpora))
    for fold in tested:
        sides = [speakers_of(clips, split, fold, p) for p in ("train", "validation", "test")]
        assert not sides[2] & (sides[0] | sides[1])
        assert all(sides)
        if len(sides[0] | sides[1]) > 1:
            assert not sides[0] & sides[1]
    assert not (split[ALL] == "test").any()
    report = leakage(clips, split, speaker_dependent=False)
    assert [entry["shared_speakers"] for entry in report] == [0] * len(report)


def test_loso_has_as_many_folds_as_speakers():
    split = cut(clips_of(7), loso.assign)
    assert folds_of(split) == [*map(str, range(7)), ALL]
    for fold in map(str, range(7)):
        tested = split.loc[split[fold] == "test", "clip"].str.slice(0, 4)
        assert tested.nunique() == 1


def test_ravdess6_has_the_published_folds():
    published = [
        [1, 11, 20, 21],
        [4, 10, 12, 14],
        [8, 9, 19, 23],
        [3, 5, 7, 24],
        [2, 15, 16, 18],
        [6, 13, 17, 22],
    ]
    clips = clips_of(24, 1, ("ravdess",))
    fold = ravdess6.assign(clips, speakers=published)
    actors = clips["speaker"].str.slice(8).astype(int)
    assert [sorted(set(actors[fold == i])) for i in range(6)] == published
    part = clips[actors.isin([1, 4, 11])]
    assert set(ravdess6.assign(part, speakers=published)) == {0, 1}


def test_ravdess6_refuses_other_corpora_and_double_actors():
    with pytest.raises(ValueError, match=r"x/01.*want RAVDESS's 24 only"):
        ravdess6.assign(clips_of(2), speakers=[[1], [2]])
    with pytest.raises(ValueError, match=r"actors \[2\] stand in several folds"):
        ravdess6.assign(clips_of(2, corpora=("ravdess",)), speakers=[[1, 2], [2]])


def test_random_shares_speakers_and_has_to_say_so():
    clips = clips_of()
    split = cut(clips, at_random, speaker_dependent=True)
    report = leakage(clips, split, speaker_dependent=True)
    assert all(entry["shared_speakers"] > 3 for entry in report if entry["fold"] != ALL)
    with pytest.raises(ValueError, match="of speaker stand in training and test: x/01"):
        leakage(clips, split, speaker_dependent=False)


def test_variants_train_where_their_source_trains_and_never_test():
    clips = clips_of(variants=2)
    split = cut(clips, at_random, speaker_dependent=True).set_index("clip")
    for clip, source, variant in clips[["clip", "source", "variant"]].itertuples(index=False):
        if variant != "clean":
            for fold in split.columns[1:]:
                want = "train" if split.loc[source, fold] == "train" else ""
                assert split.loc[clip, fold] == want


FOLDS_OF_RAVDESS = composed("split=ravdess6")["split"]["protocol"]["speakers"]


@pytest.mark.parametrize(
    "protocol",
    [
        by_speaker(),
        loso.assign,
        at_random,
        lambda clips: ravdess6.assign(clips, speakers=FOLDS_OF_RAVDESS),
    ],
    ids=["speaker", "loso", "random", "ravdess6"],
)
@pytest.mark.parametrize("speakers", [2, 6])
def test_copies_stand_where_their_source_stands(protocol, speakers):
    """In training, validation and test alike, and also where clips validate, not speakers."""
    clips = clips_of(speakers, takes=6, corpora=("ravdess",))
    copied = clips["clip"].str.endswith(("-4", "-5"))
    first = clips["clip"].str.replace("-[45]$", "-3", regex=True)
    clips = clips.assign(source=first, sha256=first)
    dependent = protocol is at_random
    split = cut(clips, protocol, speaker_dependent=dependent)
    assert list(split["clip"]) == sorted(clips["clip"])
    assert split["label"].to_list() == clips.sort_values("clip")["label"].to_list()
    assert copied.sum() == 2 * 4 * speakers
    for _, same in split.groupby(split["clip"].map(dict(zip(clips["clip"], first, strict=True)))):
        assert (same[folds_of(split)].nunique() == 1).all()
    leakage(clips, split, speaker_dependent=dependent)


@pytest.mark.parametrize("column", ["source", "sha256"])
def test_a_planted_leak_is_found(column):
    clips = clips_of()
    split = cut(clips, by_speaker())
    test = clips.index[split["0"] == "test"][0]
    train = clips.index[split["0"] == "train"][0]
    clips.loc[train, column] = clips.loc[test, column]
    with pytest.raises(ValueError, match=f"fold 0: 1 of {column} stand in training and test"):
        leakage(clips, split, speaker_dependent=False)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=12),
    corpora=st.sampled_from([("x",), ("x", "y")]),
)
def test_uneven_speakers_leave_no_fold_empty_and_validate_with_about_the_share(sizes, corpora):
    clips = clips_of(len(sizes), 12, corpora)
    who = clips["speaker"].str.slice(2).astype(int) - 1
    take = clips["clip"].str.rpartition("-")[2].astype(int)
    clips = clips[take < who.map(dict(enumerate(sizes)))].reset_index(drop=True)
    split = cut(clips, by_speaker(4))
    leakage(clips, split, speaker_dependent=False)
    for fold in folds_of(split):
        counts = split[fold].value_counts()
        assert counts["train"] > 0 and counts["validation"] > 0
        assert fold == ALL or counts["test"] > 0
        side = clips[split[fold] != "test"]
        speakers = side["speaker"].value_counts()
        share = counts["validation"] / len(side)
        # Never further from the share than a lone speaker would be, or an even cut of them all.
        nearest = (speakers / len(side) - 0.15).abs().max()
        assert abs(share - 0.15) <= max(nearest, 0.36)


def test_a_large_speaker_among_small_ones_does_not_validate():
    clips = clips_of(8, 3, ("x",))
    large = clips_of(1, 40, ("y",))
    clips = pd.concat([clips, large], ignore_index=True)
    split = cut(clips, loso.assign)
    for fold in folds_of(split):
        if fold != "8":
            assert speakers_of(clips, split, fold, "validation").isdisjoint({"y/01"})


def test_validation_is_found_among_very_few_clips():
    clips = clips_of(2, takes=1)
    split = cut(clips, loso.assign)
    assert ((split[["0", "1", ALL]] == "validation").sum() > 0).all()


def test_one_speaker_in_training_validates_with_own_clips_and_says_so():
    clips = clips_of(2, takes=8)
    report = leakage(clips, cut(clips, loso.assign), speaker_dependent=False)
    assert [entry["validation_shares_speakers"] for entry in report] == [True, True, False]
    assert all(entry["validation_clips"] > 0 for entry in report)


@pytest.mark.parametrize("protocol", [by_speaker(), loso.assign])
def test_a_single_speaker_cannot_be_held_out(protocol):
    with pytest.raises(ValueError, match="want at least 2"):
        cut(clips_of(1), protocol)


def test_more_folds_than_speakers_become_as_many_as_speakers(caplog):
    split = cut(clips_of(3), by_speaker(5))
    assert folds_of(split) == ["0", "1", "2", ALL]
    assert "3 folds for 3 speakers, not 5" in caplog.text


def test_training_of_one_label_is_refused():
    clips = clips_of(2)
    clips = clips[(clips["label"] == "sad") | (clips["speaker"] == "x/02")].reset_index(drop=True)
    with pytest.raises(ValueError, match=r"fold 1: got \['sad'\] as labels of training, want"):
        leakage(clips, cut(clips, loso.assign), speaker_dependent=False)


def test_a_class_that_training_lacks_is_reported(caplog):
    clips = clips_of(3)
    only_one = clips[(clips["label"] != "sad") | (clips["speaker"] == "x/02")]
    only_one = only_one.reset_index(drop=True)
    report = leakage(only_one, cut(only_one, loso.assign), speaker_dependent=False)
    assert report[1]["classes_missing_in_training"] == ["sad"]
    assert "fold 1: no training clip of sad, so none is predicted" in caplog.text


@pytest.mark.parametrize("speaker_dependent", [False, True])
def test_nothing_validates_where_the_share_is_zero(speaker_dependent):
    protocol = by_speaker()
    with_some, without = (
        cut(clips_of(), protocol, speaker_dependent=speaker_dependent, validation=share)
        for share in (0.15, 0)
    )
    for fold in folds_of(without):
        assert (with_some[fold] == "validation").any()
        assert without[fold].equals(with_some[fold].replace("validation", "train"))


@pytest.mark.parametrize("share", [-0.1, 0.6, 1])
def test_validation_share_is_checked(share):
    with pytest.raises(ValueError, match="split.validation: got"):
        cut(clips_of(), by_speaker(), validation=share)


def test_labels_leave_out_and_count_what_they_do_not_hold(caplog):
    clips = clips_of(corpora=("x", "y"))
    clips.loc[(clips["emotion"] == "happy") & (clips["corpus"] == "x"), "emotion"] = "boredom"
    clips.loc[0, "excluded"] = "silent"
    clips = pd.concat([clips, clips[-1:].assign(clip="y/v", variant="noise")], ignore_index=True)
    mapping = {"angry": "loud", "neutral": "quiet", "sad": "quiet", "happy": "loud"}
    with caplog.at_level("INFO"):
        labelled = label_clips(clips, name="two", mapping=mapping)
    assert "labels two: x loses 18 of 71 clips (boredom 18); y loses 0 of 72 clips" in caplog.text
    assert len(labelled) == len(clips) - 18 - 1
    assert label_order(mapping, labelled["label"]) == ["loud", "quiet"]


def test_label_outside_the_vocabulary_or_too_few_labels():
    with pytest.raises(ValueError, match=r"labels odd: \['joyful'\] are not of the vocabulary"):
        label_clips(clips_of(), name="odd", mapping={"joyful": "happy"})
    with pytest.raises(
        ValueError, match=r"labels one: got \['sad'\] in the clips, want at least 2"
    ):
        label_clips(clips_of(), name="one", mapping={"sad": "sad"})


def test_split_table_survives_a_round_trip_and_is_checked(tmp_path):
    split = cut(clips_of(variants=1), by_speaker(3))
    write_split(split, tmp_path / "split.csv")
    pd.testing.assert_frame_equal(read_split(tmp_path / "split.csv"), split, check_dtype=False)
    split.loc[0, "1"] = "exam"
    write_split(split, tmp_path / "split.csv")
    with pytest.raises(ValueError, match=r"fold 1: got \['exam'\], want"):
        read_split(tmp_path / "split.csv")


def test_folds_are_balanced_over_labels_and_corpora():
    clips = clips_of(10, 4, ("x", "y"))
    split = cut(clips, by_speaker(5))
    for fold in map(str, range(5)):
        tested = clips.merge(split[split[fold] == "test"][["clip"]], on="clip")
        counts = tested.groupby(["corpus", "label"]).size().to_numpy()
        assert len(counts) == 8 and np.ptp(counts) <= 8
