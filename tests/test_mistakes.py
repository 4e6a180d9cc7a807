"""Mistakes in settings are refused before any work: the setting, what it is, what it may be.

And what a command does with an error that it does meet.
"""

import errno
import os
import re
import subprocess
import sys
from copy import deepcopy
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.settings.loading import load_params
from stages.settings.parameters import _check_call, check_params
from studies.schema import compositions, schema
from tests.support import ROOT, composed

#: Choices that bring sections which the default has not. Each takes .2 s to compose.
CHOICES = {
    "default": (),
    "much": (
        "features=[apen,chroma,cochleagram,contrast,logmel,mfcc,pitch,rms,shape,spectrogram,zcr,"
        "ge2e,melpower,wavlm,hubert,wav2vec2,egemaps]",
        "degradations=[white,pink,babble,reverberation,telephone,level]",
        "variants=[slow,stretch,pitch,noise,room]",
        "train/schedule=plateau",
        "split=fixed",
    ),
    "speaker": ("calibration=speaker",),
    "own": ("corpora=[folder,table]", "data=real"),
    "ensemble": ("model=ensemble", "model/members=[svm,frozen_ge2e,ge2e]"),
    "distil": ("model=distil", "model/members=[svm,frozen_ge2e,ge2e]"),
}
#: Models whose section stands in their file as it is composed.
NETWORKS = ("svm", "lda", "lda_functionals", "ge2e", "crnn", "cnn1d", "transformer", "gru")
WHITE = {"white": {"_target_": "stages.degradations.white.white", "snr_db": [1]}}
GONE = object()  # the setting is deleted
#: By choice: a setting, a wrong value, and words of what is wanted.
MISTAKES = {
    "default": [
        ("features.spectrogram.floor_db", -200, "-120 to 0"),
        ("features.cochleagram.floor_db", 1, "-120 to 0"),
        ("train.epochs", "???", "a whole number"),
        ("corpora.emodb.release.speakers", "ten", "a whole number"),
        ("export", "maybe", "true or false"),
        ("export", None, "true or false"),
        ("duplicates", "some", "first or all"),
        ("seeds", [], "a list of different whole numbers"),
        ("seeds", [0, 0], "a list of different whole numbers"),
        ("seeds", 3, "a list of different whole numbers"),
        ("seeds", [0.5], "a list of different whole numbers"),
        ("seeds", [-1], "at least 0"),
        ("seeds", ["a"], "whole numbers"),
        ("seeds", [True], "whole numbers"),
        ("seed", [0], "seeds"),
        ("train", None, "a section"),
        ("train", GONE, "a value"),
        ("corpora", {}, "at least one corpus"),
        ("corpora", ["emodb"], "a section"),
        ("features", {}, "at least one feature"),
        ("features", "mfcc", "a section"),
        ("data.root", 3, "text"),
        ("data.roots", "data/raw", "data.root"),
        ("audio.sample_rate", 0, "whole number over 0"),
        ("audio.sample_rate", 16000.5, "whole number"),
        ("audio.sample_rate", "16k", "whole number"),
        ("audio.sample_rate", 10, "1000 to 192000"),
        ("audio.hop_length", 960000, "16 to 1600"),
        ("audio.hop_length", 0, "16 to 1600"),
        ("audio.hop_length", 256.0, "a whole number"),
        ("audio.win_length", 100, "256 to"),
        ("audio.n_fft", 500, "512 to"),
        ("audio.denoise", 1.5, "0 to 1, or null"),
        ("audio.denoise", "yes", "0 to 1, or null"),
        ("audio.trim_db", 0, "over 0, or null"),
        ("audio.trim_db", -40, "over 0, or null"),
        ("audio.level", "loud", "rms, peak or none"),
        ("audio.level", None, "rms, peak or none"),
        ("audio.level_db", 3, "-60 to 0"),
        ("audio.min_duration_s", -1, "at least 0"),
        ("audio.min_peak", 2, "less than 1"),
        ("audio.min_peak", float("nan"), "less than 1"),
        ("audio.segment_s", 0.1, "twice min_duration_s"),
        ("audio.segment_overlap_s", 1, "null, as segment_s is null"),
        ("audio.segments", 1, "audio.segment_s"),
        ("labels.map", {}, "at least 2"),
        ("labels.map", None, "a section"),
        ("labels.map.angry", 3, "text or null"),
        ("labels.map.anger", "angry", "labels.map.angry"),
        ("labels.map", {"angry": "a", "sad": "a"}, "at least 2"),
        ("labels.name", None, "text"),
        ("corpora.ravdess.reader.song", "no", "true or false"),
        ("corpora.ravdess.reader.songs", True, "corpora.ravdess.reader.song"),
        ("corpora.ravdess.reader._target_", "os.system", "stages.corpora"),
        ("corpora.ravdess.release.clips", "many", "a whole number"),
        ("corpora.ravdess.release.clips", -1, "at least 1"),
        ("corpora.ravdess.release.emotions", {"sadd": 3}, "one of angry"),
        ("corpora.ravdess.release.emotions.sad", -3, "at least 1"),
        ("corpora.ravdess.release.speakers", -3, "at least 1"),
        ("corpora.ravdess.release.speakers.02", 0, "at least 1"),
        ("corpora.tess.download.dataverse.doi", None, "text"),
        ("corpora.tess.download.dataverse.serve", "x", "corpora.tess.download.dataverse.server"),
        ("corpora.ravdess.release.emotions", 3, "null"),
        ("corpora.ravdess.release.names._target_", "os.listdir", "stages.corpora"),
        ("corpora.ravdess.download.licence", "MIT", "a section"),
        ("corpora.ravdess.downloads", None, "corpora.ravdess.download"),
        ("split.validation", 0.9, "0 to 0.5"),
        ("split.validation", "some", "a number"),
        ("split.variants", "both", "with_source or independent"),
        ("split.variants", "independent", "with_source"),
        ("split.train_only", "emodb", "a list"),
        ("split.train_only", ["emodbx"], "some of"),
        ("split.train_only", ["ravdess", "tess", "cremad", "savee", "emodb"], "not all"),
        ("split.speaker_dependent", "no", "true or false"),
        ("split.protocol.folds", 1, "at least 2"),
        ("split.protocol.folds", "five", "a whole number"),
        ("split.protocol.fold", 5, "split.protocol.folds"),
        ("split.protocol.seed", None, "a whole number"),
        ("split.protocol.seed", -1, "0 to"),
        ("split.protocol._target_", "stages.protocols.vibes.assign", "stages.protocols"),
        ("features.mfcc.sample_rate", 8000, "16000, as audio.sample_rate"),
        ("features.mfcc.hop_length", 128, "256, as audio.hop_length"),
        ("features.mfcc.n_mfcc", 65, "1 to 64"),
        ("features.mfcc.n_mfcc", 0, "1 to 64"),
        ("features.mfcc.n_mfcc", "40", "a whole number"),
        ("features.mfcc.n_mfcc", True, "a whole number"),
        ("features.mfcc.n_mfc", 40, "features.mfcc.n_mfcc"),
        ("features.mfcc.n_mfcc", GONE, "a value"),
        ("features.mfcc.fmin", 9000, "below"),
        ("features.mfcc.fmin", float("nan"), "a number"),
        ("features.mfcc.fmax", 9000, "at most 8000"),
        ("features.mfcc.n_mels", 400, "a larger n_fft"),
        ("features.mfcc.deltas", 3, "0 to 2"),
        ("features.mfcc.floor_db", 10, "-120 to 0"),
        ("features.mfcc._target_", "os.system", "a public function or class of stages.acoustics"),
        ("features.mfcc._target_", GONE, "a public function"),
        ("features.mfcc.n_fft", 1, "at least 2"),
        ("features.mfcc.n_fft", 10**6, "2 to 32000"),
        ("train.sample_rate", 0, "16000, as audio.sample_rate"),
        ("model.epochs", -1, "at least 1"),
        ("model.name", "", "text in one line"),
        ("split.title", "a\nb", "text in one line"),
        ("model.network.dropout", 1.0, "less than 1"),
        ("model.network.dropout", -0.1, "at least 0"),
        ("model.network.dropout", "half", "a number"),
        ("model.network.hidden", 0, "at least 1"),
        ("model.network.hidden", 6.5, "a whole number"),
        ("model.network.channels", 16, "a list"),
        ("model.network.channels", [16, 0], "at least 1"),
        ("model.network.normalisation", "batch", "fold_half_clip_mean"),
        ("model.network.hiden", 64, "model.network.hidden"),
        ("model.network._target_", "stages.networks.alexnet.AlexNet", "stages.networks"),
        ("model.netwrok", {}, "model.network"),
        ("model.network", GONE, "a value"),
        ("model.name", None, "text"),
        ("train.epochs", 0, "at least 1"),
        ("train.epochs", 2.5, "a whole number"),
        ("train.epochs", "many", "a whole number"),
        ("train.batch_size", 1, "at least 2"),
        ("train.batch_size", -4, "at least 2"),
        ("train.crop_s", 0, "more than 0 seconds"),
        ("train.window_s", 0, "null or more than 0"),
        ("train.window_s", "whole", "a number or null"),
        ("train.balance", "speaker", "none, label or corpus"),
        ("train.lr", 0, "more than 0"),
        ("train.lr", -0.1, "more than 0"),
        ("train.lr", float("inf"), "a number"),
        ("train.lr", "fast", "a number"),
        ("train.lr", None, "a number"),
        ("train.learning_rate", 0.1, "train."),
        ("train.weight_decay", -1, "at least 0"),
        ("train.warm_start", "none.pt", "an existing checkpoint"),
        ("train.warm_start", "params.yaml", "an existing checkpoint"),
        ("labels.map", {"angry": "a/b", "sad": "b"}, "text on one line without slashes"),
        ("labels.map", {"angry": "a\x1b", "sad": "b"}, "text on one line without slashes"),
        ("train.average", 1, "less than 1"),
        ("train.patience", 0, "null or at least 1"),
        ("train.patience", 1.5, "a whole number or null"),
        ("train.class_weights", "yes", "true or false"),
        ("train.class_weights", 1, "true or false"),
        ("train.label_smoothing", 1, "less than 1"),
        ("train.gradient_clip", -1, "at least 0"),
        ("train.sample_rate", 8000, "16000, as audio.sample_rate"),
        ("train.hop_length", 100, "256, as audio.hop_length"),
        ("train._target_", "os.system", "stages.learning"),
        ("train.augment", None, "a section"),
        ("train.augment.speed", 1, "less than 1"),
        ("train.augment.mixup", -1, "at least 0"),
        ("train.augment.time_masks", 1.5, "a whole number"),
        ("train.augment.band_share", 7, "a share from 0 to 1"),
        ("train.augment.noize", 0.1, "train.augment.noise"),
        ("train.band_share", 7, "train."),
        ("train.schedule", "cosine", "a section"),
        ("train.schedule.warmup", 1, "between 0 and 1"),
        ("train.schedule.factor", 0.1, "train.schedule.warmup"),
    ],
    "own": [
        ("corpora.folder.reader.roots", "a", "a list"),
        ("corpora.folder.reader.roots", [], "at least one folder"),
        ("corpora.folder.reader.speaker", "(", "regular expression"),
        ("corpora.folder.reader.speaker", "a", "(?P<speaker>"),
        ("corpora.folder.reader.sex", "unknown", "female, male or null"),
        ("corpora.folder.reader.language", 3, "text or null"),
        ("corpora.folder.reader.emotions", {"wut": "anger"}, "one of angry"),
        ("corpora.table.reader.columns", {"emotion": 3}, "text"),
        ("corpora.table.reader.table", None, "text"),
    ],
    "much": [
        ("split.protocol.speakers", [], "a section"),
        ("degradations.white.snr_db", 5, "a list of levels"),
        ("degradations.white.snr_db", [], "not empty"),
        ("degradations.white.snr_db", [5, "loud"], "a number"),
        ("degradations.white.snr_db", [5, 500], "-100 to 100"),
        ("degradations.white.snr_db", [5, 5], "different levels"),
        ("degradations.white.snr", [5], "degradations.white.snr_db"),
        ("degradations.babble.voices", 0, "1 to 1000"),
        ("degradations.pink.lowest_hz", 9000, "1 to 4000"),
        ("degradations.reverberation.t60_s", [0], "0.01 to 20"),
        ("degradations.telephone.rate_hz", 10, "1000 to 192000"),
        ("degradations.telephone.high_hz", 5000, "2 to"),
        ("degradations.telephone.low_hz", 3400, "1 to"),
        ("degradations.telephone.order", 0, "1 to 20"),
        ("degradations.level.peak_db", [200], "-100 to 100"),
        ("variants.slow.factor", [0.9, 5], "two numbers from 0.25 to 4"),
        ("variants.stretch.n_fft", 1, "at least 4"),
        ("variants.pitch.n_fft", 1, "at least 4"),
        ("variants.stretch.rate", [2, 1], "two numbers"),
        ("variants.stretch.rate", 1.5, "a list"),
        ("variants.pitch.semitones", ["a", "b"], "a number"),
        ("variants.noise.snr_db", [10], "two numbers"),
        ("variants.room.t60_s", [0, 99], "two numbers from"),
        ("variants.pitch.sample_rate", 8000, "16000, as audio.sample_rate"),
        ("features.chroma.floor_db", 1, "-120 to 0"),
        ("features.contrast.floor_db", 1, "-120 to 0"),
        ("features.shape.floor_db", 1, "-120 to 0"),
        ("features.pitch.floor_db", 1, "-120 to 0"),
        ("features.rms.floor_db", 1, "-120 to 0"),
        ("features.logmel.floor_db", 1, "-120 to 0"),
        ("features.logmel.n_mels", 512, "1 to 511"),
        ("features.logmel.win_length", 600, "2 to 512"),
        ("features.spectrogram.bins", 100, "a divisor of 256"),
        ("features.spectrogram.fmax", 90000, "to 8000"),
        ("features.cochleagram.method", "exact", "fft or iir"),
        ("features.cochleagram.n_channels", -1, "at least 1"),
        ("features.pitch.fmin", 600, "below 500"),
        ("features.pitch.frame_length", 300, "at least 534"),
        ("features.pitch.threshold", 2, "0 to 1"),
        ("features.rms.frame_length", 100, "256 to 16000"),
        ("features.zcr.frame_length", 0, "at least 2"),
        ("features.apen.m", 0, "1 to 399"),
        ("features.apen.r", -1, "over 0"),
        ("features.chroma.n_chroma", 5000, "1 to 1024"),
        ("features.chroma.tuning", 1, "-0.5 to 0.5"),
        ("features.contrast.quantile", 1, "below 1"),
        ("features.contrast.n_bands", 9, "1 to 6"),
        ("features.shape.roll_percent", 85, "below 1"),
        ("features.ge2e.layer", 4, "1 to 3"),
        ("features.logmel.n_mels", 250, "a larger n_fft"),
        ("features.cochleagram.n_channels", 510, "at most 509"),
        ("features.wavlm.window_s", "20", "a number"),
        ("features.wavlm.window_s", 2, "5 to 60"),
        ("features.wavlm.bundle", "WAVLM_SMALL", "one of WAVLM_BASE, WAVLM_BASE_PLUS"),
        ("features.wavlm.layer", 13, "1 to 12, or -1"),
        ("features.hubert.layer", -13, "to -12 of HUBERT_BASE"),
        ("features.wav2vec2.bundle", "HUBERT_BASE", "one of WAV2VEC2_ASR"),
        ("features.wavlm.layer", 1.5, "a whole number"),
        ("features.melpower.sample_rate", 8000, "16000"),
        ("train.schedule.factor", 2, "between 0 and 1"),
        ("train.schedule.patience", -1, "at least 0"),
    ],
    "speaker": [
        ("calibration.clips", -1, "at least 1, or all"),
        ("calibration.clips", "some", "all"),
        ("calibration.fewer", "drop", "use or leave_out"),
        ("calibration.statistics", "std", "mean_std"),
        ("calibration.seeds", 0, "calibration.seed"),
        ("train.window_s", 2.0, "null with calibration"),
    ],
    "svm": [
        ("model.network.kernel", "poly", "linear, polynomial, rbf"),
        ("model.network.c", 0, "more than 0"),
        ("model.network.limit", -1, "null or more than 0"),
        ("model.network.functionals", "mean", "a list"),
        ("model.network.functionals", ["average"], "some of"),
        ("model.n_mfcc", 0, "1 to 64"),
    ],
    "lda": [
        ("model.network.shrinkage", 1.5, "at most 1"),
        ("model.network.deviations", 256, "a section"),
        ("model.network.deviations.ge2e", -1, "at least 0"),
        ("model.network.deviations", {"ge2e": "some"}, "a whole number"),
        ("model.ge2e_layer", "third", "a whole number"),
        ("model.ge2e_layer", 9, "1 to 3"),
        ("model.ge2e_layer", [], "1 to 3"),
        ("features.ge2e.layer", [2, 2], "each once"),
    ],
    "lda_functionals": [
        ("model.network.shrinkage", 0, "more than 0"),
        ("model.network.functionals", ["average"], "some of"),
    ],
    "crnn": [
        ("model.network.pooling", [[2, 2]], "a pair for each"),
        ("model.network.pooling", 2, "a list"),
    ],
    "cnn1d": [
        ("model.network.kernel", 4, "odd"),
        ("model.network.block_dropout", 2, "less than 1"),
    ],
    "transformer": [
        ("model.network.heads", 5, "a divisor"),
        ("model.network.neighbours", 4, "odd"),
    ],
    "ge2e": [
        ("model.network.warp", 0.5, "less than 0.5"),
        ("model.network.layers", 9, "1 to 3"),
        ("model.network.encoder_lr", -1, "at least 0"),
    ],
    "gru": [
        ("model.network.pooling", 0, "at least 1"),
        ("model.network.dense", [64], "a list of 2"),
        ("model.network.dense", [64, "a"], "a list"),
    ],
    "ensemble": [
        ("model.members", {}, "at least 2"),
        ("model.network.weights", "best", "equal or validation"),
        ("model.members.svm.features", ["mfccs"], "some of"),
        ("model.members.ge2e.train.lr", 0, "more than 0"),
        ("model.members.ge2e.train.sample_rate", 0, "16000, as audio.sample_rate"),
        ("model.members.ge2e.train.warm_start", "a.pt", "null"),
        ("model.members.ge2e.model.network.dropout", 1, "less than 1"),
        ("model.members.svm.model.network.c", -1, "more than 0"),
        ("model.members.ge2e.features", ["mfcc"], "melpower"),
    ],
    "distil": [
        ("model.network.crossfit", 0, "at least 1"),
        ("model.network.temperature", 0, "more than 0"),
        ("model.network.fraction", 1.5, "0 to 1"),
        ("model.student", {}, "one network"),
    ],
}


