"""Ground-R1: every turn's layout counts; boxes are shown; the paper's third version compares within scales."""

from __future__ import annotations

import pytest
import torch
from by_hand import answered, groups_of, random_model, short_run
from PIL import Image

from gamutrl.core import Context, Prompt, image
from gamutrl.data.worlds import pages, turns
from gamutrl.environments.scripted import play
from gamutrl.recipes.ground_r1 import RECIPE, ScaleRelative, areas, layout, right
from gamutrl.training.config import from_json, to_json

LOOK = "<think>there</think><box>[1, 2, 30.5, 40]</box>"
ANSWER = answered("so", "4")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ([ANSWER], 1),
        ([LOOK, ANSWER], 1),
        ([LOOK, LOOK, ANSWER], 1),
        ([LOOK, LOOK], 0.5),
        ([ANSWER, ANSWER], 0.5),
        ([LOOK + "\n", ANSWER], 0.5),
        (["<think></think><box>[1,2,3,4]</box>", ANSWER], 1),
        ([LOOK.replace("[1", "[-1"), ANSWER], 0.5),
        ([LOOK.replace("<box>", "<think><box>"), ANSWER], 0.5),
        ([answered("", "4")], 0),
        ([], 0),
    ],
)
def test_every_turn_must_be_laid_out(said, value):
    assert layout(said) == value


@pytest.mark.parametrize(
    ("answer", "truth", "dataset", "value"),
    [
        ("(B)", "B", "gqa", 1),
        ("Bus", "B", "gqa", 0),
        ("A white cat", "cat", "vsr", 0.6),
        ("Cat", "cat", "cub", 1),
        ("total 12 pounds", "total 12", "docvqa", 2 / 3),
        ("1/2", "0.5", "CLEVR", 1),
        ("a dog runs", "a dog runs", "flickr30k", 1),
        ("Yes", "yes", "never heard of", 1),
        ("yes, well", "yes", None, 0),
    ],
)
def test_answers_are_compared_by_data_set(answer, truth, dataset, value):
    assert right(answered("so", answer), truth, dataset) == pytest.approx(value)


def test_the_last_answer_counts():
    assert right(answered("so", "3") + answered("so", "4"), "4") == 1


ROW = Prompt.ask("Which?", image(Image.new("RGB", (100, 100))), answer="4")


def looked(boxes, rewards):
    batch = groups_of([ROW], [["x"] * len(boxes)])
    for rollout, box in zip(batch.rollouts, boxes):
        if box:
            object.__setattr__(rollout.turns[0], "info", {"shown": [{"box": box, "picture": 0}]})
    return batch.with_(reward_R=torch.tensor(rewards))


def test_evidence_is_measured_as_a_share_of_the_picture():
    found = areas(looked([[0, 0, 10, 50], None], [0.0, 0.0]), Context())
    assert found[0] == pytest.approx(0.05)
    assert found[1].isnan()


def test_rollouts_are_compared_within_their_scale_and_scales_with_each_other():
    """Two small looks (1, 0), two large ones (0, 0): the small scale is the better one, within it the right answer."""
    small, large = [0, 0, 10, 10], [0, 0, 100, 100]
    advantage = ScaleRelative(eps=0)(looked([small, small, large, large], [1.0, 0.0, 0.0, 0.0]), Context())
    within, between = 0.5 / 0.5**0.5, 0.5 / (1 / 3) ** 0.5
    assert advantage.tolist() == pytest.approx([within + between, between - within, -between, -between])


def test_answering_at_once_is_a_scale_of_its_own():
    batch = looked([None, [0, 0, 10, 10], [0, 0, 60, 60], [0, 0, 100, 100]], [1.0, 0.0, 0.0, 0.0])
    assert ScaleRelative()(batch, Context()).argmax() == 0


def test_the_demonstrated_box_shows_the_digit():
    evaluation = RECIPE.tiny.evaluation
    row = evaluation.prompts()[0]
    (said, step), (end, done) = play(evaluation.environment, row, 0, pages.demonstrate_turns(row, turns.box_tag))
    assert layout([said, end]) == 1
    assert done.info == {"end": "answer"}
    (picture,) = (part.value for part in step.parts if part.is_media)
    assert picture.width == picture.height < 504 / 3


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.variants["tiny/paper"], tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format"} <= set(lines[0])
    assert "area" in run.summary["others"]["after"]
