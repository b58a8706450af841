"""Rewards to advantages: what each rollout, or each of its actions, was worth.

R rollouts with their groups (`group_R`, any labels); N trained rows of T actions. A NaN reward («does not apply»)
leaves its group's statistics, and its own advantage is 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.functional.groups import group_count, group_index, group_mean, group_rank, group_sum, group_variance
from gamutrl.functional.weights import masked_mean

Scale = Literal["group", "batch", "none"]


def group_normalize(
    reward_R: Tensor,
    group_R: Tensor,
    *,
    scale: Scale = "group",
    unbiased: bool = True,
    eps: float = 1e-4,
    eps_inside: bool = False,
    singleton: Literal["zero", "raw", "nan"] = "zero",
    flat: Literal["zero", "raw"] = "zero",
    trim: float = 0.0,
    clip: float | None = None,
) -> Tensor:
    """(reward - group mean) / deviation, `[R]` (GRPO, arXiv 2402.03300, section 4.1.1).

    scale: the deviation is that of the group, of the whole batch, or none is divided by (Dr. GRPO, arXiv 2503.20783).
    unbiased: divide the squares by n - 1, not n. eps: added to the deviation, or (eps_inside) to the variance under
    the root. singleton: a group of one gets 0, keeps its raw reward (mean 0, deviation 1), or NaN. flat: a group
    without spread gets 0, or keeps its mean (Perception-R1). trim: this share of a group's lowest rewards leaves the
    statistics (MixGRPO). clip: bound on the absolute advantage. Computed in float64, so that a group without spread
    gets exactly 0.
    """
    _check_vector(reward_R, group_R)
    reward = reward_R.double()
    counted = reward
    if trim:
        lowest = (group_count(reward, group_R) * trim).floor()
        lowest = lowest.minimum(group_count(reward, group_R) - 1)
        counted = reward.masked_fill(group_rank(reward, group_R) < lowest, torch.nan)
    count = group_count(counted, group_R)
    mean = group_mean(counted, group_R)
    alone = count == 1
    if singleton == "raw":
        mean = mean.masked_fill(alone, 0.0)
    if flat == "raw":
        mean = torch.where(group_variance(counted, group_R, unbiased) == 0, 0.0, mean)
    advantage = reward - mean
    if scale != "none":
        of_R = group_R if scale == "group" else torch.zeros_like(group_R)
        variance = group_variance(counted, of_R, unbiased)
        if scale == "group" and singleton != "nan":
            variance = variance.masked_fill(alone, 1.0 if singleton == "raw" else 0.0)
        deviation = (variance + eps).sqrt() if eps_inside else variance.sqrt() + eps
        advantage = torch.where(deviation == 0, 0.0, advantage / deviation)
    if clip is not None:
        advantage = advantage.clamp(-clip, clip)
    return advantage.masked_fill(reward.isnan(), 0.0).to(reward_R.dtype)


def normalize_by(reward_R: Tensor, population: Tensor, *, unbiased: bool = True, eps: float = 1e-8) -> Tensor:
    """(reward - mean) / (deviation + eps) of a larger population: all processes' rewards, or the past's."""
    population = population.double()
    advantage = (reward_R.double() - population.nanmean()) / (population.std(unbiased=unbiased) + eps)
    return advantage.to(reward_R.dtype)


def against_past(
    reward_R: Tensor,
    labels: Sequence[Hashable],
    past: Mapping[Hashable, Tensor],
    *,
    size: int = 32,
    at_least: int = 16,
    eps: float = 1e-6,
) -> tuple[Tensor, dict[Hashable, Tensor]]:
    """Rewards against the last `size` of the same prompt, these included, `[R]`; and what to remember of every prompt.

    A prompt with fewer than `at_least` is held against the whole batch (DDPO, arXiv 2305.13301, section 5.3).
    """
    advantage_R, memory = torch.zeros_like(reward_R), dict(past)
    for label in dict.fromkeys(labels):
        mine = torch.tensor([other == label for other in labels])
        before = memory.get(label, reward_R[:0])
        memory[label] = torch.cat([before, reward_R[mine]])[-size:]
        population = memory[label] if len(memory[label]) >= at_least else reward_R
        advantage_R[mine] = normalize_by(reward_R[mine], population, unbiased=False, eps=eps)
    return advantage_R, memory


def weighted_sum(reward_RK: Tensor, weight_K: Tensor) -> Tensor:
    """Σ_k weight · reward over what applies, `[R]`; NaN where no reward applies to the rollout."""
    total_R = (reward_RK * weight_K).nan_to_num(0.0, posinf=None, neginf=None).sum(1)
    return total_R.masked_fill(reward_RK.isnan().all(1), torch.nan)


def normalize_then_sum(
    reward_RK: Tensor,
    group_R: Tensor,
    weight_K: Tensor,
    *,
    whiten: bool = False,
    eps: float = 1e-4,
    **options: Any,
) -> Tensor:
    """Each reward normalised on its own, then the weighted sum, `[R]` (GDPO, arXiv 2601.05242; MixGRPO, Jigsaw-R1).

    whiten: the sum is normalised once more over the batch. eps and other options are those of `group_normalize`.
    """
    apart_RK = torch.stack([group_normalize(reward_R, group_R, eps=eps, **options) for reward_R in reward_RK.T], 1)
    total_R = weighted_sum(apart_RK.masked_fill(reward_RK.isnan(), torch.nan), weight_K)
    if whiten:
        return group_normalize(total_R, torch.zeros_like(group_R), eps=eps)
    return total_R.nan_to_num(0.0)


def leave_one_out(
    reward_R: Tensor, group_R: Tensor, *, singleton: Literal["zero", "raw"] = "zero", whiten: bool = False
) -> Tensor:
    """The reward less the mean of the group's others, `[R]` (RLOO, arXiv 2402.14740).

    singleton: a group of one gets 0 or keeps its raw reward. whiten: the result is normalised over the batch (1e-4
    added to its deviation), a group of one, which was compared with nothing, left out.
    """
    _check_vector(reward_R, group_R)
    count = group_count(reward_R, group_R)
    advantage_R = (reward_R - group_mean(reward_R, group_R)) * count / (count - 1)
    if singleton == "raw":
        advantage_R = torch.where(count == 1, reward_R, advantage_R)
    if whiten:
        return group_normalize(advantage_R, torch.zeros_like(group_R))
    return advantage_R.nan_to_num(0.0)


def best_of_group(reward_R: Tensor, group_R: Tensor, *, scaled: bool = True, eps: float = 1e-6) -> Tensor:
    """Only a group's best rollout has an advantage: its lead over the second, over the deviation (arXiv 2503.19595).

    Raises ValueError for a group of one, which has no second.
    """
    _check_vector(reward_R, group_R)
    index_R, groups = group_index(group_R)
    advantage_R = torch.zeros_like(reward_R)
    deviation_R = group_variance(reward_R, group_R).sqrt() + eps
    for group in range(groups):
        members = (index_R == group).nonzero().flatten()
        if len(members) < 2:
            raise ValueError("Pass@k advantages need at least two rollouts in every group.")
        (first, second), best = reward_R[members].topk(2)
        lead = first - second
        advantage_R[members[best[0]]] = lead / deviation_R[members[0]] if scaled else lead
    return advantage_R


def length_weighted_baseline(
    reward_R: Tensor, group_R: Tensor, length_R: Tensor, *, singleton: Literal["zero", "raw"] = "zero"
) -> Tensor:
    """The reward less the group's mean weighted by length, the baseline of least variance (OPO, arXiv 2505.23585)."""
    _check_vector(reward_R, group_R, length_R)
    length_R = length_R.to(reward_R.dtype)
    baseline_R = group_sum(reward_R * length_R, group_R) / group_sum(length_R, group_R)
    if singleton == "raw":
        baseline_R = baseline_R.masked_fill(group_count(reward_R, group_R) == 1, 0.0)
    return (reward_R - baseline_R).nan_to_num(0.0)