def chosen(choice: str) -> dict:
    """Compose the settings of a choice, or the default with another model and many features."""
    if choice not in NETWORKS:
        return composed(*CHOICES[choice])
    model = composed(f"model={choice}")["model"]
    return composed(*CHOICES["much"]) | {"model": model, "degradations": {}}


def changed(params: dict, setting: str, value: object) -> dict:
    """Give a setting another value, or take it away."""
    *above, last = setting.split(".")
    section = params
    for name in above:
        section = section[name]
    if value is GONE:
        del section[last]
    else:
        section[last] = value
    return params


@pytest.mark.parametrize(
    ("choice", "setting", "value", "want"),
    [(choice, *row) for choice, rows in MISTAKES.items() for row in rows],
)
def test_a_mistake_is_named_with_its_value_and_what_is_wanted(choice, setting, value, want):
    with pytest.raises(ValueError) as refused:
        check_params(changed(chosen(choice), setting, value))
    message = str(refused.value)
    assert re.match(rf"{re.escape(setting)}: (\w+: )?got ", message), message
    assert want in re.split("[,;] want ", message, maxsplit=1)[1]


def leaves_of_targets(node: object, prefix: str = ""):
    """Yield the dotted name of every setting of a section with a `_target_`."""
    if isinstance(node, dict):
        for name, value in node.items():
            if "_target_" in node and name != "_target_" and not isinstance(value, dict):
                yield f"{prefix}{name}"
            yield from leaves_of_targets(value, f"{prefix}{name}.")


