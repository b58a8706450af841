"""Perception-R1: boxes in any order, matched so that the reward is largest; no thinking."""

from __future__ import annotations

import itertools

import pytest
from by_hand import groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.recipes.perception_r1 import METRIC, RECIPE, REWARDS, native_boxes, shipped_format
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json


def native(*boxes: tuple[int, int, int, int], name: str = "") -> str:
    named = f"<|object_ref_start|>{name}<|object_ref_end|>" if name else ""
    return "".join(f"{named}<|box_start|>({a},{b}),({c},{d})<|box_end|>" for a, b, c, d in boxes)


BOXES = [(0, 0, 10, 10), (20, 20, 40, 30), (5, 40, 25, 60)]
ROW = Prompt.ask("Find all.", answer=native(*BOXES))


def matched(prompt: Prompt, *said: str, rewards=REWARDS) -> list[float]:
    return score(rewards[:1], groups_of([prompt], [said]), Context()).reward("matched").tolist()


def test_the_order_of_boxes_does_not_matter():
    said = [native(*order) for order in itertools.permutations(BOXES)]
    assert matched(ROW, *said) == [pytest.approx(1)] * 6


def test_a_pair_is_worth_its_iou_squared_and_in_the_paper_its_iou():
    half = native((0, 0, 20, 10), *BOXES[1:])
    assert matched(ROW, half) == [pytest.approx((0.25 + 2) / 3)]
    assert matched(ROW, half, rewards=RECIPE.variants["tiny/paper"].stages[0].rewards) == [pytest.approx((0.5 + 2) / 3)]


def test_boxes_missed_and_needless_boxes_cost_alike():
    assert matched(ROW, native(*BOXES[:2]), native(*BOXES, (50, 50, 60, 60))) == [
        pytest.approx(2 / 3),
        pytest.approx(3 / 4),
    ]


def test_that_nothing_is_there_has_to_be_said():
    absent = Prompt.ask("Find all.", answer="None")
    assert matched(absent, "None", "hm", native(BOXES[0])) == [1, 0, 0]
    assert matched(ROW, "None") == [0]


def test_the_grid_of_a_thousand_is_never_rescaled_to_pixels():
    from PIL import Image

    from gamutrl.core import image
    from gamutrl.policies.segments import MediaSize

    row = Prompt.ask("Where?", image(Image.new("RGB", (640, 480))), answer="[100, 100, 900, 900]")
    batch = groups_of([row], [[native((100, 100, 900, 900), name="dog")]])
    batch.info["media_size"] = [(MediaSize((640, 480), (644, 476)),)]
    assert score(REWARDS[:1], batch, Context())["reward_RK"].tolist() == [[1]]


@pytest.mark.parametrize(
    ("text", "intended", "shipped"),
    [
        (native(BOXES[0]), 1, 1),
        (native(*BOXES, name="red circle") + "<|im_end|>", 1, 1),
        ("None<|im_end|>", 1, 0),
        (native(*BOXES) + "</s>", 1, 1),
        ("<think>hm</think>" + native(BOXES[0]), 0, 1),
        ("<", 0, 1),
        ("box_start", 0, 1),
        ("[0, 0, 10, 10]", 0, 0),
        (native(BOXES[0]) + " and so on", 0, 1),
        ("", 0, 0),
    ],
)
def test_the_format_as_intended_and_as_shipped(text, intended, shipped):
    assert native_boxes(text) == intended
    assert shipped_format(text) == shipped


def test_the_format_is_read_in_linear_time():
    hostile = "<|object_ref_start|>" * 50_000 + "<|box_start|>(1,2),(3,4)" * 10_000
    assert native_boxes(hostile) == 0


def test_accuracy_is_the_share_of_objects_found():
    batch = score((METRIC,), groups_of([ROW], [[native(*BOXES[:2])]]), Context())
    assert batch.reward("accuracy").tolist() == [pytest.approx(2 / 3)]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/matched", "reward/format", "kl"} <= set(lines[0])
