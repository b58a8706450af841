"""Losses of pairs and of single judgements: DPO and its relatives, KTO, ORPO, SimPO, reward models.

Pair losses take what policy and reference say of the chosen and the rejected answer: `chosen_M`, `rejected_M`, each
log π - log π_ref (of a token sum, a weighted mean, a step, minus half a denoising error: only that score differs
between methods), and return one loss a pair, `[M]`. Without a reference, hand in the policy's own scores.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gamutrl.functional.weights import masked_mean

FDivergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]


def sequence_logp(
    logp_MT: Tensor,
    mask_MT: Tensor,
    *,
    average: bool = False,
    weight_MT: Tensor | None = None,
    shared_length_M: Tensor | None = None,
    tail: float = 1.0,
) -> Tensor:
    """One score a sequence, `[M]`: the (weighted) sum of its actions' log-probabilities, or their mean.

    weight_MT: how much each action counts; with `average`, the sum is divided by the weights' sum (RLHF-V, arXiv
    2312.00849). shared_length_M: actions after this many count `tail` (LD-DPO, arXiv 2409.06411).
    """
    mask = mask_MT.bool()
    weight = mask.to(logp_MT.dtype) if weight_MT is None else torch.where(mask, weight_MT, 0.0)
    if shared_length_M is not None:
        beyond = mask.long().cumsum(1) > shared_length_M[:, None]
        weight = torch.where(beyond, tail * weight, weight)
    total = (torch.where(mask, logp_MT, 0.0) * weight).sum(1)
    if not average:
        return total
    size = weight.sum(1)
    return total / torch.where(size == 0, 1.0, size)


def f_divergence_score(log_ratio: Tensor, kind: FDivergence, alpha: float = 0.5) -> Tensor:
    """What takes the log-ratio's place under another divergence than reverse KL (f-DPO, arXiv 2309.16240)."""
    if kind == "forward_kl":
        return 1 - torch.exp(-log_ratio)
    if kind == "js":
        return math.log(2) + F.logsigmoid(log_ratio)
    if kind == "alpha" and alpha != 1:
        return (((alpha - 1) * log_ratio).clamp(max=80).exp() - 1) / (alpha - 1)
    return log_ratio


def dpo(
    chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1, *, smoothing: float = 0.0, margin: float = 0.0
) -> Tensor:
    """-(1 - ε) log σ(z) - ε log σ(-z), z = β (chosen - rejected) - margin (arXiv 2305.18290, equation 7; cDPO).

    margin: SimPO's γ (arXiv 2405.14734), with average log-probabilities as scores.
    """
    z = _margin(chosen_M, rejected_M, beta) - margin
    return -(1 - smoothing) * F.logsigmoid(z) - smoothing * F.logsigmoid(-z)


