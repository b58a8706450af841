"""Probabilities, corrections, denoising, selection, shaping, windows: hand-worked cases and limits."""

from __future__ import annotations

import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gamutrl.functional import advantages as adv
from gamutrl.functional import corrections, denoising, masking, probabilities, selection, shaping, windows

# -- probabilities ----------------------------------------------------------------------------------------------------


def test_one_column_of_a_log_softmax():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([[0, 6, 2], [1, 1, 5]])
    for temperature in (1.0, 0.7):
        whole = (logits / temperature).log_softmax(-1).gather(-1, index[..., None])[..., 0]
        assert torch.allclose(probabilities.selective_log_softmax(logits, index, temperature), whole, atol=1e-6)
    with pytest.raises(ValueError, match="one index a position"):
        probabilities.selective_log_softmax(logits, index[0])


def test_entropy_of_uniform_and_certain():
    assert probabilities.entropy(torch.zeros(4)).item() == pytest.approx(math.log(4))
    assert probabilities.entropy(torch.tensor([0.0, -math.inf])).item() == 0


def test_a_mask_ends_with_the_first_end_token():
    tokens = torch.tensor([[1, 9, 2, 9], [1, 2, 3, 4], [8, 1, 9, 1]])
    assert probabilities.mask_until(tokens, 9).long().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert probabilities.mask_until(tokens, [8, 9])[2].long().tolist() == [1, 0, 0, 0]


def test_a_group_that_agrees_disagrees_nowhere():
    logp = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1).expand(3, -1, -1)
    assert probabilities.group_divergence(logp, torch.ones(3, 4)).abs().max() < 1e-6


def test_the_position_where_a_group_parts_weighs_most():
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 0] = logits[1, 1, 3] = 5.0
    mask, group = torch.ones(2, 3), torch.zeros(2, dtype=torch.long)
    score = probabilities.group_divergence(logits.log_softmax(-1), mask)
    share = probabilities.stretched(score.expand(2, 3), mask.bool(), group)
    assert share[0].tolist() == pytest.approx([0, 1, 0], abs=1e-5)


def test_truncation_keeps_the_token_that_crosses_the_mass():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert probabilities.truncated(logits, top_p=0.6).isfinite().tolist() == [[True, True, False, False]]
    assert probabilities.truncated(logits, top_k=1).isfinite().tolist() == [[True, False, False, False]]
    assert torch.equal(probabilities.truncated(logits), logits)


def test_bits_and_steering():
    logits = torch.tensor([[[0.0, 0.0, 5.0, -5.0]]])
    assert probabilities.bit_logp(logits, torch.tensor([[[1, 0]]]))[0, 0].tolist() == pytest.approx(
        [-math.log(2), 0.0], abs=1e-4
    )
    base, expert, amateur = torch.zeros(4), torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    assert probabilities.steered(base, expert, amateur, 2.0).tolist() == [2, -2, 0]
    assert probabilities.steered(base, None, amateur, 2.0) is base


# -- corrections ------------------------------------------------------------------------------------------------------

