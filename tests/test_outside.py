"""Answers of other systems: read whatever their form, matched, scored, and looked at for leaks."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from stages.reporting.predictions import Predictions, arrange
from studies import asking, compare, contamination, folds, leaderboard
from studies import score as command
from studies.answers import Fates, check_rename, match, read_answers
from studies.composition import compose_params
from studies.releases import clips_of_release
from tests.support import ROOT, composed, inside

EIGHT = composed("labels=eight")["labels"]["map"]


@cache
def task(*overrides: str) -> command.Task:
    return command.official_task(composed("data=real", *overrides), names=[])


def emodb() -> command.Task:
    return task("corpora=[emodb]", "split=loso")


def truth(asked: command.Task) -> pd.DataFrame:
    """A table of right answers: file and label."""
    table = asked.split[["clip", "label"]]
    return table.assign(file=table["clip"].str.split("/").str[1] + ".wav")[["file", "label"]]


def scored(asked: command.Task, table: pd.DataFrame, path, **settings):
    table.to_csv(path, index=False)
    answers, fates = read_answers(path, label_map=asked.settings["labels"]["map"], rename={})
    return command.score(asked, answers, name="theirs", fates=fates, **settings)[0]


@pytest.mark.parametrize(("corpus", "clips"), [("emodb", 535), ("savee", 480)])
def test_names_alone_describe_a_whole_release(corpus, clips):
    table = clips_of_release(corpus, composed(f"corpora=[{corpus}]")["corpora"][corpus])
    assert len(table) == clips and table["clip"].is_unique
    assert (table["excluded"] == "").all() and (table["speaker"] != "").all()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_in_any_form(tmp_path, encoding, delimiter):
    path, comma = tmp_path / "a.csv", delimiter != ","
    rows = [["file", "angry", "Müde", "seed"], ["a/b.wav", "0,25" if comma else "0.25", ".75", "1"]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    path.write_bytes(text.encode(encoding))
    answers, _ = read_answers(path, label_map=EIGHT, rename={"müde": "sleepy"})
    assert answers["p_angry"].tolist() == [0.25] and answers["p_other"].tolist() == [0.75]
    assert answers[["name", "seed"]].to_numpy().tolist() == [["a/b.wav", 1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["CSV"]),
        ("file,label\n", ["0 rows"]),
        ("x,label\n1,angry\n", ["x, label", "clip, file"]),
        ("file,x\na,angry\n", ["file, x", "prediction"]),
        ("file,label\na,Fearful\n", ["Fearful", "--rename Fearful=fear"]),
        ("file,angry,sad\na,.5,nan\n", ["a:", "sad=nan", "sum of 1"]),
        ("file,angry,sad\na,.5,.4\n", ["angry=.5", "sum of 1"]),
        ("file,angry,sad\na,1.5,-.5\n", ["between 0 and 1"]),
        ("file,p_rage,p_sad\na,.5,.5\n", ["p_rage", "--rename rage="]),
        ("file,label,seed\na,angry,x\n", ["seed", "'x'", "whole number"]),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_answers(path, label_map=EIGHT, rename={})
    assert all(word in str(caught.value) for word in ["a.csv", *words])


def test_outside_of_a_clone_the_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="/conf: no such folder, want a clone of Inflect"):
        compose_params([])


def test_a_missing_table_and_a_bad_rename_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.csv"):
        read_answers(tmp_path / "none.csv", label_map=EIGHT, rename={})
    with pytest.raises(ValueError, match="--rename: got 'fearful'"):
        check_rename(["fearful"])
    assert check_rename(["fearful=fear"]) == {"fearful": "fear"}


def test_words_are_renamed_by_one_option_or_by_several(tmp_path, monkeypatch):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "a.csv").write_text("file,label\n03a01Fa.wav,Wut\n03a01Nc.wav,müde\n")
    answered = []

    def score(_, answers, **__):
        answered.extend(answers.filter(regex="^p_").idxmax(axis=1))
        raise ValueError("enough")

    monkeypatch.setattr(command, "score", score)
    wanted = ("a.csv", "--corpus", "emodb")
    for rename in (("wut=angry", "müde=sad"), ("wut=angry", "--rename", "müde=sad")):
        with pytest.raises(ValueError, match="enough"):
            inside(tmp_path, command.main, *wanted, "--rename", *rename)
    assert answered == 2 * ["p_angry", "p_sad"]


def test_clips_are_found_by_name_path_or_the_name_of_their_file():
    asked = task("corpora=[savee]", "split=loso")
    names = {
        "savee/DC_a01": "savee/DC_a01",
        "je_su02.WAV": "savee/JE_su02",
        r"C:\data\JK\n30.wav": "savee/JK_n30",  # the clip of this file is not named like it
        "AudioData/KL/sa05.flac": "savee/KL_sa05",
        "stranger.wav": None,
    }
    fates = Fates()
    answers = pd.DataFrame({"name": list(names), "seed": 0})
    found = match(answers, asked.clips, corpora=asked.settings["corpora"], fates=fates)
    want = {name: clip for name, clip in names.items() if clip}
    assert dict(zip(found["name"], found["clip"], strict=True)) == want
    assert "stranger.wav" in fates.lines()[0]
    with pytest.raises(ValueError, match=r"stranger.*want such as savee/"):
        match(answers.tail(1), asked.clips, corpora=asked.settings["corpora"], fates=fates)


def test_what_is_missing_surplus_or_twice_is_counted(tmp_path):
    asked = emodb()
    table = truth(asked)
    twice = table.iloc[[5]].assign(label="sad" if table["label"][5] != "sad" else "angry")
    strange = table.iloc[[0]].assign(file="strange.wav")
    run = scored(
        asked, pd.concat([table.iloc[5:], table.iloc[6:7], twice, strange]), tmp_path / "a"
    )
    kinds = {kind.split(",")[0]: names for kind, names in run.fates.kinds}
    assert kinds["not a clip of the corpus"] == ["strange.wav"]
    assert len(kinds["tested"]) == 6 and len(kinds["answered twice and differently"]) == 1
    assert run.pooled_ua["ua"] == 1 and run.n_wanted == 535
    assert run.notes == ["answers from elsewhere", "529 of 535 clips answered"]


def test_clips_without_a_label_and_of_training_are_not_scored(tmp_path):
    table = truth(emodb())
    seven = task("corpora=[emodb]", "split=loso", "labels=seven")
    run = scored(seven, table.replace("other", "sad"), tmp_path / "a")
    assert run.fates.kinds[0][0].startswith("without a label in the set seven")
    assert len(run.fates.kinds[0][1]) == 81 and run.n_wanted == 535 - 81


def test_a_clip_needs_an_answer_under_every_seed(tmp_path):
    table = truth(emodb())
    both = pd.concat([table.assign(seed=0), table.iloc[1:].assign(seed=1)])
    run = scored(emodb(), both, tmp_path / "a")
    assert run.predictions.n_seeds == 2 and run.predictions.clips["clip"].nunique() == 534


@cache
def even() -> Predictions:
    """24 speakers with 60 clips each of eight labels, all answered by the first label."""
    numbers = pd.Series(range(24 * 60))
    table = pd.DataFrame({"clip": [f"c{number:04}" for number in numbers], "corpus": "c"})
    table["speaker"] = [f"c/{1 + number // 60:02}" for number in numbers]
    table = table.assign(sex="", label=[f"l{number % 8}" for number in numbers], fold="0", seed=0)
    chances = {f"p_l{label}": float(label == 0) for label in range(8)}
    return arrange(table.assign(**chances), known=table["clip"], name="x")


def simulated(rates: np.ndarray, *, seed: int) -> Predictions:
    """Answers of a model that is right at a rate of its own for each speaker."""
    generator = np.random.default_rng(seed)
    right = generator.random(len(even().truth)) < np.repeat(rates, 60)
    answer = np.where(right, even().truth, generator.integers(8, size=len(right)))
    return replace(even(), probabilities=np.eye(8)[answer][:, None])


def test_a_model_that_heard_half_of_the_speakers_is_flagged_and_an_honest_one_is_not():
    flagged = {"honest": 0, "leaky": 0}
    for seed in range(20):
        spread = np.random.default_rng(seed).normal(0, 0.5, 24)
        honest = 1 / (1 + np.exp(-(0.5 + spread)))
        leaky = np.where(np.arange(24) < 12, 0.97, honest)
        for name, rates in (("honest", honest), ("leaky", leaky)):
            found = contamination.uneven_speakers(simulated(rates, seed=seed))
            flagged[name] += found["flagged"]
    assert flagged == {"honest": 0, "leaky": 20}


HEARD = np.arange(24 * 60) < 12 * 60  # clips of `even` that leaky models are trained on


def spoken(truth: np.ndarray, emotions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features [clips, dimensions] of 24 new voices.

    Voices differ in how strongly and in which way they express an emotion, so that an honest model
    recognises some better than others.
    """
    strength = np.exp(0.25 * rng.standard_normal((24, 1, 1)))
    ways = strength * emotions + 0.7 * rng.standard_normal((24, *emotions.shape))
    voices = ways + 0.5 * rng.standard_normal((24, 1, emotions.shape[1]))
    clips = voices[np.arange(len(truth)) // 60, truth]
    return clips + 3 * rng.standard_normal(clips.shape)


def signs_of_trained(model, *, seed: int) -> dict[str, dict]:
    """Signs of a model trained on 24 other voices: alone, or with clips of half of those tested."""
    rng, truth = np.random.default_rng(seed), even().truth
    emotions = 2 * rng.standard_normal((8, 12))
    tested, others = (spoken(truth, emotions, rng) for _ in range(2))
    found = {}
    for name, heard in (("honest", HEARD & False), ("leaky", HEARD)):
        model.fit(np.concatenate([others, tested[heard]]), np.concatenate([truth, truth[heard]]))
        answers = np.eye(8)[model.predict(tested)][:, None]
        found[name] = contamination.uneven_speakers(replace(even(), probabilities=answers))
    return found


def test_a_classifier_trained_with_test_speakers_is_flagged_and_one_without_is_not():
    found = signs_of_trained(RandomForestClassifier(30, random_state=0), seed=0)
    assert not found["honest"]["flagged"] and found["honest"]["best"] == []
    assert found["leaky"]["flagged"]
    assert found["leaky"]["best"] == sorted(set(even().speakers[HEARD]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "least", "most"),
    [
        (RandomForestClassifier(30, random_state=0), 9, 10),
        (SVC(C=1), 0, 4),  # remembers little of the clips, so it hardly shows what it heard
    ],
)
def test_what_trained_classifiers_remember_decides_how_many_are_flagged(model, least, most):
    found = [signs_of_trained(model, seed=seed) for seed in range(10)]
    honest, leaky = (sum(signs[name]["flagged"] for signs in found) for name in ("honest", "leaky"))
    assert honest <= 1 and least <= leaky <= most


def test_the_speakers_that_stand_out_are_named_and_scored_apart():
    rates = np.where(np.arange(24) < 6, 1.0, 0.4)
    predictions = simulated(rates, seed=0)
    found = contamination.uneven_speakers(predictions)
    heard = set(found["best"])
    assert heard == {f"c/{speaker:02}" for speaker in range(1, 7)}
    table = contamination.apart(predictions, heard=heard).set_index("speakers")
    assert table["ua"]["heard in training"] > 0.99 and table["ua"]["new"] < 0.6
    known = pd.DataFrame({"system": ["x", "y"], "ua": [0.9, 0.6], "source": ["this page", "paper"]})
    for low, above in ((0.61, True), (0.6, False)):
        assert contamination.above_known({"ua_low": low}, known)["flagged"] == above
    assert contamination.above_known({"ua_low": 1}, known.head(1)) is None


@pytest.mark.slow
def test_the_command_writes_a_page_that_compare_reads(tmp_path, monkeypatch):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    table = truth(emodb())
    table.to_csv(tmp_path / "right.csv", index=False)
    table.assign(label="sad").to_csv(tmp_path / "sad.csv", index=False)
    corpus = ("--corpus", "emodb", "--split", "loso")
    printed = inside(tmp_path, command.main, "sad.csv", *corpus, "--trained-on", "03")
    with monkeypatch.context() as patch:
        patch.setattr(command, "report", lambda *_: {})  # one page is enough
        inside(tmp_path, command.main, "right.csv", *corpus)
    assert "UA 0.143" in printed and "535 of 535 clips" in printed
    folder = tmp_path / "reports/scores/sad"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n_clips"] == 535 and "loss" not in metrics and metrics["protocol"] == "loso"
    page = (folder / "index.html").read_text()
    assert "made elsewhere" in page and "heard in training" in page
    printed = inside(
        tmp_path, compare.main, "reports/scores/right", "reports/scores/sad", "--output", "both"
    )
    assert "sad is behind right by 0.857 UA" in printed
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(ValueError, match="mine: already exists"):
        inside(tmp_path, command.main, "sad.csv", *corpus, "--output", "mine")


def write_lists(folder, **lists: list[str]) -> None:
    for name, names in lists.items():
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps({"key": n, "wav": f"x/{n}.wav"}) for n in names))


