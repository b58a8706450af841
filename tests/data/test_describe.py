"""Given a source, then what a person should know before training."""

from __future__ import annotations

import json

from PIL import Image

from gamutrl.data import Changed, FileRows, Mixture, WorldRows
from gamutrl.data.describe import describe
from gamutrl.data.transforms import WithSuffix


def test_bad_media_are_listed_and_do_not_stop_the_look(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    rows = [{"question": "Who?", "answer": "Ann", "image": name, "image_id": 1} for name in ("good.png", "bad.png")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = describe(FileRows(str(tmp_path / "a.jsonl"), split="all"))
    assert (told.size, len(told.rows), told.rows[0].media) == (2, 1, ("image 6×4",))
    assert "bad.png" in told.problems[0].reason
    assert describe(FileRows(str(tmp_path / "a.jsonl"), split="all", where="question=Who?")).problems == told.problems
    assert {column.name: column.part for column in told.columns} == {
        "question": "prompt", "answer": "answer", "image": "image", "image_id": "",
    }  # fmt: skip
    assert any("100% of the answers are 'Ann'" in note for note in told.notes)


def test_what_stands_on_files_is_looked_into(tmp_path):
    rows = [{"question": f"{k}?", "answer": k} for k in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = FileRows(str(tmp_path / "a.jsonl"), split="all")
    told = describe(Mixture((Changed(file, WithSuffix("!")), WorldRows("digits", "sum")), (1, 1)), rows=4)
    assert (told.size, [column.name for column in told.columns]) == (None, ["question", "answer"])
    assert [row.question for row in told.rows[:2]] == ["0?!", "3?!"]
    assert len(told.rows) == 4


def test_a_world_is_described_by_some_rows():
    told = describe(WorldRows("digits", "sum"), rows=3)
    assert (told.size, len(told.rows), told.rows[0].media) == (None, 3, ("image 72×72",))
    assert "digits" in told.name
