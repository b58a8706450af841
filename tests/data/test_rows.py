"""Given data in every container, then the same rows; given bad rows, then their file, number and reason."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gamutrl.data import Columns, DataError, FileRows, MediaOptions, train_and_test
from gamutrl.data import files as files_module
from gamutrl.data.rows import held_out

ROWS = 10


def png(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 4), (level, 0, 0)).save(out, "PNG")
    return out.getvalue()


def table(rows: int = ROWS) -> pa.Table:
    return pa.table(
        {
            "question": [f"What is {k}?" for k in range(rows)],
            "answer": [k % 3 for k in range(rows)],
            "image": pa.array(
                [{"bytes": png(k), "path": f"{k}.png"} for k in range(rows)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "group": [f"g{k // 2}" for k in range(rows)],
        }
    )


@pytest.fixture
def pictures(tmp_path: Path) -> list[dict]:
    """Ten rows whose pictures are files beside the data."""
    rows = []
    for k in range(ROWS):
        (tmp_path / f"{k}.png").write_bytes(png(k))
        rows.append({"question": f"What is {k}?", "answer": k % 3, "image": f"{k}.png", "group": f"g{k // 2}"})
    return rows


def as_parquet(rows, folder):
    pq.write_table(table(), folder / "a.parquet", row_group_size=3)
    return folder / "a.parquet"


def as_large_parquet(rows, folder):
    return as_parquet(rows, folder)


def as_json_lines(rows, folder):
    lines = [json.dumps(row) for row in rows]
    (folder / "a.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]))
    return folder / "a.jsonl"


def as_json_lines_named_json(rows, folder):
    (folder / "a.json").write_text("\n".join(map(json.dumps, rows)))
    return folder / "a.json"


def as_json(rows, folder):
    (folder / "a.json").write_text(json.dumps({"version": 1, "data": rows}, indent=1))
    return folder / "a.json"


def as_csv(rows, folder):
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "a.csv"


def as_saved_dataset(rows, folder):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset(table()).cast_column("image", datasets.Image())
    dataset.select(list(range(ROWS))[::-1]).select(list(range(ROWS))[::-1]).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def as_folder_of_shards(rows, folder):
    (folder / "data").mkdir()
    pq.write_table(table().slice(0, 4), folder / "data" / "part-0.parquet")
    pq.write_table(table().slice(4), folder / "data" / "part-1.parquet")
    return folder / "data"


def as_image_folder(rows, folder):
    lines = [json.dumps({"file_name": row.pop("image"), **row}) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    "save",
    [as_parquet, as_large_parquet, as_json_lines, as_json_lines_named_json, as_json, as_csv, as_saved_dataset,
     as_folder_of_shards, as_image_folder],
)  # fmt: skip
def test_every_container_gives_the_same_rows(save, pictures, tmp_path, monkeypatch):
    if save is as_large_parquet:
        monkeypatch.setattr(files_module, "IN_MEMORY", 0)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = FileRows(str(save(pictures, tmp_path)), split="all")
    assert len(rows) == ROWS
    for k in range(ROWS):
        prompt = rows[k]
        assert prompt.text == f"What is {k}?"
        assert prompt.answer == (str(k % 3) if save is as_csv else k % 3)
        assert prompt.media[0].value.getpixel((0, 0)) == (k, 0, 0)
        assert prompt.columns["group"] == f"g{k // 2}"
        assert "image" not in prompt.columns
    assert rows.column("group")[-1] == "g4"
    assert [str(value) for value in rows.column("answer")] == [str(k % 3) for k in range(ROWS)]


def test_a_large_parquet_is_laid_out_once(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "IN_MEMORY", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = as_parquet(pictures, tmp_path)
    assert len(files_module.open_file(file)) == ROWS
    laid_out = list((tmp_path / "cache").rglob("*.arrow"))
    before = laid_out[0].stat().st_mtime_ns
    assert len(files_module.open_file(file)) == ROWS
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.*")] == [before]


def test_rows_are_named_by_file_and_number(pictures, tmp_path):
    assert FileRows(str(as_json_lines(pictures, tmp_path)), split="all")[3].id == "a.jsonl:3"


def test_class_folders_are_splits_and_labels(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "1.png").write_bytes(png(9))
    train, test = train_and_test(str(tmp_path), "prompt=Which animal is it?")
    assert [row.answer for row in (train[0], train[1])] == ["cat", "dog"]
    assert (len(train), len(test), train[0].text) == (2, 2, "Which animal is it?")


def test_splits_on_disk_are_kept(pictures, tmp_path):
    folder = tmp_path / "named"
    folder.mkdir()
    pq.write_table(table(7), folder / "train-00000-of-00001.parquet")
    pq.write_table(table(3), folder / "validation-00000-of-00001.parquet")
    train, test = train_and_test(str(folder))
    assert (len(train), len(test)) == (7, 3)
    assert len(FileRows(str(folder), split="all")) == 10


def test_a_split_by_group_shares_no_group(pictures, tmp_path):
    train, test = train_and_test(str(as_json_lines(pictures, tmp_path)), split_by="group", held_out=0.3)
    assert len(train) + len(test) == ROWS
    assert len(test) == 4
    assert not set(train.column("group")) & set(test.column("group"))
    again = FileRows(train.path, split="test", split_by="group", held_out=0.3)
    assert [again[k].id for k in range(4)] == [test[k].id for k in range(4)]
    others = [FileRows(train.path, split="test", split_by="group", held_out=0.3, split_seed=k) for k in range(9)]
    assert len({str(other.column("group")) for other in others}) > 1


@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=200).filter(lambda groups: len(set(groups)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
)
def test_any_split_is_whole_groups_and_leaves_both_sides_something(groups, share, seed):
    test = held_out(np.arange(len(groups)), groups, share, seed)
    inside = {group for group, held in zip(groups, test) if held}
    outside = {group for group, held in zip(groups, test) if not held}
    assert inside
    assert outside
    assert not inside & outside


def test_a_group_stays_on_its_side_when_rows_are_put_in_another_order():
    groups = [f"g{k % 17}" for k in range(100)]
    order = np.random.default_rng(0).permutation(100)
    test = held_out(np.arange(100), groups, 0.2, 0)
    moved = held_out(np.arange(100), [groups[k] for k in order], 0.2, 0)
    assert {g for g, held in zip(groups, test) if held} == {groups[k] for k, held in zip(order, moved) if held}


@pytest.mark.parametrize(("share", "reason"), [(0, "share of the rows"), (99, "nothing to train on")])
def test_a_split_that_leaves_nothing_is_refused(share, reason):
    with pytest.raises(DataError, match=reason):
        held_out(np.arange(10), None, share, 0)


def test_rows_are_chosen_by_a_condition_and_a_limit(pictures, tmp_path):
    path = str(as_json_lines(pictures, tmp_path))
    assert FileRows(path, split="all", where="answer=1").column("answer") == [1, 1, 1]
    assert len(FileRows(path, split="all", limit=4)) == 4
    with pytest.raises(DataError, match="No row meets 'answer=9'"):
        len(FileRows(path, split="all", where="answer=9"))
    with pytest.raises(DataError, match="no column 'answr'"):
        len(FileRows(path, split="all", where="answr=1"))


@pytest.fixture
def broken(pictures, tmp_path) -> str:
    """Row 1 has no question, row 2 no picture file, row 3 is no JSON, row 5 has a damaged picture."""
    pictures[1]["question"] = ""
    pictures[2]["image"] = "missing.png"
    (tmp_path / "5.png").write_bytes(png(5)[:40])
    lines = [json.dumps(row) for row in pictures]
    lines[3] = '{"question": '
    (tmp_path / "broken.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "broken.jsonl")


def test_bad_rows_stop_the_run_before_it_starts_and_are_all_named(broken):
    with pytest.raises(DataError, match=r"3 of 10 rows cannot be used.*--on-bad-row skip") as caught:
        FileRows(broken, split="all").batch(0, 1)
    told = [(problem.file, problem.row) for problem in caught.value.problems]
    assert told == [("broken.jsonl", 1), ("broken.jsonl", 2), ("broken.jsonl", 3)]
    for words in ("broken.jsonl:1: the prompt is empty", "no file 'missing.png'", "line 4 is not valid JSON"):
        assert words in str(caught.value)


def test_where_no_row_can_be_used_leaving_them_out_is_not_advised(tmp_path):
    (tmp_path / "cut.png").write_bytes(png(5)[:40])
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?", "answer": 3, "image": "cut.png"}\n' * 2)
    with pytest.raises(DataError, match=r"^2 of 2 rows cannot be used:\n.*rows.jsonl:0: the picture 'cut.png'"):
        FileRows(str(tmp_path / "rows.jsonl"), split="all", on_bad_row="skip").batch(0, 1)


def test_bad_rows_are_left_out_and_listed_where_asked(broken):
    rows = FileRows(broken, split="all", on_bad_row="skip")
    assert len(rows) == 7
    served = [prompt.id for prompt in rows.batch(0, 7)]
    assert "broken.jsonl:5" not in served
    assert {problem.row for problem in rows.problems} == {1, 2, 3, 5}
    assert [prompt.id for prompt in rows.batch(0, 7)] == served


def test_a_damaged_picture_stops_the_run_when_its_row_is_drawn(pictures, tmp_path):
    (tmp_path / "5.png").write_bytes(png(5)[:40])
    rows = FileRows(str(as_json_lines(pictures, tmp_path)), split="all")
    with pytest.raises(DataError, match=r"a\.jsonl:5: the picture '5\.png' (is damaged|cannot be read)"):
        rows.batch(0, ROWS)


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("a.doc", "x", r"not read; give one of \.parquet"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "\n\n", "no rows in a.jsonl"),
        ("a.parquet", "nonsense", "cannot be read as parquet"),
        ("a.json", "{", "not valid JSON"),
        ("a.csv", "question,answer\n", "no rows"),
        ("a.jsonl", '{"a": 1}', "Nothing tells what to ask: the columns are a"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(name, body, reason, tmp_path):
    (tmp_path / name).write_text(body)
    with pytest.raises(DataError, match=reason):
        len(FileRows(str(tmp_path / name), split="all"))


def test_what_is_not_there_says_so(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder 'nowhere\.parquet'"):
        len(FileRows("nowhere.parquet"))
    with pytest.raises(DataError, match="holds no data"):
        len(FileRows(str(tmp_path)))


def test_a_hub_id_that_cannot_be_had_is_one_sentence_and_quick(monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setattr(files_module, "_reachable", lambda: False)
    with pytest.raises(DataError, match="could not be had from the Hugging Face hub: the hub cannot be reached"):
        len(FileRows("nobody/nothing"))


def test_a_csv_line_that_is_not_utf8_is_a_bad_row(tmp_path):
    (tmp_path / "a.csv").write_bytes("question,answer\nWhy?,because\nWhat?,é\n".encode() + "Où?,là\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 4 is not UTF-8"):
        len(FileRows(str(tmp_path / "a.csv"), split="all"))


def test_a_csv_line_with_too_few_fields_is_a_bad_row(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer\nWhy?,because\nWhat?\n")
    rows = FileRows(str(tmp_path / "a.csv"), split="all", on_bad_row="skip")
    assert len(rows) == 1
    assert "line 3 has 1 fields; 2 were expected" in str(rows.problems[0])


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "old", "answer": 1}\n' * 2)
    assert FileRows(str(path), split="all")[0].text == "old"
    path.write_text('{"question": "new", "answer": 1}\n' * 2)
    assert FileRows(str(path), split="all")[0].text == "new"


def test_decoded_rows_are_kept_up_to_a_bound(pictures, tmp_path):
    path = str(as_json_lines(pictures, tmp_path))
    rows = FileRows(path, split="all", media=MediaOptions(cache_pixels=3 * 32))
    first = rows[0]
    assert rows[0] is first
    for k in range(1, 4):
        rows[k]
    assert rows[0] is not first
    assert rows.opened._cache.held <= 3 * 32


def test_pictures_that_come_late_in_a_file_are_found(pictures, tmp_path):
    lines = [json.dumps({"question": "no picture", "answer": 0})] * 2000 + [json.dumps(pictures[3])]
    (tmp_path / "late.jsonl").write_text("\n".join(lines))
    rows = FileRows(str(tmp_path / "late.jsonl"), split="all")
    assert (len(rows[0].media), len(rows[2000].media)) == (0, 1)


def test_numbers_that_stand_for_classes_read_as_their_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features(
        {"question": datasets.Value("string"), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    dataset = datasets.Dataset.from_dict({"question": ["a", "b"], "label": [1, 0]}, features=kinds)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    dataset.save_to_disk(str(tmp_path / "saved"))
    for path in ("a.parquet", "saved"):
        rows = FileRows(str(tmp_path / path), split="all")
        assert [rows[k].answer for k in range(2)] == rows.column("label") == ["dog", "cat"]


def test_columns_of_bytes_stay_out_of_the_prompt_unless_asked_for(tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    columns = Columns.parse("prompt=question,image=none,raw=image")
    prompt = FileRows(str(tmp_path / "a.parquet"), columns, split="all")[2]
    assert prompt.media == []
    assert prompt.columns["raw"]["bytes"] == png(2)
    assert "image" not in prompt.columns
