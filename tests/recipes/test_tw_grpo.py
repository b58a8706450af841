"""TW-GRPO: tokens weigh more where a group disagrees; some of several right options earn a share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from by_hand import answered, clip, groups_of, random_model, short_run

from gamutrl.core import Batch, Context
from gamutrl.data.transforms import Negated
from gamutrl.functional.probabilities import stretched
from gamutrl.recipes.tw_grpo import RECIPE, SHARE, WHOLE, Disagreement, TokenWeighted, with_options
from gamutrl.rewards.answers import choice_in
from gamutrl.training.config import from_json, to_json

BANNED = torch.finfo(torch.float32).min


def test_two_rollouts_disagree_by_the_divergence_from_their_mean_log_probability():
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    mean = (np.log(p) + np.log(q)) / 2
    by_hand = np.mean([np.sum(np.exp(mean - np.log(x)) - (mean - np.log(x)) - 1) for x in (p, q)])

    logits = torch.tensor(np.log([p, q]), dtype=torch.float32)[:, None]
    value = Disagreement()(logits, torch.ones(2, 1, dtype=torch.bool))
    assert value.shape == (2, 1)
    assert value.flatten().tolist() == pytest.approx([by_hand] * 2, rel=1e-5)


def test_who_agrees_or_has_ended_at_a_uniform_place_disagrees_by_nothing():
    logits = torch.zeros(3, 2, 5)
    logits[:, 0] = torch.randn(5)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    assert Disagreement()(logits, mask).abs().max() < 1e-6


def test_banned_tokens_are_nothing_to_disagree_about():
    torch.manual_seed(0)
    logits, mask = torch.randn(4, 6, 9), torch.rand(4, 6) < 0.7
    with_banned = torch.cat([torch.full((4, 6, 2), BANNED), logits], 2)
    assert torch.allclose(Disagreement()(with_banned, mask), Disagreement()(logits, mask), atol=1e-5)


def test_positions_can_be_taken_in_any_chunks():
    torch.manual_seed(1)
    logits, mask = torch.randn(4, 10, 7), torch.rand(4, 10) < 0.8
    parts = [Disagreement()(some, where) for some, where in zip(logits.split(3, 1), mask.split(3, 1))]
    assert torch.allclose(torch.cat(parts, 1), Disagreement()(logits, mask))


def test_scores_are_stretched_over_the_positions_where_the_group_acts():
    score = torch.tensor([[2.0, 6.0, 0.0, 0.0], [2.0, 6.0, 4.0, 0.0], [5.0, 5.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    share = stretched(score, mask, torch.tensor([0, 0, 1]))
    assert share[1].tolist() == [0, 1, 0.5, 0]
    assert share[0, :2].tolist() == [0, 1]
    assert share[2].tolist() == [0, 0, 0, 0]  # A group that disagrees alike everywhere weighs 1 everywhere.


def a_batch() -> Batch:
    batch = groups_of([clip(0, 1), clip(2, 3)], [["abc", "abcd"], ["ab", "ab"]])
    generator = torch.Generator().manual_seed(0)
    return batch.with_(
        advantage_NT=torch.tensor([1.0, -1.0, 0.5, -0.5])[:, None] * batch.mask_NT,
        disagreement_NT=torch.rand(batch.mask_NT.shape, generator=generator).mul(batch.mask_NT),
    )


def test_the_weight_of_a_term_lies_between_1_and_alpha():
    batch = a_batch()
    batch = batch.with_(
        disagreement_NT=torch.tensor([[0, 1, 2, 4, 0]] * 2 + [[3, 3, 3, 0, 0]] * 2) * batch.mask_NT.float()
    )
    terms = TokenWeighted(alpha=1.7)(torch.zeros(batch.mask_NT.shape), batch, Context())
    assert terms[0, :4].tolist() == pytest.approx([-1, -1.175, -1.35, -1.7])
    assert terms[1, :4].tolist() == pytest.approx([1, 1.175, 1.35, 1.7])
    assert terms[2, :3].tolist() == pytest.approx([-0.5] * 3)


def test_alpha_1_is_the_plain_surrogate():
    batch, logp = a_batch(), torch.randn(4, 5)
    batch = batch.with_(logp_old_NT=torch.zeros(4, 5))
    plain = TokenWeighted().surrogate(logp, batch, Context())
    assert torch.equal(TokenWeighted(alpha=1.0)(logp, batch, Context()), plain)
    assert TokenWeighted().surrogate.high == 0.28


@pytest.mark.parametrize("gradient", [False, True])
def test_weights_carry_a_gradient_only_as_released(gradient):
    logits = torch.randn(2, 3, 4, requires_grad=True)
    value = Disagreement(gradient)(logits, torch.ones(2, 3, dtype=torch.bool))
    assert value.requires_grad == gradient


@pytest.mark.parametrize(
    ("given", "share", "whole"),
    [("A", 0.5, 0), ("A,C", 1, 1), ("C, A", 1, 1), ("A,B", 0, 0), ("", 0, 0), ("A,B,C", 0, 0)],
)
def test_some_of_the_right_options_earn_a_share(given, share, whole):
    batch = groups_of([clip(0, answer="A,C")], [[answered("", given)]])
    assert SHARE.score(batch, Context()).item() == share
    assert WHOLE.score(batch, Context()).item() == whole


def test_a_row_of_next_gqa_can_be_turned_into_its_opposite():
    row = clip(1, 2, answer="(B)", options=["(A) sit", "(B) run", "(C) fly"])
    asked = with_options(row)
    assert asked.answer == "B"
    assert asked.text.endswith("A. sit\nB. run\nC. fly")
    turned = Negated(share=1.0)(asked, 5)
    shown = dict(zip("ABC", turned.columns["options"]))
    assert "run" in shown.values()
    assert {shown[letter] for letter in turned.answer.split(",")} == set(shown.values()) - {"run"}
    assert choice_in(turned.answer) is not None


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.variants["tiny/released"]])
def test_two_steps_on_a_random_model(tmp_path, preset):
    _, lines = short_run(preset, tmp_path / "run", random_model(tmp_path / "model"))
    assert [line["step"] for line in lines] == [0, 1]
    assert all(math.isfinite(line["loss"]) for line in lines)
