"""Video-R1: a shuffled group beside each video's, and what the comparison earns."""

from __future__ import annotations

import math

import pytest
from by_hand import Scripted, answered, clip, groups_of, random_model, shades_of, short_run

from gamutrl.core import Context, Prompt, image
from gamutrl.recipes.video_r1 import AHEAD, AS_RELEASED, LENGTH, RECIPE, TEMPORAL, TYPED, WITH_SHUFFLED, ask, on_order
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

RIGHT, WRONG = answered("", "A"), answered("", "B")


def sampled(policy: Scripted, prompts: list[Prompt], **context):
    surroundings = Context(models={"policy": policy}, seed=3, **context)
    return WITH_SHUFFLED(RECIPE.tiny.stages[0], prompts, surroundings), surroundings


def test_the_shuffled_group_has_half_the_size_the_same_frames_and_another_order():
    clips = [clip(0, 50, 100, 150, 200, 250), clip(10, 20, 30)]
    batch, context = sampled(Scripted(lambda prompt, k: RIGHT), clips)

    assert batch.prompts == clips
    assert [shades_of(prompt) for prompt in batch.prompts] == [[0, 50, 100, 150, 200, 250], [10, 20, 30]]
    other = context.auxiliary["shuffled"]
    assert len(batch.rollouts) == 16
    assert len(other.rollouts) == 8
    for ordered, shuffled in zip(clips, other.prompts):
        assert shades_of(shuffled) != shades_of(ordered)
        assert sorted(shades_of(shuffled)) == shades_of(ordered)
        assert shuffled.answer == ordered.answer


def test_the_two_groups_are_drawn_apart_and_the_order_is_new_each_step():
    policy = Scripted(lambda prompt, k: RIGHT)
    orders = []
    for step in (0, 1):
        _, context = sampled(policy, [clip(*range(0, 250, 20))], step=step)
        orders.append(shades_of(context.auxiliary["shuffled"].prompts[0]))
    seeds = [seed for _, _, seed in policy.asked]
    assert len(set(seeds)) == 4
    assert orders[0] != orders[1]


def test_a_step_costs_half_as_many_rollouts_again():
    stage = RECIPE.tiny.stages[0]
    assert stage.rollouts_per_step == 12 * stage.prompts_per_step


def test_a_picture_has_no_shuffled_group_and_the_bonus_does_not_apply_to_it():
    picture = Prompt.ask("What?", image(clip(7).media[0].value[0]), answer="A", id="picture")
    batch, context = sampled(Scripted(lambda prompt, k: RIGHT), [picture, clip(0, 100, 200)])

    assert context.auxiliary["shuffled"].group_R.tolist() == [1] * 4
    earned = scored(batch, context).reward("temporal").tolist()
    assert all(map(math.isnan, earned[:8]))
    assert earned[8:] == pytest.approx([0.3] * 8)


def scored(batch, context, temporal=TEMPORAL):
    rewards = (RECIPE.tiny.stages[0].rewards[0], temporal)
    context.score_batch = lambda other, names: score(
        [r for r in rewards if names is None or r.name in names], other, context
    )
    return score(rewards, batch, context)


@pytest.mark.parametrize(
    ("ordered", "shuffled", "code", "paper"),
    [(4, 2, True, True), (4, 3, False, False), (7, 4, True, False), (8, 4, True, True), (1, 0, True, True)],
)
def test_right_answers_earn_more_where_order_helped(ordered, shuffled, code, paper):
    """Of 8 ordered and 4 shuffled rollouts so many are right; the code asks for 0.8 of the shuffled mean."""

    def script(prompt: Prompt, k: int) -> str:
        in_order = shades_of(prompt) == sorted(shades_of(prompt))
        return RIGHT if k < (ordered if in_order else shuffled) else WRONG

    for temporal, granted in ((TEMPORAL, code), (AHEAD, paper)):
        batch, context = sampled(Scripted(script), [clip(0, 60, 120, 180)])
        earned = scored(batch, context, temporal).reward("temporal").tolist()
        assert earned == pytest.approx([0.3 * granted] * ordered + [0.0] * (8 - ordered))


def test_the_length_bonus_wants_two_right_answers_and_a_fitting_length():
    words = {n: answered("x" * (n - len(RIGHT) - 1), "A") for n in (319, 320, 512, 513)}
    prompts = [clip(0, 1, answer="A"), clip(2, 3, answer="B")]
    batch = groups_of(prompts, [list(words.values()), [words[320].replace(">A<", ">B<"), words[320]]])
    assert batch.length_R[:4].tolist() == [319, 320, 512, 513]
    rewards = (RECIPE.tiny.stages[0].rewards[0], LENGTH)
    assert score(rewards, batch, Context()).reward("length").tolist() == pytest.approx([0, 0.2, 0.2, 0, 0, 0])


@pytest.mark.parametrize(
    ("kind", "given", "truth", "value", "released"),
    [
        ("multiple choice", "B", "B", 1, 1),
        ("multiple choice", "(B)", "B", 1, 0),
        ("numerical", "42.0", "42", 1, 0),
        ("numerical", "3.14159", "3.14", 1, 1),
        ("OCR", "hello", "hello big world", 1 / 3, 1 / 3),
        ("free-form", "the cat", "the cat", 1, 1),
        ("regression", "90", "100", 0.9, 0.9),
        ("regression", "many", "100", 0, 0),
    ],
)
def test_answers_are_compared_by_the_type_of_their_row(kind, given, truth, value, released):
    rows = [
        clip(1, 2, answer=f"<answer>{truth}</answer>", problem_type=kind),
        clip(3, answer="<answer>9</answer>", problem_type="numerical"),
    ]
    batch = groups_of(rows, [[answered("", given)], [answered("", "9")]])
    assert TYPED.score(batch, Context()).tolist() == pytest.approx([value, 1])
    assert AS_RELEASED.score(batch, Context()).tolist() == pytest.approx([released, 1])


def test_a_choice_is_asked_with_its_options():
    row = clip(1, problem_type="multiple choice", options=["A. left", "B. right"])
    asked = ask(row).text
    assert asked.startswith("What next?\nOptions:\nA. left\nB. right\n")
    assert "letter" in asked
    assert "number" in ask(clip(1, problem_type="regression")).text


def test_accuracy_on_questions_of_order_leaves_the_others_out():
    assert on_order(RIGHT, "A", {"asked": "direction"}) == 1
    assert on_order(WRONG, "A", {"asked": "direction"}) == 0
    assert on_order(RIGHT, "A", {"asked": "colour"}) is None


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert len(lines) == 2
    assert all(line["reward/temporal"] == 0 for line in lines)  # A random model is never right.
