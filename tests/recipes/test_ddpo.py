"""DDPO: stochastic DDIM, one sample a prompt, held against the prompt's past."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.recipes.ddpo import RECIPE, AgainstPast
from gamutrl.training.config import from_json, to_json


def scored(names: list[str], rewards: list[float]) -> Batch:
    prompts = [Prompt.ask(name) for name in names]
    rollouts = [Rollout(prompt, []) for prompt in prompts]
    return Batch.of(prompts, rollouts, range(len(prompts))).with_(reward_R=torch.tensor(rewards))


def test_a_prompt_with_a_past_is_held_against_it_and_another_against_the_batch():
    advantage = AgainstPast(size=3, at_least=3)
    advantage(scored(["a", "a"], [1.0, 2.0]), Context())
    value_R = advantage(scored(["a", "b"], [6.0, 0.0]), Context())
    of_a, everyone = np.array([1.0, 2.0, 6.0]), np.array([6.0, 0.0])
    assert value_R[0] == pytest.approx((6 - of_a.mean()) / of_a.std(), rel=1e-4)
    assert value_R[1] == pytest.approx((0 - everyone.mean()) / everyone.std(), rel=1e-4)


def test_the_past_is_short_and_is_saved_with_the_run():
    one, other = AgainstPast(size=2, at_least=2), AgainstPast(size=2, at_least=2)
    one(scored(["a", "a", "a"], [100.0, 1.0, 3.0]), Context())
    other.load_state_dict(one.state_dict())
    batch = scored(["a"], [2.0])
    assert other(batch, Context()).tolist() == one(batch, Context()).tolist() == pytest.approx([-1.0], abs=1e-3)


def test_advantages_are_bounded():
    value_R = AgainstPast()(scored(["a"] * 40, [0.0] * 39 + [1e6]), Context())
    assert float(value_R.max()) == 5.0


def test_every_step_draws_noise_and_replays_exactly():
    policy = untrained("epsilon")
    batch, _ = prepared(small(RECIPE.tiny, prompts_per_step=4), policy)
    assert batch.mask_NT.sum(1).tolist() == [5] * 4
    assert all(turn.std > 0 for turn in batch.rollouts[0].turns[:9])
    replayed = policy.log_probs(batch).detach()[batch.mask_NT]
    assert torch.allclose(replayed, batch.logp_sampled_NT[batch.mask_NT], atol=1e-5)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", prompts_per_step=4)
    assert len(lines) == 2
    for preset in (RECIPE.tiny, RECIPE.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