def rare_success_scaled(reward_R: Tensor, group_R: Tensor, *, singleton: Literal["zero", "raw"] = "zero") -> Tensor:
    """(reward - group mean) · rollouts / rollouts with a reward other than 0 (GPG, arXiv 2504.02546)."""
    centred = group_normalize(reward_R, group_R, scale="none", singleton=singleton)
    return centred * len(reward_R) / (reward_R.nan_to_num(0.0) != 0).sum().clamp(min=1)


def long_enough(reward_R: Tensor, length_R: Tensor, group_R: Tensor, weight: float = 0.1, limit: int = 4094) -> Tensor:
    """A weight for each group, `[R]`: 1 where the longest right answer outlasts the mean wrong one, else `weight`.

    Right: a reward above ½. Wrong answers at or over the limit of length do not count (ADORA, as in MM-Eureka).
    """
    right_R, wrong_R = reward_R > 0.5, (reward_R <= 0.5) & (length_R < limit)
    index_R, groups = group_index(group_R)
    weight_G = torch.ones(groups, dtype=reward_R.dtype)
    for group in range(groups):
        right, wrong = (length_R[kind & (index_R == group)] for kind in (right_R, wrong_R))
        if len(right) and len(wrong) and right.max() <= wrong.double().mean():
            weight_G[group] = weight
    return weight_G[index_R]


