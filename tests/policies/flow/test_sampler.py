"""The sampler: each step has the density it should have, and can be opened, forked and previewed."""

from __future__ import annotations

import math

import pytest
import torch
from denoisers import Known, SmallDenoiser, asking, small_policy

from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import Denoised, DiffusionSchedule, FlowPolicy, FlowSampling, FlowSchedule

SCHEDULES = {"flow": FlowSchedule(3.0), "diffusion": DiffusionSchedule()}


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    return SCHEDULES[request.param]


def rolled(policy, prompts, sampling, group_size=2, seed=0):
    return policy.rollout(prompts, group_size, SingleTurn(), sampling, seed=seed)


class TestDensities:
    def test_a_flow_step_is_the_gaussian_of_flow_grpo(self):
        policy = small_policy(FlowSchedule(3.0))
        sampling = FlowSampling(steps=5, eta=0.7)
        state = policy.begin(asking(0, 1), 3, sampling, seed=0)
        sigma = state.grid.level_S1.double()
        with torch.no_grad():
            for i in range(5):
                x = state.latent_R.double()
                time_R = torch.full((6,), float(sigma[i]))
                v = policy.denoiser.predict(state.latent_R, time_R, state.condition).double()
                state, step = policy.step(state)
                dt = sigma[i + 1] - sigma[i]
                noise = 0.7 * (sigma[i] / (1 - (sigma[1] if i == 0 else sigma[i]))).sqrt()
                drift = noise**2 / (2 * sigma[i])
                mean = x * (1 + drift * dt) + v * (1 + drift * (1 - sigma[i])) * dt
                std = noise * (-dt).sqrt()
                assert torch.allclose(step.mean.double(), mean, atol=1e-5)
                assert float(step.std) == pytest.approx(float(std), rel=1e-5)
                z = (state.latent_R.double() - mean) / std
                logp = (-(z**2) / 2 - std.log() - math.log(2 * math.pi) / 2).flatten(1).mean(1)
                recorded = torch.cat([path[-1].logp_T for path in state.paths])
                assert torch.allclose(recorded.double(), logp, atol=1e-4)

    @pytest.mark.parametrize("kernel", ["flow", "constant", "preserving"])
    def test_noise_leaves_the_marginals_of_a_flow_as_they_are(self, kernel):
        """For data N(2, ½²) the velocity is known: samples are distributed so, whatever noise is drawn."""

        def velocity(x, sigma):
            signal, spread = 1 - sigma, ((1 - sigma) ** 2 / 4 + sigma**2)
            clean = 2 + signal / 4 / spread * (x - 2 * signal)
            return (x - clean) / sigma.clamp(min=1e-6)

        policy = FlowPolicy(Known(velocity, FlowSchedule(), (2000,)))
        sampling = FlowSampling(steps=120, eta=0.5, kernel=kernel, sigma_one=0.99)
        batch = rolled(policy, asking(0), sampling, 1)
        sample = batch.rollouts[0].output
        assert float(sample.mean()) == pytest.approx(2, abs=0.06)
        assert float(sample.std()) == pytest.approx(0.5, abs=0.05)

    def test_a_flow_without_noise_takes_the_steps_of_diffusers(self):
        diffusers = pytest.importorskip("diffusers")
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
        policy = small_policy(FlowSchedule(3.0))
        state = policy.begin(asking(0), 2, FlowSampling(steps=6, eta=0.0), seed=0)
        scheduler.set_timesteps(sigmas=state.grid.level_S1[:-1].numpy())
        x = state.latent_R
        with torch.no_grad():
            for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
                v = policy.denoiser.predict(x, sigma.expand(2), state.condition)
                x = scheduler.step(v, t, x).prev_sample
                state, _ = policy.step(state)
                assert torch.allclose(state.latent_R, x, atol=1e-5)

    @pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
    @pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
    def test_a_diffusion_takes_the_steps_of_diffusers(self, eta, predicts):
        diffusers = pytest.importorskip("diffusers")
        schedule = DiffusionSchedule(predicts=predicts, offset=1)
        scheduler = diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=predicts,
        )
        scheduler.set_timesteps(10)
        policy = small_policy(schedule)
        state = policy.begin(asking(0), 2, FlowSampling(steps=10, eta=eta), seed=0)
        assert state.grid.time_S.tolist() == scheduler.timesteps.tolist()
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = state.latent_R
                predicted = policy.denoiser.predict(x, t.float().expand(2), state.condition)
                state, step = policy.step(state)
                noise = (state.latent_R - step.mean) / step.std if eta else torch.zeros_like(x)
                theirs = scheduler.step(predicted, t, x, eta=eta, variance_noise=noise if eta else None).prev_sample
                assert torch.allclose(state.latent_R, theirs, atol=2e-5)

    @pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
    @pytest.mark.parametrize("steps", [2, 10, 25])
    def test_the_times_of_a_diffusion_are_those_of_diffusers(self, spacing, steps):
        diffusers = pytest.importorskip("diffusers")
        scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        assert DiffusionSchedule(spacing=spacing).grid(steps).time_S.tolist() == scheduler.timesteps.tolist()

    def test_a_solver_of_second_order_needs_fewer_steps(self):
        velocity = lambda x, t: x.sin() + t  # noqa: E731
        policy = FlowPolicy(Known(velocity, FlowSchedule(), (50,)))

        def end(steps, solver):
            return rolled(policy, asking(0), FlowSampling(steps, eta=0.0, solver=solver), 1).rollouts[0].output

        exact = end(400, "euler")
        assert (end(12, "dpm") - exact).abs().max() < 0.3 * (end(12, "euler") - exact).abs().max()


