"""VRAG-RL's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.environments import transcripts
from gamutrl.recipes import vrag_rl
from gamutrl.rewards import answers, judging, parsing, retrieval, tags


def anls(gold: list[str], prediction: str, threshold: float) -> float:
    return answers.anls(prediction, gold, threshold=threshold)


def bbox_action(content: str) -> dict[str, Any]:
    box = parsing.loads(content)
    valid = parsing.numbers(box, 4) is not None and min(box) >= 0
    return {"valid": valid, "box": box if valid else None, "done": 0}


def ndcg(retrieved: list[str], golden: list[str]) -> float:
    return retrieval.ndcg(retrieved, golden)


def composite_reward(format_score: float, judge_score: float, retrieved: list[str], golden: list[str]) -> float:
    total = 0.7 * judge_score + 0.1 * format_score + 0.2 * retrieval.ndcg(retrieved, golden)
    return total if format_score > 0 else 0.0


def format_reward(text: str) -> float:
    text = tags.without(text, ("<|im_start|>user", "<|im_end|>"), multiline=False)
    return vrag_rl.layout(text)


def judge_parse(text: str) -> bool | None:
    return judging.tagged_verdict(text)


def keep_tagged_blocks(text: str) -> str:
    return transcripts.kept_blocks(text) + "<|im_end|>"


def last_answer(text: str) -> str | None:
    return tags.innermost(text)


def observation_loss_mask(response: str, n_pad: int) -> str:
    return "".join("01"[own] for own in transcripts.own_characters(response)) + "0" * n_pad


def parse_action(text: str) -> dict[str, str | None]:
    action, content = transcripts.first_action(text)
    return {"action": action, "content": content}