LOG_RATIO = torch.tensor([[math.log(2), math.log(0.5), 0.0], [math.log(8), 0.0, 99.0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_importance_weights_are_truncated_or_dropped():
    plain = corrections.importance_weights(LOG_RATIO, MASK)
    assert plain[0].tolist() == pytest.approx([2, 0.5, 1])
    assert plain[1, 2] == 1
    clamped = corrections.importance_weights(LOG_RATIO, MASK, upper=2.0)
    assert clamped[1].tolist() == pytest.approx([2, 1, 1])
    dropped = corrections.importance_weights(LOG_RATIO, MASK, lower=0.6, upper=4.0, outside="zero")
    assert dropped.tolist() == [[pytest.approx(2), 0, 1], [0, 1, 1]]
    rows = corrections.importance_weights(LOG_RATIO, MASK, "sequence")
    assert rows[:, 0].tolist() == pytest.approx([1, 8])
    mean = corrections.importance_weights(LOG_RATIO, MASK, normalize=True)
    assert mean[MASK.bool()].mean().item() == pytest.approx(1)


def test_rejection_keeps_actions_or_whole_rows():
    low, high = math.log(0.4), math.log(3)
    token = corrections.rejection_mask(LOG_RATIO, MASK, "k1", "token", low, high)
    assert token.long().tolist() == [[1, 1, 1], [0, 1, 0]]
    row = corrections.rejection_mask(LOG_RATIO, MASK, "k3", "max", None, 1.0)
    assert row.long().tolist() == [[1, 1, 1], [0, 0, 0]]


def test_only_bad_rows_that_moved_far_are_left_out():
    logp, sampled = torch.zeros(3, 2), torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.1, 0.1]])
    keep = corrections.off_policy_rows(logp, sampled, torch.ones(3, 2), torch.tensor([[-1.0], [1.0], [-1.0]]), 0.5)
    assert keep.flatten().tolist() == [False, True, True]


def test_drift_to_come_is_discounted():
    got = corrections.future_drift(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1, 1, 0]]), 0.5)
    assert got.tolist() == [[2.0, 2.0, 0.0]]


def test_a_teacher_moves_credit_but_not_signs():
    got = corrections.teacher_reweighted(
        torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 2), torch.tensor([[5.0, -5.0], [5.0, -5.0]])
    )
    assert got.tolist() == [[pytest.approx(1.2), pytest.approx(0.8)], [pytest.approx(-0.8), pytest.approx(-1.2)]]


# -- denoising --------------------------------------------------------------------------------------------------------


def test_optimality_is_half_for_nothing():
    advantage = torch.tensor([-9.0, -1, 0, 2, 9])
    assert denoising.optimality(advantage, 4).tolist() == pytest.approx([0, 0.375, 0.5, 0.75, 1])
    assert denoising.optimality(advantage, 4, "positive").tolist() == pytest.approx([0.5, 0.5, 0.5, 0.75, 1])
    assert denoising.optimality(advantage, 1, "binary").tolist() == [0, 0, 0.5, 1, 1]


def test_good_samples_pull_and_bad_ones_push():
    generator = torch.Generator().manual_seed(0)
    clean, noise, old = (torch.randn(1, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    noised = denoising.corrupt(clean, noise, 0.6)
    for good, side in ((1.0, 1), (0.0, -1)):
        predicted = old.clone().requires_grad_()
        contrast = denoising.negative_aware(predicted, old, noised, clean, 0.6, torch.tensor([good]), least_weight=None)
        contrast.loss.sum().backward()
        towards = ((noise - clean) - old).flatten()
        assert side * torch.dot(-predicted.grad.flatten(), towards) > 0


def test_a_perfect_velocity_has_no_error():
    clean, noise = torch.ones(2, 3), torch.zeros(2, 3)
    t = torch.tensor([0.3, 1.0])
    for weighting in ("uniform", "t", "t2", "huber", "power"):
        logp = denoising.matching_logp(noise - clean, clean, noise, t, weighting)
        assert logp.tolist() == pytest.approx([0, 0], abs=1e-9)
        assert (denoising.matching_logp(noise, clean, noise, t, weighting) < 0).all()


def test_guidance_of_one_is_the_conditional():
    c, u = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0])
    assert torch.equal(denoising.guide(c, u, 1.0), c)
    assert torch.equal(denoising.guide(c, u, 1.0, "divided"), c)
    assert torch.allclose(4 * denoising.guide(c, u, 4.0, "divided"), denoising.guide(c, u, 4.0))


# -- selection --------------------------------------------------------------------------------------------------------


def test_groups_without_spread_are_uninformative():
    reward, group = torch.tensor([1.0, 1, 0, 1, 5]), torch.tensor([0, 0, 1, 1, 2])
    assert selection.informative(reward, group).tolist() == [False, False, True, True, True]
    assert selection.informative(reward, group, keep_singletons=False).tolist() == [False, False, True, True, False]
    assert selection.within(reward, group, 0.2, 0.8).tolist() == [False, False, True, True, False]