EMODB = ["03a01Fa", "03a01Nc", "08a01Ab", "08a01Fd", "09a01Nb", "09a01Ea"]


def test_a_planted_speaker_on_both_sides_is_found(tmp_path):
    write_lists(tmp_path, emodb_test_fold_1=EMODB[:2], emodb_train_fold_1=EMODB[2:])
    write_lists(tmp_path, emodb_test_fold_2=EMODB[2:4], emodb_train_fold_2=EMODB[:2] + EMODB[3:])
    reader = composed("corpora=[emodb]")["corpora"]["emodb"]["reader"]
    table = folds.count_shared(folds.read_folds(tmp_path), corpus="emodb", reader=reader)
    assert table["shared_speakers"].tolist() == [0, 1]
    assert table["shared_recordings"].tolist() == [0, 1]
    assert table["example"].tolist() == ["", "emodb/08a01Fd"]
    assert "1 of 2 folds" in folds.verdict(table) and "all 1 folds" in folds.verdict(table.head(1))


def test_folds_of_a_corpus_whose_names_say_the_speaker_alone(tmp_path):
    turns = [f"Ses0{session}F_impro01_{sex}000" for session in (1, 2) for sex in "FM"]
    write_lists(tmp_path, test=turns[:1], train=[*turns[1:], "Ses01F_impro01"])
    reader = composed("corpora=[iemocap]")["corpora"]["iemocap"]["reader"]
    (row,) = folds.count_shared(
        folds.read_folds(tmp_path), corpus="iemocap", reader=reader
    ).to_dict("records")
    assert (row["test_clips"], row["train_clips"], row["unknown"]) == (1, 3, 1)
    assert (row["test_speakers"], row["shared_speakers"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "text", "sides"),
    [
        ("a.csv", "file,fold\na.wav,0\nb.wav,1\n", {"0": "tv", "1": "vt"}),
        ("a.csv", "file;fold;split\na.wav;0;test\nb.wav;0;Train\n", {"0": "tv"}),
        ("a.tsv", "path\tfold\tset\na\t0\teval\nb\t0\tdev\na\t0\ttrain", {"0": "twv"}),
    ],
)
def test_a_table_may_hold_all_folds(tmp_path, name, text, sides):
    (tmp_path / name).write_text(text)
    found = folds.read_folds(tmp_path / name)
    letters = found["side"].map({"test": "t", "train": "v", "validation": "w"})
    assert {fold: "".join(own) for fold, own in letters.groupby(found["fold"])} == sides