class TestNoise:
    def test_what_a_row_samples_does_not_depend_on_its_neighbours(self, schedule):
        policy = small_policy(schedule)
        prompts = asking(0, 1, 2)
        together = rolled(policy, prompts, FlowSampling(steps=4))
        alone = rolled(policy, prompts[1:2], FlowSampling(steps=4))
        for one, other in zip(alone.rollouts, together.rollouts[2:4]):
            assert torch.allclose(one.output, other.output, atol=1e-5)

    def test_rollouts_differ_within_a_group_and_between_seeds(self):
        policy, prompts = small_policy(), asking(0)
        first, second = (rolled(policy, prompts, FlowSampling(steps=3), seed=seed) for seed in (0, 1))
        outputs = [rollout.output for batch in (first, second) for rollout in batch.rollouts]
        assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])

    def test_a_prompt_that_is_asked_twice_is_answered_anew(self):
        prompt = asking(0)[0]
        batch = rolled(small_policy(), [prompt, prompt], FlowSampling(steps=3), 1)
        assert not torch.allclose(batch.rollouts[0].output, batch.rollouts[1].output)

    def test_shared_noise_is_that_of_the_prompt(self):
        state = small_policy().begin(asking(0, 1), 2, FlowSampling(noise="shared"), seed=0)
        assert torch.equal(state.latent_R[0], state.latent_R[1])
        assert not torch.allclose(state.latent_R[1], state.latent_R[2])

    def test_paths_that_share_their_first_noise_part_at_the_first_step(self):
        policy = small_policy()
        state, _ = policy.step(policy.begin(asking(0), 2, FlowSampling(noise="shared"), seed=0))
        assert not torch.allclose(state.latent_R[0], state.latent_R[1])


class TestWindows:
    def test_steps_outside_the_window_draw_nothing_keep_nothing_and_are_not_trained(self):
        policy = small_policy()
        batch = rolled(policy, asking(0, 1), FlowSampling(steps=6, stochastic=(1, 2, 4), trained=(0, 1, 2)))
        assert batch.mask_NT.tolist() == [[False, True, True, False, False, False]] * 4
        assert ((batch["std_NT"] > 0) == torch.tensor([False, True, True, False, True, False])).all()
        assert (batch.logp_sampled_NT[:, [0, 3, 5]] == 0).all()
        kept = [turn.latent is not None for turn in batch.rollouts[0].turns]
        assert kept == [False, True, True, False, True, False]

    def test_without_noise_nothing_is_trained(self, schedule):
        batch = rolled(small_policy(schedule), asking(0), FlowSampling(steps=4, eta=0.0))
        assert not batch.mask_NT.any()
        assert (small_policy(schedule).log_probs(batch) == 0).all()

    def test_a_step_that_turns_out_deterministic_is_not_trained(self):
        batch = rolled(small_policy(DiffusionSchedule(final=1.0)), asking(0), FlowSampling(steps=4, eta=1.0))
        assert batch.mask_NT.tolist() == [[True, True, True, False]] * 2

    def test_settings_that_name_no_step_are_refused(self):
        with pytest.raises(ValueError, match="step 5"):
            FlowSampling(steps=5, stochastic=(5,))


