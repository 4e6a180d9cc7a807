"""Check of every setting in params.yaml, before any work.

Code that a `_target_` names says itself what it takes: annotations give the types, and its checks,
which are rehearsed, the ranges. This module adds the settings that no `_target_` takes, and what
several sections must agree about.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from stages.settings.checks import check, check_range
from stages.settings.rehearsal import Needed, Unknown, rehearse, rehearsed

#: Sections and settings at the top of params.yaml; `features` to `data` are sections.
_TOP = (
    *("export", "duplicates", "seeds", "degradations", "variants", "corpora", "labels", "audio"),
    *("split", "calibration", "train", "features", "model", "data"),
)
_OPTIONAL = ("model_code", "leaky_variants")
#: Settings of a model that features and the training take over, beside those of chosen features.
_TAKEN_OVER = {"epochs", "warmup", "n_mels", "n_mfcc", "n_channels", "ge2e_layer"}
_IN_HEADINGS = r"(data|labels|split|calibration|model)(\..+)?\.(name|title|description)"
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}


def check_params(params: Any) -> None:
    """Refuse settings that some stage could not use.

    Parameters
    ----------
    params : mapping
        the content of params.yaml, references resolved; a file may hold anything else

    Raises
    ------
    ValueError
        naming the first wrong setting, its value, and what is wanted
    """
    _check_kind("params.yaml", params, dict)
    _check_names("", params, wanted=_TOP, optional=_OPTIONAL)
    for name in _TOP[3:]:
        _check_kind(name, params[name], dict)
    for section in ("corpora", "features", "variants", "degradations"):
        for name in params[section]:  # it names files, stages of DVC and clips
            fine = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]+", name) is not None
            check(section, name, fine, "a name of the letters a to z, digits, _ and -")
    _check_kind("export", params["export"], bool)
    seeds = params["seeds"]
    fine = bool(seeds) and _fits(seeds, Sequence[int]) and len(set(seeds)) == len(seeds)
    fine = fine and all(0 <= seed < 2**32 for seed in seeds)
    check("seeds", seeds, fine, "a list of different whole numbers, at least 0")
    _check_kind("data", params["data"], dict)
    _check_names("data", params["data"], wanted=("name", "root"))
    for name in ("name", "root"):
        _check_kind(f"data.{name}", params["data"][name], str)
    _check_kind("model_code", params.get("model_code", ""), str)
    _check_audio(params["audio"])
    _check_clock(params)
    _check_corpora(params["corpora"])
    _check_labels(params["labels"])
    merging = rehearsed("stages.clips.merging").settle_duplicates
    rehearse(partial(merging, Unknown(), use=params["duplicates"]))
    random = Unknown(uniform=lambda low, _: low)
    heard = Unknown(length=params["audio"]["sample_rate"])
    for name, settings in params["variants"].items():
        _check_call(f"variants.{name}", settings, "variants", waveform=heard, random=random)
    _check_split(params["split"], corpora=params["corpora"])
    _check_degradations(params["degradations"], rate=params["audio"]["sample_rate"])
    check("features", params["features"], bool(params["features"]), "at least one feature")
    for name, settings in params["features"].items():
        _check_call(f"features.{name}", settings, "acoustics")
        second, hop_length = params["audio"]["sample_rate"], settings["hop_length"]
        for window in {"win_length", "frame_length"} & set(settings):
            check_range(f"features.{name}.{window}", settings[window], low=hop_length, high=second)
        if "n_fft" in settings:
            check_range(f"features.{name}.n_fft", settings["n_fft"], low=2, high=2 * second)
    _check_model("model", params["model"], features=params["features"])
    _check_training("train", params["train"])
    _check_taken_over(params["model"], params["features"], params["train"])
    _check_validation(params)
    _check_recognised(params["degradations"], model=params["model"])
    _check_calibration(params["calibration"], params)
    for setting, value in _leaves(params):
        if setting.endswith(".seed"):
            check_range(setting, value, low=0, high=2**32 - 1)
        if re.fullmatch(_IN_HEADINGS, setting):
            fine = isinstance(value, str) and value.isprintable() and bool(value)
            check(setting, value, fine, "text in one line")


def split_levels(name: str, settings: Mapping[str, Any], units: Mapping[str, str]) -> dict:
    """Return the one setting of a degradation that is a list of levels, if it has UNITS.

    Parameters
    ----------
    name : str
        of the degradation
    settings : mapping
        of the degradation
    units : mapping
        unit by the setting that may be a list

    Returns
    -------
    dict
        one list by its name, or nothing if there are no units

    Raises
    ------
    ValueError
        unless there is one list that is not empty, and none without units
    """
    lists = {key: value for key, value in settings.items() if isinstance(value, list)}
    if len(units) == 1:
        levels = settings.get(only := next(iter(units)))
        fine = bool(levels) and isinstance(levels, list)
        check(f"degradations.{name}.{only}", levels, fine, "a list of levels, not empty")
    want = f"one list, of {' or '.join(units)}, not empty" if units else "no list"
    fine = len(lists) == bool(units) and [] not in lists.values() and lists.keys() <= set(units)
    check(f"degradations.{name}", lists, fine, want)
    return lists


def _check_clock(params: Mapping[str, Any]) -> None:
    """Check that all sections have the sample rate and the hop of `audio`."""
    for setting, value in _leaves(params):
        section, _, name = setting.rpartition(".")
        if name in ("sample_rate", "hop_length") and section != "audio":
            want = params["audio"][name]
            check(setting, value, value == want, f"{want}, as audio.{name}")


def _check_audio(audio: dict) -> None:
    module = rehearsed("stages.audio.conditioning")
    lengths = ("hop_length", "win_length", "n_fft")
    _check_names("audio", audio, wanted=(*module.CONDITIONING, *module.SEGMENTS, *lengths))
    for check_group in (module.conditioning, module.segmenting):
        rehearse(partial(check_group, audio))
    for name in ("sample_rate", *lengths):
        _check_kind(f"audio.{name}", audio[name], int)
    rate, hop_length = audio["sample_rate"], audio["hop_length"]
    check_range("audio.sample_rate", rate, low=1000, high=192_000)
    # A millisecond to a tenth of a second.
    low, high = math.ceil(rate / 1000), rate // 10
    check_range("audio.hop_length", hop_length, low=low, high=high)
    check_range("audio.win_length", audio["win_length"], low=hop_length, high=rate)
    check_range("audio.n_fft", audio["n_fft"], low=audio["win_length"], high=2 * rate)


def _check_corpora(corpora: dict) -> None:
    check("corpora", corpora, bool(corpora), "at least one corpus")
    release = rehearsed("stages.clips.completeness").Release
    plan = rehearsed("stages.fetching.plan").FetchPlan
    for name, settings in corpora.items():
        setting = f"corpora.{name}"
        _check_kind(setting, settings, dict)
        _check_names(setting, settings, wanted=("reader",), optional=("release", "download"))
        _check_call(f"{setting}.reader", settings["reader"], "corpora")
        held = settings.get("release")
        if held is not None:
            names = held.get("names") if isinstance(held, dict) else None
            _check_kind(f"{setting}.release", held | {"names": None} if names else held, release)
            if names is not None:
                _check_call(f"{setting}.release.names", names, "corpora")
        if settings.get("download") is not None:
            _check_kind(f"{setting}.download", settings["download"], plan)


def _check_labels(labels: dict) -> None:
    _check_names("labels", labels, wanted=("name", "map"))
    _check_kind("labels.name", labels["name"], str)
    known = rehearsed("stages.sources.vocabulary").EMOTIONS
    _check_kind("labels.map", labels["map"], dict)
    _check_names("labels.map", labels["map"], optional=known)
    for name, label in labels["map"].items():
        _check_kind(f"labels.map.{name}", label, str | None)
        check(f"labels.map.{name}", label, label != "", "text or null")
    rehearse(partial(rehearsed("stages.splits.labels").check_labels, labels["map"]))
    classes = sorted(set(filter(None, labels["map"].values())))
    check("labels.map", classes, len(classes) > 1, "at least 2 different labels")


def _check_split(split: dict, *, corpora: Collection[str]) -> None:
    texts = ("name", "title", "description")
    function = rehearsed("stages.splits.assignment").split_clips
    kinds = kinds_of(function)
    _check_names("split", split, wanted=(*texts, *kinds), optional=("titles",))
    for name in texts:
        _check_kind(f"split.{name}", split[name], str)
    for name, kind in kinds.items():
        _check_kind(f"split.{name}", split[name], kind)
    _check_call("split.protocol", split["protocol"], "protocols")
    for name, value in split["protocol"].items():
        if name.endswith("folds"):
            check_range(f"split.protocol.{name}", value, low=2)
    rules = {name: split[name] for name in kinds if name != "protocol"}
    rehearse(partial(function, Unknown(), protocol=Unknown(), **rules))
    helpers = split["train_only"]
    fine = set(helpers) < set(corpora)
    check("split.train_only", helpers, fine, f"some of {sorted(corpora)}, but not all")


def _check_degradations(degradations: dict, *, rate: int) -> None:
    for name, settings in degradations.items():
        setting = f"degradations.{name}"
        module, function = target_of(setting, settings, "degradations")
        _check_names(setting, settings, wanted=("_target_", *kinds_of(function)))
        lists = split_levels(name, settings, module.UNITS)
        heard = Unknown(length=rate)
        levels = [(key, level) for key, values in lists.items() for level in values]
        for one in [{key: level} for key, level in levels] or [{}]:
            scene = Unknown(sample_rate=rate)
            _check_call(setting, settings | one, "degradations", waveform=heard, scene=scene)
        for key, values in lists.items():
            fine = len(set(values)) == len(values)
            check(f"{setting}.{key}", values, fine, "different levels")


def _check_model(setting: str, model: dict, *, features: Mapping[str, Any]) -> None:
    """Check a model, or a member of one; features are those that it reads."""
    _check_kind(setting, model, dict)
    taken = {name for feature in features.values() for name in feature} | _TAKEN_OVER
    wanted, roles = ("name", "network"), ("members", "student")
    _check_names(setting, model, wanted=wanted, optional=("code", "export", *roles, *sorted(taken)))
    kinds = {
        "name": str,
        "code": str,
        "export": bool,
        "ge2e_layer": int | list[int],
        **dict.fromkeys(roles, dict),
    }
    for name in set(model) - {"network"}:
        _check_kind(f"{setting}.{name}", model[name], kinds.get(name, float))
    parts = {role: model[role] for role in roles if role in model}
    for role, members in parts.items():
        for name, member in members.items():
            _check_member(f"{setting}.{role}.{name}", member, features=features)
    if "student" in model:
        rehearse(partial(rehearsed("stages.learning.learner").only_student, model["student"]))
    held = {role: dict.fromkeys(members, Unknown()) for role, members in parts.items()}
    inputs = dict.fromkeys(features, Unknown())
    network = f"{setting}.network"
    _check_call(network, model["network"], "networks", inputs=inputs, **held)
    if "functionals" in model["network"]:
        known = rehearsed("stages.learning.functionals").functional_names
        names = model["network"]["functionals"]
        _check_rehearsal(network, partial(known, dict.fromkeys(features, 2), names=names))
    for name, value in model["network"].items():
        check(f"{network}.{name}", value, value != [], "a list that is not empty")
        if _fits(value, int | Sequence[int | Sequence[int]]):
            check(f"{network}.{name}", value, min(_flat(value)) >= 1, "at least 1")
        if name.endswith("dropout"):
            check(f"{network}.{name}", value, 0 <= value < 1, "at least 0 and less than 1")


def _check_member(setting: str, member: dict, *, features: Mapping[str, Any]) -> None:
    _check_kind(setting, member, dict)
    _check_names(setting, member, wanted=("features", "model"), optional=("train",))
    read = member["features"]
    _check_kind(f"{setting}.features", read, Sequence[str])
    fine = bool(read) and set(read) <= set(features)
    check(f"{setting}.features", read, fine, f"some of {sorted(features)}")
    chosen = {name: features[name] for name in read}
    _check_model(f"{setting}.model", member["model"], features=chosen)
    if "train" in member or not _is_classical(member["model"]):
        _check_names(setting, member, wanted=("train",), optional=("features", "model"))
        _check_training(f"{setting}.train", member["train"])
        start = member["train"]["warm_start"]
        check(f"{setting}.train.warm_start", start, start is None, "null")


def _check_training(setting: str, train: dict) -> None:
    _check_call(setting, train, "learning")
    frame_s = train["hop_length"] / train["sample_rate"]
    for name in ("crop_s", "window_s"):
        fine = train[name] is None or train[name] >= frame_s
        check(f"{setting}.{name}", train[name], fine, f"at least a frame, {frame_s:g} seconds")
    start = train["warm_start"]
    fine = start is None or zipfile.is_zipfile(start)
    check(f"{setting}.warm_start", start, fine, "null or an existing checkpoint")


def _check_taken_over(model: dict, features: Mapping[str, dict], train: dict) -> None:
    """Check the values that a model has for settings of features and of the training.

    Composed settings hold them twice, and those of the model count no more.
    """
    takers = [(f"features.{name}", settings, "acoustics") for name, settings in features.items()]
    takers += [("train", train, "learning"), ("train.schedule", train["schedule"], "learning")]
    for taker, settings, folder in takers:
        for name in settings:
            for own in {name, f"{taker.rpartition('.')[2]}_{name}"} & set(model):
                try:
                    _check_call(taker, settings | {name: model[own]}, folder)
                except ValueError as error:
                    message = str(error).removeprefix(f"{taker}.{name}: ")
                    raise ValueError(f"model.{own}: {message}") from error


def _is_classical(model: dict) -> bool:
    """Tell whether a model is no network; see stages.learning.learner.is_network."""
    _, kind = target_of("model.network", model["network"], "networks")
    return rehearsed("stages.learning.learner").Learner in kind.__mro__


def _trainings(params: Mapping[str, Any]) -> dict[str, dict]:
    """The section `train` and those of members and students, by name."""
    found = {"train": params["train"]}
    for role in ("members", "student"):
        for name, member in params["model"].get(role, {}).items():
            if "train" in member:
                found[f"model.{role}.{name}.train"] = member["train"]
    return found


def _check_validation(params: Mapping[str, Any]) -> None:
    """Refuse settings that watch validation clips where there are none."""
    split, network = params["split"], params["model"]["network"]
    if split["validation"] or "speakers" in split["protocol"]:  # which may list some that validate
        return
    want = "with split.validation=0, where no clip validates"
    for setting, train in _trainings(params).items():
        check(f"{setting}.patience", train["patience"], train["patience"] is None, f"null {want}")
        _, schedule = target_of(f"{setting}.schedule", train["schedule"], "learning")
        fine = not schedule.watches_validation
        check(f"{setting}.schedule", schedule.__name__, fine, f"another one {want}")
    weights = network.get("weights")
    check("model.network.weights", weights, weights != "validation", f"equal {want}")


def _check_recognised(degradations: Collection[str], *, model: dict) -> None:
    """Refuse degradations where no network is kept, which alone can hear degraded sound."""
    fine = not degradations or "student" in model or not _is_classical(model)
    want = f"none with model={model['name']}, which is no network"
    check("degradations", list(degradations), fine, want)


def _check_calibration(calibration: dict, params: Mapping[str, Any]) -> None:
    kinds = {"name": str, "clips": int | Literal["all"]}
    off = calibration.get("clips") == 0
    kinds |= {} if off else {"seed": int, "fewer": str, "statistics": str}
    _check_names("calibration", calibration, wanted=tuple(kinds))
    for name, kind in kinds.items():
        _check_kind(f"calibration.{name}", calibration[name], kind)
    if off:
        return
    facts = {name: calibration[name] for name in ("seed", "fewer")}
    mark = rehearsed("stages.splits.enrolment").mark_enrolment
    rehearse(partial(mark, Unknown(), Unknown(), number=calibration["clips"], **facts))
    statistics = calibration["statistics"]
    if statistics != "none":
        kept = rehearsed("stages.learning.speaker_statistics").SpeakerCalibration
        rehearse(partial(kept, statistics=statistics))
        for setting, train in _trainings(params).items():
            fine, want = train["window_s"] is None, "null with calibration to speakers"
            check(f"{setting}.window_s", train["window_s"], fine, want)
        model = params["model"]
        fine, want = "student" not in model, f"none with model={model['name']}"
        check("calibration", calibration["name"], fine, want)
    shown = f"{calibration['name']} with split={params['split']['name']}"
    fine = not params["split"]["speaker_dependent"]
    want = "none, or a split that holds speakers out"
    check("calibration", shown, fine, want)


def _check_call(setting: str, settings: Any, folder: str, **known: Any) -> None:
    """Check what a `_target_` is called with; `known` are arguments that no setting gives."""
    _, function = target_of(setting, settings, folder)
    values = {name: value for name, value in settings.items() if name != "_target_"}
    kinds = kinds_of(function)
    _check_names(setting, values, wanted=tuple(kinds))
    for name, value in values.items():
        if folder == "learning" and name in ("augment", "schedule"):
            _check_call(f"{setting}.{name}", value, folder)
            values[name] = Unknown()
        else:
            _check_kind(f"{setting}.{name}", value, kinds[name])
    others = [
        known.get(name, Unknown())
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if function.__module__.startswith("rehearsal."):
        _check_rehearsal(setting, partial(function, *others, **values))


def _check_rehearsal(setting: str, call: Callable[[], object]) -> None:
    """Rehearse code, and name the setting in full where the code knows only its own name for it."""
    try:
        rehearse(call)
    except ValueError as error:
        message = str(error)
        if re.split("[.:]", message)[0] not in _TOP:
            raise ValueError(f"{setting}.{message}") from error
        member = re.match(r"model\.(members|student)\.[^.]+\.", setting)
        raise ValueError(f"{member[0]}{message}" if member else message) from error


def target_of(setting: str, settings: Any, folder: str) -> tuple[ModuleType, Any]:
    """Find the function or class that a `_target_` names, in a rehearsed module."""
    _check_kind(setting, settings, dict)
    name = settings.get("_target_")
    match = re.fullmatch(rf"(stages\.{folder}\.[a-z]\w*)\.([A-Za-z]\w*)", str(name))
    want = f"a public function or class of stages.{folder}, such as conf/ names"
    try:
        module = rehearsed(match[1]) if match else None
    except ModuleNotFoundError:
        module = None
    except Needed:  # code that no rehearsal can import
        assert match is not None
        module = import_module(match[1])
    found = getattr(module, match[2], None) if match else None
    fine = module is not None and getattr(found, "__module__", None) == module.__name__
    check(f"{setting}._target_", name, fine, want)
    assert module is not None
    return module, found


def kinds_of(function: Any) -> dict[str, Any]:
    """Types of the keyword-only arguments of a rehearsed function or class, by name."""
    parameters = inspect.signature(function).parameters.values()
    is_class = isinstance(function, type)
    code = inspect.unwrap(function.__init__ if is_class else function)
    space = code.__globals__
    keywords = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    return {one.name: _kind(one.annotation, space) for one in keywords}


def _kind(annotation: Any, space: dict[str, Any]) -> Any:
    return eval(annotation, space) if isinstance(annotation, str) else annotation


def _check_names(
    setting: str,
    settings: Mapping[str, Any],
    *,
    wanted: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Refuse settings that nothing takes, naming the nearest, and those that are missing."""
    known, prefix = [*wanted, *optional], f"{setting}." if setting else ""
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1, cutoff=0.5) or known
            listed = ", ".join(f"{prefix}{one}" for one in near) or "nothing here"
            raise ValueError(f"{prefix}{name}: got a setting that does not exist, want {listed}")
    for name in wanted:
        if name not in settings:
            raise ValueError(f"{prefix}{name}: got nothing, want a value")


