"""conf/: every option composes, names code that exists, and states all of its settings."""

import inspect
import re
import subprocess
from importlib import import_module

import pytest
import torch
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from stages.learning.learner import is_network
from stages.settings.loading import bind
from stages.settings.parameters import check_params
from tests.support import ROOT, composed

CONF = ROOT / "conf"
#: Group -> where the code of its options lies.
CODE = {
    "corpora": "stages.corpora",
    "features": "stages.acoustics",
    "degradations": "stages.degradations",
    "split": "stages.protocols",
    "model": "stages.networks",
    "variants": "stages.variants",
}
MEMBERS = "model/members"
SEVERAL = ("corpora", "degradations", "features", "variants", MEMBERS)
#: Folders that hold no option of a group: recipes, studies of studies.tune, and what models share.
OTHER = ("experiment", "tune", "functionals")
RECIPES = sorted(path.stem for path in CONF.glob("experiment/*.yaml"))
OPTIONS = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in CONF.glob("*/**/*.yaml")
    if path.parent.name not in OTHER
)


def choose(group: str, name: str) -> list[str]:
    """Overrides that choose an option."""
    if group == MEMBERS:  # of an ensemble, or its student
        return ["model=ensemble", f"{group}=[{name}]"]
    return [f"{group}=[{name}]" if group in SEVERAL else f"{group}={name}"]


def section(params: dict, group: str) -> dict:
    """The settings of a group, such as train/schedule, of composed parameters."""
    for name in group.split("/"):
        params = params[name]
    return params


def leaves(node: dict, prefix: str = ""):
    """Dotted name and value of every setting below a section."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def targets(node):
    """Every mapping below that has a `_target_`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


def resolve(name: str):
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def documented_row(name: str) -> str:
    """The first table row of docs/configuration.md whose first cell has a name in code."""
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    rows = [line for line in lines if line[:1] == "|" and f"`{name}`" in line.split("|")[1]]
    assert rows, f"docs/configuration.md: got no row of a table for `{name}`"
    return rows[0]


@pytest.mark.parametrize("group", sorted({group for group, _ in OPTIONS}))
def test_the_docs_list_every_option(group):
    named = set(re.findall(r"\w+", documented_row(group)))
    missing = sorted({name for other, name in OPTIONS if other == group} - named)
    assert not missing, f"docs/configuration.md, row `{group}`: got no {', '.join(missing)}"


@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "model"])
def test_the_docs_say_how_many_parameters_a_model_has(name):
    params = composed(f"model={name}")
    if not is_network(params["model"]):
        return
    features = {
        key: bind(of, "acoustics")(torch.zeros(4000)) for key, of in params["features"].items()
    }
    build = bind(params["model"]["network"], "networks")
    network = build({key: values.shape[-2] for key, values in features.items()}, 8)
    number = f"{sum(p.numel() for p in network.parameters()):,}".replace(",", " ")
    _, names, _, numbers, _ = documented_row(name).split("|")
    among = [text.strip(" `") for text in names.split(",")]
    assert numbers.split(",")[among.index(name)].strip() == number


def test_params_equal_the_composed():
    """Those that are committed, or those that stand here: `dvc exp run -S` writes its own."""
    here = (ROOT / "params.yaml").read_text()
    committed = subprocess.run(
        ["git", "show", "HEAD:./params.yaml"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    versions = [OmegaConf.to_container(OmegaConf.create(text)) for text in (here, committed)]
    assert composed() in versions


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_option_composes_under_its_own_name(group, name):
    params = composed(*choose(group, name))
    chosen = section(params, group)
    if group != MEMBERS:  # an ensemble has several
        check_params(params)
    if group in SEVERAL:
        assert list(chosen) == [name]
    elif "name" in chosen:
        assert chosen["name"] == name


@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "split"])
def test_a_protocol_says_what_it_measures(name):
    split = composed(f"split={name}")["split"]
    assert " measures " in split["description"]
    assert ("speaker-dependent" in split["title"]) == split["speaker_dependent"]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_targets_state_every_setting(group, name):
    for node in targets(section(composed(*choose(group, name)), group)):
        assert node["_target_"].startswith("stages.")
        parameters = inspect.signature(resolve(node["_target_"])).parameters.values()
        settings = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        assert {p.name for p in settings} == set(node) - {"_target_"}
        assert all(p.default is p.empty for p in settings)


