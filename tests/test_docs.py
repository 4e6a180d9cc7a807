"""The pages: links lead somewhere, commands are accepted, examples run."""

import ast
import inspect
import itertools
import re
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest
import soundfile
import yaml
from dvc.cli.parser import get_main_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.support import ROOT, composed, speech_like

README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
CHANGELOG = ROOT / "CHANGELOG.md"
#: Pages whose commands are those of today, and all pages.
CURRENT = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "raw" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES = [*CURRENT, CHANGELOG]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
#: Programs of others, whose arguments nothing here can check.
OTHERS = {"cd", "cp", "ffmpeg", "git", "ln", "ls", "mkdir", "pip-audit", "pre-commit", "source"}
#: Methods of a parser that read the arguments of a command.
PARSE = ("parse_args", "parse_intermixed_args")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a language."""
    return [text for kind, text in _FENCE.findall(page.read_text()) if kind == language]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """Code within the prose, each as one line."""
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose(page))]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page: Path) -> list[str]:
    """Targets of links and pictures inside the repository."""
    text = re.sub(r"`[^`]+`", "", prose(page))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"https?://", target)]


# Links


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT) and file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_index_lists_every_page():
    listed = {(INDEX.parent / target.partition("#")[0]).resolve() for target in links(INDEX)}
    assert set(PAGES) - {INDEX} <= listed


def test_every_picture_is_shown():
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert set((ROOT / "docs" / "pictures").iterdir()) <= shown


# Commands


def simple_commands(text: str) -> list[list[str]]:
    """Words of each command in a shell's block, without what is set for it in the environment."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for separator, group in itertools.groupby(words, lambda word: word in ("|", "&&", ";")):
            if not separator:
                command = list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, group))
                found += [command] if command else []
    return found


@cache
def composes(*overrides: str) -> None:
    composed(*overrides)


@cache
def dvc_parser() -> ArgumentParser:
    return get_main_parser()


def check_dvc(*arguments: str) -> None:
    """What DVC accepts; of `exp run`, with settings and options that exist: each of a sweep's."""
    parsed = dvc_parser().parse_args(list(arguments))
    if arguments[:2] == ("exp", "run"):
        overrides = OverridesParser.create().parse_overrides(parsed.set_param or [])
        assert parsed.queue or not any(override.is_sweep_override() for override in overrides)
        choices = [
            [f"{override.input_line.partition('=')[0]}={value}" for value in values]
            if (values := sweep(override))
            else [override.input_line]
            for override in overrides
        ]
        for choice in itertools.product(*choices):
            composes(*choice)


def sweep(override) -> list[str]:
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else []


class Accepted(Exception):
    """Raised in place of what a command would do."""


def accepting(parse: Callable) -> Callable:
    """A method that parses arguments, after which nothing is done."""

    def parse_only(parser: ArgumentParser) -> None:
        parse(parser)
        raise Accepted

    return parse_only


def check_module(module: str, *arguments: str) -> None:
    """What the parser of a module's `main` accepts."""
    if module == "pytest":
        check_pytest(*arguments)
        return
    main = import_module(module).main
    assert re.search(rf"\.({'|'.join(PARSE)})\(", inspect.getsource(main)), f"{module}: no parser"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Accepted):
        for method in PARSE:
            patch.setattr(ArgumentParser, method, accepting(getattr(ArgumentParser, method)))
        patch.setattr(sys, "argv", [module, *arguments])
        main()


def check_pytest(file: str, *selection: str) -> None:
    if file == "-k":  # of all files
        return
    """A file of tests, or the tests in it whose names contain a word."""
    text = (ROOT / file).read_text()
    if selection:
        option, word = selection
        assert option == "-k" and re.search(rf"def test_\w*{word}", text)


def check_pip(*arguments: str) -> None:
    """A pinned version is the one that the code asks for."""
    install, *wanted = arguments
    assert install == "install"
    code = [path.read_text() for path in [*ROOT.glob("app/*.py"), *ROOT.glob("stages/*/*.py")]]
    pins = [word for word in wanted if "==" in word]
    assert all(any(f"pip install {pin}" in text for text in code) for pin in pins)


