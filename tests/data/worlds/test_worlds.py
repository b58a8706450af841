"""What every world promises: rows from their arguments alone, exact answers, no answer without looking."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from gamutrl.core import Prompt
from gamutrl.data.worlds import clips, digits, forms, puzzles, render, scenes
from gamutrl.data.worlds.base import coarse

WORLDS = (digits, scenes, clips, puzzles)
ALL = [pytest.param(world, task, id=f"{world.__name__[21:]}-{task}") for world in WORLDS for task in world.TASKS]
BOXES = [(world, task) for world in (digits, scenes) for task in ("locate", "detect", "everything")]


def pixels(row: Prompt) -> list[bytes]:
    shown = [part.value if part.kind == "video" else [part.value] for part in row.media]
    return [picture.tobytes() for pictures in shown for picture in pictures]


@pytest.mark.parametrize(("world", "task"), ALL)
class TestEveryTask:
    def test_a_row_depends_on_split_seed_and_number_only(self, world, task):
        few, many = world.rows("train", 2, seed=3, task=task), world.rows("train", 5, seed=3, task=task)
        assert [row.id for row in few] == [row.id for row in many[:2]]
        assert [row.text for row in few] == [row.text for row in many[:2]]
        assert [pixels(row) for row in few] == [pixels(row) for row in many[:2]]
        assert pixels(many[0]) != pixels(world.rows("test", 1, seed=3, task=task)[0])
        assert pixels(many[0]) != pixels(world.rows("train", 1, seed=4, task=task)[0])

    def test_an_exact_demonstration_is_the_answer(self, world, task):
        for row in world.rows("train", 20, task=task):
            if row.columns["notation"] == "list":
                assert world.demonstrate(row, "fine") == row.answer
        for row in world.rows("train", 20, task=task, form="think"):
            reply = world.demonstrate(row, "work")
            assert re.fullmatch(r"<think>.*?</think><answer>(.*?)</answer>", reply, re.DOTALL)[1] == row.answer

    def test_a_wrong_demonstration_is_wrong(self, world, task):
        rows = [row for row in world.rows("train", 40, task=task) if row.answer not in ("None", "No Objects")]
        wrong = [world.demonstrate(row, "direct", error_rate=1.0, seed=1) != row.answer for row in rows]
        assert np.mean(wrong) > 0.9

    def test_canvases_are_small_and_not_blank(self, world, task):
        for row in world.rows("test", 3, task=task):
            for part in row.media:
                for picture in part.value if part.kind == "video" else [part.value]:
                    assert picture.size == (render.SIZE, render.SIZE)
            assert any(len(set(shown)) > 1 for shown in pixels(row))


@pytest.mark.parametrize(("world", "task"), ALL)
def test_the_best_constant_answer_is_low(world, task):
    answers = Counter(row.answer for row in world.rows("test", 300, task=task))
    limits = {"statement": 0.6, "compare": 0.45, "images": 0.45, "truths": 0.25, "count": 0.35}
    assert answers.most_common(1)[0][1] / 300 <= limits.get(task, 0.4)


@pytest.mark.parametrize(
    ("world", "task"), [(scenes, "options"), (scenes, "relation"), (clips, "choice"), (clips, "direction")]
)
def test_the_answer_does_not_follow_from_the_question(world, task):
    """Of rows with the same first words, no answer is much commoner than chance."""
    rows = world.rows("test", 400, task=task)
    by_question: dict[str, Counter] = {}
    for row in rows:
        by_question.setdefault(" ".join(row.text.split()[:3]), Counter())[row.answer] += 1
    guessed = sum(counts.most_common(1)[0][1] for counts in by_question.values())
    assert guessed / len(rows) < 0.4


def test_train_and_test_share_no_scan():
    train, test = ({scan for of_digit in render.scans(split) for scan in of_digit} for split in ("train", "test"))
    assert not train & test
    assert len(train | test) == 1797
    for row in digits.rows("test", 50, task="read"):
        assert {digit["scan"] for digit in row.columns["facts"]} <= test


@pytest.mark.parametrize(("world", "task"), BOXES)
def test_boxes_hold_the_object_and_stay_on_the_canvas(world, task):
    for row in world.rows("train", 30, task=task):
        picture = np.asarray(row.media[0].value).astype(int)
        for x1, y1, x2, y2 in row.columns["boxes"]:
            assert 0 <= x1 < x2 <= render.SIZE
            assert 0 <= y1 < y2 <= render.SIZE
            assert picture[y1:y2, x1:x2].max() - picture.min() > 60


def test_shapes_touch_the_four_sides_of_their_boxes():
    for shape in render.SHAPES:
        for size in range(10, 19):
            stamp = render.shape_stamp(shape, size)
            assert min(stamp[0].max(), stamp[-1].max(), stamp[:, 0].max(), stamp[:, -1].max()) > 0.1


def test_a_count_is_the_number_of_shapes_of_that_colour_in_the_picture():
    """Counted from the pixels: no shape touches another on a grid of cells, so blobs are objects."""
    from scipy.ndimage import label

    for row in scenes.rows("train", 60, task="count"):
        query = row.columns["query"]
        if query["shape"] is None:
            colour = np.array(render.COLOURS[query["colour"]])
            close = (np.abs(np.asarray(row.media[0].value).astype(int) - colour) < 12).all(-1)
            blobs, found = label(close)
            assert sum((blobs == k).sum() > 8 for k in range(1, found + 1)) == int(row.answer)


def test_absent_objects_are_asked_as_often_as_said():
    rows = scenes.rows("train", 200, task="detect", absent=0.5, boxes="position", form="think")
    share = np.mean([row.answer == "No Objects" for row in rows])
    assert 0.35 < share < 0.65
    assert {row.answer for row in scenes.rows("train", 60, task="detect", absent=1.0, boxes="bbox_2d")} == {"None"}


def test_the_formats_of_boxes():
    box = [1, 2, 30, 40]
    assert forms.write_boxes([box], ["cat"], "position", [0.85]) == "[{'Position': [1, 2, 30, 40], 'Confidence': 0.85}]"
    assert forms.write_boxes([box], ["cat"], "bbox_2d") == (
        '```json\n[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}]\n```'
    )
    assert forms.write_boxes([box, box], ["a", "b"], "native").count("<|box_start|>(1,2),(30,40)<|box_end|>") == 2
    assert forms.write_box(box, "bbox_2d") == '{"bbox_2d": [1, 2, 30, 40]}'
    assert forms.write("info", "7", "3 + 4", "red 3") == "<info>red 3</info>\n<think>3 + 4</think><answer>7</answer>"


def test_coarse_boxes_are_near_but_overlap_little():
    from gamutrl.functional.geometry import box_iou

    rows = scenes.rows("train", 300, task="locate")
    true = [row.columns["boxes"][0] for row in rows]
    overlap = box_iou(true, [coarse(box) for box in true]).diagonal()
    assert 0.25 < float(overlap.mean()) < 0.6
    assert float((overlap > 0).float().mean()) > 0.95


def test_directions_are_what_the_frames_show():
    for row in clips.rows("train", 40, task="direction", others=0):
        frames = [np.asarray(frame).max(-1) > 60 for frame in row.media[0].value]
        (y0, x0), (y1, x1) = (np.argwhere(frames[t]).mean(0) for t in (0, -1))
        moved = {"left": x0 - x1, "right": x1 - x0, "up": y0 - y1, "down": y1 - y0}
        assert max(moved, key=moved.get) == row.answer


def test_spans_are_the_frames_that_show_the_shape():
    for row in clips.rows("train", 40, task="span", others=0):
        shown = [t for t, frame in enumerate(row.media[0].value) if np.asarray(frame).max() > 60]
        assert row.answer == f"{shown[0]} to {shown[-1]}"


def test_half_of_the_choices_need_order_and_the_cue_is_right_as_often_as_said():
    rows = clips.rows("train", 400, task="choice")
    order = [row for row in rows if row.columns["query"]["asked"] == "direction"]
    assert 0.4 < len(order) / len(rows) < 0.6
    right = np.mean([row.columns["facts"]["cue"] == row.columns["query"]["direction"] for row in order])
    assert 0.5 < right < 0.7


def test_true_statements_hold_and_false_ones_do_not():
    for row in clips.rows("train", 100, task="truths"):
        said = row.columns["query"]["options"]
        happens = row.columns["caption"].split(", ")
        there = {" ".join(clause.split()[:2]) for clause in happens}
        true = [
            option in happens or (option.endswith("is there") and " ".join(option.split()[:2]) in there)
            for option in said
        ]
        assert row.answer == ",".join(letter for letter, truth in zip("ABCD", true) if truth)


def test_putting_the_pieces_back_gives_the_picture():
    for shape in ((2, 1), (2, 2), (1, 2)):
        for row in puzzles.rows("train", 5, task="full", shape=shape):
            facts, mixed = row.columns["facts"], np.asarray(row.media[0].value)
            answer = [int(piece) - 1 for piece in row.answer.split()]
            whole = puzzles.landscape(facts["landscape"])
            back = puzzles.cut(mixed, shape, [answer.index(k) for k in range(len(answer))])
            assert np.array_equal(back, whole)


def test_photographs_of_the_test_split_are_never_in_training():
    rows = puzzles.rows("train", 60, task="full", source="photo"), puzzles.rows("test", 60, task="full", source="photo")
    train, test = ([row.columns["facts"]["photo"] for row in some] for some in rows)
    assert max(left + side for _, left, _, side in train) <= min(left for _, left, _, _ in test)


def test_what_cannot_be_asked_is_said():
    with pytest.raises(ValueError, match="has no task 'sing'; it has: read"):
        digits.rows("train", 1, task="sing")
    with pytest.raises(ValueError, match="does not take these knobs"):
        digits.rows("train", 1, task="read", colour="red")
    with pytest.raises(ValueError, match="'train' or 'test', not 'dev'"):
        digits.rows("dev", 1, task="read")
    with pytest.raises(ValueError, match="No form is called 'verse'"):
        digits.rows("train", 1, task="read", form="verse")
    with pytest.raises(ValueError, match="No style is called"):
        digits.demonstrate(digits.rows("train", 1, task="read")[0], "baroque")