@pytest.mark.parametrize("choice", ["much", "own", *NETWORKS])
def test_every_setting_of_code_has_a_type_that_is_checked(choice):
    """Also of code that comes tomorrow: its annotations are all that is needed."""
    params = chosen(choice)
    for setting in leaves_of_targets({"model": params["model"]} if choice in NETWORKS else params):
        place, _, name = setting.rpartition(".")  # where one of two may be a list, both are named
        with pytest.raises(ValueError, match=rf"{re.escape(place)}(\.{name})?: got "):
            check_params(changed(chosen(choice), setting, {"a": {"b": object()}}))


def test_the_schema_for_editors_knows_every_setting_and_its_values():
    known = schema([chosen(choice) for choice in CHOICES])
    Draft202012Validator.check_schema(known)
    valid = Draft202012Validator(known).is_valid
    assert all(valid(chosen(choice)) for choice in CHOICES)
    default = chosen("default")
    for setting, value in (
        ("train.epoch", 3),
        ("train.epochs", "three"),
        ("train.schedule.name", "none"),
        ("features.mfcc.n_mfc", 20),
        ("features.mfcc.n_mfcc", 1.5),
        ("split.protocol.folds", None),
        ("audio.denoised", 0.5),
        ("feature", {}),
    ):
        assert not valid(changed(deepcopy(default), setting, value)), setting
    for choice, setting, value in (
        ("default", "audio.denoise", 0.5),
        ("default", "train.window_s", 2.0),
        ("speaker", "calibration.clips", "all"),
    ):
        assert valid(changed(deepcopy(chosen(choice)), setting, value)), setting
    lr = known["properties"]["train"]["properties"]["lr"]
    assert lr["description"] == "highest learning rate"


