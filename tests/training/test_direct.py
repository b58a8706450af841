"""The direct stage: a reward's gradient goes through as much of the sampler as the method says, and no further."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from flows import ToTheRight, gradient, point_rows, small_policy

from gamutrl.core import Context
from gamutrl.data.sources import InMemory, WorldRows
from gamutrl.policies.flow import FlowSampling
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.config import from_json, to_json
from gamutrl.training.direct import Direct, DrawnSteps, LastSteps, LateStep, NoisedAgain
from gamutrl.training.optimizer import AdamW
from gamutrl.training.session import Session, Stopped

RIGHT = Reward("right", ToTheRight(), differentiable=True)
ODE = FlowSampling(steps=6, eta=0.0)


def longer(text: str) -> float:
    return float(len(text))


def stage(**changes) -> Direct:
    settings = {"steps": 6, "prompts_per_step": 8, "sampling": ODE, "optimizer": AdamW(lr=1e-2)}
    return Direct(InMemory(point_rows(16)), (RIGHT,), **{**settings, **changes})


def loss_of(stage: Direct, policy, step: int = 0):
    pieces = list(stage.pieces(policy, stage.data.batch(0, 8, 0), Context(step=step), []))
    return sum(piece.loss for piece in pieces)


def test_a_rule_is_refused_before_training():
    with pytest.raises(ValueError, match="'length' is a rule: no gradient flows through it"):
        Direct(InMemory(point_rows(2)), (Reward("length", per_rollout(longer)),))


def test_a_rule_of_weight_0_is_only_measured():
    Direct(InMemory(point_rows(2)), (RIGHT, Reward("length", per_rollout(longer), weight=0.0)))


@pytest.mark.parametrize(
    ("predicts", "sample"),
    [
        *[("velocity", s) for s in (LastSteps(0), LastSteps(2), LateStep(3, 5), NoisedAgain(2), DrawnSteps(3.0, 1.0))],
        *[("epsilon", s) for s in (LastSteps(0), LastSteps(2), LateStep(3, 5))],
    ],
)
def test_the_gradient_is_that_of_the_steps_that_carry_it(predicts, sample):
    """Against finite differences of the same loss, whose early steps are held to the weights of before."""
    policy = small_policy(predicts)
    one = stage(sample=sample, sampling=replace(ODE, eta=0.5))
    loss_of(one, policy).backward()
    slope = gradient(policy)
    direction = slope / slope.norm()

    frozen = small_policy(predicts)
    step_with = type(policy).step

    def early_steps_frozen(self, state, **settings):
        return step_with(self if torch.is_grad_enabled() else frozen, state, **settings)

    def moved(by: float) -> float:
        start = 0
        for parameter, kept in zip(policy.module.parameters(), frozen.module.parameters()):
            part = direction[start : start + parameter.numel()].view_as(parameter)
            parameter.data = kept.detach() + by * part
            start += parameter.numel()
        return float(loss_of(one, policy))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(policy), "step", early_steps_frozen)
        difference = (moved(3e-3) - moved(-3e-3)) / 6e-3
    assert difference == pytest.approx(float(slope.norm()), rel=0.02)


def test_a_late_step_carries_only_one_prediction():
    policy = small_policy()
    loss_of(stage(sample=LateStep(4, 4)), policy).backward()

    again = small_policy()
    with torch.no_grad():
        context = Context()
        seed = int(context.generator("rollout").initial_seed())
        state = again.begin(stage().data.batch(0, 8, 0), 1, ODE, seed=seed)
        while state.step < 4:
            state, _ = again.step(state)
    time = state.grid.time_S[4].expand(8)
    velocity = again.denoiser.predict(state.latent_R, time, state.condition)
    clean = state.latent_R - state.grid.level_S1[4] * velocity
    (-clean[:, 0].mean()).backward()
    assert torch.allclose(gradient(policy), gradient(again), atol=1e-6)


def test_forward_passes_do_not_change_the_gradient():
    whole, parts = small_policy(), small_policy()
    loss_of(stage(), whole).backward()
    loss_of(stage(prompts_per_forward=3), parts).backward()
    assert torch.allclose(gradient(whole), gradient(parts), atol=1e-6)
    assert gradient(whole).abs().max() > 0


def test_the_drawn_step_lies_on_the_path_or_is_refused():
    generator = torch.Generator().manual_seed(0)
    drawn = [DrawnSteps(42, 5).first(50, generator) for _ in range(300)]
    assert min(drawn) >= 1
    assert max(drawn) < 50
    assert sum(drawn) / len(drawn) == pytest.approx(41.5, abs=1)
    with pytest.raises(ValueError, match="choose another mean"):
        DrawnSteps(42, 1).first(10, generator)


@pytest.mark.parametrize("sample", [LastSteps(9), LateStep(3, 6)])
def test_steps_that_the_sampler_has_not_are_refused(sample):
    with pytest.raises(ValueError, match="sampler's steps are 0 to 5"):
        loss_of(stage(sample=sample), small_policy())


def lines(folder) -> list[dict]:
    clocks = ("seconds", "peak_memory_gib")
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith(clocks)} for line in told]


def test_it_climbs_and_goes_on_bit_for_bit(tmp_path):
    one = stage(sample=LastSteps(2), sampling=replace(ODE, eta=0.5))
    whole, cut = small_policy(), small_policy()
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    one.run(Session(tmp_path / "whole", {"policy": whole}))

    class Asks:
        def begin(self, *told): ...
        def message(self, text): ...
        def step(self, metrics):
            session._signal = 15 if metrics["step"] == 2 else 0

    session = Session(tmp_path / "cut", {"policy": cut}, watchers=[Asks()])
    with pytest.raises(Stopped):
        one.run(session)
    again = small_policy(seed=5)
    session = Session(tmp_path / "cut", {"policy": again})
    session.resume()
    one.run(session)

    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), whole.module.parameters()))
    rewards = [line["reward/mean"] for line in lines(tmp_path / "whole")]
    assert rewards[-1] > rewards[0] + 0.02


def test_a_stage_is_written_and_read_back_equal():
    direct = replace(stage(sample=DrawnSteps(3.0)), data=WorldRows("blobs", "points"))
    assert from_json(to_json(direct), ("gamutrl", "flows")) == direct
