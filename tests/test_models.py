"""The table of models: parameters, sizes and intervals as they are, times that are positive."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import recall_score

from benchmarks import models
from stages.settings.loading import bind
from studies import compare, comparison
from tests.support import composed

LABELS = ["angry", "sad"]
INPUTS = {"mfcc": 40}


def checkpoint(model: str) -> dict:
    """What a job of that model leaves behind, with weights as they were at the start."""
    choices = [f"model={model}", "features=[mfcc]", "train.epochs=9", "train/schedule=plateau"]
    params = composed(*choices, "train.balance=corpus", "train.warm_start=gone.pt")
    settings = {name: params[name] for name in ("audio", "features", "model", "train")}
    if model == "svm":
        state = {"mean": (200,), "scale": (200,), "classes": (2,), "weight": (1, 200), "bias": (1,)}
        state = {name: torch.zeros(shape) for name, shape in state.items()}
        state["classes"] = torch.arange(2)
    else:
        state = bind(params["model"]["network"], "networks")(INPUTS, 2).state_dict()
    return settings | {"labels": LABELS, "inputs": INPUTS, "state": state}


def predictions(seed: int) -> pd.DataFrame:
    """Four speakers with six clips each, recognised now and then."""
    random = np.random.default_rng(seed)
    names = [(f"savee/{who}-{clip}", f"savee/{who}") for who in "abcd" for clip in range(6)]
    table = pd.DataFrame(names, columns=["clip", "speaker"])
    table = table.assign(corpus="savee", sex="male", fold=0, seed=0)
    table["label"] = [LABELS[row % 2] for row in range(24)]
    right = random.uniform(size=24) < 0.7
    table["p_angry"] = np.where((table["label"] == "angry") == right, 0.9, 0.1)
    return table.assign(p_sad=1 - table["p_angry"])


@pytest.fixture
def experiments(monkeypatch, tmp_path):
    """Two experiments as they lie in DVC's cache, which is played here."""
    tables = {"gru": predictions(1), "svm": predictions(2)}
    clips = tables["gru"][["clip"]].assign(frames=30).to_csv(index=False)
    stored = {}
    for name in tables:
        stream = io.BytesIO()
        torch.save(checkpoint(name), stream)
        stored[name, "models/folds/fold_all-seed_0.pt"] = stream.getvalue()
        stored[name, "data/merged/clips.csv"] = clips.encode()
    split = {"name": "speaker", "title": "speakers held out", "speaker_dependent": False}
    found = [
        comparison.arrange_result(
            table,
            name=name,
            commit=name * 9,
            settings={
                **{"model.name": name, "features": {"mfcc": {}}, "data.name": "real"},
                **{"split": split, "seeds": [0], "labels": {"name": "four", "map": {}}},
            },
            leakage={"folds": [{"fold": "0"}], "speaker_dependent": False},
        )
        for name, table in tables.items()
    ]
    monkeypatch.setattr(models, "read_results", lambda _: found)
    monkeypatch.setattr(models, "read_file", lambda name, path: stored[name, path])
    monkeypatch.setattr(sys, "argv", ["models", *tables])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    return tables, stored


@pytest.mark.slow
def test_a_row_says_what_a_model_is_worth_and_what_it_costs(experiments, tmp_path):
    tables, stored = experiments
    models.main()
    rows = pd.read_csv(tmp_path / "reports/models.csv").set_index("experiment")
    assert set(rows.index) == set(tables) and rows["ua"].is_monotonic_decreasing
    for name, table in tables.items():
        guess = table[["p_angry", "p_sad"]].idxmax(axis=1).str.removeprefix("p_")
        ua = recall_score(table["label"], guess, average="macro")
        assert rows.loc[name, "ua"] == pytest.approx(ua, abs=1e-6)
        assert rows.loc[name, "ua_low"] < ua < rows.loc[name, "ua_high"]
        size = len(stored[name, "models/folds/fold_all-seed_0.pt"])
        assert rows.loc[name, "checkpoint_mb"] == pytest.approx(size / 1e6, rel=1e-5)
        assert rows.loc[name, "epoch_s"] > 0
    assert rows.loc["svm", "parameters"] == 601  # mean, scale and weights, bias
    network = bind(composed("model=gru")["model"]["network"], "networks")(INPUTS, 2)
    weights = dict(network.named_parameters())
    assert rows.loc["gru", "parameters"] == sum(weight.numel() for weight in weights.values())
    assert set(rows["protocol"]) == {"speaker"}
    for kind in ("png", "svg"):
        assert (tmp_path / f"reports/models.{kind}").stat().st_size > 0


def test_a_file_of_an_unknown_experiment_is_named(monkeypatch):
    def fail(name):
        raise ValueError(f"{name}: no such experiment")

    monkeypatch.setattr(compare, "_open", fail)
    with pytest.raises(ValueError, match="nobody"):
        compare.read_file("nobody", "data/predictions.csv")
