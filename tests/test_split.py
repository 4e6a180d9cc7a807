"""Folds of every protocol: held-out speakers, variants with their source, validation, leakage."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.clips.names import variant_name
from stages.protocols import (
    corpus,
    cross,
    fixed,
    loso,
    random,
    ravdess6,
    sentence,
    speaker,
    speaker_sentence,
    table,
)
from stages.splits.assignment import split_clips
from stages.splits.labels import label_clips, label_order
from stages.splits.leaks import leakage
from stages.splits.split_table import ALL, folds_of, read_split, write_split
from tests.support import composed

LABELS = ("angry", "happy", "neutral", "sad")


def clips_of(speakers=6, takes=3, corpora=("x",), variants=0):
    kinds = ("clean", *(f"v{i}" for i in range(variants)))
    rows = []
    for name, number, label, take, variant in product(
        corpora, range(1, speakers + 1), LABELS, range(takes), kinds
    ):
        source = f"{name}/{number:02}-{label}-{take}"
        rows.append(
            {
                "clip": source if variant == "clean" else variant_name(source, variant),
                "source": source,
                "variant": variant,
                "corpus": name,
                "speaker": f"{name}/{number:02}",
                "emotion": label,
                "label": label,
                "sentence": f"{name}/{take}",
                "sha256": variant_name(source, variant),
                "excluded": "",
            }
        )
    return pd.DataFrame(rows)


def by_speaker(folds=5):
    return lambda clips: speaker.assign(clips, folds=folds, seed=0)


def at_random(clips):
    return random.assign(clips, folds=5, seed=0)


def by_sentence(clips):
    return sentence.assign(clips, folds=5, seed=0)


def by_both(clips):
    return speaker_sentence.assign(clips, speaker_folds=3, sentence_folds=3, seed=0)


def cut(
    clips, protocol, *, speaker_dependent=False, sentences_held_out=False, validation=0.15, **rules
):
    return split_clips(
        clips,
        protocol=protocol,
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        validation=validation,
        **rules,
    )


def prove(clips, split, *, speaker_dependent=False, sentences_held_out=False, **rules):
    return leakage(
        clips,
        split,
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        **rules,
    )


def of_part(clips, split, fold, part, column):
    return set(clips.merge(split[split[fold] == part][["clip"]], on="clip")[column])


def speakers_of(clips, split, fold, part):
    return of_part(clips, split, fold, part, "speaker")


@pytest.mark.slow
@settings(max_examples=15)
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
    report = prove(clips, split, speaker_dependent=False)
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
    parts = ravdess6.assign(clips, speakers=published)
    actors = clips["speaker"].str.slice(8).astype(int)
    assert [sorted(set(actors[part == "test"])) for part in parts.T] == published
    part = clips[actors.isin([1, 4, 11])]
    assert ravdess6.assign(part, speakers=published).shape == (len(part), 2)


def fixed_parts(parts):
    """A protocol that returns the same parts for any clips, in the order of `clips_of`."""
    return lambda clips: np.array(parts, dtype=object)


def of_speakers(clips, *folds):
    """Parts by speaker: each fold maps speaker numbers to parts, all others train."""
    speakers = clips["speaker"].str.slice(-2).astype(int)
    return np.array([[fold.get(speaker, "train") for fold in folds] for speaker in speakers])


def test_validation_clips_that_a_protocol_brings_are_kept_and_no_others_chosen():
    clips = clips_of(6)
    parts = of_speakers(clips, {1: "test", 2: "validation"}, {2: "test", 1: ""})
    split = cut(clips, fixed_parts(parts)).set_index("clip").loc[clips["clip"]]
    assert (split["0"].to_numpy() == parts[:, 0]).all()
    assert set(split["1"]) == {"train", "validation", "test", ""}
    assert ((split["1"] == "").to_numpy() == (parts[:, 1] == "")).all()
    assert set(split[ALL]) == {"train", "validation"}


def test_variants_of_clips_in_no_part_are_not_trained_on():
    clips = clips_of(4, variants=1)
    firsts = clips[clips["variant"] == "clean"]
    split = cut(clips, fixed_parts(of_speakers(firsts, {1: "test", 2: ""}))).set_index("clip")
    assert (split.loc[clips.loc[clips["speaker"] == "x/02", "clip"], "0"] == "").all()


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([{}], "fold 0: got no test clip"),
        ([{1: "test"}, {1: "test", 2: "", 3: ""}], "fold 1: got no train clip"),
        ([{1: "exam"}], r"array \[36, 1\] with \['exam'\], want \[36 clips, folds\] of"),
        ([{1: "test"}, {1: "test", 2: "test"}], "x/02-angry-0 is tested in 1 folds, other clips"),
    ],
)
def test_a_protocol_that_breaks_the_contract_is_named(folds, message):
    clips = clips_of(3)
    with pytest.raises(ValueError, match=message):
        cut(clips, fixed_parts(of_speakers(clips, *folds)))


def test_ravdess6_refuses_other_corpora_and_double_actors():
    with pytest.raises(ValueError, match=r"x/01.*want only the 24 of RAVDESS"):
        ravdess6.assign(clips_of(2), speakers=[[1], [2]])
    with pytest.raises(ValueError, match=r"split\.protocol\.speakers: got .*\[2\]"):
        ravdess6.assign(clips_of(2, corpora=("ravdess",)), speakers=[[1, 2], [2]])


@pytest.mark.parametrize("protocol", [loso.assign, by_speaker(folds=3)])
def test_corpora_that_only_train_change_nothing_of_who_is_tested_or_validates(protocol):
    clips = clips_of(corpora=("x", "y"), variants=1)
    own = clips[clips["corpus"] == "x"].reset_index(drop=True)
    split = cut(clips, protocol, train_only=["y"])
    alone = cut(own, protocol)
    assert split["clip"].tolist() == sorted(clips["clip"])
    pd.testing.assert_frame_equal(
        split[split["clip"].isin(own["clip"])].reset_index(drop=True), alone
    )
    helpers = split[~split["clip"].isin(own["clip"])]
    assert len(helpers) == len(clips) - len(own)  # variants as well
    assert (helpers[folds_of(split)] == "train").all(axis=None)
    report = prove(clips, split)
    assert {tuple(entry["test_corpora"]) for entry in report[:-1]} == {("x",)}
    assert all(entry["train_corpora"] == ["x", "y"] for entry in report)


def test_ravdess6_tests_its_actors_while_others_train():
    clips = pd.concat([clips_of(speakers=24, takes=1, corpora=("ravdess",)), clips_of()])
    assignment = composed("split=ravdess6")["split"]["protocol"]["speakers"]

    def protocol(clips):
        return ravdess6.assign(clips, speakers=assignment)

    split = cut(clips, protocol, train_only=["x"])
    assert speakers_of(clips, split, "0", "test") == {f"ravdess/{i:02}" for i in (1, 11, 20, 21)}


@pytest.mark.parametrize("train_only", [["z"], ["x", "y"], ["y", "z"]])
def test_corpora_that_only_train_must_be_there_and_leave_one_to_test(train_only):
    with pytest.raises(ValueError, match=r"split.train_only: got \[.*\['x', 'y'\], but not all"):
        cut(clips_of(corpora=("x", "y")), loso.assign, train_only=train_only)


def test_random_shares_speakers_and_must_be_speaker_dependent():
    clips = clips_of()
    split = cut(clips, at_random, speaker_dependent=True)
    report = prove(clips, split, speaker_dependent=True)
    assert all(entry["shared_speakers"] > 3 for entry in report if entry["fold"] != ALL)
    with pytest.raises(ValueError, match="values of speaker, want none: x/01"):
        prove(clips, split, speaker_dependent=False)


def test_variants_train_where_their_source_trains_and_never_test():
    clips = clips_of(variants=2)
    split = cut(clips, at_random, speaker_dependent=True).set_index("clip")
    for clip, source, variant in clips[["clip", "source", "variant"]].itertuples(index=False):
        if variant != "clean":
            for fold in split.columns[1:]:
                want = "train" if split.loc[source, fold] == "train" else ""
                assert split.loc[clip, fold] == want


def test_the_job_all_trains_on_variants_of_all_that_it_trains_on():
    clips = clips_of(variants=2)
    split = cut(clips, by_speaker(), validation=0)
    assert (split[ALL] == "train").all() and len(split) == len(clips)


INDEPENDENT = {"speaker_dependent": True, "variants": "independent"}


def test_independent_variants_are_clips_of_their_own_and_their_leak_is_counted():
    clips = clips_of(variants=2)
    split = cut(clips, at_random, **INDEPENDENT)
    tested = [fold for fold in folds_of(split) if fold != ALL]
    assert ((split[tested] == "test").sum(axis=1) == 1).all() and len(split) == len(clips)
    report = prove(clips, split, **INDEPENDENT)
    for entry in report:
        if entry["fold"] != ALL:
            assert entry["shared_sources"] > 0 and entry["shared_sha256"] == 0
            assert entry["test_variants"] > entry["test_clips"] / 2
            assert 0 < entry["train_variants"] < entry["train_clips"]
    with pytest.raises(ValueError, match=r"fold 0: .* share \d+ values of source"):
        prove(clips, split, speaker_dependent=True)
    report = prove(clips, cut(clips, at_random, speaker_dependent=True), speaker_dependent=True)
    assert {entry["shared_sources"] for entry in report} == {0}
    assert {entry["test_variants"] for entry in report} == {0}


def test_copies_of_one_recording_stay_together_though_variants_are_independent():
    """Segments and copies are not variants, and equal variants of two copies have one source."""
    clips = clips_of(variants=1)
    take = clips["source"].str.endswith("-1")
    clips.loc[take, "source"] = clips.loc[take, "source"].str.replace("-1$", "-0", regex=True)
    split = cut(clips, at_random, **INDEPENDENT)
    prove(clips, split, **INDEPENDENT)
    rows = clips.set_index("clip").loc[split["clip"]]
    units = variant_name(rows["source"], rows["variant"]).to_numpy()
    assert (split.groupby(units)[folds_of(split)].nunique() == 1).all(axis=None)
    planted = split.set_index("clip")
    clip = clips.loc[take & (clips["variant"] == "clean"), "clip"].iloc[0]
    planted.loc[clip, "0"] = "train" if planted.loc[clip, "0"] == "test" else "test"
    with pytest.raises(ValueError, match="fold 0: .* share 1 values of source, want none: x/01-a"):
        prove(clips, planted.reset_index(), **INDEPENDENT)


@pytest.mark.parametrize(
    "rules",
    [
        {"variants": "independent"},
        {"variants": "independent", "speaker_dependent": True, "sentences_held_out": True},
        {"variants": "apart", "speaker_dependent": True},
        {"variants": None},
    ],
)
def test_variants_leave_their_source_only_where_nothing_is_held_out(rules):
    for check in (
        lambda: cut(clips_of(variants=1), at_random, **rules),
        lambda: prove(None, None, **rules),
    ):
        with pytest.raises(
            ValueError, match="split.variants: got '?(independent|apart|None)'?, want"
        ):
            check()


FOLDS_OF_RAVDESS = composed("split=ravdess6")["split"]["protocol"]["speakers"]


@pytest.mark.parametrize(
    "protocol",
    [
        by_speaker(),
        loso.assign,
        at_random,
        lambda clips: ravdess6.assign(clips, speakers=FOLDS_OF_RAVDESS),
        by_both,
    ],
    ids=["speaker", "loso", "random", "ravdess6", "speaker_sentence"],
)
@pytest.mark.parametrize("speakers", [2, 6])
def test_copies_have_the_part_of_their_source(protocol, speakers):
    """In training, validation and test, also if clips validate and not speakers."""
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
    prove(clips, split, speaker_dependent=dependent)


def test_sentences_are_held_out_and_each_clip_is_tested_once():
    clips = clips_of(4, takes=6, corpora=("x", "y"), variants=1)
    split = cut(clips, by_sentence, speaker_dependent=True, sentences_held_out=True)
    tested = [fold for fold in folds_of(split) if fold != ALL]
    clean = split["clip"].isin(clips.loc[clips["variant"] == "clean", "clip"])
    assert ((split[tested] == "test").sum(axis=1) == clean).all()
    for fold in tested:
        sides = [
            of_part(clips, split, fold, part, "sentence")
            for part in ("train", "validation", "test")
        ]
        assert all(sides) and not sides[2] & (sides[0] | sides[1]) and not sides[0] & sides[1]
    report = prove(clips, split, speaker_dependent=True, sentences_held_out=True)
    assert all(e["shared_sentences"] == 0 for e in report)
    assert all(e["shared_speakers"] == 8 for e in report if e["fold"] != ALL)


def test_speakers_and_sentences_are_held_out_together():
    clips = clips_of(6, takes=6, variants=1)
    split = cut(clips, by_both, sentences_held_out=True)
    tested = [fold for fold in folds_of(split) if fold != ALL]
    clean = split["clip"].isin(clips.loc[clips["variant"] == "clean", "clip"])
    assert len(tested) == 9 and ((split[tested] == "test").sum(axis=1) == clean).all()
    for entry in prove(clips, split, sentences_held_out=True)[:-1]:
        assert entry["shared_speakers"] == entry["shared_sentences"] == 0
        # Two thirds of the speakers with two thirds of the sentences, and one variant of each clip.
        assert entry["train_clips"] / 2 + entry["validation_clips"] == len(clips) / 2 * 4 / 9
        assert not entry["validation_shares_speakers"]


@pytest.mark.parametrize("protocol", [by_sentence, by_both], ids=["sentence", "speaker_sentence"])
def test_clips_without_a_known_sentence_are_in_no_fold(protocol, caplog):
    clips = clips_of(6, takes=6, corpora=("x", "y"))
    unknown = clips["clip"].str.endswith("-5")
    clips.loc[unknown, "sentence"] = ""
    split = cut(clips, protocol, speaker_dependent=True, sentences_held_out=True)
    assert f"{unknown.sum()} clips without a known sentence" in caplog.text
    rows = split.set_index("clip").loc[clips.loc[unknown, "clip"]]
    assert (rows.drop(columns=["label", ALL]) == "").all(axis=None)
    assert (rows[ALL] != "").all()
    prove(clips, split, speaker_dependent=True, sentences_held_out=True)
    clips.loc[clips["corpus"] == "y", "sentence"] = ""
    with pytest.raises(ValueError, match="split: y has no clip with a known sentence"):
        cut(clips, protocol, speaker_dependent=True, sentences_held_out=True)


def test_corpora_are_held_out_one_at_a_time():
    clips = clips_of(3, corpora=("x", "y", "z"))
    report = prove(clips, cut(clips, corpus.assign))
    assert [entry["test_corpora"] for entry in report] == [["x"], ["y"], ["z"], []]
    assert [entry["train_corpora"] for entry in report[:2]] == [["y", "z"], ["x", "z"]]


def test_cross_trains_on_one_corpus_and_tests_each_clip_with_each_other():
    clips = clips_of(3, corpora=("x", "y", "z"))
    split = cut(clips, cross.assign)
    report = prove(clips, split)
    assert [entry["train_corpora"] for entry in report[:3]] == [["x"], ["y"], ["z"]]
    assert [entry["test_corpora"] for entry in report[:2]] == [["y", "z"], ["x", "z"]]
    assert all(entry["validation_clips"] for entry in report)
    assert ((split[["0", "1", "2"]] == "test").sum(axis=1) == 2).all()


@pytest.mark.parametrize("protocol", [corpus, cross])
def test_a_single_corpus_cannot_be_held_out(protocol):
    with pytest.raises(ValueError, match=r"got the corpora \['x'\], want at least 2"):
        protocol.assign(clips_of())


LISTS = composed("split=fixed")["split"]["protocol"]["speakers"]


def test_fixed_has_the_listed_speakers():
    clips = clips_of(24, 1, ("ravdess",))
    split = cut(clips, lambda clips: fixed.assign(clips, speakers=LISTS))
    actors = {
        part: {int(name[-2:]) for name in speakers_of(clips, split, "0", part)}
        for part in ("train", "validation", "test")
    }
    assert actors["train"] == {*range(1, 16), 18}
    assert actors["validation"] == {16, 17, 19, 20} and actors["test"] == {21, 22, 23, 24}
    numbers = "1048 1069 1071 1074 1076 1077 1078 1079 1082 1083 1084 1086 1087 1088 1089 1090 1091"
    assert LISTS["cremad"] == {"validation": [], "test": numbers.split()}


def test_fixed_without_listed_validation_speakers_chooses_some():
    lists = {"x": {"validation": [], "test": ["02", "09"]}}
    clips = clips_of(6)
    split = cut(clips, lambda clips: fixed.assign(clips, speakers=lists))
    assert speakers_of(clips, split, "0", "test") == {"x/02"}
    chosen = speakers_of(clips, split, "0", "validation")
    assert chosen and not chosen & speakers_of(clips, split, "0", "train")


def test_fixed_refuses_wrong_lists(caplog):
    lists = {"x": {"validation": ["03"], "test": ["01", "09"]}}
    with pytest.raises(
        ValueError, match=r"split\.protocol\.speakers: got no lists for y, want .* x"
    ):
        fixed.assign(clips_of(corpora=("x", "y")), speakers=lists)
    fixed.assign(clips_of(4), speakers=lists)
    assert "no clip of the test speakers x/09" in caplog.text
    with pytest.raises(ValueError, match=r"split\.protocol\.speakers: got x/01 in both"):
        fixed.assign(clips_of(), speakers={"x": {"validation": ["01"], "test": ["01"]}})
    with pytest.raises(ValueError, match=r"split\.protocol\.speakers: x has none .* x/9"):
        fixed.assign(clips_of(), speakers={"x": {"validation": [], "test": ["9"]}})


# The folds of a corpus -------------------------------------------------------------------------

FOLDS = {"x/01": "10", "x/02": "2", "x/03": "02", "x/04": "b", "x/05": "2.0"}


def with_folds(folds, corpora=("x",)):
    """Six speakers of each corpus; folds by speaker."""
    clips = clips_of(6, 1, corpora, variants=1)
    return clips.assign(corpus_fold=clips["speaker"].map(folds).fillna(""))


def test_each_value_of_a_table_is_a_fold_in_natural_order_whatever_its_spelling(caplog):
    clips = with_folds(FOLDS)
    split = cut(clips, table.assign)
    assert folds_of(split) == ["0", "1", "2", ALL]
    tested = [speakers_of(clips, split, fold, "test") for fold in "012"]
    assert tested == [{"x/02", "x/03", "x/05"}, {"x/01"}, {"x/04"}]
    for fold in "012":
        sides = [speakers_of(clips, split, fold, part) for part in ("train", "validation", "test")]
        assert sides[1] and not sides[1] & (sides[0] | sides[2])
        assert "x/06" in sides[0] | sides[1]  # has no value
    report = leakage(clips, split, speaker_dependent=False, sentences_held_out=False)
    assert [fold["shared_speakers"] for fold in report] == [0] * 4
    assert "4 clips without a fold train in every fold" in caplog.text
    assert "in several folds" not in caplog.text


def test_speakers_in_several_folds_of_a_table_are_named_and_counted_if_allowed(caplog):
    clips = with_folds(FOLDS)
    moved = (clips["speaker"] == "x/01") & (clips["label"] == "sad")
    clips.loc[moved, "corpus_fold"] = "2"
    split = cut(clips, table.assign)
    assert "1 speakers are in several folds, such as x/01" in caplog.text
    with pytest.raises(ValueError, match=r"fold 0: .* share 1 values of speaker, .*: x/01"):
        leakage(clips, split, speaker_dependent=False, sentences_held_out=False)
    rules = {"speaker_dependent": True, "sentences_held_out": False}
    assert leakage(clips, cut(clips, table.assign, **rules), **rules)[0]["shared_speakers"] >= 1


def test_corpora_without_folds_beside_a_table_only_train():
    clips = with_folds(FOLDS, corpora=("x", "y"))
    with pytest.raises(ValueError, match="got no folds for y, want a column fold in its table"):
        cut(clips, table.assign)
    split = cut(clips, table.assign, train_only=["y"])
    other = split["clip"].str.startswith("y/")
    assert set(split.loc[other, ["0", "1", "2"]].to_numpy().flat) == {"train"}


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"x/01": "1", "x/02": "01"}, "column fold: got 1 alone, want at least 2"),
        ({"x/01": "Test", "x/02": "train"}, "column fold: got test, train, want numbers"),
    ],
)
def test_a_table_of_one_fold_or_of_sides_is_refused(folds, message):
    with pytest.raises(ValueError, match=message):
        cut(with_folds(folds), table.assign)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=12),
    corpora=st.sampled_from([("x",), ("x", "y")]),
)
def test_uneven_speakers_leave_no_fold_empty_and_validate_with_about_the_fraction(sizes, corpora):
    clips = clips_of(len(sizes), 12, corpora)
    number = clips["speaker"].str.slice(2).astype(int) - 1
    take = clips["clip"].str.rpartition("-")[2].astype(int)
    clips = clips[take < number.map(dict(enumerate(sizes)))].reset_index(drop=True)
    split = cut(clips, by_speaker(4))
    prove(clips, split, speaker_dependent=False)
    for fold in folds_of(split):
        counts = split[fold].value_counts()
        assert counts["train"] > 0 and counts["validation"] > 0
        assert fold == ALL or counts["test"] > 0
        side = clips[split[fold] != "test"]
        speakers = side["speaker"].value_counts()
        fraction = counts["validation"] / len(side)
        # Never further from 0.15 than a single speaker would be, or an even division of them all.
        nearest = (speakers / len(side) - 0.15).abs().max()
        assert abs(fraction - 0.15) <= max(nearest, 0.36)


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
    report = prove(clips, cut(clips, loso.assign), speaker_dependent=False)
    assert [entry["validation_shares_speakers"] for entry in report] == [True, True, False]
    assert all(entry["validation_clips"] > 0 for entry in report)


@pytest.mark.parametrize("protocol", [by_speaker(), loso.assign])
def test_a_single_speaker_cannot_be_held_out(protocol):
    with pytest.raises(ValueError, match="want at least 2"):
        cut(clips_of(1), protocol)


def test_more_folds_than_speakers_become_as_many_as_speakers(caplog):
    split = cut(clips_of(3), by_speaker(5))
    assert folds_of(split) == ["0", "1", "2", ALL]
    assert "got 3 folds" in caplog.text and "3 speakers, want 5" in caplog.text


def test_training_of_one_label_is_refused():
    clips = clips_of(2)
    clips = clips[(clips["label"] == "sad") | (clips["speaker"] == "x/02")].reset_index(drop=True)
    with pytest.raises(ValueError, match=r"fold 1: got .*\['sad'\], want"):
        prove(clips, cut(clips, loso.assign), speaker_dependent=False)


def test_a_class_that_training_lacks_is_reported(caplog):
    clips = clips_of(3)
    only_one = clips[(clips["label"] != "sad") | (clips["speaker"] == "x/02")]
    only_one = only_one.reset_index(drop=True)
    report = prove(only_one, cut(only_one, loso.assign), speaker_dependent=False)
    assert report[1]["classes_missing_in_training"] == ["sad"]
    assert "fold 1: no training clip is labelled sad" in caplog.text


@pytest.mark.parametrize("speaker_dependent", [False, True])
def test_no_clip_validates_if_the_fraction_is_zero(speaker_dependent):
    protocol = by_speaker()
    with_some, without = (
        cut(clips_of(), protocol, speaker_dependent=speaker_dependent, validation=fraction)
        for fraction in (0.15, 0)
    )
    for fold in folds_of(without):
        assert (with_some[fold] == "validation").any()
        assert without[fold].equals(with_some[fold].replace("validation", "train"))


@pytest.mark.parametrize("fraction", [-0.1, 0.6, 1])
def test_validation_fraction_is_checked(fraction):
    with pytest.raises(ValueError, match=f"split.validation: got {fraction}, want 0 to 0.5"):
        cut(clips_of(), by_speaker(), validation=fraction)


def test_one_random_fold_is_refused():
    with pytest.raises(ValueError, match="got 1 folds and 72 clips .*want at least 2"):
        cut(clips_of(), lambda clips: random.assign(clips, folds=1, seed=0), speaker_dependent=True)


def test_clips_without_a_label_are_left_out_and_counted(caplog):
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
    with pytest.raises(ValueError, match="labels odd: got joyful, want only angry"):
        label_clips(clips_of(), name="odd", mapping={"joyful": "happy"})
    with pytest.raises(ValueError, match=r"labels one: got \['sad'\].*, want at least 2"):
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