def test_lists_of_text_and_json_are_read(tmp_path):
    for side, names in {"train": EMODB[2:], "testing": EMODB[:2]}.items():
        (tmp_path / side).mkdir()
        (tmp_path / side / "fold0.txt").write_text("\n".join(f"my {n}.wav 1" for n in names))
        (tmp_path / side / "fold1.json").write_text(json.dumps({n: {"file": n} for n in names}))
    found = folds.read_folds(tmp_path)
    assert found.groupby(["fold", "side"]).size().tolist() == [2, 4, 2, 4]
    assert "my 03a01Fa.wav" in set(found["name"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["no list of a side"]),
        ({"train.txt": "a"}, ["fold 0", "'train'", "train and test"]),
        ({"train.json": "{"}, ["train.json", "JSON"]),
        ({"a.csv": "file,fold,split\na,0,left\n"}, ["split", "'left'", "train, test"]),
    ],
)
def test_lists_that_are_no_folds_are_refused(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as caught:
        folds.read_folds(tmp_path)
    assert all(word in str(caught.value) for word in words)


def test_names_of_another_corpus_are_refused():
    table = pd.DataFrame({"fold": "0", "side": ["train", "test"], "name": ["a", "b"]})
    reader = composed("corpora=[emodb]")["corpora"]["emodb"]["reader"]
    with pytest.raises(ValueError, match="emodb: got no name"):
        folds.count_shared(table, corpus="emodb", reader=reader)


@pytest.mark.parametrize(
    ("printed", "want"),
    [
        ("loading\nangry\n", {"label": "angry"}),
        ('{"angry": 0.25, "sad": 0.75}', {"p_angry": 0.25, "p_sad": 0.75}),
        ('[{"file": "x", "emotion": "sad", "p_sad": 1, "p_fear": 0}]', {"p_sad": 1, "p_fear": 0}),
        ('{"probabilities": {"a": 0.5, "b": 0.5}, "seconds": 2}', {"p_a": 0.5, "p_b": 0.5}),
        ('{"label": "sad", "confidence": 0.5}', {"label": "sad"}),
    ],
)
def test_the_answer_of_a_command_is_read(printed, want):
    assert asking.parse_answer(printed) == want


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exec sleep 9", "no answer within 0.2 s"),
        ("true", "printed nothing"),
        ("echo broken >&2; exit 4", "exit code 4: broken"),
        ("echo '{}'", "want a label"),
    ],
)
def test_a_command_that_fails_on_a_clip_says_why(tmp_path, script, words):
    ask = asking.asks_command(f"sh -c {json.dumps(script)} {{file}}", timeout_s=0.2)
    with pytest.raises(ValueError, match=words):
        ask(tmp_path / "a b.wav")


