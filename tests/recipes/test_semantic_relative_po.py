"""SRPO of generation: the clean picture from a known noise, and a reward that is a difference of two prompts."""

from __future__ import annotations

import pytest
import torch
from blob_runs import short_run, untrained

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.semantic_relative_po import RECIPE, WORLD, DirectAlign, Levels, Relative
from gamutrl.rewards.told import told
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_one_branch_steps_down_and_the_other_up():
    levels = Levels()
    for place in (5, 120, 500, 995):
        (down, below), (low, up) = levels.steps(place)
        assert 0.964 >= down >= below >= 0.75
        assert 0.964 >= up >= low >= 0.75
    (down, below), (low, up) = levels.steps(500)
    assert down - below == pytest.approx(0.1 * (0.964 - 0.75), rel=0.01)
    assert up - low == pytest.approx(0.1 * (0.964 - 0.75), rel=0.01)
    assert up == pytest.approx(below)


def test_a_right_velocity_gives_the_sample_back_from_any_level(monkeypatch):
    """With v = noise - x₀ the recovered latent is the sample, whatever the place and the branch."""
    policy = untrained()
    prompts = RECIPE.tiny.stages[0].data.batch(0, 3, 0)
    state = policy.begin(prompts, 1, FlowSampling(steps=4, eta=0.0), seed=1)
    path = state
    with torch.no_grad():
        while not path.done:
            path, _ = policy.step(path)

    def right(outputs, corruption, guidance=1.0):
        return corruption.noise_NL - outputs.latent_N[:, None]

    monkeypatch.setattr(policy, "denoise", right)
    recovered = DirectAlign(WORLD)(policy, state, torch.Generator().manual_seed(0))
    assert torch.allclose(recovered, path.latent_R.repeat_interleave(2, 0), atol=1e-4)


def test_the_gradient_goes_through_one_call_a_branch():
    policy = untrained()
    prompts = RECIPE.tiny.stages[0].data.batch(0, 2, 0)
    state = policy.begin(prompts, 1, FlowSampling(steps=4, eta=0.0), seed=1)
    recovered = DirectAlign(WORLD)(policy, state, torch.Generator().manual_seed(0))
    assert recovered.shape == (4, 64)
    recovered.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in policy.parameters())


def liking(batch, context):
    """2 for a wanted word, 1 for an unwanted one, and a bias of 10 for every picture."""
    return torch.tensor([12.0 if rollout.prompt.text.startswith("Real") else 11.0 for rollout in batch.rollouts])


def test_what_is_liked_of_any_picture_nearly_cancels_and_words_are_exchanged():
    prompts = [Prompt.ask("a cat"), Prompt.ask("a dog")]
    rollouts = [Rollout(prompts[p], [], output=None) for p in (0, 0, 1, 1)]
    batch = Batch.of(prompts, rollouts, [0, 0, 1, 1])
    reward = Relative(liking, ("Real",), ("Flat",), discounts=((0.0, 0.0), (0.0, 0.0)))
    assert reward(batch, Context()).tolist() == [1.0, -1.0, 1.0, -1.0]
    assert [prompt.text for prompt in told(batch, "Real").prompts] == ["Real. a cat", "Real. a dog"]
    first, second = reward(batch, Context(step=3)), Relative(liking, ("Real",), ("Flat",))(batch, Context(step=3))
    k = (second - first) / torch.tensor([12.0, 11.0, 12.0, 11.0])
    assert 0.1 <= float(k[0]) <= 0.25
    assert 0.01 <= float(k[1]) <= 0.3


def test_a_short_run_has_a_loss_for_both_branches(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in lines)
    assert "reward/relative" in lines[0]