def masked_whiten(
    value_NT: Tensor, mask_NT: Tensor, *, keep_mean: bool = False, eps: float = 1e-8
) -> tuple[Tensor, Tensor, Tensor]:
    """Values to mean 0, variance 1 over the mask (unbiased): whitened `[N, T]` at every position, mean, variance.

    Raises ValueError for fewer than two actions.
    """
    count = mask_NT.sum()
    if count < 2:
        raise ValueError(f"Whitening needs at least two actions, not {int(count)}.")
    mean = masked_mean(value_NT, mask_NT)
    variance = masked_mean((value_NT - mean).square(), mask_NT) * count / (count - 1)
    whitened = (value_NT - mean) * torch.rsqrt(variance + eps)
    return whitened + mean if keep_mean else whitened, mean, variance


def without_outliers(value: Tensor, centre: Tensor | float, spread: float = 3.0, limit: float = 10.0) -> Tensor:
    """0 where a value is not finite, beyond ±limit, or further than `spread` from the centre (StableReinforce)."""
    kept = value.isfinite() & (value.abs() <= limit) & ((value - centre).abs() <= spread)
    return torch.where(kept, value, 0.0)


def discounted_returns(
    reward_NT: Tensor, mask_NT: Tensor, gamma: float = 1.0, *, outside: Literal["skip", "reset"] = "skip"
) -> Tensor:
    """What each action's reward and all later ones sum to, `[N, T]` (REINFORCE++, arXiv 2501.03262).

    outside: positions that are not the policy's are passed over, neither discounting nor paying (and have no return
    themselves), or start the sum anew and pay (EasyR1).
    """
    _check_rows(reward_NT, mask_NT)
    running = torch.zeros_like(reward_NT[:, 0])
    returns = torch.zeros_like(reward_NT)
    for t in reversed(range(reward_NT.shape[1])):
        on = mask_NT[:, t].bool()
        running_new = reward_NT[:, t] + gamma * running
        if outside == "skip":
            running = torch.where(on, running_new, running)
            returns[:, t] = torch.where(on, running_new, 0.0)
        else:
            returns[:, t] = running_new
            running = torch.where(on, running_new, 0.0)
    return returns


