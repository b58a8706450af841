"""OpenThinkIMG: strict JSON actions, tools on the newest picture, and the last turn's answer as the only reward."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from by_hand import random_model, short_run

from gamutrl.core import Batch, Context
from gamutrl.data.worlds import charts, forms, turns
from gamutrl.environments import SingleTurn
from gamutrl.environments.calls import action_answer
from gamutrl.recipes.openthinkimg import (
    ACCURACY,
    RECIPE,
    acted,
    anywhere,
    first_turn_only,
    right,
    well_formed,
)
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json
from gamutrl.training.rollouts import Seat

EVALUATION = RECIPE.tiny.evaluation
(ROW, *_) = EVALUATION.prompts()
(NAME,) = ROW.columns["query"]["names"]


def act(tool: str, param: str) -> str:
    return turns.json_action(turns.Look("so", {"tool": tool, "arguments": {"param": param}}))


def ends(answer: str, thought: str = "so") -> str:
    return forms.write("actions", answer, thought)


def played(*said: str) -> Batch:
    seat = Seat(ROW, EVALUATION.environment)
    for one in said:
        seat.say(one)
    return seat.batch()


class TestTheAnswer:
    @pytest.mark.parametrize(
        ("said", "solution", "value"),
        [
            ([ends("7")], "7", 1),
            ([act("OCR", ""), ends("7")], "7", 1),
            ([ends("7"), act("OCR", "")], "8", 0),
            ([ends("8", "red 8")], "7", 0),
            ([ends("cyan")], "<answer>cyan</answer>", 1),
            ([ends("Cyan")], "cyan", 0),
            ([ends("1/2")], "0.5", 1),
            ([], "7", 0),
        ],
    )
    def test_the_ans_of_the_last_turn_is_the_solution(self, said, solution, value):
        assert right(said, solution) == value

    def test_a_turn_without_an_ans_answers_nothing(self):
        assert action_answer("just 7") is action_answer(act("OCR", "")) is None
        assert right(["just 7"], "7") == 0

    def test_as_released_the_solution_may_stand_in_the_thought(self):
        assert (right([ends("8", "red 7")], "7"), anywhere([ends("8", "red 7")], "7")) == (0, 1)
        assert anywhere(["just 7"], "7") == 1


@pytest.mark.parametrize(
    ("said", "value"),
    [([ends("7")], 1), ([ends("7"), "no"], 0.5), (['{"ans": 7}'], 0), ([], 0), (['so {"thoughts": ""} on'], 1)],
)
def test_a_well_formed_turn_is_json_with_a_thought_or_actions(said, value):
    assert well_formed(said) == value


def test_tools_work_on_the_newest_picture_until_the_answer():
    batch = played(act("Point", NAME), act("drawhorizontallinebyy", "y=50"), act("OCR", ""), ends(ROW.answer))
    (rollout,) = batch.rollouts
    pointed, drew, read, last = rollout.turns
    x, y = (100 * side / 72 for side in charts.top_of(ROW.columns["facts"], NAME))
    assert f'x="{x:.1f}" y="{y:.1f}"' in pointed.observation[0].value
    assert [part.kind for part in drew.observation] == ["text", "image", "text"]
    assert NAME in read.observation[0].value
    assert last.info == {"end": "answer"}
    assert acted(batch, Context()).tolist() == [3]
    assert score((ACCURACY,), batch, Context())["reward_RK"].tolist() == [[1]]


def test_what_is_no_action_is_answered_with_the_question():
    seat = Seat(ROW, EVALUATION.environment)
    assert seat.say("hm").parts[0].value == ROW.text
    assert seat.say("I Terminate").done


def test_the_released_mask_leaves_the_first_turn():
    batch = played(act("Point", NAME), ends(ROW.answer))
    first = len(batch.rollouts[0].turns[0])

    class Policy:
        exact = True

    stage = RECIPE.variants["tiny/released"].stages[-1]
    masked = first_turn_only(replace(stage, kl=None), batch, Context(models={"policy": Policy()}))
    assert masked.mask_NT[0].tolist() == [k < first for k in range(batch.mask_NT.shape[1])]
    assert torch.equal(batch.mask_NT, torch.ones_like(batch.mask_NT))


def test_the_baseline_may_answer_once_only():
    ablation = RECIPE.variants["tiny/ablation"]
    assert ablation.stages[-1].environment == ablation.evaluation.environment == SingleTurn()


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(json.loads(json.dumps(to_json(preset)))) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert "reward/accuracy" in lines[0]
    assert {"format", "tools"} <= set(run.summary["others"]["after"])
