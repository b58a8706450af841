"""ViGoRL: looks at points are asked for, and every further place is paid; what was cut off is not trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Call, Context, Prompt, text
from gamutrl.environments.scripted import calls, play
from gamutrl.environments.transcripts import conversation
from gamutrl.recipes.vigorl import RECIPE, Pointed, aim, places, right
from gamutrl.training.config import from_json, to_json
from gamutrl.training.defaults import unless_cut_off
from gamutrl.zoo.agent_lessons import LESSONS

ROW = Prompt.ask("Which?", answer="Red square")


def look(x: float, y: float) -> str:
    call = f'{{"name": "search_coordinate", "arguments": {{"coordinate": [{x}, {y}]}}}}'
    return f"<think>there</think><tool_call>{call}</tool_call>"


def spoken(*said: str):
    """A rollout of these turns, each but the last answered with a crop."""
    batch = groups_of([ROW], [["x"]])
    turn = batch.rollouts[0].turns[0]
    seen = (text("<observation>\nHere is a crop.\n"), text("</observation>"))
    batch.rollouts[0].turns = [
        replace(turn, text=words, observation=seen if n < len(said) - 1 else ()) for n, words in enumerate(said)
    ]
    return batch


def paid(*said: str, **options) -> float:
    return Pointed(**options)(spoken(*said), Context()).item()


END = answered("so", "red square")


def test_every_further_place_is_paid():
    assert paid(END) == 1
    assert paid(look(5, 5), END) == 1
    assert paid(look(5, 5), look(15, 5), END) == pytest.approx(1.2)
    assert paid(look(5, 5), look(12, 5), END) == 1
    assert paid(*(look(10 * k, 5) for k in range(6)), END) == pytest.approx(2.0)
    assert paid(*(look(10 * k, 5) for k in range(6)), END, most=4) == pytest.approx(1.6)
    assert paid(look(5, 5), look(15, 5), END, each=0.0) == 1


@pytest.mark.parametrize(
    "said",
    [
        (look(5, 5),),
        (look(5, 5), "red square"),
        (look(5.5, 5), END),
        (look(5, 5).replace("search_coordinate", "search").replace("coordinate", "point"), END),
        (look(5, 5).removeprefix("<think>there</think>"), END),
        (look(5, 5), END + " Yes."),
        (look(5, 5), "<answer>red square</answer>"),
    ],
)
def test_turns_out_of_order_and_looks_that_cannot_be_read_earn_nothing(said):
    assert paid(*said) == 0


def test_words_put_into_the_mouth_belong_to_the_conversation():
    batch = spoken(look(5, 5), "red square</answer>")
    batch.rollouts[0].turns[1] = replace(batch.rollouts[0].turns[1], prefill="<think>now</think><answer>")
    assert conversation(batch.rollouts[0]).endswith("<think>now</think><answer>red square</answer>")
    assert Pointed()(batch, Context()).item() == 1


def test_places_are_counted_whatever_became_of_them():
    batch = spoken(look(5, 5), END)
    turn = batch.rollouts[0].turns[0]
    asked = (Call("search_coordinate", {"coordinate": [5, 5]}), Call("search_coordinate", {"coordinate": "here"}))
    batch.rollouts[0].turns[0] = replace(turn, calls=asked)
    assert places(batch, Context()).tolist() == [1]


def test_a_turn_aims_at_what_it_calls():
    assert aim(look(5, 5)) == aim(look(5, 5).replace("there", "here")) != aim(look(5, 6))
    assert aim(END) == END


def test_answers_are_compared_without_case():
    assert right(answered("", "Red Square"), "red square") == right("red square", "Red square") == 1
    assert right(answered("", "a red square"), "red square") == 0


def test_what_was_cut_off_is_not_trained_on():
    batch = groups_of([ROW], [["one", "two", "three"]])
    batch.rollouts[1].end = "length"
    stage = replace(RECIPE.tiny.stages[0], kl=None)
    mask_NT = unless_cut_off(stage, batch, Context(models={"policy": None})).mask_NT
    assert mask_NT.any(1).tolist() == [True, False, True]
    assert torch.equal(mask_NT[0], batch.mask_NT[0])


def test_the_taught_chains_are_what_the_recipe_pays():
    """The lessons' prompts and environment are the recipe's."""
    evaluation = RECIPE.tiny.evaluation
    lesson = next(lesson for lesson in LESSONS if lesson.name == "vigorl: pages digit")
    assert lesson.environment == evaluation.environment
    rows = evaluation.prompts()[:12]
    assert all(row.text.endswith(lesson.asked) for row in rows)
    for row in rows:
        played = play(evaluation.environment, row, 0, lesson.targets[0][1](row, 0))
        assert all(call.error is None for call in calls(played))
        assert played[-1][1].info == {"end": "answer"}


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format"} <= set(lines[0])
    assert "places" in run.summary["others"]["after"]
