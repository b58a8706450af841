"""Which edges of a tree of rollouts are trained on."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.functional.trees import best_and_worst, best_per_branch, kept_edges, slid_depths, split_steps

advantages = st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=1, max_size=12).map(torch.tensor)
shares = st.floats(0.01, 1)


def test_nodes_split_where_told_or_at_even_steps():
    assert split_steps(16, at=[30, 3, -2]) == [0, 3, 15]
    assert split_steps(16, rounds=3) == [0, 5, 10]
    assert split_steps(16) == []


def test_pruned_depths_move_up_to_the_stop_and_no_further():
    assert slid_depths([6, 7], 2, stop=1) == [4, 5]
    assert slid_depths([6, 7], 9, stop=5) == [5, 6]
    assert slid_depths([], 3, stop=0) == []


def test_each_branch_keeps_its_best():
    kept = best_per_branch(torch.tensor([1.0, 3.0, 2.0, -5.0]), torch.tensor([0, 0, 0, 1]), 0.5)
    assert kept.tolist() == [False, True, False, True]


@given(advantages, shares)
def test_what_is_kept_of_a_branch_is_no_worse_than_what_is_not(advantage, share):
    kept = best_per_branch(advantage, torch.zeros(len(advantage)), share)
    assert kept.sum() == max(1, int(len(advantage) * share))
    if not kept.all():
        assert advantage[kept].min() >= advantage[~kept].max()


@given(advantages, shares)
def test_the_best_and_the_worst_are_both_kept(advantage, share):
    kept = best_and_worst(advantage, share)
    assert {float(advantage.min()), float(advantage.max())} <= set(advantage[kept].tolist())
    assert len(advantage) <= 2 or kept.sum() == max(2, int(len(advantage) * share))


def test_edges_are_left_out_by_depth_and_then_by_width():
    depth = torch.tensor([1, 2, 2, 3, 3, 3, 3])
    advantage = torch.tensor([0.0, 1.0, -1.0, 4.0, 1.0, 2.0, 3.0])
    branch = torch.tensor([0, 0, 1, 0, 0, 1, 1])
    assert kept_edges(depth, advantage, branch).all()
    assert kept_edges(depth, advantage, branch, pruned=[2]).tolist() == [True, False, False, True, True, True, True]
    best = kept_edges(depth, advantage, branch, pruned=[1], wide_after=2)
    assert best.tolist() == [False, True, True, True, False, False, True]
    ends = kept_edges(depth, advantage, branch, wide_after=2, per_branch=False)
    assert ends.tolist() == [True, True, True, True, True, False, False]
