"""Sampler steps: what each must be at its limits, and that trajectories land where the exact solution does."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from gamutrl.functional import sampling

GENERATOR = torch.Generator().manual_seed(0)
X, V, NOISE = (torch.randn(2, 3, 4, generator=GENERATOR, dtype=torch.float64) for _ in range(3))


def test_the_log_probability_is_torchs_averaged_over_the_latent():
    std = torch.tensor([0.5, 2.0], dtype=torch.float64)
    exact = Normal(V, std[:, None, None]).log_prob(X).flatten(1).mean(1)
    assert torch.allclose(sampling.gaussian_logp(X, V, std), exact)
    constants = exact - sampling.gaussian_logp(X, V, std, "exponent")
    assert torch.allclose(constants, -std.log() - 0.5 * math.log(2 * math.pi))
    assert torch.allclose(sampling.gaussian_logp(X, V, std, "square"), -(X - V).square().flatten(1).mean(1))


@pytest.mark.parametrize("kind", ["flow", "constant", "preserving"])
def test_without_noise_every_kind_is_eulers_step(kind):
    step = sampling.flow_sde(X, V, 0.8, 0.6, 0.0, kind)
    assert torch.allclose(step.mean, X - 0.2 * V)
    assert step.std == 0
    assert torch.allclose(step.clean, X - 0.8 * V)


@pytest.mark.parametrize("kind", ["flow", "constant", "preserving"])
def test_a_step_keeps_the_marginals_of_the_flow(kind):
    # Data and noise are standard Gaussians, so x_σ ~ N(0, (1-σ)² + σ²) and the true velocity is known.
    sigma, sigma_next = 0.7, 0.69
    generator = torch.Generator().manual_seed(1)
    data, noise, fresh = (torch.randn(100_000, 1, generator=generator, dtype=torch.float64) for _ in range(3))
    x = (1 - sigma) * data + sigma * noise
    spread = (1 - sigma) ** 2 + sigma**2
    velocity = x * (sigma - (1 - sigma)) / spread
    moved = sampling.flow_sde(x, velocity, sigma, sigma_next, 0.7, kind).draw(fresh)
    expected = math.sqrt((1 - sigma_next) ** 2 + sigma_next**2)
    if kind == "preserving":
        # It re-noises a single clean estimate, so it keeps the coefficients, not a Gaussian's spread.
        assert moved.std().item() < expected * 1.01
    else:
        assert moved.std().item() == pytest.approx(expected, rel=6e-3)


def test_levels_may_differ_by_row():
    sigma, sigma_next = torch.tensor([1.0, 0.5]), torch.tensor([0.9, 0.2])
    both = sampling.flow_sde(X, V, sigma, sigma_next, 0.7, sigma_one=0.9)
    for n in range(2):
        one = sampling.flow_sde(X[n : n + 1], V[n : n + 1], float(sigma[n]), float(sigma_next[n]), 0.7, sigma_one=0.9)
        assert torch.allclose(both.mean[n], one.mean[0])
        assert both.std[n].item() == pytest.approx(one.std.item())


def test_the_first_step_is_finite_though_sigma_is_one():
    step = sampling.flow_sde(X, V, 1.0, 0.9, 0.7)
    assert step.mean.isfinite().all()
    assert step.std.isfinite()


def test_a_drawn_step_has_the_likelihood_of_its_noise():
    step = sampling.flow_sde(X, V, 0.8, 0.6, 0.7)
    got = sampling.gaussian_logp(step.draw(NOISE), step.mean, step.std)
    expected = Normal(0.0, 1.0).log_prob(NOISE).flatten(1).mean(1) - step.std.log()
    assert torch.allclose(got, expected)


def test_ddim_without_noise_moves_along_the_exact_line():
    alpha, alpha_next = 0.4, 0.7
    clean, noise = X, NOISE
    noised = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
    step = sampling.ddim(noised, noise, alpha, alpha_next, eta=0.0)
    assert torch.allclose(step.clean, clean)
    assert torch.allclose(step.mean, alpha_next**0.5 * clean + (1 - alpha_next) ** 0.5 * noise)


def test_ddim_reads_every_kind_of_prediction():
    alpha = torch.tensor([0.4, 0.9], dtype=torch.float64)
    a, b = (like.sqrt()[:, None, None] for like in (alpha, 1 - alpha))
    noised = a * X + b * NOISE
    predictions = {"epsilon": NOISE, "sample": X, "v_prediction": a * NOISE - b * X}
    means = [sampling.ddim(noised, value, alpha, 0.95, 0.3, predicts=kind).mean for kind, value in predictions.items()]
    assert torch.allclose(means[0], means[1])
    assert torch.allclose(means[0], means[2])


def test_clipping_bounds_the_clean_latent():
    assert sampling.ddim(10 * X, NOISE, 0.4, 0.7, clip=1.0).clean.abs().max() <= 1


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_known_clean_latent_is_reached_exactly(order):
    sigmas = sampling.shifted_sigmas(20, 3.0).double()
    trajectory = sampling.multistep(NOISE, lambda x, i: (x - X) / sigmas[i], sigmas, order=order)
    assert len(trajectory) == 21
    assert torch.allclose(trajectory[-1], X)
    middle = (1 - sigmas[10]) * X + sigmas[10] * NOISE
    assert torch.allclose(trajectory[10], middle)


def test_higher_orders_come_closer_on_a_curved_path():
    # x_σ for data concentrated at two points: the clean estimate is tanh-shaped in x.
    def velocity(x, sigma):
        return (x - torch.tanh(3 * x)) / sigma

    def end(steps, order):
        sigmas = sampling.shifted_sigmas(steps).double()
        return sampling.multistep(0.3 * NOISE, lambda x, i: velocity(x, sigmas[i]), sigmas, order=order)[-2]

    sigmas = sampling.shifted_sigmas(24).double()
    exact = 0.3 * NOISE
    for now, then in pairwise(torch.linspace(1, float(sigmas[-2]), 2_001, dtype=torch.float64)):
        middle = exact + (then - now) / 2 * velocity(exact, now)
        exact = exact + (then - now) * velocity(middle, (now + then) / 2)
    errors = [(end(24, order) - exact).abs().max().item() for order in (1, 2)]
    assert errors[1] < errors[0] / 3


def test_a_stochastic_solver_has_a_likelihood():
    step = sampling.dpm_solver(X, [V], [0.5, 0.6], stochastic=True)
    assert step.std > 0
    assert sampling.gaussian_logp(step.draw(NOISE), step.mean, step.std).isfinite().all()


def test_shifts():
    assert sampling.shift_time(0.5, 3.0) == pytest.approx(0.75)
    assert sampling.shifted_sigmas(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert sampling.resolution_mu(256) == 0.5
    assert sampling.resolution_mu(4096) == pytest.approx(1.15)


def test_stable_diffusions_schedule_ends_where_it_should():
    alphas = sampling.scaled_linear_alphas()
    assert alphas[0].item() == pytest.approx(1 - 0.00085)
    assert alphas[-1].item() == pytest.approx(0.0047, rel=0.02)
