"""MPO's released code, answered by ours."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64, tensor
from gamutrl.functional import (
    preference,
    probabilities,
)
from gamutrl.functional.weights import masked_mean
from gamutrl.rewards import answers, final_answers, pairs

VQA = ("vqa_score", "mc_score", "math_verify_score")
MODES = {
    "chartqa": ("relaxed_accuracy",),
    "docvqa": ("anls",),
    "infographics": ("anls",),
    **dict.fromkeys(("SROIE", "CLEVR_math", "geos", "geometry"), ("relaxed_accuracy", *VQA)),
    "mavis": ("vqa_score", "mc_score", "math_score", "latex_score", "math_verify_score"),
}
GRADERS = {
    **final_answers.GRADERS,  # Released: "anls" is the distance, so that what is most unlike is right.
    "anls": lambda given, truth: 1 - answers.edit_similarity(given, truth, both_empty=1.0),
}
STYLES: dict[str, final_answers.Style] = {"v2": "boxed", "r1": "thought"}
ERRORS = {"unmarked": "ValueError", "misplaced": "AssertionError"}


def scoring_modes(ds_name: str) -> list[str]:
    modes = ("vqa_score", "mc_score", "math_score", "math_verify_score")
    return list(next((known for word, known in MODES.items() if word in ds_name), modes))


def parse_answer(response: str, prompt_version: str) -> dict[str, Any]:
    found = final_answers.final_answer(response, STYLES.get(prompt_version[-2:], "marked"))
    if found.fault:
        return {"error": ERRORS[found.fault]}
    return {"rationale": found.rationale, "answer": found.answer}


def check_answer(answer_pred: str, answer_gt: str, mode: list[str]) -> int:
    return int(final_answers.is_right(answer_pred, answer_gt, [GRADERS[name] for name in mode]))


def fix_answer(response: str, answer_pred: str, answer_gt: str) -> Any:
    tidy = final_answers.tidied(response, answer_pred, answer_gt)
    return {"error": "ValueError"} if tidy is None else tidy


def dropout_ntp_prefix(prefix: str, start_ratio: float) -> str:
    return pairs.kept_prefix(prefix, start_ratio)


def build_pairs(
    items: list[dict[str, Any]], mode: list[str], num_pairs_per_key: int, answer_fix: bool, **more: Any
) -> dict[str, Any]:
    sides: dict[str, Any] = {side: defaultdict(list) for side in ("right", "wrong", "unreadable")}
    for item in items:
        response, truth, style = item["response"], item["answer"], STYLES.get(item["prompt_version"][-2:], "marked")
        side, said = final_answers.verdict(response, truth, style, [GRADERS[name] for name in mode])
        if side == "right" and answer_fix:
            response = fix_answer(response, str(said), truth)
        sides[side][item["image"], item["question"], truth].append((response, said))
    good, bad, unreadable = sides.values()

    def paired(rejected: Any) -> list[list[str]]:
        skip = final_answers.one_in_the_other
        found = pairs.pairs_by_key(good, rejected, most=num_pairs_per_key, skip=skip)
        return sorted([key[1], one[0], other[0]] for key, one, other in found)

    by_answer, by_format = paired(bad), paired(unreadable)
    told = num_pairs_per_key == 100
    return {
        "n_pos": sum(map(len, good.values())),
        "n_neg": sum(map(len, bad.values())),
        "n_format_neg": sum(map(len, unreadable.values())),
        "all_incorrect": [list(key) for key in bad if bad[key] and key not in good],
        "n_correctness_pairs": len(by_answer),
        "n_format_pairs": len(by_format),
        "correctness_pairs": by_answer if told else None,
        "format_pairs": by_format if told else None,
    }


def sequence_logps_and_nll(logits: F64, chosen_labels: I64, rejected_labels: I64) -> dict[str, Tensor]:
    labels = torch.cat([chosen_labels, rejected_labels])[:, 1:]
    mask = labels != -100
    logp = probabilities.selective_log_softmax(logits[:, :-1], labels.clamp(min=0))
    chosen, rejected = preference.sequence_logp(logp, mask).chunk(2)
    pairs = len(chosen_labels)
    return {
        "chosen_logps": chosen,
        "rejected_logps": rejected,
        "nll_loss": -masked_mean(logp[:pairs], mask[:pairs]),
    }


def mpo_loss(steps: list[dict[str, Any]], beta: float, weights: list[float]) -> list[dict[str, Tensor]]:
    answers, shifts = [], []
    for step in steps:
        names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
        pi_c, pi_r, ref_c, ref_r = (tensor(step[name]) for name in names)
        chosen, rejected = pi_c - ref_c, pi_r - ref_r
        shifts.append(beta * torch.cat([chosen, rejected]).mean())
        shift = torch.stack(shifts).mean()
        pairs = weights[0] * preference.dpo(chosen, rejected, beta)
        pairs = pairs + weights[1] * preference.bco(chosen, rejected, beta, shift=shift)
        scale = (weights[0] + weights[1]) * beta
        answers.append(
            {
                "loss": pairs.mean() + weights[2] * step["nll"],
                "delta": shift,
                "reward_chosen": scale * chosen.mean(),
                "reward_rejected": scale * rejected.mean(),
                "accuracy": (chosen > rejected).float().mean(),
            }
        )
    return answers
