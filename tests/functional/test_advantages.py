"""Advantages: worked by hand, and what must hold of every reward."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given

from gamutrl.functional import advantages as adv
from gamutrl.functional.groups import consecutive

NAN = math.nan


def _vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


GROUP = torch.tensor([7, 7, 7, 7])


def test_group_normalize_by_hand():
    # Mean 0.5, unbiased deviation √(1/3), population deviation ½.
    reward = _vector(1, 0, 1, 0)
    plain = adv.group_normalize(reward, GROUP, eps=0.0)
    assert plain.tolist() == pytest.approx([x * 0.5 / math.sqrt(1 / 3) for x in (1, -1, 1, -1)])
    assert adv.group_normalize(reward, GROUP, eps=0.0, unbiased=False).tolist() == pytest.approx([1, -1, 1, -1])
    assert adv.group_normalize(reward, GROUP, scale="none").tolist() == [0.5, -0.5, 0.5, -0.5]
    inside = adv.group_normalize(reward, GROUP, unbiased=False, eps=0.75, eps_inside=True)
    assert inside.tolist() == pytest.approx([0.5, -0.5, 0.5, -0.5])
    assert adv.group_normalize(reward, GROUP, eps=0.0, clip=0.1).tolist() == pytest.approx([0.1, -0.1, 0.1, -0.1])


def test_the_batch_scale_divides_every_group_by_one_deviation():
    reward, group = _vector(0, 2, 10, 14), torch.tensor([0, 0, 1, 1])
    deviation = torch.tensor([0.0, 2, 10, 14]).double().std()
    got = adv.group_normalize(reward, group, scale="batch", eps=0.0)
    assert got.tolist() == pytest.approx([x / deviation.item() for x in (-1, 1, -2, 2)])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e8, -7.7])
def test_a_group_without_spread_gets_exactly_nothing_however_small_eps(value):
    reward = torch.full((7,), value)
    group = torch.zeros(7, dtype=torch.long)
    for eps in (0.0, 1e-30, 1e-4):
        assert adv.group_normalize(reward, group, eps=eps).tolist() == [0.0] * 7


def test_what_does_not_apply_leaves_the_statistics_and_gets_nothing():
    with_gap = adv.group_normalize(_vector(1, NAN, 0, 1), GROUP)
    without = adv.group_normalize(_vector(1, 0, 1), GROUP[:3])
    assert with_gap[1] == 0
    assert with_gap[[0, 2, 3]].tolist() == without.tolist()


def test_a_group_of_one():
    reward, group = _vector(3, 1, 2), torch.tensor([0, 1, 1])
    assert adv.group_normalize(reward, group)[0] == 0
    assert adv.group_normalize(reward, group, singleton="raw", eps=0.5)[0] == 3 / 1.5
    assert adv.group_normalize(reward, group, singleton="nan")[0].isnan()


def test_trimming_takes_the_lowest_out_of_the_statistics_only():
    got = adv.group_normalize(_vector(-100, 0, 1, 2), GROUP, trim=0.25, scale="none")
    assert got.tolist() == [-101, -1, 0, 1]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.floats(0.1, 10), st.floats(-10, 10))
def test_moving_or_stretching_all_rewards_changes_nothing(rewards, scale, shift):
    reward = torch.tensor(rewards, dtype=torch.float64)
    assume(reward.std() > 0.01)
    group = torch.zeros(len(reward), dtype=torch.long)
    before = adv.group_normalize(reward, group, eps=0.0)
    after = adv.group_normalize(scale * reward + shift, group, eps=0.0)
    assert torch.allclose(before, after, atol=1e-6)
    assert before.sum().abs() < 1e-9


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_leave_one_out_subtracts_the_mean_of_the_others(rewards):
    got = adv.leave_one_out(torch.tensor(rewards, dtype=torch.float64), torch.zeros(len(rewards), dtype=torch.long))
    for i, reward in enumerate(rewards):
        others = rewards[:i] + rewards[i + 1 :]
        assert got[i].item() == pytest.approx(reward - sum(others) / len(others), abs=1e-9)


def test_only_the_best_of_a_group_has_a_passk_advantage():
    got = adv.best_of_group(_vector(1, 3, 2, 0), GROUP, scaled=False)
    assert got.tolist() == [0, 1, 0, 0]
    with pytest.raises(ValueError, match="two rollouts"):
        adv.best_of_group(_vector(1), GROUP[:1])


def test_the_optimal_baseline_weighs_by_length():
    got = adv.length_weighted_baseline(_vector(1, 0), torch.zeros(2).long(), torch.tensor([3, 1]))
    assert got.tolist() == pytest.approx([0.25, -0.75])


def test_rare_successes_weigh_more():
    reward = _vector(1, 0, 0, 0)
    assert adv.rare_success_scaled(reward, GROUP).tolist() == pytest.approx([3, -1, -1, -1])


def test_rewards_normalised_apart_count_equally_whatever_their_units():
    small = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    large = small * torch.tensor([1.0, 1000.0])
    weight = torch.ones(2)
    a, b = (adv.normalize_then_sum(table, GROUP, weight, eps=1e-9) for table in (small, large))
    assert torch.allclose(a, b, atol=1e-5)


def test_a_weighted_sum_passes_over_what_does_not_apply():
    table = torch.tensor([[1.0, NAN], [NAN, NAN], [2.0, 3.0]])
    got = adv.weighted_sum(table, torch.tensor([1.0, 10.0]))
    assert got[0] == 1
    assert got[1].isnan()
    assert got[2] == 32


REWARD = torch.tensor([[0.0, 1.0, 5.0, 2.0]])
MASK = torch.tensor([[1, 1, 0, 1]])


def test_returns_pass_over_what_is_not_the_policys():
    assert adv.discounted_returns(REWARD, MASK, 0.5).tolist() == [[1.0, 2.0, 0.0, 2.0]]
    assert adv.discounted_returns(REWARD, MASK, 0.5, outside="reset").tolist() == [[0.5, 1.0, 6.0, 2.0]]
    assert adv.returns_to_go(REWARD, MASK).tolist() == [[3.0, 3.0, 2.0, 2.0]]


def test_gae_with_lambda_one_is_the_return_less_the_value():
    value = torch.tensor([[0.3, -0.2, 9.0, 0.5]])
    got, returns = adv.generalized_advantages(REWARD, value, MASK, 0.9, 1.0)
    to_go = adv.discounted_returns(REWARD, MASK, 0.9)
    on = MASK.bool()
    assert torch.allclose(got[on], (to_go - value)[on])
    assert torch.allclose(returns[on], to_go[on])


def test_gae_with_lambda_zero_is_one_step_of_surprise():
    value = torch.tensor([[0.3, -0.2, 0.5]])
    reward, mask = torch.tensor([[0.0, 1.0, 2.0]]), torch.ones(1, 3)
    got, _ = adv.generalized_advantages(reward, value, mask, 0.5, 0.0)
    assert got[0].tolist() == pytest.approx([0 - 0.1 - 0.3, 1 + 0.25 + 0.2, 2 - 0.5])


def test_the_reward_lands_on_the_last_action_and_kl_on_each():
    kl = torch.tensor([[0.1, 0.2, 7.0, 0.4]])
    got = adv.kl_shaped_rewards(torch.tensor([20.0]), kl, MASK, 0.5, reward_clip=10)
    assert got[0].tolist() == pytest.approx([-0.05, -0.1, 0.0, 9.8])


def test_whitening_leaves_mean_zero_and_variance_one_over_the_mask():
    value = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)) * 3 + 5
    mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) < 0.6
    whitened, mean, variance = adv.masked_whiten(value, mask)
    assert whitened[mask].mean().abs() < 1e-5
    assert whitened[mask].var().item() == pytest.approx(1, rel=1e-4)
    assert mean.item() == pytest.approx(value[mask].mean().item())
    assert variance.item() == pytest.approx(value[mask].var().item(), rel=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        adv.masked_whiten(value, torch.zeros(4, 9))


def test_the_token_baseline_is_the_energy_weighted_mean_return():
    reward = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    logp, squares = torch.full((2, 2), math.log(0.5)), torch.full((2, 2), 0.5)
    got, returns = adv.optimal_token_baseline(reward, logp, squares, torch.ones(2, 2), torch.zeros(2))
    assert returns.tolist() == [[1, 1], [3, 3]]
    assert torch.allclose(got, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), atol=1e-6)


def test_rollouts_in_compacted_positions_do_not_feel_where_the_tools_spoke():
    reward = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    mask = torch.tensor([[1, 0, 1], [1, 1, 0]])
    logp, squares = torch.full((2, 3), -0.7), torch.full((2, 3), 0.4)
    got, _ = adv.optimal_token_baseline(reward, logp, squares, mask, torch.zeros(2), compact=True)
    assert torch.allclose(got, torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.5, 0.0]]), atol=1e-6)


def test_long_right_answers_keep_a_groups_weight():
    reward, length = _vector(1, 0, 1, 0), torch.tensor([10.0, 20.0, 30.0, 20.0])
    group = torch.tensor([0, 0, 1, 1])
    assert adv.long_enough(reward, length, group).tolist() == [0.1, 0.1, 1.0, 1.0]


def test_reward_weighted_regression_weighs_within_groups():
    weight = adv.softmax_weights(_vector(0, math.log(3), 5, 5), consecutive(4, 2), 1.0)
    assert weight.tolist() == pytest.approx([0.25, 0.75, 0.5, 0.5])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[R\]"):
        adv.group_normalize(torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"\[N, T\]"):
        adv.discounted_returns(torch.zeros(2), torch.zeros(2))
