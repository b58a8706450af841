"""Tagged text: what stands inside a tag, and whether a text is laid out as asked."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import bounded

from gamutrl.rewards.tags import exactly_once, tag_format, tag_text, tag_texts

pieces = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "a", "b!", " ", "\n", "", "<", "</answer", "<think", "!"]
)
texts = st.lists(pieces, max_size=14).map("".join)


@given(texts, st.booleans())
def test_insides_are_those_of_the_lazy_regular_expression(text, multiline):
    want = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL if multiline else 0)
    assert list(tag_texts(text, "answer", multiline=multiline)) == want


LAYOUTS = [
    (r"<think>.*?</think>\s*<answer>.*?</answer>", re.fullmatch, {}),
    (r"<think>.*?</think>\s*<answer>.*?</answer>", re.search, {"before": True, "after": True}),
    (r"<think>.*?</think>\s*<answer>.*?</answer>", re.match, {"after": True}),
    (r".*<think>.*?</think>\s*<answer>.*?</answer>[ !]*", re.fullmatch, {"before": True, "after": " !"}),
    (r"<think>.*?</think>\s<answer>.*?</answer>", re.fullmatch, {"between": "one_space"}),
    (r"<think>.*?</think><answer>.*?</answer>", re.fullmatch, {"between": "nothing"}),
    (r"<think>.*?</think>.*?<answer>.*?</answer>", re.fullmatch, {"between": "anything"}),
    (r"<think>.+?</think>\s*<answer>.+?</answer>", re.fullmatch, {"nonempty": True}),
    (r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.fullmatch, {"strip": True}),
    (
        r"<think>.*?</think>\s*<answer>.*?</answer>.*?<think>.*?</think>",
        re.fullmatch,
        {"tags": ("think", "answer", "think"), "between": ("space", "anything")},
    ),
]


@pytest.mark.parametrize(("pattern", "how", "layout"), LAYOUTS)
@given(text=texts)
def test_a_layout_accepts_what_its_regular_expression_does(pattern, how, layout, text):
    assert tag_format(text, **layout) == float(how(pattern, text, re.DOTALL) is not None)


@given(texts)
def test_a_layout_on_single_lines_accepts_what_its_regular_expression_does(text):
    pattern = r"<think>.*?</think>\s*<answer>.*?</answer>"
    assert tag_format(text, multiline=False) == float(re.fullmatch(pattern, text) is not None)
    assert tag_format(text, multiline=False, before=True, after=True) == float(re.search(pattern, text) is not None)


@given(texts)
def test_once_means_each_mark_exactly_once(text):
    want = re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", text, re.DOTALL) and all(
        text.count(mark) == 1 for mark in ("<think>", "</think>", "<answer>", "</answer>")
    )
    assert tag_format(text, once=True) == float(bool(want))


def test_marks_may_be_written_out():
    text = "<|box_start|>(1,2),(3,4)<|box_end|>"
    assert tag_text(text, ("<|box_start|>", "<|box_end|>")) == "(1,2),(3,4)"
    assert tag_format(text, [("<|box_start|>", "<|box_end|>")]) == 1


def test_first_last_missing_and_strip():
    text = "<answer> a </answer><answer>b</answer>"
    assert tag_text(text) == "a"
    assert tag_text(text, strip=False) == " a "
    assert tag_text(text, which="last") == "b"
    assert tag_text("none") is None
    assert tag_text("none", missing="empty") == ""
    assert tag_text(" none", missing="whole") == "none"


def test_the_share_of_marks_that_occur_once():
    assert exactly_once("<a></a><b>", ("<a>", "</a>", "<b>", "</b>")) == 0.75


HOSTILE = ["<think>", "<answer>\n", "</answer>", "<think></think>", "</think><answer>", " ", "<", "\n", "</think> \n"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_of_anything_is_read_in_time(piece):
    text = "<think>" + piece * (1_000_000 // len(piece))
    with bounded():
        for layout in ({}, {"before": True, "after": True}, {"multiline": False, "before": True}, {"once": True}):
            tag_format(text, **layout)
        tag_text(text, which="last")
        tag_text(text, which="last", multiline=False)
