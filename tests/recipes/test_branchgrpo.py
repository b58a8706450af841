"""BranchGRPO: a tree of rollouts, rewards averaged upwards, advantages by depth, edges pruned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.branchgrpo import RECIPE, ByDepth, Pruned, Tree, edges
from gamutrl.training.config import from_json, to_json


@pytest.fixture(scope="module")
def batch():
    """Trees of four leaves, split at steps 0 and 2 of 10; the last step is deterministic."""
    return prepared(small(RECIPE.tiny, rollout=Tree((0, 2))), untrained())[0]


def test_every_edge_is_trained_once(batch):
    assert len(batch.rollouts) == 2 * 4
    # Two edges at each of the steps 0 and 1, four from step 2 to 8.
    assert len(batch.rows) == 2 * (2 * 2 + 4 * 7)
    assert batch.mask_NT.shape == (64, 1)
    trained = [id(batch.rollouts[row.rollout].turns[row.turns.start]) for row in batch.rows]
    assert len(set(trained)) == len(trained)
    assert batch.mask_NT.sum() == 2 * (2 * 2 + 4 * 3)  # Of which the first five steps are trained.
    assert RECIPE.tiny.stages[-1].rollouts_per_step == 32 * 8


def test_leaves_share_their_beginnings(batch):
    turns = [rollout.turns for rollout in batch.rollouts[:4]]
    assert turns[0][1] is turns[1][1]
    assert turns[0][2] is not turns[1][2]
    assert turns[1][0] is not turns[2][0]
    assert torch.equal(turns[0][0].latent, turns[3][0].latent)


def test_an_edge_is_worth_the_mean_of_its_leaves_against_its_depth(batch):
    leaves = batch["reward_R"][:4].double().numpy()
    paths = edges(batch)
    halves = np.array([leaves[:2].mean(), leaves[2:].mean()])
    first = (halves - halves.mean()) / (halves.std(ddof=1) + 1e-8)
    last = (leaves - leaves.mean()) / (leaves.std(ddof=1) + 1e-8)
    advantage_N = batch["advantage_NT"][:, 0].tolist()
    for leaf in range(4):
        assert len(paths[leaf]) == 9
        assert [advantage_N[n] for n in paths[leaf][:2]] == pytest.approx([first[leaf // 2]] * 2, abs=1e-3)
        trained, untrained_later = paths[leaf][2:5], paths[leaf][5:]
        assert [advantage_N[n] for n in trained] == pytest.approx([last[leaf]] * 3, abs=1e-3)
        assert [advantage_N[n] for n in untrained_later] == [0.0] * 4


def test_equal_leaves_teach_nothing(batch):
    flat = batch.with_(reward_R=torch.ones(8))
    assert (ByDepth()(flat, Context()) == 0).all()


def test_depths_can_be_left_out_and_move_up(batch):
    def kept(step: int) -> set[int]:
        pruned = Pruned(depths=(8, 9), slide=10, stop=6)(batch, Context(step=step))
        return {row.turns.start + 1 for row in pruned.rows}

    assert kept(0) == set(range(1, 8))
    assert kept(10) == set(range(1, 10)) - {7, 8}
    assert kept(90) == set(range(1, 10)) - {6, 7}


@pytest.mark.parametrize("width", ["branch", "ends"])
def test_beyond_the_last_split_the_better_half_can_be_kept(batch, width):
    pruned = Pruned(width=width, splits=(0, 2))(batch, Context())
    wide = [row for row in batch.rows if row.turns.start > 2]
    left = [row for row in pruned.rows if row.turns.start > 2]
    assert len(left) == len(wide) // 2
    assert len(pruned.rows) - len(left) == len(batch.rows) - len(wide)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", rollout=Tree((0, 2)), minibatches=2)
    assert lines[1]["ratio/mean"] == pytest.approx(1.0, abs=0.1)
    for preset in (RECIPE.tiny, RECIPE.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
