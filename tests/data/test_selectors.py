"""Given a path and a row, then the value; given a wrong path, then a sentence that says what to write."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import bounded

from gamutrl.data.columns import Columns
from gamutrl.data.problems import BadRow, DataError
from gamutrl.data.selectors import as_text, condition, selector, split_top

OBJECTS = [
    {"shape": "circle", "color": "Yellow", "box": 0, "xyxy": [1, 2, 3, 4]},
    {"shape": "square", "color": "blue", "box": 2, "xyxy": [5, 6, 7, 8]},
    {"shape": "circle", "color": "blue", "box": 1, "xyxy": [9, 9, 10, 10]},
]
ROW = {
    "objects": json.dumps(OBJECTS),
    "label": True,
    "told": "no",
    "nested": {"truth": {"value": 7}, "list": [[1, 2], [3]]},
    "empty": None,
    "text": "not json",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("label", True),
        ("nested.truth.value", 7),
        ("nested.list[0]", [1, 2]),
        ("nested.list[-1][0]", 3),
        ("objects[0].shape", "circle"),
        ("objects[*].box", [0, 2, 1]),
        ("objects[*].xyxy[0]", [1, 5, 9]),
        ("objects[color=yellow]", [OBJECTS[0]]),
        ("objects[color=blue, shape=circle][0].xyxy", [9, 9, 10, 10]),
        ("objects[color!=blue][*].shape", ["circle"]),
        ("objects[box>0][*].box", [2, 1]),
        ("objects[box<=1][*].box", [0, 1]),
        ("objects[colour=blue]", []),
        ("count(objects)", 3),
        ("count(objects[color=blue])", 2),
        ("any(objects[color=red])", False),
        ("json(objects)", OBJECTS),
        ("label ? yes : no", "yes"),
        ("told ? true : false", "false"),
        ("any(objects[color=blue]) ? a blue one : none", "a blue one"),
    ],
)
def test_a_path_reads_the_value_and_keeps_its_type(path, value):
    found = selector(path)(ROW)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("text.member", "not valid JSON"),
        ("objects[7].shape", "item 7 was asked of a list of 3"),
        ("objects[0].colour", "no member 'colour' \\(members: shape, color, box, xyxy\\)"),
        ("empty.member", "nothing \\(null\\)"),
        ("count(label)", "only a list can be counted"),
        ("text ? a : b", "neither true nor false"),
    ],
)
def test_a_row_without_the_value_is_a_bad_row_with_a_reason(path, reason):
    with pytest.raises(BadRow, match=reason):
        selector(path)(ROW)


@pytest.mark.parametrize("path", ["", ".a", "a.", "a[", "a b", "count(a", "a ? b", "a[0]]", "a[*][b=1]", "a[nonsense]"])
def test_a_path_that_cannot_be_read_is_refused(path):
    with pytest.raises(DataError):
        selector(path)


def test_conditions_of_a_row_compare_numbers_as_numbers_and_words_without_case():
    row = {"n": 10, "word": "Blue", "text_number": "3", "flag": False}
    assert condition("n>9, word=BLUE, text_number<20, flag=false")(row)
    assert not condition("n<9")(row)
    assert condition("count(objects[color=blue])=2, objects[0].shape!=square, nested.truth.value>=7")(ROW)
    assert not condition("word>3")(row)


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_a_sentence_never_anything_else(path):
    try:
        found = selector(path)
    except DataError:
        return
    with contextlib.suppress(BadRow):
        found(ROW)


@given(st.lists(st.text(alphabet="ab=", min_size=1), min_size=1))
def test_splitting_undoes_joining(parts):
    assert split_top(",".join(parts), ",") == parts


def test_megabytes_of_hostile_text_are_read_in_time():
    for hostile in ("[" * 1_000_000, "a[" + "[" * 500_000, "{" * 1_000_000, "a." * 500_000 + "["):
        with bounded(hostile[:3]), pytest.raises((DataError, BadRow)):
            selector(hostile)(ROW)
    with bounded(), pytest.raises(BadRow):
        selector("deep[0]")({"deep": "[" * 1_000_000})


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "True"), (3, "3"), (3.0, "3"), (0.25, "0.25"), ("x", "x"), (None, ""), ([1, "é"], '[1, "é"]')],
)
def test_how_values_read(value, text):
    assert as_text(value) == text


def test_a_mapping_is_read_from_the_command_line():
    columns = Columns.parse(
        'prompt="Is it true, or not: {sentence}?",image=image,answer=label ? yes : no,n=count(a[b=1,c=2])'
    )
    assert columns.prompt == "Is it true, or not: {sentence}?"
    assert (columns.image, columns.answer) == ("image", "label ? yes : no")
    assert columns.extra == (("n", "count(a[b=1,c=2])"),)


def test_a_comma_before_no_name_belongs_to_the_text():
    assert Columns.parse("prompt=Red, green or blue?,image=photo").prompt == "Red, green or blue?"


def test_a_mapping_may_be_json():
    assert Columns.parse('{"prompt": "a, b=c", "image": "x"}') == Columns(prompt="a, b=c", image="x")


@pytest.mark.parametrize("text", ["sentence", "prompt=a,prompt=b", "{not json"])
def test_a_mapping_that_cannot_be_read_is_refused(text):
    with pytest.raises(DataError, match="--columns"):
        Columns.parse(text)


def test_usual_names_are_found_and_named_ones_stay():
    found = Columns(answer="label").resolved(["Question", "images", "solution", "label"])
    assert (found.prompt, found.image, found.answer) == ("Question", "images", "label")
    assert Columns(image="none").resolved(["question", "image"]).image == ""
    assert Columns().resolved(["prompt", "reward_model"]).answer == "reward_model.ground_truth"


def test_a_missing_column_is_named_with_those_present_and_the_nearest():
    with pytest.raises(
        DataError, match=r"no column 'sentense'; the columns are: sentence, image\. Did you mean 'sentence'"
    ):
        Columns.parse("prompt=sentense").resolved(["sentence", "image"])
    with pytest.raises(DataError, match="no column 'labl'"):
        Columns.parse("prompt=Is {sentence} {labl}?").resolved(["sentence", "label"])
    with pytest.raises(DataError, match="Nothing tells what to ask: the columns are a, b"):
        Columns().resolved(["a", "b"])