def _check_kind(setting: str, value: Any, kind: Any) -> None:
    """Refuse a value that is not of a type, see `_fits`; the fields of dataclasses one by one."""
    check(setting, value, _fits(value, kind), _in_words(kind))
    parts = [one for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)]
    if parts and isinstance(value, list):
        for number, one in enumerate(value):
            _check_kind(f"{setting}.{number}", one, parts[0])
    elif parts and isinstance(value, dict):
        _check_fields(setting, value, parts[0])


def _check_fields(setting: str, settings: Mapping[str, Any], kind: Any) -> None:
    space = vars(rehearsed(kind.__module__.removeprefix("rehearsal.")))
    fields = dataclasses.fields(kind)
    kinds = {field.name: _kind(field.type, space) for field in fields}
    missing = dataclasses.MISSING
    wanted = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    _check_names(setting, settings, wanted=wanted, optional=tuple(kinds))
    for name, given in settings.items():
        _check_kind(f"{setting}.{name}", given, kinds[name])
    _check_rehearsal(setting, partial(kind, **settings))


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value from YAML is of a type; any value is of a type that YAML has not."""
    origin, inner = get_origin(kind), get_args(kind)
    if value == "???":
        return False
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner and type(value) in map(type, inner)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, NoneType, dict):
        return isinstance(value, kind)
    if origin in (Sequence, list, tuple) or kind in (list, tuple):
        wanted = inner[0] if inner else object
        fixed = origin is tuple and Ellipsis not in inner
        fine = isinstance(value, list) and (not fixed or len(value) == len(inner))
        return fine and all(_fits(one, wanted) for one in value)
    if origin in (Mapping, dict):
        return isinstance(value, dict) and all(
            _fits(name, inner[0]) and _fits(one, inner[1]) for name, one in value.items()
        )
    return not dataclasses.is_dataclass(kind) or isinstance(value, dict)


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, inner))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Sequence, list, tuple) or kind in (list, tuple):
        size = f" of {len(inner)}" if origin is tuple and Ellipsis not in inner else ""
        return f"a list{size}, each {_in_words(inner[0])}" if inner else "a list"
    if origin in (Mapping, dict):
        return f"a section, each {_in_words(inner[1])}"
    return _WORDS.get(kind, "a section")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every setting."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
