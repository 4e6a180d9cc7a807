"""From waveform to probabilities in one module, and its use on files: equal to the cached path."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from app.predict import main
from stages.clips.audio import FULL_SCALE, open_audio
from stages.clips.cache import open_caches, write_cache
from stages.clips.prepare import prepare_corpus
from stages.clips.settings import bind
from stages.learning.batches import Batches, ClipData
from stages.learning.recogniser import Recogniser, load_recogniser
from stages.synthesis.corpora import write_corpus

ROOT = Path(__file__).parents[1]
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
LABELS = ["angry", "happy", "sad"]


def composed(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


def is_network(name):
    return issubclass(bind(composed(f"model={name}")["model"]["network"]).func, nn.Module)


NETWORKS = [name for name in MODELS if is_network(name)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus("emodb", folder=folder / "emodb", speakers=2, sentences=1)
    params = composed()
    rows = bind(params["corpora"]["emodb"])(folder / "emodb")
    clips = prepare_corpus(
        rows, corpus="emodb", root=folder / "emodb", folder=folder / "out", **params["audio"]
    )
    return folder, clips


def checkpoint_of(name, clips, folder):
    """An untrained network of a model with fitted normalisation, its data and its checkpoint."""
    params = composed(f"model={name}")
    caches = folder / "features"
    for feature, settings in params["features"].items():
        write_cache(
            caches / f"{feature}.npy",
            feature=bind(settings),
            clips=clips,
            audio=folder / "out" / "audio.npy",
            sample_rate=params["audio"]["sample_rate"],
        )
    frames = clips["frames"].to_numpy()
    data = ClipData(
        caches=open_caches(caches, names=list(params["features"]), frames=int(frames.sum())),
        first=np.cumsum(frames) - frames,
        frames=frames,
        labels=np.zeros(len(clips), np.int64),
        n_classes=len(LABELS),
    )
    torch.manual_seed(0)
    network = bind(params["model"]["network"])(data.inputs, len(LABELS)).eval()
    network.input.fit(data.statistics(np.arange(len(clips))))
    for weight in network.parameters():
        weight.data *= 2  # so that the logits differ from clip to clip
    sections = {name: params[name] for name in ("audio", "features", "model", "train")}
    path = folder / f"{name}.pt"
    torch.save(
        {**sections, "labels": LABELS, "inputs": data.inputs, "state": network.state_dict()}, path
    )
    return params, network, data, path


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_recogniser_equals_the_cached_path(name, corpus):
    folder, clips = corpus
    params, network, data, path = checkpoint_of(name, clips, folder)
    recogniser, _ = load_recogniser(path)
    audio = open_audio(folder / "out" / "audio.npy")
    functions = {key: bind(settings) for key, settings in params["features"].items()}
    seen = []
    for batch in Batches(data, np.arange(len(clips)), size=1):
        clip = clips.iloc[int(batch.clips)]
        samples = audio[clip["start"] : clip["start"] + clip["samples"]]
        waveform = torch.from_numpy(samples.astype(np.float32) / FULL_SCALE)[None]
        exact = {key: f(waveform).transpose(1, 2) for key, f in functions.items()}
        got = recogniser(waveform).softmax(1)
        seen.append(got)
        torch.testing.assert_close(  # float16 in the cache
            got, network(batch.features, batch.lengths).softmax(1), atol=1e-2, rtol=0
        )
        # The level of the stored clip is off by its rounding to 16 bits, 1e-6 of the gain.
        torch.testing.assert_close(got, network(exact, batch.lengths).softmax(1), atol=1e-5, rtol=0)
    assert torch.cat(seen).std(0).max() > 1e-2


@pytest.mark.parametrize("level", ["rms", "peak", "none"])
def test_level_does_with_any_gain_what_prepare_does(level):
    recogniser = Recogniser(
        nn.Identity(), features={}, labels=[], sample_rate=16000, level=level, level_db=-30
    )
    waveform = 0.05 * torch.randn(2, 8000)
    levelled = recogniser._levelled(waveform)
    if level == "none":
        assert torch.equal(levelled, waveform)
        return
    torch.testing.assert_close(recogniser._levelled(waveform * 7), levelled)
    size = levelled.square().mean(1).sqrt() if level == "rms" else levelled.abs().amax(1)
    torch.testing.assert_close(20 * size.log10(), torch.full((2,), -30.0))
    click = torch.zeros(1, 16000)
    click[0, 5] = 0.1
    assert recogniser._levelled(click).max() <= 1.0001
    assert torch.equal(recogniser._levelled(torch.zeros(1, 9)), torch.zeros(1, 9))


def test_level_setting_is_checked():
    with pytest.raises(ValueError, match="audio.level: got 'loud', want rms, peak or none"):
        Recogniser(
            nn.Identity(), features={}, labels=[], sample_rate=16000, level="loud", level_db=-30
        )


def test_missing_checkpoint_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint; `dvc repro` trains"):
        load_recogniser(tmp_path / "model.pt")


def test_a_classical_model_is_refused_by_name(tmp_path):
    params = composed("model=svm")
    torch.save({"model": params["model"]}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds svm, want a network"):
        load_recogniser(tmp_path / "model.pt")


# app.predict -----------------------------------------------------------------------------------


@pytest.fixture
def run_predict(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def model(corpus):
    folder, clips = corpus
    return checkpoint_of("bigru", clips, folder)[3]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)

    def sound(seconds, rate, channels=1):
        return random.normal(0, 0.1, (round(seconds * rate), channels))

    for name, seconds, rate, channels in [
        ("good.flac", 2, 16000, 1),
        ("stereo.wav", 1, 44100, 2),
        ("low.wav", 1, 8000, 1),
        ("high.wav", 1, 192000, 1),
        ("long.wav", 100, 8000, 1),
        ("short.wav", 0.01, 16000, 1),
    ]:
        soundfile.write(folder / name, sound(seconds, rate, channels), rate)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("dear diary")
    return folder


GOOD = {"good.flac", "stereo.wav", "low.wav", "high.wav", "long.wav"}
REASONS = {
    "short.wav": "too short: 0.010 s",
    "silent.wav": "silent",
    "empty.wav": "cannot be decoded",
    "text.wav": "cannot be decoded",
}


def test_good_files_among_bad_ones_are_answered(files, model):
    command = [sys.executable, "-m", "app.predict", files, "--model", model, "--format", "json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    answers = {Path(answer["file"]).name: answer for answer in json.loads(result.stdout)}
    assert set(answers) == GOOD | set(REASONS)
    for name, reason in REASONS.items():
        assert answers[name]["error"].startswith(reason) and "emotion" not in answers[name]
    for name in GOOD:
        probabilities = {label: answers[name][f"p_{label}"] for label in LABELS}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answers[name]["emotion"] == max(probabilities, key=probabilities.get)


def test_only_good_files_end_with_zero_as_csv_and_table(files, model, run_predict):
    good = [files / "good.flac", files / "low.wav"]
    code, printed = run_predict(*good, "--model", model, "--format", "csv")
    table = pd.read_csv(io.StringIO(printed))
    assert code == 0 and len(table) == 2
    assert table.columns.tolist() == ["file", "emotion", *(f"p_{label}" for label in LABELS)]
    code, printed = run_predict(good[0], "--model", model)
    assert code == 0 and printed.split()[:5] == ["file", "emotion", *LABELS]


def test_a_file_that_is_not_there_and_a_folder_without_audio(files, model, run_predict, tmp_path):
    code, printed = run_predict(files / "gone.wav", "--model", model, "--format", "json")
    assert code == 1 and "No such file" in json.loads(printed)[0]["error"]
    assert "no audio file below it" in run_predict(tmp_path, "--model", model)[0]
    assert "no such checkpoint" in run_predict(files, "--model", tmp_path / "none.pt")[0]