def test_extremes_and_pairs():
    score = torch.tensor([3.0, 1, 4, 2, 5])
    best, worst = selection.extremes(score, 3)
    assert best.tolist() == [2, 4]
    assert worst.tolist() == [1]
    group = torch.zeros(5, dtype=torch.long)
    assert selection.best_and_worst(score, group).tolist() == [0, -1, 0, 0, 1]
    assert selection.best_and_worst(torch.ones(3), group[:3]).tolist() == [-1, 1, 0]
    assert selection.best_of_each(torch.tensor([1.0, 2, 2]), group[:3]).tolist() == [0, 1, 1]


def test_class_weights_balance_what_is_drawn():
    label = torch.tensor([1, 0, 0, 0])
    weight = selection.class_weights(label, 0.5)
    assert weight[label == 1].sum().item() == pytest.approx(weight[label == 0].sum().item())


# -- shaping ----------------------------------------------------------------------------------------------------------


def test_long_answers_are_punished_softly():
    length = torch.tensor([0, 80, 90, 100, 150])
    assert shaping.soft_overlong(length, 100, 20).tolist() == pytest.approx([0, 0, -0.5, -1, -1])
    assert shaping.soft_overlong(length, 100, 20, floored=False)[-1].item() == pytest.approx(-3.5)
    assert shaping.soft_overlong(length, 100, 0).tolist() == [0, 0, 0, 0, -1]


def test_ranks_of_length_never_reward_a_wrong_answer():
    got = shaping.length_rank(torch.tensor([10, 20, 30]), torch.tensor([False, True, True]))
    assert got.tolist() == [0.0, 0.0, -0.5]
    assert shaping.length_rank(torch.tensor([7, 7]), torch.ones(2)).tolist() == [0, 0]


def test_the_shortest_right_answer_earns_a_bonus_unless_it_says_nothing():
    group, right = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 1, 0, 0, 0])
    length = torch.tensor([300.0, 200, 100, 50, 60])
    assert shaping.concise_bonus(length, right, group).tolist() == pytest.approx([0, 0.2, 0, 0, 0])
    assert shaping.concise_bonus(length, right, group, at_least=250).tolist() == [0] * 5


def test_half_solved_groups_weigh_most():
    right = torch.tensor([1, 0, 1, 1, 0, 0])
    assert shaping.difficulty_weight(right, torch.tensor([0, 0, 1, 1, 2, 2])).tolist() == [1, 1, 0, 0, 0, 0]


