"""Given a row in a layout that people have, then the prompt a person would expect."""

from __future__ import annotations

import pytest
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.columns import Columns
from gamutrl.data.layouts import reader
from gamutrl.data.problems import BadRow


def read(row: dict, columns: str = "") -> Prompt:
    return reader(Columns.parse(columns), list(row))(row)


def shape(prompt: Prompt) -> list[tuple[str, list[str]]]:
    """Roles with their parts: text as it is, media as `<kind value>`."""
    return [
        (message.role, [part.value if part.kind == "text" else f"<{part.kind} {part.value}>" for part in message.parts])
        for message in prompt.messages
    ]


def test_flat_rows_put_media_in_front():
    prompt = read({"problem": "How many?", "solution": "3", "image": "a.png"})
    assert shape(prompt) == [("user", ["<image a.png>", "How many?"])]
    assert prompt.answer == "3"
    assert dict(prompt.columns) == {"problem": "How many?", "solution": "3"}


def test_markers_say_where_media_go():
    prompt = read({"question": "Is <image> like\n<image>\nor not?", "images": ["a.png", "b.png"], "answer": False})
    assert shape(prompt) == [("user", ["Is ", "<image a.png>", " like\n", "<image b.png>", "or not?"])]
    assert prompt.answer is False


def test_markers_of_kinds_that_no_column_brings_are_plain_text():
    assert shape(read({"question": "What does <video> do in HTML?"})) == [("user", ["What does <video> do in HTML?"])]


def test_sharegpt_turns_are_asked_up_to_the_last_answer():
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "Black."},
    ]
    prompt = read({"conversations": turns, "image": "a.png", "id": 7})
    assert shape(prompt) == [
        ("system", ["Be brief."]),
        ("user", ["<image a.png>", "What is it?"]),
        ("assistant", ["A cat."]),
        ("user", ["Its colour?"]),
    ]
    assert prompt.answer == "Black."
    assert dict(prompt.columns) == {"id": 7, "completion": "Black."}


def test_typed_parts_take_their_media_from_the_columns_or_bring_them():
    url = "data:image/png;base64,AAAA"
    content = [
        {"type": "image", "text": None},
        {"type": "text", "text": "and"},
        {"type": "image_url", "image_url": {"url": url}, "text": None},
        {"type": "input_text", "text": "?"},
    ]
    prompt = read({"messages": [{"role": "user", "content": content}], "images": ["a.png"], "answer": "x"})
    assert shape(prompt) == [("user", ["<image a.png>", "and", f"<image {{'url': '{url}'}}>", "?"])]


def test_trl_prompt_and_completion():
    row = {
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": "4"}]}],
    }
    prompt = read(row)
    assert shape(prompt) == [("user", ["2 + 2?"])]
    assert prompt.columns["completion"] == "4"
    assert prompt.answer == "4"


def test_a_conversation_may_be_json_text():
    prompt = read({"messages": '[{"role": "user", "content": "Hi"}]', "answer": "x"})
    assert shape(prompt) == [("user", ["Hi"])]


def test_a_conversation_may_be_a_struct_of_lists():
    turns = {"from": ["human", "gpt"], "value": ["Hi", "Ho"]}
    prompt = read({"conversations": turns})
    assert (shape(prompt), prompt.answer) == ([("user", ["Hi"])], "Ho")


def test_several_columns_of_pictures_and_a_system_text():
    columns = 'prompt="Same {thing}?",image=before+after,system=You compare.,answer=same ? yes : no,n=count(things)'
    row = {"before": "a.png", "after": "b.png", "thing": "cat", "same": True, "things": "[1, 2]"}
    prompt = read(row, columns)
    assert shape(prompt) == [("system", ["You compare."]), ("user", ["<image a.png>", "<image b.png>", "Same cat?"])]
    assert prompt.answer == "yes"
    assert prompt.columns["n"] == 2


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        ("a.mp4", ["video"]),
        (["a.mp4", "b.mp4"], ["video", "video"]),
        (["f1.png", "f2.png", "f3.png"], ["video"]),
        ([["f1.png"], ["f2.png"]], ["video", "video"]),
        ([{"bytes": b"x", "path": "a.mp4"}], ["video"]),
        ([{"bytes": b"x", "path": None}, {"bytes": b"y", "path": None}], ["video"]),
    ],
)
def test_a_list_of_frames_is_one_video_and_a_list_of_files_several(value, kinds):
    assert [part.kind for part in read({"question": "?", "video": value, "answer": 1}).media] == kinds


@pytest.mark.parametrize(
    "value", ["a.png", Image.new("RGB", (2, 2)), {"bytes": b"x", "path": None}, b"x", [[[1, 2, 3]]]]
)
def test_one_picture_is_one_part_in_every_form(value):
    assert len(read({"question": "?", "image": value}).media) == 1


def test_no_picture_is_no_part():
    for value in (None, "", []):
        assert read({"question": "?", "image": value}).media == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "", "answer": 1}, "prompt is empty"),
        ({"question": None, "answer": 1}, "prompt is empty"),
        ({"question": "<image> and <image>", "image": "a.png"}, "places for 2 image parts, but the row has 1"),
        ({"question": "<image>?", "image": None}, "places for 1 image parts, but the row has 0"),
        ({"question": "?", "images": ["a.png", None]}, "has an empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown role 'wizard'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "nobody asks"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "place for image, but the row has none"),
        ({"messages": [{"role": "user", "content": [7]}]}, "a int stands where a typed part"),
        ({"messages": [{"role": "user", "content": "a"}, 7]}, "message 1 of the conversation is a int"),
    ],
)
def test_a_row_that_cannot_be_asked_has_a_reason(row, reason):
    with pytest.raises(BadRow, match=reason):
        read(row)


def test_a_null_in_a_template_is_a_reason_and_not_the_word_none():
    with pytest.raises(BadRow, match=r"\{name\} is empty"):
        read({"name": None}, 'prompt="What is {name}?"')
