"""The recipes that draw by image tokens: what each changes, by hand, and that each runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_runs import scored, short_run, small, untrained
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, Rollout, Row, Turn
from gamutrl.data.asked import Asked
from gamutrl.functional.divergences import kl_estimate
from gamutrl.recipes import corl, focusdiff, reasongen_r1, simplear, t2i_r1, unirl
from gamutrl.recipes.recipe import Recipe
from gamutrl.recipes.tokens_plain import SIDE, world_picture
from gamutrl.rewards.seeing import Seen
from gamutrl.training.config import from_json, to_json

RECIPES = [module.RECIPE for module in (simplear, t2i_r1, reasongen_r1, focusdiff, unirl, corl)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.arxiv)
def test_presets_are_values_that_can_be_written_and_read(recipe: Recipe):
    for preset in (recipe.tiny, recipe.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.arxiv)
def test_two_steps_run_and_pictures_are_kept(recipe: Recipe, tmp_path):
    run, lines = short_run(recipe.tiny, tmp_path / "run")
    steps = [line for line in lines if "reward/mean" in line]
    assert len(steps) == 2
    assert list((run.folder / "model").glob("*.safetensors"))


def test_simplear_takes_one_mean_over_all_codes():
    stage = small(simplear.RECIPE.tiny)
    batch, _ = scored(stage, untrained())
    weight_NT = stage.weights(batch)
    assert torch.allclose(weight_NT, torch.full(weight_NT.shape, 1 / weight_NT.numel()))


def test_t2i_r1_plan_and_picture_have_one_advantage():
    batch, _ = scored(small(t2i_r1.RECIPE.tiny), untrained())
    assert [row.part for row in batch.rows] == ["text", "image"] * 6
    first_N = batch["advantage_NT"][:, 0]
    assert torch.equal(first_N[::2], first_N[1::2])
    drawn = batch.rollouts[0].turns[1]
    assert drawn.context is not None
    assert drawn.context[0].text.startswith(batch.prompts[0].columns["prompt"] + ". ")


def thing(name: str, color: str, x: float, y: float) -> Seen:
    return Seen(name, color, (x - 0.1, y - 0.1, x + 0.1, y + 0.1))


LEFT = Asked(("circle", "square"), (1, 1), ("red", "blue"), "left of")


@pytest.mark.parametrize(
    ("seen", "asked", "score"),
    [
        ([thing("circle", "red", 0.2, 0.5), thing("square", "blue", 0.8, 0.5)], LEFT, 0.9),
        ([thing("circle", "red", 0.8, 0.5), thing("square", "blue", 0.2, 0.5)], LEFT, 0.4),
        ([thing("circle", "red", 0.2, 0.5)], LEFT, 0.2),
        ([thing("circle", "red", 0.2, 0.5)] * 2, Asked(("circle",), (2,), ("red",)), 1.0),
        ([thing("circle", "red", 0.2, 0.5)], Asked(("circle",), (2,), ("red",)), 0.2),
        ([thing("cross", "red", 0.2, 0.5)], Asked(("circle", "cross"), (1, 1), ("red", "red")), 0.5),
        ([], LEFT, 0.0),
    ],
)
def test_t2i_r1_detector_scores_relations_counts_and_objects(seen, asked, score):
    assert t2i_r1.found_score(seen, asked) == pytest.approx(score)


def rows_with_entropy(text: float, image: float) -> Batch:
    prompt = Prompt.ask("a picture")
    turns = [Turn("", "", torch.zeros(n, dtype=torch.long), torch.zeros(n)) for n in (2, 3)]
    rollout = Rollout(prompt, turns)
    batch = Batch.of([prompt], [rollout], [0], rows=[Row(0, range(1), "text"), Row(0, range(1, 2), "image")])
    entropy_NT = torch.tensor([[text] * 3, [image] * 3]) * batch.mask_NT
    return batch.with_(entropy_NT=entropy_NT, advantage_NT=torch.zeros(2, 3))


def test_reasongen_r1_pushes_entropy_towards_its_targets():
    steered = reasongen_r1.SteeredEntropy(text=2.0, image=7.0, lr=1e-3)
    batch, logp_NT = rows_with_entropy(text=3.0, image=5.0), torch.zeros(2, 3)
    context = Context()
    assert (steered(logp_NT, batch, context) == 0).all()
    terms_NT = steered(logp_NT, batch, context)
    # Too much entropy in words is a loss to bring down; too little in codes one to bring up.
    assert terms_NT[0].tolist() == pytest.approx([3e-3, 3e-3, 0.0], rel=1e-2)
    assert terms_NT[1].tolist() == pytest.approx([-5e-3] * 3, rel=1e-2)
    for _ in range(20):
        steered(logp_NT, batch, context)
    assert float(steered.controllers["image"].alpha) == pytest.approx(-5e-3, rel=1e-3)
    again = reasongen_r1.SteeredEntropy(text=2.0, image=7.0, lr=1e-3)
    again.load_state_dict(steered.state_dict())
    assert torch.equal(again(logp_NT, batch, Context()), steered(logp_NT, batch, Context()))


def test_reasongen_r1_judge_must_box_a_one():
    said = ["\\boxed{1}", "no \\boxed{1} and \\boxed{0}", "1", "\\boxed{2}"]
    assert [reasongen_r1.passed(reply) for reply in said] == [1.0, 0.0, 0.0, 0.0]


def test_focusdiff_pairs_are_one_group_that_true_pictures_join():
    stage = small(focusdiff.RECIPE.tiny)
    batch, _ = scored(stage, untrained(), step=0)
    assert batch.group_R.tolist() == [0] * 6
    golds = [r for r, rollout in enumerate(batch.rollouts) if not rollout.turns[0].exact]
    assert len(golds) == 4
    one, other = stage.data.batch(0, 2, 0)
    own = [batch.rollouts[r].prompt.id for r in golds]
    assert own == [one.id, other.id] * 2
    pictures = [batch.rollouts[r].output for r in golds]
    assert pictures[0].tobytes() == pictures[3].tobytes() == focusdiff.world_picture(one).tobytes()
    reward_R = batch["reward_R"]
    by_hand = (reward_R - reward_R.mean()) / (reward_R.std() + 1e-4)
    assert torch.allclose(batch["advantage_NT"][:, 0], by_hand, atol=1e-5)
    assert float(reward_R[golds[0]]) == 1.0 > float(reward_R[golds[2]])


def test_focusdiff_true_pictures_fade():
    stage = small(focusdiff.RECIPE.tiny)
    batch, context = scored(stage, untrained(), step=60)
    assert context.metrics["gold/chance"] == 0.0
    assert all(rollout.turns[0].exact for rollout in batch.rollouts)


def test_focusdiff_rows_with_two_prompts_become_a_pool():
    columns = {"prompt1": "a red circle", "prompt2": "a blue circle", "image1": None, "image2": None}

    class One:
        def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
            return [Prompt((), columns=columns, id="row")] * size

    pair = focusdiff.Pairs(One()).batch(0, 2, 0)
    assert [prompt.text for prompt in pair] == ["a red circle", "a blue circle"]
    assert {prompt.pool for prompt in pair} == {"row"}


def test_unirl_rewards_codes_and_words_by_the_models_own_answer():
    batch, _ = scored(small(unirl.RECIPE.tiny), untrained())
    assert [row.part for row in batch.rows] == ["image", "text"] * 6
    assert [unirl.own_answer(text, "two") for text in ("two", "2.", "three")] == [1.0, 1.0, 0.0]
    assert isinstance(batch.rollouts[0].turns[1].context[0].parts[0].value, Image.Image)
    asked = [set(rollout.prompt.columns["colors"]) for rollout in batch.rollouts]
    red = unirl.Coloured(lambda pixels, names: [[Seen("circle", "red", (0, 0, 1, 1))]] * len(names))
    assert red(batch, Context()).tolist() == [float("red" in colors) for colors in asked]


def test_corl_picture_and_answer_share_an_advantage():
    stage = small(corl.RECIPE.tiny)
    batch, context = scored(stage, untrained())
    assert [row.part for row in batch.rows] == ["image"] * 6 + ["text"] * 6
    advantage_N = batch["advantage_NT"][:, 0]
    assert torch.allclose(advantage_N[:6], advantage_N[6:])
    reward_R = batch["reward_R"].view(2, 2, 3)
    total = reward_R[0] + 0.8 * reward_R[1]
    by_hand = (total - total.mean(1, keepdim=True)) / (total.std(1, keepdim=True) + 1e-4)
    assert torch.allclose(advantage_N[:6], by_hand.flatten(), atol=1e-4)
    apart = replace(stage, advantage=corl.Together(separate=True)).advantage(batch, context)
    assert torch.allclose(apart.view(4, 3).sum(1), torch.zeros(4), atol=1e-4)


def test_unclipped_ratio_and_k3_are_the_papers_loss():
    """T2I-R1's and FocusDiff's loss, from the terms that the stage adds up."""
    stage = small(t2i_r1.RECIPE.tiny)
    policy = untrained()
    policy.keep_reference("base")
    batch, context = scored(stage, policy)
    with torch.no_grad():
        batch = stage.prepare(stage, batch, context)
    terms_NT, _ = stage.loss(policy, batch, context)
    logp_NT = policy.log_probs(batch)
    k3 = kl_estimate(logp_NT, batch["logp_base_NT"], "k3")
    by_hand = -batch["advantage_NT"] + 0.01 * k3
    assert torch.allclose(terms_NT[batch.mask_NT], by_hand[batch.mask_NT], atol=1e-5)


def test_t2i_r1_reads_the_authors_fields():
    spatial = {"obj1": "dog", "obj2": "cat", "locality": "left of"}
    row = t2i_r1.as_asked(Prompt.ask("a dog left of a cat", spatial_info=spatial, nouns=["dog", "cat"]), 0)
    assert (row.columns["objects"], row.columns["relation"]) == (["dog", "cat"], "left of")
    counted = t2i_r1.as_asked(Prompt.ask("two dogs", numeracy_info=[{"obj_name": "dog", "num": 2}]), 0)
    assert (counted.columns["objects"], counted.columns["counts"]) == (["dog"], [2])


class Yes:
    """A judge that says yes to red things."""

    def demonstrated(self, prompts, words):
        return [(prompt.text, word) for prompt, word in zip(prompts, words)]

    def log_probs(self, asked):
        yes = [0.8 if "red" in question else 0.2 for question, _ in asked]
        said = [y if word == "Yes" else 1 - y for y, (_, word) in zip(yes, asked)]
        return torch.tensor(said).log()[:, None]


def test_t2i_r1_asks_for_each_attribute():
    rows = [{"attr_nouns": ["red dog", "blue cat"]}, {"nouns": ["red dog"]}, {"nouns": []}, {"spatial_info": {"a": 1}}]
    prompts = [Prompt.ask("?", id=str(k), **row) for k, row in enumerate(rows)]
    rollouts = [Rollout(prompt, [], output=Image.new("RGB", (4, 4))) for prompt in prompts]
    batch = Batch.of(prompts, rollouts, range(4))
    value_R = t2i_r1.Questions()(batch, Context(models={"judge": Yes()}))
    assert value_R.tolist() == pytest.approx([0.5, 0.8, 1.0, 0.0])


def test_rows_of_ones_own_bring_their_true_pictures():
    """Given a row with a picture, one without and one without a question: a picture, and two sentences."""
    red = Image.new("RGB", (50, 40), "red")
    assert world_picture(Prompt.ask("red", id="a", target=red)).size == (SIDE, SIDE)
    with pytest.raises(ValueError, match=r"Row b has no true picture .*columns: objects.*--columns 'target="):
        world_picture(Prompt.ask("red", id="b", objects=["circle"]))
    draw = corl.DrawAndAnswer(world_picture)
    with pytest.raises(ValueError, match=r"Row c has no question .*--columns 'question="):
        draw(small(corl.RECIPE.tiny), [Prompt.ask("red", id="c", target=red)], Context())
