"""UnifiedReward's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import preference
from gamutrl.rewards import judging, pairs


def diffusion_dpo_loss(model_pred: F32, ref_pred: F32, target: F32, beta_dpo: float) -> dict[str, Tensor]:
    chosen, rejected = compose.denoising_gains(model_pred, ref_pred, target, beta_dpo)
    return {
        "loss": preference.dpo(chosen, rejected, 1.0).mean(),
        "implicit_acc": (chosen > rejected).float().mean(),
    }


SENTENCES = {
    "image_understanding": ("Answer 1 is better", "Answer 2 is better"),
    "video_understanding": ("Answer 1 is better than Answer 2", "Answer 2 is better than Answer 1"),
    "image_generation": ("Image 1 is better than Image 2", "Image 2 is better than Image 1"),
}


def pair_rank_parse(domain: str, judgement: str) -> dict[str, str]:
    first, second = SENTENCES[domain]
    if domain != "image_generation":
        _, judged, rest = judgement.rpartition("Overall Judgment")
        judgement = rest.partition(".")[0] if judged else judgement
    elif second in judgement:
        return {"chosen": "second", "rejected": "first"}
    names = ("second", "first") if second in judgement and first not in judgement else ("first", "second")
    return {"chosen": names[0], "rejected": names[1]}


def point_filter_select(domain: str, chosen_outputs: list[str], rejected_outputs: list[str]) -> dict[str, Any]:
    key: Any = str if domain == "image_generation" else int  # Released: there "9" is more than "10".
    won, lost = ([judging.final_score(text) for text in texts] for texts in (chosen_outputs, rejected_outputs))
    best = pairs.first_best(range(len(won)), lambda i: key(won[i]))
    worst = pairs.first_worst(range(len(lost)), lambda i: key(lost[i]))
    return {
        "chosen": f"c{best}",
        "rejected": f"r{worst}",
        "chosen_score": won[best],
        "rejected_score": lost[worst],
        "kept": won[best] > lost[worst],
    }
