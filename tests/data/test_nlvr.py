"""Real data from outside, as a user names it on the command line: no conversion script."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamutrl.data import Columns, FileRows, train_and_test
from gamutrl.data.describe import describe

FILE = Path(__file__).parents[2].parent / "shared" / "data" / "nlvr" / "dev.parquet"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the shared data are not there")

JUDGE = 'prompt="Is this true of the picture? {sentence}",image=image,answer=label ? yes : no'
COUNT = 'prompt="How many yellow objects are there?",image=image,answer=count(objects[color=yellow])'
LOCATE = 'prompt="Where are the black squares?",image=image,answer=objects[color=black,shape=square][*].xyxy'


def test_statements_are_judged_and_no_statement_is_on_both_sides():
    train, test = train_and_test(str(FILE), JUDGE, split_by="identifier")
    assert len(train) + len(test) == 5934
    assert not set(train.column("identifier")) & set(test.column("identifier"))
    prompt = train.batch(0, 1, seed=1)[0]
    assert prompt.media[0].value.size == (400, 100)
    assert prompt.text == f"Is this true of the picture? {prompt.columns['sentence']}"
    assert prompt.answer == ("yes" if prompt.columns["label"] else "no")


def test_objects_are_counted_and_located():
    counts = FileRows(str(FILE), Columns.parse(COUNT), split="all")
    boxes = FileRows(str(FILE), Columns.parse(LOCATE), split="all")
    assert counts.column("answer")[:2] == [7, 7]
    assert boxes[0].answer == [[370, 1, 400, 31]]
    assert all(len(box) == 4 for answer in boxes.column("answer")[:200] for box in answer)


def test_a_look_at_the_file_says_what_to_think_about():
    told = describe(FileRows(str(FILE), Columns.parse(JUDGE)), rows=3)
    assert told.size == 5341
    assert {row.media for row in told.rows} == {("image 400×100",)}
    assert {column.name: column.part for column in told.columns}["sentence"] == "prompt"
    assert any("--split-by identifier" in note for note in told.notes)
