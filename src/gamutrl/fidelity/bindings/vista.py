"""VISTA's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.environments import calls
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.rewards import charts, tags, tools


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def grpo_loss(logp: F64, ref: F64, adv: F64, mask: F64, beta: float) -> Tensor:
    return compose.grpo_loss(logp, adv, mask, ref=ref, beta=beta)


def _spoken(text: str) -> str:
    return text.partition("assistant")[2] if "assistant" in text else text


def chart_answer_match(pred: str | None, label: str) -> bool:
    return pred is not None and bool(charts.relaxed_match(pred, label, bare_lists=True))


def extract_final_answer(text: str) -> str:
    found = tags.tag_text(_spoken(text), multiline=False)
    return text.strip() if found is None else found


def parse_tool_choice(text: str) -> list[int] | None:
    said = _spoken(text).strip().partition("\n\n")[0] if "assistant" in text else text
    listed = tags.tag_text(said, ("[", "]"), missing="whole")
    return calls.integers_chosen(tags.tag_text(said, multiline=False) or listed, 9)


def parse_tool_choice_strict(text: str) -> list[int] | None:
    said = tags.tag_text(_spoken(text), multiline=False)
    return None if said is None else calls.integers_chosen(said, 9, strict=True)


def tool_gain_reward(
    policy_output: str, label: str, answer_without_tools: str | None, answer_with_tools: str | None
) -> float:
    if answer_without_tools is None or answer_with_tools is None:
        return 0.0
    right = [
        bool(charts.relaxed_match(extract_final_answer(answer), label))
        for answer in (answer_without_tools, answer_with_tools)
    ]
    return tools.gain(right[0], right[1])
