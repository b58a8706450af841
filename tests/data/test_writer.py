"""Given rows of any kind, when they are written and read back, then nothing has changed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gamutrl.core import Message, Part, Prompt, audio, image, text, video
from gamutrl.data import DataError, FileRows, Mixture, WorldRows
from gamutrl.data.hashing import content_hash
from gamutrl.data.writer import append_rows, write_rows, written_rows


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8))


def full_row() -> Prompt:
    return Prompt(
        (
            Message("system", (text("Be brief."),)),
            Message("user", (text("First "), image(picture(0)), text(" then "), image(picture(1)), text(""))),
            Message("assistant", (text("Well."),)),
            Message(
                "user",
                (
                    video([picture(k) for k in range(20)], fps=2.5),
                    audio(np.linspace(-1, 1, 9, dtype=np.float32), 8000),
                    Part("text", "And now?", {"note": 1}),
                ),
            ),
        ),
        answer={"boxes": [[1, 2], []], "ok": True},
        columns={"id": 3, "answer": "raw", "pass_rate": 0.25, "mixed": "x", "messages": "a column of that name"},
        pool="p1",
        id="world/17",
    )


def told(prompt: Prompt) -> list:
    """Everything about a prompt, as plain values."""

    def value(part: Part):
        if part.kind == "image":
            return np.asarray(part.value).tolist()
        if part.kind == "video":
            return [np.asarray(frame).tolist() for frame in part.value]
        return np.asarray(part.value).tolist() if part.is_media else part.value

    messages = [[m.role, [[p.kind, value(p), dict(p.info)] for p in m.parts]] for m in prompt.messages]
    return [messages, prompt.answer, dict(prompt.columns), prompt.pool, prompt.id]


def back(path: Path) -> list[Prompt]:
    rows = FileRows(str(path), split="all")
    return [rows[k] for k in range(len(rows))]


def test_everything_comes_back(tmp_path):
    rows = [full_row(), Prompt.ask("Plain?", answer=7, mixed=1.5), Prompt.ask("No answer?", flag=False)]
    path = write_rows(rows, tmp_path / "new" / "rows.parquet")
    found = back(path)
    assert [told(row) for row in found[:1]] == [told(rows[0])]
    assert (found[1].answer, found[1].columns["mixed"], found[2].answer) == (7, 1.5, None)
    assert type(found[2].columns["flag"]) is bool
    assert [file.name for file in path.parent.iterdir()] == ["rows.parquet"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
json_columns = st.dictionaries(st.text(min_size=1, max_size=6), json_values, max_size=3)


@settings(max_examples=50)
@given(st.lists(st.tuples(json_values, json_columns), min_size=1, max_size=4))
def test_columns_of_any_values_and_names_come_back(tmp_path_factory, values):
    question = Prompt.ask("?")
    rows = [
        replace(question, answer=answer, columns=columns, id=f"row {k}") for k, (answer, columns) in enumerate(values)
    ]
    path = write_rows(rows, tmp_path_factory.mktemp("rows") / "rows.parquet")
    for row, found in zip(rows, back(path)):
        assert found.answer == row.answer
        assert type(found.answer) is type(row.answer)
        assert dict(found.columns) == {name: value for name, value in row.columns.items() if value is not None}


def test_not_a_number_comes_back(tmp_path):
    assert math.isnan(back(write_rows([Prompt.ask("?", score=math.nan)], tmp_path / "a.parquet"))[0].columns["score"])


def test_other_tools_find_the_usual_layout(tmp_path):
    table = pq.read_table(write_rows([full_row()], tmp_path / "a.parquet"))
    row = table.to_pylist()[0]
    assert [item["type"] for item in row["messages"][1]["content"]] == ["text", "image", "text", "image", "text"]
    assert [sorted(item) for item in row["images"]] == [["bytes", "path"]] * 2
    assert row["pass_rate"] == 0.25


def test_a_data_set_grows_by_parts_and_a_part_written_again_is_replaced(tmp_path):
    folder = tmp_path / "kept.parquet"
    assert written_rows(folder) == 0
    rows = [Prompt.ask(f"{k}?", answer=k, pass_rate=k / 4) for k in range(4)]
    append_rows(folder, rows[:2], part=0)
    append_rows(folder, rows, part=1)
    append_rows(folder, rows[2:], part=1)
    append_rows(folder, [], part=2)
    assert (written_rows(folder), written_rows(folder, parts=1)) == (4, 2)
    source = FileRows(str(folder), split="all", where="pass_rate>0.3")
    assert sorted(prompt.text for prompt in source.batch(0, 2)) == ["2?", "3?"]
    assert FileRows(str(folder), split="all").column("pass_rate") == [0, 0.25, 0.5, 0.75]


def test_what_cannot_be_written_names_row_and_column(tmp_path):
    with pytest.raises(DataError, match="Row world/1: column 'thing' holds a object, which cannot be written"):
        write_rows([Prompt.ask("?", id="world/1", thing=object())], tmp_path / "a.parquet")
    with pytest.raises(DataError, match="part of kind 'points'"):
        write_rows([Prompt((Message("user", (Part("points", [1]),)),), id="x")], tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_hash_follows_content_and_not_names(tmp_path):
    rows = [Prompt.ask("?", answer=1)]
    one, two = (FileRows(str(write_rows(rows, tmp_path / name)), split="all") for name in ("a.parquet", "b.parquet"))
    other = FileRows(str(write_rows([Prompt.ask("?", answer=2)], tmp_path / "c.parquet")), split="all")
    assert content_hash(one) == content_hash(two) != content_hash(other)
    sums, reads = WorldRows("digits", "sum"), WorldRows("digits", "read")
    hashes = {content_hash(source) for source in (sums, reads, Mixture((sums, reads)), Mixture((reads, sums)), one)}
    assert len(hashes) == 5
    assert content_hash(WorldRows("digits", "sum")) == content_hash(sums)
