"""The vision program reads back what was drawn, also from worn pictures; the rewards hold it against what was asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from gamutrl.core import Batch, Context, Prompt, Rollout, Turn
from gamutrl.data.asked import Asked
from gamutrl.data.worlds import pictures, render
from gamutrl.rewards.base import Reward
from gamutrl.rewards.digits import NONE, digit_log_probs, digits_in
from gamutrl.rewards.outputs import pixels
from gamutrl.rewards.seeing import BLOB, Seen, see_shapes, shapes_in
from gamutrl.rewards.shown import DigitShown, GenEval, LayoutOverlap, Shown, facts_shown, in_cell
from gamutrl.rewards.table import RewardError, score
from gamutrl.training.samples import pictures_of


def batch_of_pictures(rows, outputs):
    turns = [Turn("", "", torch.zeros(1), torch.zeros(1))]
    rollouts = [Rollout(row, list(turns), output=output) for row, output in zip(rows, outputs)]
    return Batch.of(rows, rollouts, range(len(rows)))


def scored(reward, rows, outputs):
    return score([Reward("r", reward)], batch_of_pictures(rows, outputs), Context()).reward("r").tolist()


def worn(picture, noise=0.0, blur=0.0):
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    drawn = np.random.default_rng(0).normal(0, noise, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + drawn).clip(0, 255).astype(np.uint8))


def kinds(things):
    return sorted((thing["colour"], thing["shape"]) for thing in things)


@pytest.mark.parametrize("size", [32, 64, 72])
@pytest.mark.parametrize(("noise", "blur"), [(0, 0), (20, 0), (0, 0.02), (12, 0.015)], ids=str)
def test_what_was_drawn_is_read_back(size, noise, blur):
    rows = pictures.rows("train", 40, task="any")
    right = [
        sorted(
            (thing.color, thing.name) for thing in shapes_in(worn(pictures.target(row, size, 1), noise, blur * size))
        )
        == kinds(pictures.placed(row, 1))
        for row in rows
    ]
    assert all(right)


def test_boxes_are_where_things_were_drawn():
    for row in pictures.rows("train", 30, task="pair"):
        boxes = {(t["colour"], t["shape"]): t["box"] for t in pictures.placed(row)}
        for thing in shapes_in(pictures.target(row, 64)):
            assert thing.box == pytest.approx(boxes[thing.color, thing.name], abs=0.03)


def test_what_is_no_shape_of_the_world_is_a_blob():
    canvas = np.full((64, 64, 3), 24, dtype=np.uint8)
    canvas[10:20, 8:56] = render.COLOURS["red"]
    assert [thing.name for thing in shapes_in(Image.fromarray(canvas))] == [BLOB]
    assert shapes_in(Image.new("RGB", (32, 32), (130, 130, 130))) == []
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert not [thing for thing in shapes_in(Image.fromarray(noise)) if thing.name != BLOB]


@pytest.mark.parametrize("shade", [0, 90])
def test_the_ground_may_have_any_grey(shade):
    canvas = np.full((32, 32, 3), shade, dtype=np.uint8)
    render.paint(canvas, render.shape_stamp("cross", 12), render.COLOURS["cyan"], 3, 4)
    (thing,) = shapes_in(Image.fromarray(canvas))
    assert (thing.color, thing.name) == ("cyan", "cross")


class TestFacts:
    red = Seen("circle", "red", (0.1, 0.1, 0.4, 0.4))
    blue = Seen("square", "blue", (0.6, 0.1, 0.9, 0.4))

    @pytest.mark.parametrize(
        ("asked", "failing"),
        [
            (Asked(("circle",), (1,), ("red",)), {"nothing else"}),
            (Asked(("circle", "square"), (1, 1), ("red", "blue")), set()),
            (Asked(("circle", "square"), (1, 1), (None, None)), set()),
            (Asked(("circle", "square"), (1, 1), ("blue", "blue")), {"color 0", "count 0"}),
            (Asked(("cross", "square"), (1, 1), (None, "blue")), {"object 0", "count 0"}),
            (Asked(("circle", "square"), (2, 1), ("red", "blue")), {"count 0", "nothing else"}),
            (Asked(("circle", "square"), (1, 1), ("red", "blue"), "left of"), set()),
            (Asked(("circle", "square"), (1, 1), ("red", "blue"), "on the right of"), {"relation"}),
            (Asked(("circle", "square"), (1, 1), ("red", "blue"), "near"), set()),
            (Asked(("circle", "square"), (1, 1), ("red", "blue"), None, ("top left", "top left")), {"cell 1"}),
        ],
    )
    def test_each_fact_stands_alone(self, asked, failing):
        facts = facts_shown([self.red, self.blue], asked)
        assert {name for name, holds in facts.items() if not holds} == failing

    def test_more_is_enough_where_nothing_is_said_to_be_exact(self):
        facts = facts_shown([self.red, self.red, self.blue], Asked(("circle",), (1,), ("red",)), exact=False)
        assert all(facts.values())

    @pytest.mark.parametrize(
        ("cell", "inside"), [("top left", True), ("top", False), ("left", False), ("bottom right", False)]
    )
    def test_cells(self, cell, inside):
        assert in_cell(self.red, cell) is inside

    def test_the_middle_is_the_middle_third(self):
        middle = Seen("circle", "red", (0.4, 0.4, 0.6, 0.6))
        assert in_cell(middle, "center")
        assert not in_cell(middle, "right")


@pytest.mark.parametrize("task", [task for task in pictures.TASKS if task not in ("twins", "digit")])
def test_targets_earn_everything_and_other_pictures_less(task):
    rows = pictures.rows("train", 16, task=task)
    targets = [pictures.target(row, 32, 1) for row in rows]
    assert scored(Shown(), rows, targets) == [1.0] * 16
    wrong = scored(Shown(), rows, targets[1:] + targets[:1])
    share = scored(Shown(partial=True), rows, targets[1:] + targets[:1])
    assert sum(wrong) <= 4
    assert all(0 <= value <= 1 for value in share)
    assert sum(share) > sum(wrong)


def test_twins_tell_right_from_nearly_right():
    rows = pictures.rows("train", 20, task="twins")
    targets = [pictures.target(row, 32, 1) for row in rows]
    exchanged = [targets[i ^ 1] for i in range(len(targets))]
    assert scored(Shown(), rows, targets) == [1.0] * 20
    assert scored(Shown(), rows, exchanged) == [0.0] * 20
    assert min(scored(Shown(partial=True), rows, exchanged)) > 0.2


def test_layouts_are_measured_by_their_boxes():
    rows = pictures.rows("train", 8, task="layout")
    targets = [pictures.target(row, 64) for row in rows]
    assert min(scored(LayoutOverlap(), rows, targets)) > 0.8
    blank = Image.new("RGB", (64, 64))
    assert scored(LayoutOverlap(), rows[:1], [blank]) == [0.0]
    assert math.isnan(scored(LayoutOverlap(), pictures.rows("train", 1, task="pair"), [blank])[0])


def test_genevals_own_columns_get_genevals_own_verdict():
    include = [{"class": "circle", "count": 1}, {"class": "square", "count": 1, "position": ["right of", 0]}]
    rows = [Prompt.ask("a square right of a circle", include=include, id="one")] * 2
    left, right = Seen("circle", None, (0, 0, 0.3, 0.3)), Seen("square", None, (0.6, 0, 0.9, 0.3))
    turned = [Seen("circle", None, right.box), Seen("square", None, left.box)]
    seen = iter([[left, right], turned])

    def see(pictures_, names):
        assert names == [["circle", "square"]] * 2
        return [next(seen) for _ in pictures_]

    blank = Image.new("RGB", (8, 8))
    assert scored(GenEval(see), rows, [blank, blank]) == [1.0, 0.0]


def test_what_made_no_picture_earns_nothing_and_text_is_an_error():
    rows = pictures.rows("train", 1, task="object")
    assert scored(Shown(), rows, [None]) == [0.0]
    assert math.isnan(scored(Shown(), [Prompt.ask("draw", id="x")], [Image.new("RGB", (8, 8))])[0])
    with pytest.raises(RewardError, match="answers with text"):
        scored(Shown(), rows, ["a red circle"])


class TestDigits:
    def test_held_out_scans_are_read(self):
        rows = pictures.rows("test", 100, task="digit")
        targets = [pictures.target(row, 32) for row in rows]
        assert np.mean(scored(DigitShown(certain=True), rows, targets)) >= 0.96
        assert np.mean(scored(DigitShown(), rows, targets)) >= 0.94

    def test_what_is_no_digit_is_taken_for_none(self):
        rng = np.random.default_rng(0)
        noise = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(8)]
        shapes = [pictures.target(row, 32) for row in pictures.rows("train", 8, task="any")]
        blank = [Image.new("RGB", (32, 32), (shade,) * 3) for shade in (0, 24, 128, 255)]
        assert (digits_in(noise + shapes + blank).argmax(1) == NONE).float().mean() > 0.85

    def test_a_gradient_leads_to_the_digit_that_is_asked_for(self):
        pixel_BCHW = pixels(pictures.target(pictures.rows("test", 1, task="digit")[0]))[None].requires_grad_()
        wanted = 3
        before = digit_log_probs(pixel_BCHW)[0, wanted]
        before.backward()
        stepped = (pixel_BCHW + 0.05 * pixel_BCHW.grad.sign()).detach().clamp(0, 1)
        assert digit_log_probs(stepped)[0, wanted] > before + 0.5

    def test_other_rows_are_not_judged(self):
        row = pictures.rows("train", 1, task="object")[0]
        assert math.isnan(scored(DigitShown(), [row], [pictures.target(row)])[0])


def test_pictures_are_read_quickly():
    picture = pictures.target(pictures.rows("train", 1, task="count")[0], 64)
    assert len(see_shapes([picture] * 3)) == 3


def test_pixels_with_a_gradient_are_looked_at_like_pictures():
    rows = pictures.rows("train", 2, task="pair")
    outputs = [pixels(pictures.target(row, 32)).requires_grad_() for row in rows]
    assert scored(Shown(), rows, outputs) == [1.0, 1.0]
    assert len(pictures_of(Rollout(rows[0], [], output=outputs[0]))) == 1
