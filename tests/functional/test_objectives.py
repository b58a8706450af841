"""Objectives: each against a plain formula, and every gradient against finite differences in float64."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gamutrl.functional import objectives, ratios

N, T = 3, 5


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    logp = -3 * torch.rand(N, T, generator=generator, dtype=torch.float64)
    old = logp + 0.5 * torch.randn(N, T, generator=generator, dtype=torch.float64)
    advantage = torch.randn(N, 1, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]])
    return logp.requires_grad_(), old, advantage, mask


@given(
    st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 0.5), st.floats(0.05, 1), st.one_of(st.none(), st.floats(2, 5))
)
def test_the_clip_is_the_worse_of_two_losses(log_ratio, advantage, low, high, cap):
    got = objectives.clipped_surrogate(
        torch.tensor(log_ratio).double(), torch.tensor(advantage).double(), low, high, cap=cap
    ).item()
    ratio = math.exp(log_ratio)
    clipped = min(max(ratio, 1 - low), 1 + high)
    expected = max(-advantage * min(ratio, cap or math.inf), -advantage * clipped)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.5, 1.0, 0.0),  # already high enough
        (1.1, 1.0, -1.1),  # may still rise
        (0.5, 1.0, -0.5),  # fell: may rise again
        (0.5, -1.0, 0.0),  # already low enough
        (1.5, -1.0, 1.5),  # rose: may fall again
        (9.0, -1.0, 0.0),  # beyond the cap
        (1.0, 1.0, -1.0),
    ],
)
def test_where_the_clip_lets_a_gradient_through(ratio, advantage, slope):
    log = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    objectives.clipped_surrogate(log, torch.tensor(advantage), 0.2, 0.28, cap=3.0).backward()
    assert log.grad.item() == pytest.approx(slope)


def test_clipped_actions_are_those_without_gradient(rows):
    logp, old, advantage, _ = rows
    ratio = ratios.log_ratio(logp, old)
    objectives.clipped_surrogate(ratio, advantage, 0.2, 0.3, cap=1.4).sum().backward()
    held = objectives.clipped_actions(ratio, advantage, 0.2, 0.3, cap=1.4)
    assert torch.equal(logp.grad == 0, held.low | held.high | held.cap)


SMOOTH = {
    "clipped": lambda logp, old, a, m: objectives.clipped_surrogate(logp - old, a, 0.2, 0.28, cap=3.0),
    "clipped, sequence": lambda logp, old, a, m: objectives.clipped_surrogate(
        ratios.log_ratio(logp, old, m, "sequence"), a, 0.1
    ),
    "clipped, sequence sum": lambda logp, old, a, m: objectives.clipped_surrogate(
        ratios.log_ratio(logp, old, m, "sequence_sum"), a, 0.1
    ),
    "clamped": lambda logp, old, a, m: objectives.clamped_surrogate(logp - old, a, 0.3),
    "policy gradient": lambda logp, old, a, m: objectives.policy_gradient(logp, a),
    "soft gate": lambda logp, old, a, m: objectives.soft_gate(logp - old, a),
    "geometric mean": lambda logp, old, a, m: objectives.geometric_mean_surrogate(logp - old, a, m, 0.3),
    "quadratic": lambda logp, old, a, m: objectives.quadratic_surrogate(logp - old, a, 0.2, old.exp()),
    "direct reward": lambda logp, old, a, m: objectives.direct_reward(logp, logp - old, a),
    "regression": lambda logp, old, a, m: objectives.regression((logp - old).sum(1), a[:, 0]),
    "value": lambda logp, old, a, m: objectives.clipped_value_loss(logp, old, a.expand_as(old), 0.2)[0],
    "unclipped": lambda logp, old, a, m: objectives.unclipped_surrogate(logp - old, a),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_finite_differences(rows, name):
    logp, old, advantage, mask = rows
    assert torch.autograd.gradcheck(lambda x: SMOOTH[name](x, old, advantage, mask), (logp,), eps=1e-7, atol=1e-5)


WEIGHTED = {
    "CISPO": lambda logp, old, a, m: objectives.truncated_ratio(logp - old, 0.8, 1.2),
    "DPPO": lambda logp, old, a, m: (
        objectives.truncated_ratio(logp - old, upper=3.0) * objectives.trust_region(logp, old, a, 0.1, 0.1)
    ),
    "VESPO": lambda logp, old, a, m: objectives.sequence_reshaping(logp - old, m, a).expand_as(logp),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_detached_weights_leave_the_gradient_weight_times_advantage(rows, name):
    logp, old, advantage, mask = rows
    weight = WEIGHTED[name](logp, old, advantage, mask)
    objectives.policy_gradient(logp, advantage, weight).sum().backward()
    assert torch.allclose(logp.grad, -(weight * advantage).detach().expand_as(logp))


def test_gspo_token_has_the_sequences_value_and_the_tokens_gradient(rows):
    logp, old, _, mask = rows
    token = ratios.log_ratio(logp, old, mask, "sequence_token")
    sequence = ratios.log_ratio(logp, old, mask, "sequence")
    assert torch.allclose(token, sequence.expand_as(token))
    token.sum().backward()
    assert torch.equal(logp.grad, torch.ones_like(logp))


def test_the_first_update_has_ratio_one_and_a_gradient(rows):
    logp, _, advantage, _ = rows
    ratio = ratios.log_ratio(logp, None)
    assert torch.equal(ratio, torch.zeros_like(ratio))
    objectives.clipped_surrogate(ratio, advantage).sum().backward()
    assert torch.allclose(logp.grad, -advantage.expand_as(logp))


def test_a_trust_region_holds_only_those_that_move_on_outwards():
    old = torch.tensor([0.5, 0.5, 0.5, 0.5]).log()
    new = torch.tensor([0.7, 0.3, 0.7, 0.3]).log()
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    for divergence in ("tv", "kl"):
        kept = objectives.trust_region(new, old, advantage, 0.05, 0.05, divergence)
        assert kept.tolist() == [False, True, True, False]


def test_outward_is_the_side_the_advantage_pushes_to():
    ratio, advantage = torch.tensor([1.0, -1, 1, -1, 0]), torch.tensor([1.0, 1, -1, -1, 1])
    assert objectives.outward(ratio, advantage).tolist() == [True, False, False, True, False]


def test_the_soft_gate_has_the_plain_gradient_at_ratio_one():
    log = torch.zeros(2, requires_grad=True)
    objectives.soft_gate(log, torch.tensor([2.0, -3.0])).sum().backward()
    assert log.grad.tolist() == pytest.approx([-2.0, 3.0])


def test_covariance_picks():
    mask = torch.tensor([[True, True, True, False]])
    covariance = torch.tensor([[0.5, 3.0, -1.0, 9.0]])
    assert objectives.largest_covariance(covariance, mask, 0.4).tolist() == [[False, True, False, False]]
    drawn = objectives.drawn_by_covariance(covariance, mask, 1.0, (0.0, 1.0), 3)
    assert drawn.tolist() == [[True, False, False, False]]


def test_covariance_sums_to_that_of_the_masked_actions(rows):
    logp, _, advantage, mask = rows
    got = objectives.covariance(logp, advantage, mask)[mask.bool()]
    pairs = torch.stack([advantage.expand_as(logp)[mask.bool()], logp.detach()[mask.bool()]])
    assert got.sum().item() == pytest.approx(torch.cov(pairs, correction=0)[0, 1].item() * mask.sum().item())


def test_high_entropy_keeps_the_top_share_of_the_masks_actions():
    entropy = torch.tensor([[0.1, 0.9, 0.5, 7.0, 0.2, 0.3]])
    mask = torch.tensor([[1, 1, 1, 0, 1, 1]])
    assert objectives.high_entropy(entropy, mask, 0.6).tolist() == [[False, True, True, False, False, False]]
    assert not objectives.high_entropy(entropy, torch.zeros_like(mask), 0.5).any()


def test_a_normalised_ratio_has_no_mean_drift_between_gaussians():
    # E log N(x; a, s) / N(x; b, s) under b is -(a-b)² / 2s²: adding it back centres the log-ratio at 0.
    generator = torch.Generator().manual_seed(0)
    std, shift = 0.5, 0.3
    noise = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    old_mean = torch.zeros_like(noise)
    new_mean = old_mean + shift
    x = old_mean + std * noise
    log_ratio = ((x - old_mean).square() - (x - new_mean).square())[:, 0] / (2 * std**2)
    centred = ratios.normalized_log_ratio(log_ratio, new_mean, old_mean, std)
    assert abs(log_ratio.mean()) > 0.1
    assert abs(centred.mean()) < 0.01


def test_a_clipped_log_ratio_has_no_gradient_outside():
    x = torch.tensor([0.05, 1.0], requires_grad=True)
    got = ratios.clip_log_ratio(x, 0.1)
    got.sum().backward()
    assert got.tolist() == pytest.approx([0.05, math.log(1.1)])
    assert x.grad.tolist() == pytest.approx([1.0, 0.0])


def test_a_sequence_ratio_needs_the_mask():
    with pytest.raises(ValueError, match="needs the mask"):
        ratios.log_ratio(torch.zeros(1, 2), torch.zeros(1, 2), level="sequence")
    with pytest.raises(ValueError, match="differ in shape"):
        ratios.log_ratio(torch.zeros(1, 2), torch.zeros(1, 3))
