"""Scoring: replay finds what sampling recorded, gradients are right, and only trained steps cost anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from denoisers import NONE, Known, asking, small_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import (
    Corruption,
    DiffusionSchedule,
    FlowPolicy,
    FlowSampling,
    FlowSchedule,
    prediction,
    step_mean,
)


def rolled(policy, sampling, labels=(0, 1), group_size=2):
    return policy.rollout(asking(*labels), group_size, SingleTurn(), sampling, seed=0)


class TestReplay:
    @pytest.mark.parametrize("guidance", [1.0, 4.0])
    @pytest.mark.parametrize("schedule", [FlowSchedule(3.0), DiffusionSchedule()], ids=["flow", "diffusion"])
    @pytest.mark.parametrize("form", ["density", "exponent", "square"])
    def test_scores_are_what_sampling_recorded(self, schedule, guidance, form):
        policy = small_policy(schedule)
        batch = rolled(policy, FlowSampling(steps=5, guidance=guidance, form=form))
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("kernel", ["flow", "constant", "preserving"])
    def test_so_they_are_for_each_kernel(self, kernel):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=5, eta=0.4, kernel=kernel, solver="dpm", stochastic=(1, 2, 3)))
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5, rtol=0)
        assert batch.mask_NT.any()

    @settings(max_examples=6, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 40))
    def test_how_the_work_is_split_changes_nothing(self, rows, values):
        policy = small_policy(values_per_pass=2**20)
        batch = rolled(policy, FlowSampling(steps=4, guidance=3.0), (0, 1, 2), 2)
        whole = policy.log_probs(batch)
        policy.values_per_pass = values
        assert torch.allclose(policy.log_probs(batch), whole, atol=1e-5)
        part = batch.take_rows(range(rows))
        assert torch.allclose(policy.log_probs(part), whole[:rows], atol=1e-5)

    @pytest.mark.parametrize("values", [1, 30, 60, 10**6])
    def test_an_update_in_parts_covers_each_step_once(self, values):
        policy = small_policy(values_per_update=values)
        batch = rolled(policy, FlowSampling(steps=6, stochastic=(0, 2, 3, 4)))
        parts = list(policy.parts(batch))
        assert all(part.mask_NT.any() for part in parts)
        assert len(parts) == {1: 4, 30: 4, 60: 2, 10**6: 1}[values]
        assert torch.equal(sum(part.mask_NT.int() for part in parts), batch.mask_NT.int())
        assert torch.allclose(sum(policy.log_probs(part) for part in parts), policy.log_probs(batch), atol=1e-6)

    def test_only_steps_under_the_mask_cost_anything(self):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=6))
        mask_NT = torch.zeros_like(batch.mask_NT)
        mask_NT[1, 3] = mask_NT[2, 0] = True
        policy.denoiser.asked.clear()
        logp_NT = policy.log_probs(replace(batch, mask_NT=mask_NT))
        assert policy.denoiser.asked == [2]
        assert torch.allclose(logp_NT, batch.logp_sampled_NT * mask_NT, atol=1e-5)

    def test_a_batch_without_trained_steps_is_scored_zero(self):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=2))
        logp_NT, found = policy.log_probs(replace(batch, mask_NT=batch.mask_NT & False), {"mean": step_mean})
        assert not logp_NT.any()
        assert found["mean"].shape[:2] == (4, 2)

    def test_a_step_without_noise_cannot_be_scored(self):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=3, stochastic=(1,)))
        with pytest.raises(ValueError, match="Step 0 of row 0 drew no noise"):
            policy.log_probs(replace(batch, mask_NT=torch.ones_like(batch.mask_NT)))

    def test_statistics_are_those_of_the_steps(self):
        policy = small_policy()
        state = policy.begin(asking(0), 2, FlowSampling(steps=2), seed=0)
        means = []
        with torch.no_grad():
            while not state.done:
                state, step = policy.step(state)
                means.append(step.mean)
        _, found = policy.log_probs(policy.finish(state), {"mean": step_mean, "velocity": prediction})
        assert torch.allclose(found["mean"], torch.stack(means, 1), atol=1e-5)
        assert found["velocity"].shape == (2, 2, 2, 3)

    def test_training_guidance_may_differ_from_samplings(self):
        policy = small_policy()
        sampling = FlowSampling(steps=3, guidance=5.0, guidance_train=1.0)
        batch = rolled(policy, sampling)
        assert not sampling.exact
        assert not torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-3)

    def test_batches_are_put_together(self):
        policy = small_policy()
        one, other = (rolled(policy, FlowSampling(steps=steps)) for steps in (2, 4))
        both = type(one).concat([one, other])
        assert torch.allclose(policy.log_probs(both), both.logp_sampled_NT, atol=1e-5)


class TestGradients:
    @pytest.mark.parametrize("guidance", [1.0, 3.0])
    def test_the_gradient_is_that_of_finite_differences(self, guidance):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=3, guidance=guidance, detach_negative=False))
        parameters = list(policy.parameters())
        direction = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) for p in parameters]
        loss = policy.log_probs(batch).sum()
        slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss, parameters), direction))

        def at(distance):
            with torch.no_grad():
                for p, d in zip(parameters, direction):
                    p.add_(distance * d)
                value = policy.log_probs(batch).double().sum()
                for p, d in zip(parameters, direction):
                    p.sub_(distance * d)
            return value

        assert float(slope) == pytest.approx(float(at(2e-3) - at(-2e-3)) / 4e-3, rel=0.02)

    def test_none_goes_through_the_negative_prediction_unless_asked(self):
        policy = small_policy()
        for detach in (True, False):
            policy.module.zero_grad()
            policy.log_probs(
                rolled(policy, FlowSampling(steps=2, guidance=3.0, detach_negative=detach))
            ).sum().backward()
            assert (policy.module.label.weight.grad[NONE] == 0).all() == detach

    def test_log_probs_of_what_was_sampled_well_rise(self):
        """A step of policy gradient on one rollout makes it more likely."""
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=4), (0,), 1)
        optimizer = torch.optim.SGD(policy.parameters(), lr=1e-3)
        (-policy.log_probs(batch).sum()).backward()
        optimizer.step()
        assert policy.log_probs(batch).sum() > batch.logp_sampled_NT.sum()


class TestReferences:
    def test_a_kept_copy_stays_while_the_policy_moves(self):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=3))
        policy.keep_reference("base")
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1)
        assert not torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-3)
        with policy.reference("base"):
            assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)

    def test_state_comes_back(self):
        policy = small_policy()
        policy.keep_reference("old")
        state = {key: value.clone() for key, value in policy.state_dict().items()}
        other = FlowPolicy(type(policy.denoiser)(seed=5))
        other.load_state_dict(state)
        batch = rolled(policy, FlowSampling(steps=3))
        assert torch.equal(other.log_probs(batch), policy.log_probs(batch))


class TestCorruption:
    @pytest.mark.parametrize("schedule", [FlowSchedule(), DiffusionSchedule()], ids=["flow", "diffusion"])
    def test_the_target_of_a_corruption_leads_back_to_the_output(self, schedule):
        policy = small_policy(schedule)
        outputs = policy.outputs(rolled(policy, FlowSampling(steps=2)))
        corruption = policy.corrupt(outputs, torch.rand(4, 3), torch.Generator().manual_seed(0))
        target = policy.target(outputs, corruption)
        level = corruption.level_NL.flatten()
        clean = schedule.clean(corruption.noised_NL.flatten(0, 1), target.flatten(0, 1), level)
        assert torch.allclose(clean.view_as(target), outputs.latent_N[:, None].expand_as(target), atol=2e-3)

    def test_a_perfect_denoiser_scores_zero_and_no_other_scores_more(self):
        perfect = FlowPolicy(Known(lambda x, t: (x - 1) / t, FlowSchedule(), (2, 3)))
        outputs = perfect.outputs_of(asking(0, 1), [torch.ones(2, 3)] * 2)
        level_NL = torch.tensor([[0.2, 0.9], [0.5, 0.7]])
        corruption = perfect.corrupt(outputs, level_NL, torch.Generator().manual_seed(0))
        assert torch.allclose(perfect.score(outputs, corruption), torch.zeros(2, 2), atol=1e-8)
        assert (small_policy().score(outputs, corruption) < -1e-3).all()

    def test_scores_are_minus_the_mean_square_error_and_differentiable(self):
        policy = small_policy(values_per_pass=7)
        outputs = policy.outputs(rolled(policy, FlowSampling(steps=2)))
        corruption = policy.corrupt(outputs, torch.rand(4, 2), torch.Generator().manual_seed(0))
        score_NL = policy.score(outputs, corruption, guidance=2.0)
        miss = policy.denoise(outputs, corruption, guidance=2.0) - policy.target(outputs, corruption)
        assert torch.allclose(score_NL, -(miss**2).mean((2, 3)))
        score_NL.sum().backward()
        assert all(parameter.grad is not None for parameter in policy.module.layers.parameters())

    def test_a_pair_may_share_its_noise(self):
        policy = small_policy()
        outputs = policy.outputs(rolled(policy, FlowSampling(steps=2)))
        corruption = policy.corrupt(outputs, torch.rand(4, 2), torch.Generator().manual_seed(0), [5, 5, 8, 8])
        assert torch.equal(corruption.noise_NL[0], corruption.noise_NL[1])
        assert torch.equal(corruption.noise_NL[2], corruption.noise_NL[3])
        assert not torch.allclose(corruption.noise_NL[1], corruption.noise_NL[2])

    def test_a_corruption_travels_on_a_batch(self):
        policy = small_policy()
        batch = rolled(policy, FlowSampling(steps=2))
        outputs = policy.outputs(batch)
        corruption = policy.corrupt(outputs, torch.rand(4, 3), torch.Generator().manual_seed(0))
        part = batch.with_(**corruption._asdict()).take_rows([2, 0])
        again = policy.score(policy.outputs(part), Corruption.of(part))
        assert torch.allclose(again, policy.score(outputs, corruption)[[2, 0]], atol=1e-6)