class TestOpenSampler:
    def test_the_open_loop_is_the_rollout(self):
        policy, prompts, sampling = small_policy(), asking(0, 1), FlowSampling(steps=4, guidance=2.0)
        state = policy.begin(prompts, 2, sampling, seed=7)
        with torch.no_grad():
            while not state.done:
                state, _ = policy.step(state)
        open_batch, batch = policy.finish(state), rolled(policy, prompts, sampling, seed=7)
        assert torch.equal(open_batch.logp_sampled_NT, batch.logp_sampled_NT)
        assert all(torch.equal(a.output, b.output) for a, b in zip(open_batch.rollouts, batch.rollouts))

    def test_a_fork_shares_its_past_and_parts_from_its_siblings(self):
        policy = small_policy()
        state, _ = policy.step(policy.begin(asking(0, 1), 1, FlowSampling(steps=3), seed=0))
        forked = state.fork(3)
        assert forked.prompt_R.tolist() == [0, 0, 0, 1, 1, 1]
        assert forked.paths[0][0] is forked.paths[2][0] is state.paths[0][0]
        stepped, _ = policy.step(forked)
        latents = stepped.latent_R[:3]
        assert not torch.allclose(latents[0], latents[1])
        assert not torch.allclose(latents[1], latents[2])

    def test_a_shared_step_is_scored_once(self):
        policy = small_policy()
        state, _ = policy.step(policy.begin(asking(0), 1, FlowSampling(steps=2), seed=0))
        state, _ = policy.step(state.fork(4))
        batch = policy.finish(state)
        policy.denoiser.asked.clear()
        logp_NT = policy.log_probs(batch)
        assert sum(policy.denoiser.asked) == 1 + 4
        assert torch.allclose(logp_NT, batch.logp_sampled_NT, atol=1e-5)

    def test_a_path_can_be_taken_again(self):
        policy = small_policy()
        state = policy.begin(asking(0), 3, FlowSampling(steps=2), seed=0)
        twice, _ = policy.step(state.take([2, 2]))
        once, _ = policy.step(state)
        assert torch.allclose(twice.latent_R, once.latent_R[[2, 2]], atol=1e-6)

    def test_a_preview_is_where_the_path_is_heading_and_costs_no_second_prediction(self):
        policy = FlowPolicy(SmallDenoiser())
        state = policy.begin(asking(0), 2, FlowSampling(steps=2), seed=0)
        with torch.no_grad():
            shown = policy.preview(state)
            state, step = policy.step(state)
        assert torch.allclose(torch.stack(shown), step.clean)
        assert policy.denoiser.asked == [2]

    def test_a_step_can_be_overruled(self):
        policy = small_policy()
        state = policy.begin(asking(0), 1, FlowSampling(steps=2, stochastic=()), seed=0)
        still, _ = policy.step(state)
        moved, step = policy.step(state, stochastic=True, eta=0.3)
        louder, louder_step = policy.step(state, stochastic=True, eta=0.6)
        assert still.paths[0][0].std == 0
        assert moved.paths[0][0].eta == 0.3
        assert float(louder_step.std) == pytest.approx(2 * float(step.std))
        assert policy.finish(policy.step(louder)[0]).mask_NT.tolist() == [[True, False]]

    def test_a_gradient_flows_through_the_steps(self):
        policy = small_policy()
        state = policy.begin(asking(0), 1, FlowSampling(steps=3, eta=0.0), seed=0)
        while not state.done:
            state, _ = policy.step(state)
        state.latent_R.sum().backward()
        assert all(parameter.grad is not None for parameter in policy.module.layers.parameters())

    def test_prompts_are_encoded_once(self):
        policy = small_policy()
        batch = rolled(policy, asking(0, 1, 2), FlowSampling(steps=3, guidance=3.0), 4)
        policy.log_probs(batch)
        assert policy.denoiser.encoded == 3

    def test_turns_are_steps(self):
        batch = rolled(small_policy(), asking(0), FlowSampling(steps=3))
        turns = batch.rollouts[0].turns
        assert all(isinstance(turn, Denoised) and len(turn) == 1 for turn in turns)
        assert torch.equal(turns[0].following, turns[1].latent)
        assert torch.equal(batch.rollouts[0].info["latent"], turns[-1].following)