def check_dask(command: str, *arguments: str) -> None:
    import_module(f"distributed.cli.dask_{command}").main.make_context(command, list(arguments))


@cache
def make_targets() -> set[str]:
    rules = re.findall(r"^([^\s:=#][^:=]*):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    return {target for rule in rules for target in rule.split()}


def check(command: list[str]) -> None:
    match command:
        case ["python", "-m", module, *arguments]:
            check_module(module, *arguments)
        case ["dvc", *arguments]:
            check_dvc(*arguments)
        case ["make", target]:
            assert target in make_targets(), f"make {target}: no such target"
        case ["dask", *arguments]:
            check_dask(*arguments)
        case ["pip", *arguments]:
            check_pip(*arguments)
        case ["streamlit", "run", file]:
            assert (ROOT / file).is_file()
        case [program, *_]:
            assert program in OTHERS, f"{program}: want a check of its arguments"


@pytest.mark.slow
@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_are_accepted(page):
    for text in blocks(page, "sh"):
        for command in simple_commands(text):
            check(command)


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_in_the_prose_exist(page):
    """Modules and targets that it names; settings that it chooses."""
    for span in spans(page):
        if re.search(r"\.\.\.|[<*]|\b[A-Z]+$|=\w*NAME", span):  # stands for others
            continue
        match span.split():
            case ["python", "-m", module, *_] if module.partition(".")[0] != "sounddevice":
                assert find_spec(module), span
            case ["make", _]:
                check(shlex.split(span))
            case ["dvc", *_]:
                check(shlex.split(span))
            case ["-S", *_]:
                check_dvc("exp", "run", *shlex.split(span))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_its_language(page):
    """So that no command escapes the tests above."""
    for kind, text in _FENCE.findall(page.read_text()):
        assert kind in ("bibtex", "csv", "js", "mermaid", "python", "sh", "text", "yaml"), text
        assert kind == "sh" or not re.search(r"^(python -m|dvc|make) ", text, re.M), text


def test_the_workflow_runs_targets_of_make_only():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        program, target = command.split()
        assert program == "make" and target in make_targets()


# Examples


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_python_compiles_and_imports_what_exists(page):
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_example_of_the_readme_runs(exported, tmp_path, monkeypatch, capsys):
    (example,) = blocks(README, "python")
    folder = tmp_path / "models" / "export"
    folder.mkdir(parents=True)
    (folder / "inflect.onnx").write_bytes(exported.read_bytes())
    soundfile.write(tmp_path / "recording.wav", speech_like(16000), 16000)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    answer = ast.literal_eval(capsys.readouterr().out)
    assert list(answer) == ["angry", "happy", "sad"]
    assert sum(answer.values()) == pytest.approx(1, abs=1e-5)


def test_the_example_of_a_browser_names_what_the_export_has(exported):
    session = onnxruntime.InferenceSession(exported)
    (example,) = blocks(ROOT / "docs" / "deployment.md", "js")
    names = set(re.findall(r"metadata\.(\w+)", example))
    assert names and names <= set(session.get_modelmeta().custom_metadata_map)
    (inputs,) = re.findall(r"session\.run\(\{ (.+?) \}\)", example)
    assert inputs.split(", ") == [given.name for given in session.get_inputs()]
    (outputs,) = re.findall(r"const \{ (.+?) \} = await session\.run", example)
    assert set(outputs.split(", ")) <= {given.name for given in session.get_outputs()}


# What pages share


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 220


def test_the_figures_of_the_readme_are_those_of_the_results():
    section = README.read_text().partition("## Results")[2].partition("##")[0]
    rows = re.findall(r"\| (\d?\.\d+) \| (\d?\.\d+ – \d?\.\d+) \|$", section, re.M)
    assert len(rows) == 10
    results = (ROOT / "docs" / "results.md").read_text().replace("**", "")
    assert all(f"| {ua} | {interval} |" in results for ua, interval in rows)


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (first, date), *_ = re.findall(r"^## \[(.+)\] - (.+)$", CHANGELOG.read_text(), re.M)
    assert first == citation["version"] == version
    assert date == str(citation["date-released"])
    assert f"version = {{{version}}}" in README.read_text()
