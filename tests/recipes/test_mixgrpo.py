"""MixGRPO: noise inside of a window that moves, the ODE outside."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.mixgrpo import RECIPE, EachThenSum, Window
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize(("step", "first"), [(0, 0), (9, 0), (10, 1), (51, 5), (60, 0)])
def test_the_window_moves_on_and_begins_anew(step, first):
    batch, context = prepared(small(RECIPE.tiny, group_size=2), untrained(), step=step)
    assert [t for t in range(10) if batch.mask_NT[0, t]] == [first, first + 1, first + 2]
    assert context.metrics["window/first"] == first


def test_outside_of_the_window_a_group_does_not_part():
    batch, _ = prepared(small(RECIPE.tiny, group_size=2, rollout=Window(3, move="frozen")), untrained())
    one, other = batch.rollouts[0].turns, batch.rollouts[1].turns
    assert torch.equal(one[0].latent, other[0].latent)
    assert not torch.equal(one[0].following, other[0].following)
    assert all(turn.latent is None for turn in one[3:])


def test_the_released_window_shrinks_at_its_end():
    window = Window(size=4, stride=1, pace=1, move="released")
    assert [len(window.steps(step, 8)) for step in range(8)] == [4, 4, 4, 4, 4, 3, 2, 1]
    assert len(Window(size=4, stride=1, pace=1).steps(5, 8)) == 4


def test_flash_takes_fewer_steps_after_the_window():
    stage = small(RECIPE.tiny, group_size=2, rollout=Window(3, move="frozen", flash=0.4))
    batch, _ = prepared(stage, untrained())
    levels = batch["level_next_NT"][0]
    assert batch.mask_NT.shape[1] < 10
    assert levels[-1] == 0
    assert batch.mask_NT[0].tolist()[:4] == [True, True, True, False]


def test_rewards_are_normalised_apart_and_added():
    batch, _ = prepared(small(RECIPE.tiny, group_size=4), untrained())
    table = torch.tensor([[0.0, 5.0], [1.0, 5.0], [0.0, 7.0], [1.0, 7.0]] * 2)
    batch = batch.with_(reward_RK=table, weight_RK=torch.tensor([[1.0, 0.5]] * 8))
    deviation = table[:4].std(0)
    by_hand = (table[:4] - table[:4].mean(0)) / deviation @ torch.tensor([1.0, 0.5])
    assert torch.allclose(EachThenSum()(batch, Context())[:4], by_hand, atol=1e-5)


def test_what_is_no_way_to_move_is_said():
    with pytest.raises(ValueError, match=r"rollout\.move must be"):
        Window(move="sideways").steps(0, 8)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=2)
    assert lines[1]["window/first"] == 0
    for preset in (RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
