"""CoRL's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose, released_generation
from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.rewards import alignment, answers, tags


def unified_advantages(
    t2i_rewards: F64, mm2t_rewards: F64, num_generations: int, unify_reward: bool
) -> dict[str, Tensor | None]:
    if unify_reward:
        unified = compose.grouped(t2i_rewards + 0.8 * mm2t_rewards, num_generations)
        return {"unified_advantages": unified, "t2i_advantages": None, "mm2t_advantages": None}
    apart = (compose.grouped(rewards, num_generations) for rewards in (t2i_rewards, mm2t_rewards))
    return {"unified_advantages": None, **dict(zip(("t2i_advantages", "mm2t_advantages"), apart))}


def unified_grpo_loss(
    mode: str,
    beta: float,
    adv_t2i: F64,
    adv_mm2t: F64,
    t2i_logps: Leaf64,
    t2i_ref: F64,
    mm2t_logps: Leaf64,
    mm2t_ref: F64,
    mm2t_mask: F64,
) -> dict[str, Tensor]:
    if mode == "unify_advantage":
        adv_t2i = adv_t2i + 0.8 * adv_mm2t
    drawing = compose.grpo_loss(t2i_logps, adv_t2i, torch.ones_like(t2i_logps), ref=t2i_ref, beta=beta)
    advantage = adv_mm2t if mode == "separate" else adv_t2i
    answering = compose.grpo_loss(mm2t_logps, advantage, mm2t_mask, ref=mm2t_ref, beta=beta)
    loss = drawing + answering
    return {"loss": loss, "grad_t2i": gradient(loss, t2i_logps), "grad_mm2t": gradient(loss, mm2t_logps)}


def format_reward(completions: list[str]) -> list[float]:
    return [tags.tag_format(text.replace(".", " "), between="space") for text in completions]


def format_tag_reward(completions: list[str]) -> list[float]:
    marks = [mark for tag in ("think", "answer") for mark in tags.marks(tag)]
    return [0.5 * tags.exactly_once(text, marks) for text in completions]


def safe_string_equal(prediction: str, answer: str) -> bool:
    return bool(answers.same_word_or_number(prediction, answer))


def soft_jaccard(phrase1: str, phrase2: str) -> float:
    return answers.soft_jaccard(phrase1, phrase2)


def _graded(said: str, truth: str, caption: str, values: tuple[float, float, float]) -> float:
    said, truth = said.lower(), tags.tag_text(truth, missing="whole").lower()
    if said == truth:
        return values[0]
    return (
        values[1] if answers.contains(said, truth, either=True, empty=True) else values[2] * (said in caption.lower())
    )


def cls_accuracy_reward(completions: list[str], cls_solution: list[str]) -> list[float]:
    said = [tags.tag_text(text, missing="whole") for text in completions]
    return [_graded(text, truth, "", (1.0, 0.9, 0.0)) for text, truth in zip(said, cls_solution)]


def t2i_cls_reward(completions: list[str], solution: list[str], cap4gen: list[str]) -> list[float]:
    return [
        _graded(
            tags.tag_text(text, missing="whole"),
            truth,
            caption,
            (1.0, 0.9, 0.5) if "<answer>" in text else (0.8, 0.7, 0.3),
        )
        for text, truth, caption in zip(completions, solution, cap4gen)
    ]


def qa_accuracy_reward(
    completions: list[str], qa_solution: list[str], qa_type: str | list[str], qa_problem: list[str]
) -> list[float]:
    values = []
    for text, solution, problem in zip(completions, qa_solution, qa_problem):
        said, truth = released_generation.corl_answer(text), tags.tag_text(solution, missing="whole")
        if answers.same_word_or_number(said, truth):
            values.append(1.0)
        elif qa_type == "MC":
            values.append(float(answers.choice_or_text(said, problem) == truth))
        else:  # Released: a list of types is never equal to "MC".
            values.append(answers.soft_jaccard(said.rstrip(".,!?"), truth))
    return values


def t2i_qa_reward(completions: list[str], solution: list[str], qa_prompts: list[str]) -> list[float]:
    values = []
    for text, answer, problem in zip(completions, solution, qa_prompts):
        said, truth = tags.tag_text(text), tags.tag_text(answer, missing="whole")
        right = answers.choice_or_text(said if said is not None else text, problem) == truth
        values.append(0.2 if said == "UNK" else right * (0.8 if said is None else 1.0))
    return values


def text_image_matching(image_tokens: F64, text_tokens: F64) -> Tensor:
    return alignment.token_matching(image_tokens, text_tokens)
