"""ViLaSR's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.environments import drawings
from gamutrl.fidelity import compose, released_agents
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.recipes import vilasr
from gamutrl.rewards import answers


def grpo_outcome_advantage(scores: F32, index: Labels) -> Tensor:
    return compose.outcome(scores, index)


def policy_loss(old: F32, new: F32, adv: F32, mask: F32, low: float, high: float, dual: float) -> list[Tensor]:
    answer = compose.verl_loss(new, old, adv, mask, low, high, dual)
    return [answer["loss"], answer["clipped"], answer["capped"], answer["kl"]]


TYPES: dict[str, answers.Compare] = {
    "multiple choice": answers.same_text,
    "regression": released_agents.vilasr_relative_accuracy,
    "numerical": released_agents.vilasr_relative_accuracy,
}


def parse_drawing_calls(text: str) -> dict[str, Any]:
    found = drawings.drawing_in(text)
    return {
        "boxes": found.boxes,
        "moves": found.arrows,
        "n_unparsable_blocks": found.unparsed,
        "bad_items": found.unread,
    }


def merge_drawings(
    boxes: dict[str, Any], moves: dict[str, Any], new_boxes: list[Any], new_moves: list[Any], new_image_index: int
) -> dict[str, Any]:
    places = [drawings.picture_of(items) for items in (new_boxes, new_moves)]
    source = max(-1 if place is None else place for place in places)

    def drawn(before: dict[str, Any], items: list[Any]) -> dict[str, Any]:
        after = drawings.drawn({int(key): value for key, value in before.items()}, items, source, new_image_index)
        return {str(key): value for key, value in after.items()}

    return {"source_image": source, "boxes": drawn(boxes, new_boxes), "moves": drawn(moves, new_moves)}


def accuracy_reward(output: str, ground_truth: str, question_type: str) -> float:
    return answers.typed_accuracy(output, ground_truth, question_type, compare=TYPES, missing="whole") or 0.0


def format_reward(assistant_turns: list[str]) -> list[float]:
    right = vilasr.layout(assistant_turns)
    return [right, float(right and drawings.redraws(map(drawings.drawing_in, assistant_turns)))]


def composite_reward(assistant_turns: list[str], ground_truth: str, question_type: str) -> dict[str, float]:
    accuracy = accuracy_reward(assistant_turns[-1], ground_truth, question_type)
    layout, reflection = format_reward(assistant_turns)
    overall = 0.5 * accuracy + 0.5 * layout if accuracy > 0 else 0.0
    return {"overall": overall, "format": layout, "accuracy": accuracy, "reflection": reflection}