def hinge(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """max(0, 1 - β (chosen - rejected)) (SLiC, arXiv 2305.10425; RSO, arXiv 2309.06657)."""
    return torch.relu(1 - _margin(chosen_M, rejected_M, beta))


def ipo(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """(chosen - rejected - 1 / (2 β))² (arXiv 2310.12036, equation 17). TRL hands in averages, verl-omni sums."""
    return (chosen_M - rejected_M - 1 / (2 * beta)).square()


def exo(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1, *, smoothing: float = 1e-3) -> Tensor:
    """KL of the policy's preference from the smoothed label (EXO, arXiv 2402.00856)."""
    z = _margin(chosen_M, rejected_M, beta)
    win = torch.sigmoid(z) * (F.logsigmoid(z) - math.log1p(-smoothing))
    return win + torch.sigmoid(-z) * (F.logsigmoid(-z) - math.log(smoothing))


def nca(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """-log σ(c) - ½ log σ(-c) - ½ log σ(-r), with c, r times β (NCA, arXiv 2402.05369)."""
    c, r = beta * chosen_M, beta * rejected_M
    return -F.logsigmoid(c) - 0.5 * F.logsigmoid(-c) - 0.5 * F.logsigmoid(-r)


def robust_dpo(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1, *, smoothing: float = 0.0) -> Tensor:
    """Unbiased where a share `smoothing` of the labels is flipped (arXiv 2403.00409)."""
    z = _margin(chosen_M, rejected_M, beta)
    return (-(1 - smoothing) * F.logsigmoid(z) + smoothing * F.logsigmoid(-z)) / (1 - 2 * smoothing)


def bco(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1, *, shift: Tensor | float = 0.0) -> Tensor:
    """-log σ(c - δ) - log σ(-(r - δ)), with c, r times β (BCO, arXiv 2404.04656; δ a running mean of rewards)."""
    return -F.logsigmoid(beta * chosen_M - shift) - F.logsigmoid(-(beta * rejected_M - shift))


def sppo(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """(c - 1/(2β))² + (r + 1/(2β))² (SPPO with hard labels, arXiv 2405.00675)."""
    return (chosen_M - 0.5 / beta).square() + (rejected_M + 0.5 / beta).square()


def apo_zero(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """1 - σ(c) + σ(r): chosen up, rejected down (APO-zero, arXiv 2408.06266)."""
    return 1 - torch.sigmoid(beta * chosen_M) + torch.sigmoid(beta * rejected_M)


def apo_down(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1) -> Tensor:
    """σ(c) + 1 - σ(c - r): both down, the rejected more (APO-down, arXiv 2408.06266)."""
    return torch.sigmoid(beta * chosen_M) + 1 - torch.sigmoid(_margin(chosen_M, rejected_M, beta))


def discopop(chosen_M: Tensor, rejected_M: Tensor, beta: float = 0.1, *, tau: float = 0.05) -> Tensor:
    """Logistic and exponential loss, mixed by σ(z / τ) (DiscoPOP, arXiv 2406.08414)."""
    z = _margin(chosen_M, rejected_M, beta)
    exponential = torch.sigmoid(z / tau)
    return -F.logsigmoid(z) * (1 - exponential) + torch.exp(-z) * exponential


def aot(better_M: Tensor, worse_M: Tensor, beta: float = 0.1, *, smoothing: float = 0.0) -> Tensor:
    """DPO between sorted scores: one distribution above the other, not pair by pair (AOT, arXiv 2406.05882).

    Unpaired: the chosen's and the rejected's log-ratios. Paired: the policy's margins and the reference's.
    """
    return dpo(better_M.sort().values, worse_M.sort().values, beta, smoothing=smoothing)


def wpo_weight(logp_MT: Tensor, log_sum_p_squared_MT: Tensor, mask_MT: Tensor) -> Tensor:
    """How likely the policy itself is to write the sequence, `[M]`, no gradient (WPO, arXiv 2406.11827)."""
    return masked_mean(logp_MT - log_sum_p_squared_MT, mask_MT, dim=1).exp().detach()


def kto(
    log_ratio_M: Tensor,
    desirable_M: Tensor,
    reference_point: Tensor | float = 0.0,
    beta: float = 0.1,
    *,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """weight · (1 - σ(± β (log-ratio - reference point))), + for desirable rows (KTO, arXiv 2402.01306).

    reference_point 0 is APO-zero unpaired.
    """
    z = beta * (log_ratio_M - reference_point)
    up = desirable_weight * (1 - torch.sigmoid(z))
    return torch.where(desirable_M.bool(), up, undesirable_weight * (1 - torch.sigmoid(-z)))


def prospect_value(
    gain_M: Tensor,
    desirable_M: Tensor,
    reference_point: Tensor | float,
    beta: float,
    kind: Literal["sigmoid", "loss_averse", "risk_seeking_1", "risk_seeking_2", "risk_seeking_3"] = "sigmoid",
) -> Tensor:
    """What a gain over the reference is felt to be worth, `[M]` (Diffusion-KTO, arXiv 2404.04465)."""
    sign = torch.where(desirable_M.bool(), 1.0, -1.0).to(gain_M)
    z = beta * (gain_M - reference_point)
    match kind:
        case "sigmoid":
            return torch.sigmoid(sign * z)
        case "loss_averse":
            return F.logsigmoid(sign * z)
        case "risk_seeking_1":
            return -sign * F.logsigmoid(-z)
        case "risk_seeking_2":
            return sign * torch.exp(z / 100) - 1
        case "risk_seeking_3":
            return -F.logsigmoid(-sign * z)


def log_odds_ratio(logp_chosen_M: Tensor, logp_rejected_M: Tensor) -> Tensor:
    """log of odds(chosen) / odds(rejected), from average log-probabilities below 0 (ORPO, arXiv 2403.07691)."""

    def log1m(logp: Tensor) -> Tensor:
        return torch.log1p(-torch.exp(logp))

    return logp_chosen_M - logp_rejected_M - (log1m(logp_chosen_M) - log1m(logp_rejected_M))


def power_score(logp: Tensor, alpha: float) -> Tensor:
    """(1 - p^-α) / α, log p where α is 0 (AlphaPO, arXiv 2501.03884)."""
    return logp if alpha == 0 else (1 - torch.exp(-alpha * logp)) / alpha


def bradley_terry(
    score_chosen_M: Tensor, score_rejected_M: Tensor, margin_M: Tensor | float = 0.0, *, centre: float = 0.0
) -> Tensor:
    """-log σ(chosen - rejected - margin) + centre · (chosen + rejected)², a reward model's loss, `[M]`."""
    loss = -F.logsigmoid(score_chosen_M - score_rejected_M - margin_M)
    return loss + centre * (score_chosen_M + score_rejected_M).square() if centre else loss


def bradley_terry_ties(score_a_M: Tensor, score_b_M: Tensor, tied_M: Tensor, k: float = 5.0) -> Tensor:
    """Bradley-Terry where some pairs are ties, a the better of the others (Rao-Kupper; VideoAlign, arXiv 2501.13918).

    k > 1: the larger, the more room a tie has.
    """
    d, room = score_a_M - score_b_M, math.log(k)
    better = -F.logsigmoid(d - room)
    return torch.where(tied_M.bool(), better - F.logsigmoid(-d - room) - math.log(k * k - 1), better)


def reward_margin(reward_M: Tensor, enough: float) -> Tensor:
    """max(0, enough - reward), a loss to be driven through a differentiable reward (ReFL, arXiv 2304.05977)."""
    return torch.relu(enough - reward_M)


def soft_pair_cross_entropy(logit_a: Tensor, logit_b: Tensor, label_a: Tensor, label_b: Tensor) -> Tensor:
    """Cross-entropy of a choice of two against soft labels, less the labels' own entropy (PickScore, 2305.01569)."""
    log_a, log_b = torch.stack([logit_a, logit_b]).log_softmax(0)
    tied = ((label_a == label_b).to(logit_a)) * math.log(0.5)
    return -(label_a * log_a + label_b * log_b) + tied


def own_text_logp(image_MD: Tensor, text_MD: Tensor, scale: float) -> Tensor:
    """log-probability of each image's own text among the batch's, from normalised features, `[M]` (CLIP)."""
    return (scale * image_MD @ text_MD.T).log_softmax(1).diagonal()


def soft_value(reward_MS: Tensor, beta: float) -> Tensor:
    """β log mean exp(reward / β) over the last axis: the optimal value from reference samples (A*-PO, 2505.20686)."""
    return beta * (torch.logsumexp(reward_MS / beta, -1) - math.log(reward_MS.shape[-1]))


def group_classification(
    score_R: Tensor, positive_R: Tensor, group_R: Tensor, tau: float = 0.5
) -> tuple[Tensor, Tensor]:
    """log(1 + Σ⁻ exp(s/τ)) + log(1 + Σ⁺ exp(-s/τ)) of each group, and if it has both kinds, `[G]` each (REAL)."""
    losses, both = [], []
    for group in group_R.unique():
        member = group_R == group
        up, down = (score_R[member & kind] / tau for kind in (positive_R, ~positive_R))
        zero = score_R.new_zeros(1)
        losses.append(torch.cat([down, zero]).logsumexp(0) + torch.cat([-up, zero]).logsumexp(0))
        both.append(len(up) > 0 and len(down) > 0)
    return torch.stack(losses), torch.tensor(both)


def _margin(chosen_M: Tensor, rejected_M: Tensor, beta: float) -> Tensor:
    if chosen_M.shape != rejected_M.shape:
        raise ValueError(f"A pair needs both sides: {list(chosen_M.shape)} chosen, {list(rejected_M.shape)} rejected.")
    return beta * (chosen_M - rejected_M)