def test_the_schema_is_made_of_every_option():
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.schema.plain", asked.extend)
        patch.setattr("studies.schema.compose_params", list)
        compositions()
    for path in Path("conf").rglob("*/*.yaml"):
        group = path.parent.relative_to("conf").as_posix()
        said = " ".join(choice for choice in asked if choice.lstrip("+").startswith(f"{group}="))
        if group not in ("tune", "model/functionals"):  # the latter are parts of models
            assert path.stem in re.findall(r"\w+", said), path


@pytest.mark.parametrize("name", ["slow 2", "slow\n", "../slow", "\x1b[31m", "", 3])
@pytest.mark.parametrize("section", ["corpora", "features", "variants", "degradations"])
def test_names_that_name_files_stages_and_clips_are_plain(section, name):
    params = composed("variants=[slow]", "degradations=[white]")
    params[section] = {name: next(iter(params[section].values()))}
    want = f"{section}: got {name!r}, want a name of the letters a to z, digits, _ and -"
    with pytest.raises(ValueError) as refused:
        check_params(params)
    assert str(refused.value) == want


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("model=svm degradations=[white]", "degradations: got ['white'], want none with model=svm"),
        ("model=ensemble degradations=[white]", "degradations: got ['white'], want none with"),
        ("model=distil calibration=speaker", "calibration: got 'speaker', want none with"),
        (
            "model=ensemble model/members=[svm,ge2e] "
            "calibration=speaker model.members.ge2e.train.window_s=1.5",
            "model.members.ge2e.train.window_s: got 1.5, want null with calibration",
        ),
        (
            "model=ensemble split.validation=0 model.network.weights=validation",
            "model.network.weights: got 'validation', want equal with split.validation=0",
        ),
        (
            "model=ensemble model/members=[svm,ge2e] "
            "split.validation=0 model.members.ge2e.train.patience=3",
            "model.members.ge2e.train.patience: got 3, want null with split.validation=0",
        ),
        (
            "model=distil split.validation=0 model.student.bigru.train.patience=3",
            "model.student.bigru.train.patience: got 3, want null with split.validation=0",
        ),
        (
            "model=ensemble model/members=[svm,ge2e] ~model.members.ge2e.train",
            "model.members.ge2e.train: got nothing, want a value",
        ),
    ],
)
def test_models_are_told_what_they_cannot_do_before_any_work(choices, message):
    with pytest.raises(ValueError) as refused:
        check_params(composed(*choices.split()))
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("choice", ["train.patience=3", "train/schedule=plateau"])
def test_what_watches_validation_needs_some(choice):
    params = composed(choice, "split.validation=0")
    setting = choice.partition("=")[0].replace("/", ".")
    with pytest.raises(ValueError, match=f"{setting}: got .*, want .* with split.validation=0"):
        check_params(params)
    check_params(composed(choice))


