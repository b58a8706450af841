"""Divergences: estimates whose mean is the divergence, and exact forms against torch's."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gamutrl.functional import divergences

KINDS = ("k1", "k2", "k3", "abs")


def _tables(seed=0, rows=3, vocabulary=7):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))


def test_k1_and_k3_have_the_divergence_as_their_mean():
    p, q = _tables()
    exact = divergences.kl_full(p, q)
    for kind in ("k1", "k3"):
        mean = (p.exp() * divergences.kl_estimate(p, q, kind)).sum(-1)
        assert torch.allclose(mean, exact)


def test_k3_is_never_negative_and_every_kind_is_zero_where_equal():
    p, q = _tables(1)
    assert (divergences.kl_estimate(p, q, "k3") >= 0).all()
    for kind in KINDS:
        assert divergences.kl_estimate(p, p, kind).abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind):
    p, q = _tables(2)
    assert torch.autograd.gradcheck(lambda x: divergences.kl_estimate(x, q, kind), (p.requires_grad_(),))


def test_the_straight_through_estimator_has_k3s_value_and_k2s_gradient():
    p, q = _tables(3)
    p.requires_grad_()
    value = divergences.kl_estimate(p, q, "k3", gradient="k2")
    value.sum().backward()
    assert torch.allclose(value, divergences.kl_estimate(p, q, "k3"))
    assert torch.allclose(p.grad, (p - q).detach())


def test_bounds_keep_outliers_finite():
    far = torch.tensor([-500.0]), torch.tensor([0.0])
    assert divergences.kl_estimate(*far, "k3").isinf()
    assert divergences.kl_estimate(*far, "k3", bound=10) == pytest.approx(22015.47, rel=1e-4)
    assert divergences.kl_estimate(*far, "k3", bound=20, clamp=10) == 10


def test_the_full_divergence_takes_impossible_tokens():
    p = torch.tensor([0.5, 0.5, 0.0]).log()
    q = torch.tensor([0.25, 0.5, 0.25]).log()
    assert divergences.kl_full(p, q).item() == pytest.approx(0.5 * torch.tensor(2.0).log().item())


def test_jensen_shannon_is_symmetric_at_one_half_and_kl_at_the_ends():
    p, q = _tables(4)
    assert torch.allclose(divergences.jensen_shannon(p, q), divergences.jensen_shannon(q, p))
    assert torch.allclose(divergences.jensen_shannon(p, q, 1.0), divergences.kl_full(p, q))
    assert torch.allclose(divergences.jensen_shannon(p, q, 0.0), divergences.kl_full(q, p))
    assert (divergences.jensen_shannon(p, q) <= torch.tensor(2.0).log()).all()


def test_the_gaussian_kl_is_torchs_averaged_over_the_latent():
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    std = torch.tensor([0.5, 2.0])
    exact = kl_divergence(Normal(a, std[:, None, None]), Normal(b, std[:, None, None])).flatten(1).mean(1)
    assert torch.allclose(divergences.gaussian_kl(a, b, std), exact)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        divergences.kl_estimate(torch.zeros(2), torch.zeros(3))
