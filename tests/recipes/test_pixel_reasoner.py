"""Pixel Reasoner: a group that hardly looks is paid for looking."""

from __future__ import annotations

from collections import Counter

import pytest
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Batch, Call, Context, Prompt, video
from gamutrl.data.worlds import films, pages, turns
from gamutrl.environments.scripted import calls, play
from gamutrl.recipes.pixel_reasoner import (
    CURIOSITY,
    ECONOMY,
    RECIPE,
    Honest,
    correctness,
    curiosity,
    curiosity_of_paper,
    right,
)
from gamutrl.rewards.answers import same_text
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

ROW = Prompt.ask("Which digit?", answer="3")
FAILED = Call("crop_image_normalized", {}, "too small")
DONE = Call("crop_image_normalized", {})


def group(*made: tuple[str, list[Call]], row: Prompt = ROW) -> Batch:
    """One group: what each rollout said, and the calls that it made."""
    batch = groups_of([row], [[text for text, _ in made]])
    for rollout, (_, called) in zip(batch.rollouts, made):
        rollout.turns[0].calls = tuple(called)
    return batch


@pytest.mark.parametrize(
    ("text", "answer", "value"),
    [
        ("so \\boxed{3}", "3", 1),
        ("so \\boxed{6/2}", "3", 1),
        (answered("so", "B"), "b", 1),
        (answered("so", "4"), "3", 0),
        ("\\boxed{30}", ["30%", "30"], 1),
        ("three", "3", -1),
        ("<answer> </answer>", "3", -1),
    ],
)
def test_an_answer_is_right_wrong_or_none(text, answer, value):
    assert correctness(text, answer) == value
    assert right(text, answer) == max(0, value)


def test_a_right_answer_after_a_failed_call_does_not_count():
    yes, no = answered("so", "3"), answered("so", "4")
    batch = group((yes, [FAILED]), (yes, [FAILED, DONE]), (yes, []), (no, [FAILED]), ("3", [FAILED]))
    assert Honest(same_text)(batch, Context()).tolist() == [0, 1, 1, 0, -1]


def test_curiosity_fades_as_the_group_looks():
    yes = answered("so", "3")
    one_of_eight = group((yes, [DONE]), *[(yes, [])] * 7)
    assert curiosity(one_of_eight, Context()).tolist() == pytest.approx([0.175, *[0] * 7])
    assert curiosity_of_paper(one_of_eight, Context()).tolist() == pytest.approx([0.0875, *[0] * 7])
    half = group((yes, [DONE]), (yes, []))
    assert curiosity(half, Context()).tolist() == curiosity_of_paper(half, Context()).tolist() == [0, 0]
    clip = Prompt.ask("Which?", video([]), answer="3")
    assert curiosity(group((yes, [DONE]), *[(yes, [])] * 7, row=clip), Context())[0] == pytest.approx(0.7 / 3)


def test_each_call_beyond_the_first_costs():
    batch = score((ECONOMY,), group(*[("3", [DONE] * n) for n in range(4)]), Context())
    assert batch.reward("economy").tolist() == pytest.approx([0, 0, -0.05, -0.1])


def test_the_ablation_measures_the_bonus_and_does_not_pay_it():
    plain = RECIPE.preset("tiny", "ablation").stages[-1]
    assert [reward.weight for reward in plain.rewards] == [1, 0, 1]
    assert plain.rewards[1] == Reward("curiosity", curiosity, weight=0.0, scope="group") != CURIOSITY


def test_both_worlds_are_looked_at_through_one_environment():
    evaluation = RECIPE.tiny.evaluation
    rows = evaluation.prompts()
    assert Counter(row.columns["world"] for row in rows) == {"pages": len(rows) / 2, "films": len(rows) / 2}
    for world in (pages, films):
        row = next(row for row in rows if row.columns["world"] == world.__name__.rsplit(".")[-1])
        said = world.demonstrate_turns(row, turns.crop_or_frames_call)
        played = play(evaluation.environment, row, 0, said)
        assert [call.error for call in calls(played)] == [None]
        assert right(played[-1][0], row.answer, compare=same_text) == 1


def test_a_page_has_no_frames_to_select():
    evaluation = RECIPE.tiny.evaluation
    row = next(row for row in evaluation.prompts() if row.columns["world"] == "pages")
    call = '<tool_call>{"name": "select_frames", "arguments": {"target_frames": [1]}}</tool_call>'
    (one,) = calls(play(evaluation.environment, row, 0, [call, "3"]))
    assert "no video" in one.error


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/correctness", "reward/curiosity", "reward/economy", "replay/effective"} <= set(lines[0])
    assert "called" in run.summary["others"]["after"]