def generalized_advantages(
    reward_NT: Tensor, value_NT: Tensor, mask_NT: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """GAE (arXiv 1506.02438): advantages and returns, both `[N, T]`; positions outside the mask are passed over."""
    _check_rows(reward_NT, value_NT, mask_NT)
    next_value = torch.zeros_like(reward_NT[:, 0])
    running = torch.zeros_like(next_value)
    advantage_NT = torch.zeros_like(reward_NT)
    for t in reversed(range(reward_NT.shape[1])):
        on = mask_NT[:, t].bool()
        surprise = reward_NT[:, t] + gamma * next_value - value_NT[:, t]
        running = torch.where(on, surprise + gamma * lam * running, running)
        next_value = torch.where(on, value_NT[:, t], next_value)
        advantage_NT[:, t] = running
    return advantage_NT, advantage_NT + value_NT


def returns_to_go(reward_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """The sum of an action's and all later rewards of the mask, at every position `[N, T]`."""
    _check_rows(reward_NT, mask_NT)
    return torch.where(mask_NT.bool(), reward_NT, 0.0).flip(1).cumsum(1).flip(1)


def softmax_weights(reward_R: Tensor, group_R: Tensor, temperature: float) -> Tensor:
    """softmax(reward / temperature) within groups, `[R]`: reward-weighted regression."""
    index_R, groups = group_index(group_R)
    weight_R = torch.empty_like(reward_R)
    for group in range(groups):
        weight_R[index_R == group] = (reward_R[index_R == group] / temperature).softmax(0)
    return weight_R


def kl_shaped_rewards(
    reward_N: Tensor, kl_NT: Tensor, mask_NT: Tensor, weight: float, *, reward_clip: float | None = None
) -> Tensor:
    """The reward on each row's last action, less weight · KL on each, `[N, T]` (arXiv 2203.02155, equation 2)."""
    if reward_clip is not None:
        reward_N = reward_N.clamp(-reward_clip, reward_clip)
    return torch.where(mask_NT.bool(), -weight * kl_NT, 0.0) + on_last_action(reward_N, mask_NT)


def on_last_action(reward_N: Tensor, mask_NT: Tensor) -> Tensor:
    """Each row's reward on its last action, `[N, T]`; 0 on all others."""
    place_NT = torch.arange(mask_NT.shape[1], device=mask_NT.device).expand_as(mask_NT)
    last_N = torch.where(mask_NT.bool(), place_NT, -1).amax(1, keepdim=True)
    return torch.where(place_NT == last_N, reward_N[:, None], 0.0)


def optimal_token_baseline(
    reward_NT: Tensor,
    logp_NT: Tensor,
    sum_p_squared_NT: Tensor,
    mask_NT: Tensor,
    group_N: Tensor,
    *,
    ratio_NT: Tensor | None = None,
    zero_tail: bool = False,
    compact: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns less the group's baseline of least variance at each position (arXiv 2602.07078): advantages, returns.

    The baseline weighs each rollout's return by its accumulated squared score, Σ_s 1 - 2 p + Σ_v p_v² (times ratio²).
    A group of one has baseline 0. zero_tail: so has what only the group's longest rollout reaches. compact: positions
    are counted in the policy's own actions (several turns with observations between them).
    """
    mask = mask_NT.bool()
    weight_NT = 1 - 2 * logp_NT.exp() + sum_p_squared_NT
    if ratio_NT is not None:
        weight_NT = weight_NT * ratio_NT.square()
    returns_NT = returns_to_go(reward_NT, mask)
    energy_NT = torch.where(mask, weight_NT, 0.0).cumsum(1)
    order_NT = torch.argsort(~mask, dim=1, stable=True) if compact else torch.arange(mask.shape[1]).expand_as(mask)
    on_NT = mask.gather(1, order_NT)
    gain_NT, energy_NT = (torch.where(on_NT, x.gather(1, order_NT), 0.0) for x in (returns_NT, energy_NT))
    index_N, groups = group_index(group_N)
    baseline_NT = torch.zeros_like(gain_NT)
    for group in range(groups):
        members = index_N == group
        length = on_NT[members].sum(1)
        if compact:
            members = members & on_NT.any(1)
        if members.sum() < 2:
            continue
        gain, energy = gain_NT[members], energy_NT[members]
        baseline_T = (gain * energy).sum(0) / (energy.sum(0) + 1e-8)
        baseline_NT[members] = baseline_T
        if zero_tail:
            longest, second = length.topk(2).values.tolist()
            if longest > second:
                tail = torch.zeros_like(baseline_NT, dtype=torch.bool)
                tail[members & (on_NT.sum(1) == longest), second:] = True
                baseline_NT = baseline_NT.masked_fill(tail, 0.0)
    advantage_NT = torch.where(on_NT, gain_NT - baseline_NT, 0.0)
    return torch.zeros_like(advantage_NT).scatter(1, order_NT, advantage_NT), returns_NT


def _check_rows(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"Rewards, values and mask must all be [N, T], not {shapes}.")


def _check_vector(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"Rewards and groups must be vectors of one length [R], not {shapes}.")
