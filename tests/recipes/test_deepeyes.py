"""DeepEyes: a look is paid for where the answer is right."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.worlds import pages, turns
from gamutrl.environments.scripted import play
from gamutrl.policies.models import TextModel
from gamutrl.recipes.deepeyes import FORMAT, JUDGED, RECIPE, RULE, TOOL, Looks, by_source, layout, maths_layout
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json

EVALUATION = RECIPE.tiny.evaluation
ROWS = EVALUATION.prompts()
FINE = next(row for row in ROWS if row.columns["need"])
PLAIN = next(row for row in ROWS if not row.columns["need"])
ZOOM = (
    '<think>look</think><tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [9, 9, 30, 30]}}</tool_call>'
)
TOO_SMALL = ZOOM.replace("30, 30", "9, 9")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return TextModel(str(random_model(tmp_path_factory.mktemp("model")))).load()


def said(policy, row: Prompt, *rollouts: list[str]) -> Batch:
    """What was said turn by turn, with what the environment answered."""
    played = [play(EVALUATION.environment, row, 0, texts) for texts in rollouts]
    batch = policy.demonstrated([row] * len(played), played)
    return Batch.of([row], batch.rollouts, [0] * len(played))


def test_a_look_pays_only_where_a_picture_came_back_and_the_answer_is_right(policy):
    right, wrong = answered("so", FINE.answer), answered("so", "none")
    batch = said(policy, FINE, [ZOOM, right], [TOO_SMALL, right], [right], [ZOOM, wrong], [wrong])
    batch = score((RULE, FORMAT, TOOL), batch, Context())
    assert batch.reward("tool").tolist() == [1, 0, 0, 0, 0]
    assert weighted_sum(batch, Context()).tolist() == pytest.approx([2.0, 0.8, 0.8, 0, 0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (answered("so", "3"), 0),
        ("3", 0),
        ("<answer>3</answer><think></think>", 0),
        ("<think>so <answer>3</answer>", -1),
        ("<think>so</think><answer>3", -1),
        (answered("so", "3" * 1000), -1),
        (answered("so", "3" * 999), 0),
    ],
)
def test_the_format_is_a_count_of_marks(text, value):
    assert layout(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("<think>so</think>\\boxed{3}", 0), ("<think>so</think>3", -1), ("\\boxed{3} \\boxed{4}", -1), ("<think>3", -1)],
)
def test_mathematics_is_answered_in_one_box(text, value):
    assert maths_layout(text) == value


def test_rows_of_mathematics_have_weights_of_their_own():
    sums = Prompt.ask("1 + 2?", answer="3", data_source="xince")
    chart = Prompt.ask("How high?", answer="3", data_source="chart")
    words = ["<think>so</think>\\boxed{3}", answered("so", "3")]
    context = Context(
        responders={"judge": lambda asked: [f"Judgement: {int('Answer: 3' in c[-1].text)}" for c in asked]}
    )
    batch = score((*JUDGED, TOOL), groups_of([sums, chart], [words, words]), context)
    assert by_source(batch, context).tolist() == pytest.approx([1.2, -0.4, 0.0, 0.8])


def test_looks_are_counted_on_rows_that_need_them_apart_from_others(policy):
    looked = said(policy, FINE, [ZOOM], ["3"])
    assert Looks(True)(looked, Context()).tolist() == [1, 0]
    assert Looks(False)(looked, Context()).isnan().all()
    assert Looks(False)(said(policy, PLAIN, ["3"]), Context()).tolist() == [0]
    assert math.isnan(torch.nanmean(Looks(True)(said(policy, PLAIN, ["3"]), Context())))


def test_the_demonstrated_look_shows_the_digit_enlarged():
    played = play(EVALUATION.environment, FINE, 0, pages.demonstrate_turns(FINE, turns.zoom_call))
    (picture,) = (part.value for part in played[0][1].parts if part.is_media)
    assert picture.width == picture.height < 504 / 2
    assert played[-1][1].info == {"end": "answer"}


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format", "reward/tool"} <= set(lines[0])
    assert {"looks_if_needed", "looks_if_not"} <= set(run.summary["others"]["after"])
