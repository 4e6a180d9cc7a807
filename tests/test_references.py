"""Published figures: beside a run that was tested as they were, and beside no other."""

from functools import cache

import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from omegaconf import OmegaConf

from stages.clips.completeness import compare_release, read_release
from stages.reporting import drawing
from stages.reporting.predictions import arrange
from stages.reporting.sections.references import PATH, references, references_figure
from stages.splits.labels import label_order
from tests.support import ROOT, composed

KNOWN = OmegaConf.to_container(OmegaConf.load(PATH))
POOLED_UA = {"ua": 0.5, "ua_low": 0.4, "ua_high": 0.6}


@cache
def settings_of(*options: str) -> dict:
    return composed("data=real", *options)


@cache
def release_of(corpus: str):
    return read_release(settings_of(f"corpora=[{corpus}]")["corpora"][corpus]["release"])


def whole(corpus: str) -> pd.DataFrame:
    """A clip table of a corpus's release, in which its emotions come as often as they should."""
    release = release_of(corpus)
    emotions = [emotion for emotion, n in release.emotions.items() for _ in range(n)]
    names = release.names or [f"c{number}" for number in range(release.clips)]
    table = pd.DataFrame({"clip": [f"{corpus}/{name}" for name in names], "emotion": emotions})
    return table.assign(
        corpus=corpus,
        file=table["clip"] + ".wav",
        speaker=[f"{corpus}/{number % 4}" for number in range(len(table))],
        sex="",
        variant="clean",
        excluded="",
    )


def found(clips: pd.DataFrame, *options: str, **changes) -> pd.DataFrame:
    """What stands beside a run with these options of conf/ in which every usable clip is tested."""
    settings = changes.pop("settings", None) or settings_of(*options)
    mapping = settings["labels"]["map"]
    usable = clips[clips["excluded"] == ""]
    tested = usable.assign(label=usable["emotion"].map(mapping)).dropna(subset="label")
    tested = tested.assign(fold=0, seed=0, p_a=1.0)
    labels = label_order(mapping, tested["label"])
    shares = {f"p_{label}": float(label == labels[0]) for label in labels}
    table = tested.drop(columns="p_a").assign(**shares)
    known = {
        "predictions": arrange(table, known=clips["clip"], name="predictions"),
        "clips": clips,
        "completeness": {
            corpus: compare_release(rows, release=release_of(corpus))
            for corpus, rows in clips.groupby("corpus")
        },
        "settings": settings,
        "dependent": settings["split"]["speaker_dependent"],
        "pooled_ua": POOLED_UA,
    }
    return references(**known | changes)


LOSO = ("corpora=[emodb]", "split=loso")


def test_a_run_like_the_published_ones_stands_above_them():
    table = found(whole("emodb"), *LOSO)
    own, others = table.iloc[0], table.iloc[1:]
    assert own["system"] == "cnn_gru (this run)" and own["pretrained"] == own["folds"] == ""
    assert own[["ua", "ua_low", "ua_high"]].tolist() == [0.5, 0.4, 0.6]
    assert others["ua"].tolist() == [0.777, 0.75, 0.66, 0.657, 0.644]  # the best first
    assert others["folds"].tolist() == ["the same", "other", "other", "the same", "the same"]
    assert others["ua_low"].isna().all()  # none is published
    assert set(others["pretrained"]) == {"no"}


def test_pretrained_systems_stand_apart_below():
    table = found(whole("ravdess"), "corpora=[ravdess]", "split=ravdess6")
    assert table["pretrained"].tolist() == ["", *["no"] * 5, *["yes"] * 5]
    assert table["ua"].tolist()[-5:] == [0.753, 0.654, 0.647, 0.616, 0.543]


@pytest.mark.slow
@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: f"{entry['corpus']}-{entry['splits']}")
def test_every_entry_is_of_what_conf_knows_and_is_found(entry):
    release = release_of(entry["corpus"])
    assert set(entry["emotions"]) == set(release.emotions)
    clips = whole(entry["corpus"])
    for split in entry["splits"]:
        option = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/split/{split}.yaml"))
        assert option["speaker_dependent"] != entry["speakers_held_out"]
        assert entry["protocol"].items() <= option["protocol"].items()
        settings = settings_of(f"corpora=[{entry['corpus']}]") | {"split": option}
        table = found(clips, settings=settings).set_index("system")
        for system in entry["systems"]:
            assert set(system) == {"system", "pretrained", "ua", "note", "source"}
            assert 0 < table.loc[system["system"], "ua"] == system["ua"] < 1
            assert table.loc[system["system"], "source"] == system["source"] != ""


