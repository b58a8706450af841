"""VAU-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32
from gamutrl.rewards import answers, parsing, spans, tags


def grpo_loss_no_clip(
    rewards: F32, logp: F32, ref_logp: F32, mask: F32, num_generations: int, beta: float
) -> dict[str, Any]:
    answer = compose.on_policy(rewards, num_generations, logp, ref_logp, mask, beta)
    return {"advantages": answer["advantages"], "loss": answer["loss"]}


def cls_answer_reward(completion: str, answer: str) -> float:
    return answers.accuracy(completion, answer, compare=partial(answers.same_text, ignore_case=True))


def qa_answer_reward(completion: str, answer: str) -> float:
    def same_letter(given: str, truth: str) -> float:
        letters = [answers.first_letter(text, drop=released.LEAD_INS) for text in (given, truth)]
        return float(letters[0] == letters[1])

    return answers.accuracy(completion, answer, compare=same_letter)


def _glue(completion: str) -> list[spans.Span] | None:
    span = parsing.numbers(parsing.loads(tags.tag_text(completion, "glue", missing="empty")), 2)
    return None if span is None or span[0] > span[1] else [(span[0], span[1])]


def grounding_iou_reward(completion: str, glue: list[float]) -> float:
    return spans.span_score(completion, glue, read=_glue)


def format_reward(completion: str, variant: str) -> float:
    if variant == "qa":
        return tags.tag_format(completion, strip=True)
    return tags.tag_format(completion, ("think", "answer", "glue"), strip=True) * (_glue(completion) is not None)
