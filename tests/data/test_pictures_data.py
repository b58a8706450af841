"""Rows that ask for pictures: texts of prompts, GenEval's columns, captioned folders, pairs of which one is liked."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from gamutrl.data.asked import Asked
from gamutrl.data.columns import Columns
from gamutrl.data.problems import DataError
from gamutrl.data.rows import FileRows, train_and_test


def picture(path, colour="red", size=(8, 6)):
    Image.new("RGB", size, colour).save(path)
    return path.name


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


class TestTexts:
    def test_each_line_is_a_prompt(self, tmp_path):
        file = tmp_path / "prompts.txt"
        file.write_text("\ufeffa red circle\n\n  two blue squares  \nein grünes Kreuz\n", encoding="utf-8")
        rows = FileRows(str(file), split="all")
        assert [row.text for row in (rows[i] for i in range(len(rows)))] == [
            "a red circle",
            "two blue squares",
            "ein grünes Kreuz",
        ]
        assert rows[1].id == "prompts.txt:1"
        assert rows[0].answer is None

    def test_a_damaged_line_is_reported_and_can_be_left_out(self, tmp_path):
        file = tmp_path / "prompts.txt"
        file.write_bytes(b"one\n\xff\xfe\ntwo\n")
        with pytest.raises(DataError, match="line 2 is not UTF-8"):
            len(FileRows(str(file), split="all"))
        assert len(FileRows(str(file), split="all", on_bad_row="skip")) == 2

    @pytest.mark.parametrize("name", ["prompts.txt", "prompts.jsonl"])
    def test_lines_none_of_which_can_be_read_are_named(self, tmp_path, name):
        (tmp_path / name).write_bytes("a red circle\na blue square\n".encode("utf-16"))
        with pytest.raises(DataError, match=rf"rows cannot be used:\n  {name}:0: line 1 is not "):
            len(FileRows(str(tmp_path / name), split="all"))

    def test_a_folder_of_texts_has_splits(self, tmp_path):
        (tmp_path / "train.txt").write_text("one\ntwo\n")
        (tmp_path / "test.txt").write_text("three\n")
        train, test = train_and_test(str(tmp_path))
        assert sorted(row.text for row in train.batch(0, 2, 0)) == ["one", "two"]
        assert test[0].text == "three"

    def test_a_readme_beside_rows_is_no_data(self, tmp_path):
        (tmp_path / "README.txt").write_text("how to use this")
        lines(tmp_path / "rows.jsonl", [{"prompt": "a cat"}, {"prompt": "a dog"}])
        assert len(FileRows(str(tmp_path), split="all")) == 2


class TestGenEvalColumns:
    def test_they_come_through(self, tmp_path):
        row = {"prompt": "two red circles", "objects": ["circle"], "counts": [2], "colors": ["red"], "relation": None}
        (found,) = (FileRows(lines(tmp_path / "r.jsonl", [row]), split="all")[i] for i in range(1))
        assert found.text == "two red circles"
        assert Asked.of(found.columns) == Asked(("circle",), (2,), ("red",))

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"objects": ["a", "b"], "counts": [1]}, "counts has 1 values for 2 objects"),
            ({"objects": ["a"], "counts": ["many"]}, "'many', which is no number of objects"),
            ({"objects": ["a"], "counts": [-1]}, "no number of objects"),
            ({"objects": ["a"], "colors": ["red", "blue"]}, "colors has 2 values"),
            ({"objects": ["a", "b"], "counts": [1, 1], "relation": "inside"}, "'inside' is no relation"),
            ({"objects": ["a"], "counts": [1], "relation": "above"}, "no relation of two objects"),
        ],
    )
    def test_rows_that_contradict_themselves_are_bad(self, tmp_path, row, reason):
        path = lines(tmp_path / "r.jsonl", [{"prompt": "fine"}, {"prompt": "not", **row}])
        with pytest.raises(DataError, match=reason) as error:
            len(FileRows(path, split="all"))
        assert error.value.problems[0].row == 1
        assert len(FileRows(path, split="all", on_bad_row="skip")) == 1

    def test_lists_may_be_written_as_text(self):
        asked = Asked.of({"objects": "circle, square", "counts": "2, 1", "relation": "left of"})
        assert asked == Asked(("circle", "square"), (2, 1), (None, None), "left of")

    def test_other_rows_with_a_column_of_that_name_are_left_alone(self, tmp_path):
        path = lines(tmp_path / "r.jsonl", [{"prompt": "find", "objects": [{"bbox": [1, 2]}], "counts": [3]}])
        assert FileRows(path, split="all")[0].columns["objects"] == [{"bbox": [1, 2]}]


class TestCaptionedPictures:
    def test_a_text_beside_a_picture_is_its_prompt(self, tmp_path):
        for name, caption in (("one", "a red field"), ("two", "a blue field")):
            picture(tmp_path / f"{name}.png", "red" if name == "one" else "blue")
            (tmp_path / f"{name}.txt").write_text(caption + "\n")
        rows = FileRows(str(tmp_path), split="all")
        assert [row.text for row in (rows[0], rows[1])] == ["a red field", "a blue field"]
        assert not rows[0].media
        assert rows[1].columns["target"].getpixel((0, 0)) == (0, 0, 255)

    def test_so_is_a_caption_in_the_folders_metadata(self, tmp_path):
        picture(tmp_path / "one.png")
        lines(tmp_path / "metadata.jsonl", [{"file_name": "one.png", "text": "a red field"}])
        row = FileRows(str(tmp_path), split="all")[0]
        assert (row.text, row.columns["target"].size, row.media) == ("a red field", (8, 6), [])

    def test_a_question_beside_a_picture_is_still_about_it(self, tmp_path):
        picture(tmp_path / "one.png")
        rows = [{"image": "one.png", "question": "Which colour?", "caption": "red", "answer": "red"}]
        row = FileRows(lines(tmp_path / "rows.jsonl", rows), split="all")[0]
        assert len(row.media) == 1
        assert "target" not in row.columns

    def test_a_target_that_is_missing_is_a_bad_row(self, tmp_path):
        rows = [{"image": "gone.png", "caption": "nothing"}]
        with pytest.raises(DataError, match=r"there is no file 'gone\.png'"):
            len(FileRows(lines(tmp_path / "rows.jsonl", rows), split="all"))


class TestPairs:
    def pair(self, tmp_path, **row):
        picture(tmp_path / "a.png", "red")
        picture(tmp_path / "b.png", "blue")
        return lines(tmp_path / "pairs.jsonl", [{"prompt": "a field", **row}])

    def colours(self, row):
        return [row.columns[name].getpixel((0, 0)) for name in ("chosen", "rejected")]

    def test_chosen_and_rejected_pictures(self, tmp_path):
        path = self.pair(tmp_path, chosen="a.png", rejected="b.png")
        assert self.colours(FileRows(path, split="all")[0]) == [(255, 0, 0), (0, 0, 255)]

    @pytest.mark.parametrize(("label", "liked"), [(0, (255, 0, 0)), (1, (0, 0, 255)), (1.0, (0, 0, 255))])
    def test_two_pictures_and_a_label(self, tmp_path, label, liked):
        row = FileRows(self.pair(tmp_path, image_0="a.png", image_1="b.png", label=label), split="all")[0]
        assert self.colours(row)[0] == liked
        assert row.columns["tie"] is False
        assert not row.media

    def test_pick_a_pics_columns(self, tmp_path):
        values = {"jpg_0": "a.png", "jpg_1": "b.png", "label_0": 0.5, "label_1": 0.5}
        assert FileRows(self.pair(tmp_path, **values), split="all")[0].columns["tie"] is True

    def test_columns_of_other_names(self, tmp_path):
        path = self.pair(tmp_path, left="a.png", right="b.png", better=1)
        columns = Columns.parse("chosen=left,rejected=right,preferred=better")
        assert self.colours(FileRows(path, columns, split="all")[0])[0] == (0, 0, 255)

    def test_numbered_pictures_without_a_verdict_are_no_pair(self, tmp_path):
        row = FileRows(self.pair(tmp_path, image_0="a.png", image_1="b.png"), split="all")[0]
        assert "chosen" not in row.columns

    def test_texts_stay_texts(self, tmp_path):
        row = FileRows(self.pair(tmp_path, chosen="It is red.", rejected="It is blue."), split="all")[0]
        assert (row.columns["chosen"], row.columns["rejected"]) == ("It is red.", "It is blue.")

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"image_0": "a.png", "image_1": "b.png", "label": "left"}, "must be 0, 1 or 0.5"),
            ({"chosen": "a.png", "rejected": None}, "column of 'rejected' is empty"),
            ({"chosen": "a.png", "rejected": "gone.png"}, "there is no file"),
        ],
    )
    def test_bad_pairs_are_reported(self, tmp_path, row, reason):
        with pytest.raises(DataError, match=reason):
            len(FileRows(self.pair(tmp_path, **row), split="all"))
