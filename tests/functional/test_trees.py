"""Trees of rollouts, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gamutrl.functional import trees

#        0
#      /   \
#     1     2
#    / \     \
#   3   4     5
PARENT = torch.tensor([-1, 0, 0, 1, 1, 2])
NAN = math.nan
REWARD = torch.tensor([NAN, NAN, NAN, 1.0, 0.0, 0.5])


def test_depths_count_edges_to_the_root():
    assert trees.depths(PARENT).tolist() == [0, 1, 1, 2, 2, 2]


def test_a_node_is_worth_the_mean_of_the_leaves_below_it():
    assert trees.node_rewards(PARENT, REWARD).tolist() == [0.5, 0.5, 0.5, 1.0, 0.0, 0.5]


def test_likelier_branches_may_count_more():
    logp = torch.tensor([NAN, math.log(0.9), math.log(0.1), math.log(0.75), math.log(0.25), 0.0])
    got = trees.node_rewards(PARENT, REWARD, logp)
    assert got.tolist() == pytest.approx([0.9 * 0.75 + 0.1 * 0.5, 0.75, 0.5, 1.0, 0.0, 0.5])


def test_branches_are_compared_at_their_own_depth():
    got = trees.depth_advantages(PARENT, trees.node_rewards(PARENT, REWARD))
    assert got[:3].tolist() == [0, 0, 0]
    assert got[3:].tolist() == pytest.approx([1, -1, 0], abs=1e-6)
