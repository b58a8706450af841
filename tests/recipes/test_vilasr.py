"""ViLaSR: drawings are seen and may be drawn again; layout is paid if the answer is right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from by_hand import groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.data.worlds.turns import Drawn
from gamutrl.environments.scripted import play
from gamutrl.recipes.vilasr import RECIPE, REWARDS, UNGATED, ask, layout, reflective, right
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json

ROW = Prompt.ask("Where?", answer="left", id="row")
END = "<think>so</think> Action: Answer\n<answer>left</answer>"
WRONG = END.replace("left", "right")


def draw(*box: int, label: str = "a", index: int = 1) -> str:
    items = json.dumps([{"index": index, "bbox_2d": box, "label": label}])
    return f"<think>there</think> Action: Object Mapper\n```json\n{items}\n```"


def conversations(*all_said: list[str]):
    batch = groups_of([ROW], [["x"] * len(all_said)])
    for rollout, said in zip(batch.rollouts, all_said):
        rollout.turns = [replace(rollout.turns[0], text=words) for words in said]
    return batch


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ([END], 1),
        ([draw(1, 2, 3, 4), END], 1),
        ([draw(1, 2, 3, 4), draw(1, 2, 3, 5, index=2), END], 1),
        ([draw(1, 2, 3, 4)], 0),
        ([END, END], 0),
        ([draw(1, 2, 3, 4).replace('"label"', '"name"'), END], 0),
        ([draw(1, 2, 3, 4).replace("[{", "[{{"), END], 0),
        (["Well. " + draw(1, 2, 3, 4), END], 0),
        (["<answer>left</answer>"], 0),
        ([], 0),
    ],
)
def test_the_layout_of_a_conversation(said, value):
    assert layout(said) == value


def test_layout_is_paid_only_behind_a_right_answer():
    batch = conversations([draw(1, 2, 3, 4), END], [draw(1, 2, 3, 4), WRONG], ["left"], ["right"])
    assert weighted_sum(score(REWARDS, batch, Context()), Context()).tolist() == [1, 0, 0.5, 0]
    ungated = (REWARDS[0], UNGATED)
    assert weighted_sum(score(ungated, batch, Context()), Context()).tolist() == [1, 0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("said", "truth", "kind", "value"),
    [
        ("<answer>B</answer>", "<answer>B</answer>", "multiple choice", 1),
        ("<answer>b</answer>", "B", "multiple choice", 0),
        ("<answer>about 9.4 m</answer>", "10", "regression", 0.9),
        ("<answer>10</answer>", "10", "numerical", 1),
        ("<answer>ten</answer>", "10", "numerical", 0),
        ("left", "left", None, 1),
    ],
)
def test_answers_are_compared_by_type(said, truth, kind, value):
    assert right(said, truth, kind) == pytest.approx(value)


def test_the_collect_stage_keeps_right_rollouts_that_drew_a_label_again():
    first, again = [draw(1, 2, 3, 4), END], [draw(1, 2, 3, 4), draw(5, 6, 7, 8, index=2), END]
    batch = score(REWARDS, conversations(first, [*again[:2], WRONG], again, [again[1], *again]), Context())
    (row,) = reflective(batch, Context())
    assert row.columns["turns"] == again
    assert row.id == "row/0"
    assert reflective(score(REWARDS, conversations(first), Context()), Context()) == []


def test_what_is_demonstrated_is_drawn_and_laid_out():
    evaluation = RECIPE.tiny.evaluation
    for seed, row in enumerate(evaluation.prompts()[:8]):
        played = play(evaluation.environment, row, 0, Drawn(detour=0.5)(row, seed))
        said = [words for words, _ in played]
        assert layout(said) == right(said[-1], row.answer) == 1
        assert played[-1][1].info == {"end": "answer"}
        (drawn,) = (part.value for part in played[0][1].parts if part.is_media)
        assert drawn.tobytes() != row.media[0].value.convert("RGB").tobytes()


def test_a_row_is_asked_with_its_options_and_pictures():
    row = ask(replace(ROW, columns={"question_type": "multiple choice", "options": ["A. left", "B. right"]}), 0)
    assert [message.role for message in row.messages] == ["system", "user"]
    lines = ["Where?", "A. left", "B. right", "The pictures are numbered from 1 to 0."]
    assert row.messages[1].text.splitlines()[:4] == lines


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format", "reward/reflection"} <= set(lines[0])
    assert "reflection" in run.summary["others"]["after"]