@pytest.mark.parametrize("group", sorted(CODE))
def test_every_module_has_an_option_and_every_option_a_module(group):
    folder = ROOT / CODE[group].replace(".", "/")
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    used = {}
    for other, name in OPTIONS:
        if other == group:
            first = next(targets(composed(*choose(group, name))[group]))
            package, used[name], _ = first["_target_"].rsplit(".", 2)
            assert package == CODE[group]
    assert set(used.values()) == modules
    # The stages of the other groups depend on the module that has an option's name.
    assert group == "variants" or all(name == module for name, module in used.items())


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_changes_settings_that_exist_and_no_others(name):
    """Also of the corpora that are there, and with speakers held out."""
    defaults, recipe = composed(), composed(f"+experiment={name}", "data=real")
    assert set(recipe) <= {*defaults, "leaky_variants"}
    for node in targets(recipe):
        parameters = inspect.signature(resolve(node["_target_"])).parameters.values()
        settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert settings == set(node) - {"_target_"}
    bind(recipe["model"]["network"], "networks")  # a network's own checks are made when it is built
    check_params(recipe | {"train": recipe["train"] | {"warm_start": None}})
    honest = composed(f"+experiment={name}", "corpora=[tess]", "split=speaker", "data=real")
    assert list(honest["corpora"]) == ["tess"]
    assert honest["split"] == composed("split=speaker")["split"]
    assert recipe["model"] == honest["model"] and recipe["train"] == honest["train"]
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert "Claimed: " in text and "# Leaks" in text


def test_every_training_setting_has_a_user():
    """Nothing is offered that neither the default nor a recipe turns on."""
    users = [composed("data=real")["train"]]
    users += [composed(f"+experiment={name}", "data=real")["train"] for name in RECIPES]
    used = {setting for train in users for setting, value in leaves(train) if value}
    assert used == {setting for train in users for setting, _ in leaves(train)}
    schedules = {name for group, name in OPTIONS if group == "train/schedule"}
    assert {train["schedule"]["_target_"] for train in users} == {
        composed(f"train/schedule={name}")["train"]["schedule"]["_target_"] for name in schedules
    }
    assert {train["balance"] for train in users} == {"none", "label", "corpus"}


def test_the_leaky_order_of_augmentation_exists_in_a_recipe_only():
    recipes = {name: composed(f"+experiment={name}", "data=real") for name in RECIPES}
    leaky = [name for name, recipe in recipes.items() if recipe.get("leaky_variants")]
    assert leaky == ["mel_conv2d"]
    assert recipes["mel_conv2d"]["split"]["variants"] == "independent"
    assert {
        composed(f"split={name}")["split"]["variants"]
        for group, name in OPTIONS
        if group == "split"
    } == {"with_source"}


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_is_left_open_or_bound_to_a_machine(path):
    text = path.read_text()
    for mark in ("???", "${hydra:", "${oc.env:"):
        assert mark not in text


def test_a_model_brings_its_features_and_they_can_be_replaced():
    brought = ["mfcc", "cochleagram", "shape", "pitch", "zcr", "rms"]
    assert list(composed("model=svm")["features"]) == brought
    replaced = composed("model=gru", "features=[logmel]", "features.logmel.n_mels=40")
    assert list(replaced["features"]) == ["logmel"]
    assert replaced["features"]["logmel"]["n_mels"] == 40


def test_a_model_chooses_the_bands_of_its_features():
    def bands(*overrides):
        return composed(*overrides)["features"]["logmel"]["n_mels"]

    assert bands("model=crnn") == bands("features=[logmel]") == 64
    assert bands("model=conv2d") == 128
    assert bands("model=conv2d", "features.logmel.n_mels=40") == 40
    assert list(composed("model=conv2d", "features=[mfcc]")["features"]) == ["mfcc"]
    for overrides, sizes in (
        (["model=svm"], (14, 24)),
        (["features=[mfcc,cochleagram]"], (40, 64)),
    ):
        features = composed(*overrides)["features"]
        assert (features["mfcc"]["n_mfcc"], features["cochleagram"]["n_channels"]) == sizes


def test_demo_shortens_and_simplifies_the_training_and_real_does_not():
    demo, real = composed()["train"], composed("data=real")["train"]
    assert demo["epochs"] < real["epochs"]
    assert {name for name, value in leaves(demo["augment"]) if value == 0} == {
        "mixup",
        "time_masks",
        "band_masks",
    }
    assert all(value for _, value in leaves(real["augment"]))


@pytest.mark.parametrize(
    "override", ["model=alexnet", "features=[loudness]", "split=vibes", "corpora=[msp]"]
)
def test_unknown_option_is_named(override):
    group, _, name = override.partition("=")
    with pytest.raises(MissingConfigException, match=f"{group}/{name.strip('[]')}"):
        composed(override)
