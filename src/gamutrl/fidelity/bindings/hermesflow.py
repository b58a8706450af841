"""HermesFlow's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64, tensor
from gamutrl.functional import (
    masking,
    preference,
    probabilities,
)
from gamutrl.rewards import pairs


def pair_dpo_loss(
    win_t2i: float,
    lose_t2i: float,
    ref_win_t2i: float,
    ref_lose_t2i: float,
    win_mmu: float,
    lose_mmu: float,
    ref_win_mmu: float,
    ref_lose_mmu: float,
    beta: float,
    t2i_coeff: float,
    mmu_coeff: float,
) -> dict[str, Tensor]:
    image = preference.dpo(tensor(win_t2i - ref_win_t2i), tensor(lose_t2i - ref_lose_t2i), beta)
    caption = preference.dpo(tensor(win_mmu - ref_win_mmu), tensor(lose_mmu - ref_lose_mmu), beta)
    return {"loss": t2i_coeff * image + mmu_coeff * caption, "loss_t2i": image, "loss_mmu": caption}


def mask_count(timestep: float, seq_len: int, min_masking_rate: float) -> dict[str, Any]:
    rate = masking.mask_rate(timestep, "cosine", floor=min_masking_rate)
    return {"mask_prob": rate, "n_masked": max(1, round(seq_len * rate))}


def homologous_pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = []
    places = (0, 0)
    for r, row in enumerate(rows):
        captions, images = row["bert_scores"], row["vqa_scores"]
        win, lose = pairs.best_and_worst(captions) or (0, 0)
        places = pairs.best_and_worst(images, above=0.6) or places  # Released: else the places of the row before.
        folder = f"datasets/journeydb/generated_images/{row['id']}"
        answer.append(
            {
                "id": row["id"],
                "caption_win": f"row{r}_cap{win}",
                "caption_lose": f"row{r}_cap{lose}",
                "bert_score_win": captions[win],
                "bert_score_lose": captions[lose],
                "image_win": f"{folder}/{places[0]}.png",
                "image_lose": f"{folder}/{places[1]}.png",
                "vqa_score_win": images[places[0]],
                "vqa_score_lose": images[places[1]],
            }
        )
    return answer


def iterative_pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = []
    for r, row in enumerate(rows):
        before, updated = row["previous"], {"id": row["id"]}
        for kind, score, names in (
            ("caption", "bert_score", f"new{r}_cap{{}}"),
            ("image", "vqa_score", f"datasets/journeydb/generated_images_iter2/{row['id']}/{{}}.png"),
        ):
            scores = row[f"{score}s"]
            win, turned = pairs.against_before(scores, before[f"{score}_win"])
            loser = "win" if turned else "lose"
            updated |= {
                f"{kind}_win": names.format(win),
                f"{kind}_lose": before[f"{kind}_{loser}"],
                f"{score}_win": scores[win],
                f"{score}_lose": before[f"{score}_{loser}"],
            }
        answer.append(updated)
    return answer


def unified_logps(
    logits: F64, labels: I64, batch_size_t2i: int, batch_size_mmu: int, max_seq_length: int
) -> dict[str, Tensor]:
    drawn, seen = labels[:batch_size_t2i, max_seq_length + 1 :], labels[-batch_size_mmu:, 1:]
    drawn_logits = logits[:batch_size_t2i, max_seq_length + 1 :]
    return {
        "logp_t2i": _summed(drawn_logits, drawn),
        "logp_mmu": _summed(logits[-batch_size_mmu:, :-1], seen),
    }


def _summed(logits: Tensor, labels: Tensor) -> Tensor:
    logp = probabilities.selective_log_softmax(logits, labels.clamp(min=0))
    return preference.sequence_logp(logp, labels != -100).sum()
