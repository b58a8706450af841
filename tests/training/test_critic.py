"""A critic: the value head on a text model, GAE over rollouts, and the objective that trains both."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from letters import Letters, TablePolicy

from gamutrl.core import Batch, Context, Prompt, Rollout, Sampling, Turn
from gamutrl.data.worlds import scenes
from gamutrl.environments import SingleTurn
from gamutrl.policies.base import VALUE
from gamutrl.policies.models import Lora
from gamutrl.policies.scoring import entropy
from gamutrl.policies.text import TextPolicy
from gamutrl.recipes import grpo
from gamutrl.training.critic import GAE, ActorCritic, with_critic
from gamutrl.training.defaults import ClippedSurrogate
from gamutrl.training.rl import RL
from gamutrl.training.run import resume, train
from gamutrl.zoo import random

SHORT = Sampling(max_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random.build("smolvlm", tmp_path_factory.mktemp("model") / "smolvlm")


def loaded(folder, **options) -> TextPolicy:
    policy = TextPolicy.load(folder, dtype="float32", device="cpu", value_head=True, **options)
    with torch.no_grad():
        for parameter in policy.value_head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return policy


def sampled(policy: TextPolicy, group_size: int = 3) -> Batch:
    prompts = scenes.rows("train", 2, task="attribute", form="think")
    with torch.no_grad():
        return policy.rollout(prompts, group_size, SingleTurn(), SHORT, seed=0)


# -- the head ---------------------------------------------------------------------------------------------------------


def test_a_value_is_of_the_state_that_the_action_is_taken_in(folder):
    policy = loaded(folder)
    batch = sampled(policy)
    logp_NT, found = policy.log_probs(batch, {"value": VALUE, "entropy": entropy})
    assert torch.equal(logp_NT, policy.log_probs(batch))
    assert torch.allclose(found["entropy"], policy.log_probs(batch, {"entropy": entropy})[1]["entropy"])
    ((rows, hidden_WD, source_NT),) = policy._hidden(policy._continuations(batch))
    expected = policy.value_head(hidden_WD[source_NT])[..., 0]
    mask_NT = batch.mask_NT[rows]
    assert torch.allclose(found["value"][rows][mask_NT], expected[mask_NT], atol=1e-6)
    assert not found["value"][~batch.mask_NT].any()


def test_values_do_not_depend_on_how_prompts_are_shared(folder):
    policy, plain = loaded(folder), loaded(folder)
    plain.backbone.reason = "it is told not to"
    batch = sampled(policy)
    one = policy.log_probs(batch, {"value": VALUE})[1]["value"]
    with pytest.warns(UserWarning, match="can't share a prompt"):
        other = plain.log_probs(batch, {"value": VALUE})[1]["value"]
    assert torch.allclose(one, other, atol=1e-5)
    halves = [policy.log_probs(batch.take_rows(rows), {"value": VALUE})[1]["value"] for rows in ([0, 1, 2], [3, 4, 5])]
    for rows, half in zip((slice(0, 3), slice(3, 6)), halves):
        assert torch.allclose(one[rows, : half.shape[1]], half, atol=1e-6)


def test_its_gradient_reaches_the_head_and_the_model(folder):
    policy = loaded(folder)
    batch = sampled(policy)
    weight_NT = torch.randn(batch.mask_NT.shape, generator=torch.Generator().manual_seed(0))

    def total() -> torch.Tensor:
        return (policy.log_probs(batch, {"value": VALUE})[1]["value"] * weight_NT).sum()

    total().backward()
    for name in ("value_head.weight", "model.text_model.norm.weight"):
        parameter = dict(policy.module.named_parameters())[name]
        place = tuple(index[0] for index in (parameter.grad.abs() == parameter.grad.abs().max()).nonzero().unbind(1))
        size, sides = 1e-2, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * size
                sides.append(total().double())
                parameter[place] -= sign * size
        assert float((sides[0] - sides[1]) / (2 * size)) == pytest.approx(float(parameter.grad[place]), rel=1e-2), name


@pytest.mark.parametrize("lora", [None, Lora(2)])
def test_it_is_saved_with_the_model(folder, tmp_path, lora):
    policy = loaded(folder, lora=lora)
    before = policy.log_probs(sampled(policy), {"value": VALUE})[1]["value"]
    policy.save(tmp_path)
    assert (tmp_path / "value_head.safetensors").is_file()
    again = TextPolicy.load(tmp_path, dtype="float32", device="cpu", value_head=True)
    assert torch.allclose(again.log_probs(sampled(again), {"value": VALUE})[1]["value"], before, atol=1e-6)
    assert TextPolicy.load(tmp_path, dtype="float32", device="cpu").value_head is None
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    assert "weights/value_head.weight" in state
    with torch.no_grad():
        policy.value_head.weight.zero_()
    policy.load_state_dict(state)
    assert policy.value_head.weight.any()


def test_with_an_adapter_the_base_is_still_the_model_as_it_came(folder):
    policy = loaded(folder, lora=Lora(2))
    batch = sampled(policy)
    policy.keep_reference("base")
    before = policy.log_probs(batch).detach()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05)
    assert not torch.allclose(policy.log_probs(batch), before, atol=1e-3)
    with policy.reference("base"):
        assert torch.allclose(policy.log_probs(batch), before, atol=1e-6)


def test_who_has_no_head_is_told_how_to_get_one(folder):
    policy = TextPolicy.load(folder, dtype="float32", device="cpu")
    with pytest.raises(ValueError, match="CriticModel"):
        policy.log_probs(sampled(policy), {"value": VALUE})
    with pytest.raises(ValueError, match="CriticModel"):
        VALUE(None, None)


# -- advantages and objective -----------------------------------------------------------------------------------------


class Told(TablePolicy):
    """Says given values of its actions."""

    def __init__(self, value_NT: torch.Tensor) -> None:
        self.value_NT = value_NT

    def log_probs(self, batch, statistics=None):
        return torch.zeros_like(self.value_NT), {"value": self.value_NT}


def two_rows(reward_R: list[float]) -> Batch:
    prompts = [Prompt.ask("a", id="a"), Prompt.ask("b", id="b")]
    turns = [Turn("x", "x", torch.zeros(length, dtype=torch.long), torch.zeros(length)) for length in (3, 1)]
    rollouts = [Rollout(prompt, [turn], output="x") for prompt, turn in zip(prompts, turns)]
    return Batch.of(prompts, rollouts, [0, 1]).with_(reward_R=torch.tensor(reward_R))


def test_advantages_are_what_followed_less_the_values():
    """By hand, γ = 1 and λ = 0.5: surprises of row 0 are .1, .3 and .5 - looked at backwards .5, .55 and .375."""
    value_NT = torch.tensor([[0.1, 0.2, 0.5], [0.4, 0.0, 0.0]])
    context = Context(0, 1, models={"policy": Told(value_NT)})
    batch = GAE(lam=0.5, whiten=False)(two_rows([1.0, 0.0]), context)
    expected = torch.tensor([[0.375, 0.55, 0.5], [-0.4, 0.0, 0.0]])
    assert torch.allclose(batch["advantage_NT"], expected)
    assert torch.allclose(batch["return_NT"][0], expected[0] + value_NT[0])
    assert float(batch["return_NT"][1, 0]) == 0.0
    assert torch.equal(batch["value_old_NT"], value_NT)
    assert context.metrics["value/mean"] == pytest.approx(0.3)

    white = GAE(lam=0.5)(two_rows([1.0, 0.0]), context)["advantage_NT"][batch.mask_NT]
    assert float(white.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(white.std()) == pytest.approx(1.0)


def test_a_reward_that_does_not_apply_teaches_nothing():
    value_NT = torch.tensor([[0.1, 0.2, 0.5], [0.4, 0.0, 0.0]])
    context = Context(0, 1, models={"policy": Told(value_NT)})
    batch = GAE(lam=0.5, whiten=False)(two_rows([1.0, float("nan")]), context)
    assert not batch["advantage_NT"][1].any()
    assert torch.equal(batch["return_NT"][1], value_NT[1])
    assert torch.allclose(batch["advantage_NT"][0], torch.tensor([0.375, 0.55, 0.5]))


def test_the_objective_adds_the_values_error():
    value_NT = torch.tensor([[0.1, 0.2, 0.5], [0.4, 0.0, 0.0]])
    context = Context(0, 1, models={"policy": Told(value_NT)})
    batch = GAE(whiten=False)(two_rows([1.0, 0.0]), context)
    moved = batch.with_(value_NT=value_NT + 1.0)
    logp_NT = torch.zeros_like(value_NT)
    plain = ClippedSurrogate()(logp_NT, batch, context)
    extra = ActorCritic(value_weight=2.0, value_clip=0.2)(logp_NT, moved, context) - plain
    # Row 1: its value 1.4 is followed to 0.6 only, but the larger error counts: ½ · 1.4².
    assert float(extra[1, 0]) == pytest.approx(2.0 * 0.5 * 1.4**2)


# -- a run ------------------------------------------------------------------------------------------------------------


def small(**changes):
    preset = grpo.RECIPE.variants["tiny/ppo"]
    stage = replace(preset.stages[0], steps=3, prompts_per_step=2, group_size=2, sampling=SHORT, **changes)
    return replace(preset, stages=(stage,), evaluation=replace(preset.evaluation, rows=4), save_every=1)


def test_the_variant_of_grpo_runs_and_goes_on_where_it_stopped(tmp_path):
    whole = train(small(), tmp_path / "whole", seed=3)
    told = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert {"value/mean", "value/explained", "loss", "kl"} <= set(told[0])
    assert told[0]["value/mean"] == 0.0
    assert told[2]["value/mean"] != 0.0

    newest = sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    again = resume(tmp_path / "whole")
    after = [json.loads(line) for line in (again.folder / "metrics.jsonl").read_text().splitlines()]
    for one, other in zip(told, after):
        assert one["loss"] == other["loss"]
        assert one["value/mean"] == other["value/mean"]


def test_values_learn_what_is_to_come(folder):
    """Where every answer is paid one half, each state comes to be worth one half."""
    policy = TextPolicy.load(folder, dtype="float32", device="cpu", value_head=True)
    context = Context(0, 1, models={"policy": policy})
    batch = sampled(policy)
    batch = batch.with_(reward_R=torch.full((len(batch.rollouts),), 0.5))
    objective = ActorCritic(value_weight=1.0, value_clip=100.0)
    optimizer = torch.optim.Adam(policy.value_head.parameters(), lr=0.02)
    for _ in range(150):
        told = GAE(lam=1.0)(batch, context)
        logp_NT, found = policy.log_probs(told, {"value": VALUE})
        told = told.with_(value_NT=found["value"], advantage_NT=torch.zeros_like(logp_NT))
        (objective(logp_NT, told, context) * told.mask_NT).sum().backward()
        optimizer.step()
        policy.module.zero_grad(set_to_none=True)
    value_NT = policy.log_probs(batch, {"value": VALUE})[1]["value"]
    assert (value_NT[batch.mask_NT] - 0.5).abs().mean() < 0.05


def test_a_stage_gets_a_critic():
    stage = with_critic(RL(Letters(), ()), objective=ActorCritic(value_weight=0.25), updates_per_batch=3)
    assert dict(stage.statistics) == {"value": VALUE}
    assert stage.objective.value_weight == 0.25
    assert stage.advantage == GAE()
    assert stage.updates_per_batch == 3
