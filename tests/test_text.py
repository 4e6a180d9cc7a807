"""Texts of users in figures, pages and Markdown: shown as they are, whatever they hold."""

import html
import re

import pandas as pd
import pytest

from stages.reporting.drawing import (
    encode,
    in_legend,
    label_right,
    new_figure,
    reference_lines,
    set_title,
    stacked_bars,
    style,
)
from stages.reporting.html import fill
from stages.sources.spelling import in_markdown
from stages.splits.labels import label_clips
from tests.test_spelling import clip_table

NAMES = [r"$\foo$", "$", "a$b$c", "_x", "{y}", r"\alpha", "%s & <b>", "100%", "^_^", "#1"]


def texts(svg: bytes) -> list[str]:
    """The texts of a figure, but for numbers."""
    return [html.unescape(text) for text in re.findall(r">([^<>]+)</text>", svg.decode())]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_figures_show_every_name_as_it_is(kind):
    frame = pd.DataFrame([[1.0] * len(NAMES)] * len(NAMES), index=NAMES, columns=NAMES)
    with style():
        figure, axes = new_figure(8, 6)
        stacked_bars(axes, frame, counts=frame)
        axes.set_yticks(range(len(NAMES)), NAMES)
        label_right(axes, range(len(NAMES)), NAMES)
        reference_lines(axes, axes.axvline, ua=0.5, chance=0.1, name=NAMES[0])
        set_title(axes, NAMES[0], NAMES[1:])
        content = encode(figure, kind)
    if kind == "svg":
        shown = texts(content)
        for name in NAMES:
            assert shown.count(name) + shown.count(in_legend(name)) >= 3 + (name in NAMES[1:])
        assert f"{NAMES[0]} 0.500" in shown


def test_pages_escape_every_name(tmp_path):
    name = "<script>&\"'`|![](x)"
    template = '{% from "parts.html.j2" import table with context %}{{ table(frame) }}'
    (tmp_path / "x.html.j2").write_text(template)
    page = fill("x.html.j2", files={}, folder=tmp_path, frame=pd.DataFrame({name: [name]}))
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t", page)
    assert [html.unescape(cell) for cell in cells] == [name, name]
    assert "<script" not in page


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<b>", r"\<b\>"),
        ("![](y)", r"!\[\](y)"),
        ("*x* _y_", r"\*x\* \_y\_"),
        ("pleasant_surprise", "pleasant_surprise"),
        (r"a\b", r"a\\b"),
        ("$x$", r"\$x\$"),
    ],
)
def test_markdown_shows_every_name_as_it_is(name, escaped):
    assert in_markdown(name) == escaped


@pytest.mark.parametrize("label", ["a\nb", "a/b", "..\\b", 1, True])
def test_labels_that_cannot_name_a_file_are_refused(label):
    with pytest.raises(ValueError, match="labels.map: got .*, want text on one line"):
        label_clips(clip_table("ab"), name="own", mapping={"sad": label, "happy": "happy"})