def test_folds_that_share_speakers_stand_beside_random_splits_alone():
    clips = whole("emodb")
    held_out, shared = (
        set(found(clips, "corpora=[emodb]", f"split={split}")["ua"][1:])
        for split in ("loso", "random")
    )
    assert shared == {0.817, 0.747} and not shared & held_out


@pytest.mark.parametrize(
    "options",
    [
        ("corpora=[emodb]", "split=sentence"),
        ("corpora=[emodb]", "split=speaker_sentence"),
        ("corpora=[emodb]", "split=random", "split.protocol.folds=10"),
        (*LOSO, "labels=six"),
        (*LOSO, "labels=seven"),
        (*LOSO, "labels.map.boredom=neutral"),
        ("corpora=[emodb,savee]", "split=loso"),
        ("corpora=[savee]", "split=loso"),
    ],
)
def test_nothing_stands_beside_another_split_other_labels_or_several_corpora(options):
    assert found(whole("emodb"), *options).empty


def test_nothing_stands_beside_two_corpora_tested_together():
    both = pd.concat([whole("emodb"), whole("savee")], ignore_index=True)
    assert found(both, *LOSO).empty and found(both, "corpora=[emodb,savee]", "split=loso").empty


def test_other_speaker_groups_are_other_folds():
    groups = "split.protocol.speakers=[[1,2,3,4],[5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]]"
    table = found(whole("ravdess"), "corpora=[ravdess]", "split=ravdess6", groups)
    assert set(table["folds"][1:]) == {"other"}


def _without_one(clips):
    return clips.iloc[1:]


def _and_another(clips):
    return pd.concat([clips, clips.iloc[:1].assign(clip="emodb/99a01Wa", file="99a01Wa.wav")])


def _many_unusable(clips):
    return clips.assign(excluded=["silent: all"] * 3 + [""] * (len(clips) - 3))


@pytest.mark.parametrize("change", [_without_one, _and_another, _many_unusable])
def test_nothing_stands_beside_a_part_of_the_corpus_or_more_than_it(change):
    assert found(change(whole("emodb")), *LOSO).empty


def test_a_copy_within_the_release_does_not_make_it_a_part():
    clips = whole("emodb")
    clips.loc[0, "excluded"] = "same recording: emodb/03a01Nc"
    assert len(found(clips, *LOSO)) == 6


def test_nothing_stands_beside_a_run_that_leaves_clips_untested():
    clips = whole("emodb")
    settings = settings_of(*LOSO)
    table = clips.assign(label=clips["emotion"].map(settings["labels"]["map"]), fold=0, seed=0)
    labels = label_order(settings["labels"]["map"], table["label"])
    table = table.assign(**{f"p_{label}": float(label == labels[0]) for label in labels})
    some = arrange(table.iloc[1:], known=clips["clip"], name="predictions")
    assert found(clips, *LOSO, predictions=some).empty


def test_nothing_stands_beside_the_demo():
    assert found(whole("emodb"), *LOSO, completeness={}).empty


def test_nothing_stands_beside_a_run_whose_split_was_found_to_share_speakers():
    assert found(whole("emodb"), *LOSO, dependent=True).empty


def test_the_figure_tells_the_kinds_apart_without_colour():
    table = found(whole("savee"), "corpora=[savee]", "split=loso")
    with drawing.style():
        figure = references_figure(table, chance=1 / 7, notes=["a note"])
        svg = drawing.encode(figure, "svg").decode()
    axes = figure.axes[0]
    places = [tick.get_text() for tick in axes.get_yticklabels()]
    assert places[0] == "cnn_gru (this run)"
    assert places[2] == "SVM on ComParE functionals" and places[1].endswith("(other folds)")
    points = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    assert [ua for of in points for ua in of.get_offsets()[:, 0]] == table["ua"].tolist()
    heights = [height for of in points for height in of.get_offsets()[:, 1]]
    assert heights == sorted(heights) == [tick.get_position()[1] for tick in axes.get_yticklabels()]
    assert len({of.get_paths()[0].vertices.tobytes() for of in points}) == 3  # shapes
    hollow = [(face[:3] == 1).all() for of in points for face in of.get_facecolors()]
    assert hollow == (table["folds"] == "other").tolist()
    for text in ("chance 0.143", "without pre-training", "pre-trained on other speech", "a note"):
        assert f">{text}<" in svg