@given(st.floats(0, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_schedules_run_from_start_to_end(progress, start, end):
    low, high = min(start, end), max(start, end)
    for shape in ("constant", "linear", "cosine"):
        assert shaping.schedule(start, end, 0.0, shape) == pytest.approx(start)
        assert low - 1e-9 <= shaping.schedule(start, end, progress, shape) <= high + 1e-9
    assert shaping.schedule(start, end, 1.0, "cosine") == pytest.approx(end)


def test_coefficients_and_averages():
    assert shaping.adapted_coefficient(0.1, 5.0, 1.0, 0.5) == pytest.approx(0.11)
    assert shaping.moving_average(torch.tensor(1.0), torch.tensor(0.0), 0.9).item() == pytest.approx(0.9)


# -- windows ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(4, 30), st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_a_window_never_leaves_the_schedule(step, steps, size, pace, wrap):
    window = windows.progressive_window(step, steps, size, pace=pace, wrap=wrap)
    assert len(window) == size
    assert 0 <= window.start < window.stop <= steps
    assert windows.progressive_window(step, steps, size, pace=pace, partial=True).stop <= steps
    assert 0 <= windows.random_window(step, steps, size).start <= steps - size


def test_all_processes_draw_the_same_steps():
    assert windows.drawn_steps(3, range(10), 4) == windows.drawn_steps(3, range(10), 4)
    assert windows.drawn_steps(3, range(4), None) == [0, 1, 2, 3]
    assert windows.drawn_steps(3, range(4), 0) == []
    assert windows.seeded_window(5, 2, 8, 3) == windows.seeded_window(5, 2, 8, 3)


@given(st.lists(st.floats(0, 0.999), min_size=4, max_size=4))
def test_strata_hold_one_step_each(draws):
    assert [low <= i < low + 5 for low, i in zip((0, 5, 10, 15), windows.stratified(0, 20, 4, draws))] == [True] * 4


def test_a_regridded_schedule_is_shorter_after_the_window():
    levels, points = windows.regridded(20, 9, 0.5)
    assert points == 5
    assert levels[:10].tolist() == torch.linspace(1, 0, 21)[:10].tolist()
    assert levels[-1] == 0


@pytest.mark.parametrize("kind", ["cosine", "linear", "pow2", "sigmoid"])
def test_mask_rates_fall_from_all_to_none(kind):
    rates = [masking.mask_rate(t / 10, kind) for t in range(11)]
    assert rates[0] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-5)
    assert rates == sorted(rates, reverse=True)


def test_an_unknown_mask_rate_is_named():
    with pytest.raises(ValueError, match="not 'steps'"):
        masking.mask_rate(0.5, "steps")


# -- draws, lines, outliers -------------------------------------------------------------------------------------------


def test_draws_near_a_value_sum_to_one():
    share = selection.near(torch.tensor([0.1, 0.3, 0.5]), 0.3, 0.2)
    assert share.sum().item() == pytest.approx(1)
    assert share.argmax() == 1
    assert share[0].item() == pytest.approx(share[2].item())


def test_rows_are_taken_evenly_by_rank_from_easy_to_hard():
    value = torch.tensor([0.1, math.nan, 0.9, 0.4, 0.2, 0.3, 0.0])
    assert selection.evenly_ranked(value, 10, 0.0, 0.7).tolist() == [3, 5, 4, 0]
    assert selection.evenly_ranked(value, 2, 0.0, 0.7).tolist() == [3, 0]


def test_lines_are_flat_outside_unless_they_go_on():
    points = ((0, 1.0), (10, 0.0), (20, 4.0))
    assert [shaping.piecewise(x, points) for x in (-5, 0, 5, 10, 15, 20, 30)] == [1, 1, 0.5, 0, 2, 4, 4]
    assert shaping.piecewise(30, points, beyond=True) == 8


def test_outliers_teach_nothing():
    value = torch.tensor([1.0, -4.0, 11.0, math.nan, math.inf])
    assert adv.without_outliers(value, 0.0).tolist() == [1, 0, 0, 0, 0]


def test_a_decoder_fills_at_least_one_token_a_step():
    left = masking.tokens_left(18, 256)
    assert left[-1] == 1
    assert all(later < earlier for earlier, later in pairwise(left[:-1]))
    masked = masking.random_mask(torch.tensor([[1, 1, 0]]), torch.tensor([0.5]), torch.tensor([[0.4, 0.6, 0.1]]))
    assert masked.tolist() == [[True, False, False]]


def test_rewards_are_held_against_the_same_prompts_past():
    first, past = adv.against_past(torch.tensor([1.0, 3.0]), ["a", "a"], {}, at_least=2)
    assert first.tolist() == pytest.approx([-1, 1], abs=1e-5)
    second, past = adv.against_past(torch.tensor([5.0, 0.0]), ["a", "b"], past, at_least=2)
    assert past["a"].tolist() == [1, 3, 5]
    assert second[0].item() == pytest.approx((5 - 3) / math.sqrt(8 / 3), abs=1e-4)
    assert second[1].item() == pytest.approx(-1, abs=1e-5)
    _, past = adv.against_past(torch.tensor([7.0]), ["a"], past, size=2)
    assert past["a"].tolist() == [5, 7]