def test_a_command_needs_a_place_for_the_file_and_a_program():
    with pytest.raises(ValueError, match=r"--command: got 'x'.*\{file\}"):
        asking.asks_command("x", timeout_s=1)
    with pytest.raises(ValueError, match="no-such-program"):
        asking.asks_command("no-such-program {file}", timeout_s=1)(Path("a"))


def test_an_interrupted_call_asks_for_the_rest_alone(tmp_path):
    files = {name: Path(name) for name in "abc"}
    asked = []

    def ask(path: Path) -> dict:
        asked.append(path.name)
        if path.name == "b" and asked.count("b") == 1:
            raise ValueError("not today")
        return {"label": "sad"}

    first = asking.ask_all(files, ask, journal=tmp_path / "x.jsonl", jobs=1)
    assert first["clip"].tolist() == ["a", "c"]
    with (tmp_path / "x.jsonl").open("a") as journal:
        journal.write('{"clip": "z", "la')  # cut off
    again = asking.ask_all(files, ask, journal=tmp_path / "x.jsonl", jobs=2)
    assert again["clip"].tolist() == ["a", "b", "c"] and asked == ["a", "b", "c", "b"]
    asking.ask_all(files, ask, journal=tmp_path / "x.jsonl", jobs=2)
    assert len(asked) == 4


def test_a_command_that_never_answers_is_given_up(tmp_path):
    def ask(_: Path) -> dict:
        raise ValueError("no module named theirs")

    files = {str(number): Path("x") for number in range(99)}
    with pytest.raises(ValueError, match="none of the first 10 files.*theirs"):
        asking.ask_all(files, ask, journal=tmp_path / "x.jsonl", jobs=1)


def test_the_leaderboard_is_the_one_that_its_sources_give():
    page = (ROOT / "docs/leaderboard.md").read_text()
    assert page == leaderboard.render((ROOT / "docs/results.md").read_text())
    with pytest.raises(ValueError, match=r"\| x \|"):
        leaderboard.render("\n## A\n\n| a |\n|---|\n| x | y |\n\n")
