"""SPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F32, F64, Leaf64, gradient
from gamutrl.functional import preference, ratios, sampling
from gamutrl.rewards import pairs


def spo_loss(
    logp_win: Leaf64, ref_logp_win: F64, logp_lose: Leaf64, ref_logp_lose: F64, beta: float, eps: float
) -> dict[str, Tensor]:
    win = ratios.clip_log_ratio(logp_win - ref_logp_win, eps)
    lose = ratios.clip_log_ratio(logp_lose - ref_logp_lose, eps)
    loss = preference.dpo(win, lose, beta).mean()
    return {
        "loss": loss,
        "ratio_win": win.exp(),
        "ratio_lose": lose.exp(),
        "grad_logp_win": gradient(loss, logp_win),
        "grad_logp_lose": gradient(loss, logp_lose),
    }


def multi_sample_step(
    num_inference_steps: int, timestep: int, num_samples: int, eta: float, sample: F32, model_output: F32, noise: F32
) -> dict[str, Tensor]:
    alphas = sampling.scaled_linear_alphas()
    before = max(timestep - 1000 // num_inference_steps, 0)
    step = sampling.ddim(sample, model_output, alphas[timestep], alphas[before], eta)
    return {"pred_x0": step.clean, "prev_samples": step.draw(noise)}


def spm_criterion(
    text: F64,
    image_0: F64,
    image_1: F64,
    label_0: F64,
    label_1: F64,
    num_examples_per_prompt: F64,
    logit_scale: float,
    in_batch_negatives: bool,
) -> Tensor:
    text, image_0, image_1 = (features / features.norm(dim=-1, keepdim=True) for features in (text, image_0, image_1))
    first, second = (logit_scale * (text * image).sum(1) for image in (image_0, image_1))
    losses = preference.soft_pair_cross_entropy(first, second, label_0, label_1)
    if in_batch_negatives:
        own = [-preference.own_text_logp(image, text, logit_scale) for image in (image_0, image_1)]
        losses = (losses + label_0 * own[0] + label_1 * own[1]) / 2
    weight = 1 / num_examples_per_prompt
    return (losses * weight / weight.sum()).sum()


def pickscore_relabel(scores_0: list[float], scores_1: list[float], threshold: float) -> dict[str, list[float]]:
    labels = [pairs.preferred(a, b, threshold=threshold) for a, b in zip(scores_0, scores_1)]
    return {"label_0": labels, "label_1": [1 - label for label in labels]}


def preference_score_compare(scores: list[list[float]], threshold: float) -> dict[str, Any]:
    columns = list(zip(*scores))
    ends = [[pick(range(len(c)), c.__getitem__) for c in columns] for pick in (pairs.first_best, pairs.first_worst)]
    valid = [pairs.gap(c[best], c[worst]) > threshold for c, best, worst in zip(columns, *ends)]
    return {"indices": ends, "valid": valid}