def test_sections_in_a_list_are_checked_one_by_one():
    params = composed()
    params["corpora"]["ravdess"]["download"]["files"][0]["size"] = "large"
    with pytest.raises(ValueError, match=r"ravdess\.download\.files\.0\.size: got 'large', want"):
        check_params(params)


def test_what_several_sections_disagree_about_is_refused():
    calibrated = composed("calibration=speaker")
    with pytest.raises(ValueError, match="calibration: got .*random.* want .*speakers out"):
        check_params(calibrated | {"split": composed("split=random")["split"]})
    with pytest.raises(ValueError, match=r"calibration.seed: got nothing"):
        check_params(changed(composed(), "calibration.clips", 3))


@pytest.mark.parametrize("content", ["", "- 1\n", "seeds: [0]\n"])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ValueError, match="(params.yaml|export): (content: )?got "):
        load_params(tmp_path / "params.yaml")


def raising(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ImportError("opensmile: want it: pip install"), "opensmile: want it: pip install"),
        (ConfigKeyError("Key 'a' is not in struct"), "Key 'a' is not in struct"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a/b.csv"), "a/b.csv: no such file"),
        (PermissionError(errno.EACCES, "Denied", b"a"), "a: denied"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.npy"),
            r"a.npy: no space .* GB are free",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"a file below /.*: no space .* GB are free",
        ),
        (OSError(errno.EXDEV, "Cross", "a", None, "b"), "a to b: cross"),
        (MemoryError("Unable to allocate 9 GB"), "out of memory, .* GB are free: Unable to"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory"), "out of memory, "),
        (KeyError("fold"), "internal error, a fault of Inflect: KeyError: 'fold' .INFLECT_DEBUG=1"),
        (AssertionError(), "internal error, a fault of Inflect: AssertionError: no message"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(error, line, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raising(error))
    assert re.match(line, ended.value.code) and "\n" not in ended.value.code
    monkeypatch.setenv("INFLECT_DEBUG", "1")
    with pytest.raises(type(error)):
        run_command(raising(error))


def test_a_message_of_a_library_says_how_to_see_where_it_came_from(tmp_path):
    """One of this project stands alone."""
    with pytest.raises(SystemExit, match=r"^could not convert .*INFLECT_DEBUG=1"):
        run_command(lambda: float("a" + os.sep))
    (tmp_path / "clips.csv").write_text("a\n1\n")
    with pytest.raises(SystemExit, match=r"clips.csv") as ended:
        run_command(lambda: read_clips(tmp_path / "clips.csv"))
    assert "INFLECT_DEBUG" not in ended.value.code


def test_an_interruption_has_an_exit_code_of_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raising(KeyboardInterrupt()))
    assert ended.value.code == 130 and capsys.readouterr().err.startswith("interrupted")


def test_the_first_stage_refuses_a_setting_of_another_in_one_line(tmp_path):
    OmegaConf.save(changed(composed(), "train.lr", -1), tmp_path / "params.yaml")
    ended = subprocess.run(
        [sys.executable, "-m", "stages.check"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "train.lr: got -1, want more than 0\n"
    assert not (tmp_path / "data").exists()


def test_the_check_imports_no_library_that_takes_seconds(tmp_path):
    code = (
        "import sys; from stages.settings.loading import load_params; load_params()\n"
        "sys.exit(bool({'torch', 'pandas', 'numba', 'librosa', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_code_whose_import_needs_its_library_is_checked_by_its_types(monkeypatch):
    class Loader(SourceFileLoader):
        def get_code(self, name):
            return compile("import numpy; first, last = numpy.ones(2)", name, "exec")

    params = composed("features=[rms]")
    monkeypatch.delitem(sys.modules, "rehearsal.stages.acoustics.rms", raising=False)
    monkeypatch.setattr("stages.settings.rehearsal.SourceFileLoader", Loader)
    check_kept = partial(_check_call, "features.rms", folder="acoustics")
    check_kept(params["features"]["rms"])
    with pytest.raises(ValueError, match="features.rms.floor_db: got 'low', want a number"):
        check_kept(params["features"]["rms"] | {"floor_db": "low"})
