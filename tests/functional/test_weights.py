"""Action weights: every aggregation against plain loops, and the same whole or in parts."""

from __future__ import annotations

import math

import pytest
import torch

from gamutrl.functional.weights import action_weights, masked_mean, weighted_total

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
TERMS = torch.tensor([[1.0, 2, 9, 9], [3, 4, 5, 6], [9, 9, 9, 9], [7, 9, 9, 9]])


def _loss(over="sequence", **options):
    return weighted_total(TERMS, action_weights(MASK, over, **options)).item()


def test_the_token_mean_is_over_all_actions():
    assert _loss("token") == pytest.approx((1 + 2 + 3 + 4 + 5 + 6 + 7) / 7)


def test_the_sequence_mean_counts_empty_rows_or_not():
    total = 1.5 + 4.5 + 7
    assert _loss() == pytest.approx(total / 4)
    assert _loss(count_empty=False) == pytest.approx(total / 3)


def test_a_constant_length_and_a_plain_sum():
    assert _loss(constant=10) == pytest.approx((3 + 18 + 7) / 10 / 4)
    assert _loss("token", constant=1) == pytest.approx(28)


def test_units_may_be_groups_rollouts_or_turns():
    groups = torch.tensor([5, 5, 9, 9])
    assert _loss(groups) == pytest.approx(((1 + 2 + 18) / 6 + 7 / 1) / 2)
    turns = torch.tensor([[0, 1, 1, 1], [2, 2, 3, 3], [4, 4, 4, 4], [5, 5, 5, 5]])
    assert _loss(turns, count_empty=False) == pytest.approx((1 + 2 + 3.5 + 5.5 + 7) / 5)


def test_a_part_of_an_update_counts_as_its_part():
    weight = action_weights(MASK)
    whole = weighted_total(TERMS, weight)
    parts = sum(weighted_total(TERMS[i : i + 1], weight[i : i + 1]) for i in range(4))
    assert whole.item() == pytest.approx(parts.item())
    assert _loss(total=8) == pytest.approx(_loss() / 2)


def test_what_does_not_count_may_be_nan():
    terms = TERMS.masked_fill(MASK == 0, math.nan).requires_grad_()
    loss = weighted_total(terms, action_weights(MASK))
    loss.backward()
    assert loss.item() == pytest.approx(_loss())
    assert terms.grad.isfinite().all()


def test_an_empty_update_is_no_loss_at_all():
    for over in ("token", "sequence"):
        for count_empty in (True, False):
            weight = action_weights(torch.zeros(2, 3), over, count_empty=count_empty)
            assert weight.tolist() == torch.zeros(2, 3).tolist()


def test_masked_means():
    assert masked_mean(TERMS, MASK).item() == pytest.approx(4)
    assert masked_mean(TERMS, MASK, dim=1).tolist() == [1.5, 4.5, 0.0, 7.0]


def test_labels_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match="Labels of units"):
        action_weights(MASK, torch.zeros(3))
    with pytest.raises(ValueError, match=r"\[N, T\]"):
        action_weights(MASK[0])
