"""MetaSpatial's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.data.worlds import furniture
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels
from gamutrl.rewards import combine, furnishing


def group_advantage(scores: F32, group_ids: Labels) -> Tensor:
    return compose.outcome(scores, group_ids)


def low_var_kl(logps: F64, ref_logps: F64) -> Tensor:
    return compose.verl_kl(logps, ref_logps, "low_var_kl")


def ppo_clip_loss(logps: F64, old_logps: F64, advantages: F64, mask: F64, cliprange: float) -> dict[str, Tensor]:
    answer = compose.verl_loss(logps, old_logps, advantages, mask, cliprange)
    return {"pg_loss": answer["loss"], "clipfrac": answer["clipped"], "ppo_kl": answer["kl"]}


def placement_box(
    preposition: str,
    room: list[float],
    a_angle: float,
    a_size: list[float],
    b_angle: float,
    b_id: str,
    b_position: list[float],
    b_size: list[float],
    is_adjacent: bool,
    is_on_floor: bool,
) -> list[float]:
    thing = furniture.Thing("a", tuple(a_size), None, a_angle, is_on_floor)  # type: ignore[arg-type]
    other = furniture.Thing(b_id, tuple(b_size), tuple(b_position), b_angle)  # type: ignore[arg-type]
    ranges = furniture.allowed(thing, other, preposition, is_adjacent, tuple(room), margin=0.5)  # type: ignore[arg-type]
    return [end for pair in ranges for end in pair]


def physics_ratios(objects: list[dict[str, Any]], room: dict[str, float]) -> dict[str, float]:
    size = (room["x"], room["y"], room["z"])
    made = furnishing.Furnished([furniture.thing_of(entry) for entry in objects], furniture.shell(size), size)
    collisions, broken = made.ratios(margin=0.5)
    return {"collision_ratio": collisions, "constraint_ratio": broken}


def format_reward(text: str, num_objects: int) -> float:
    return furnishing.readable(text, num_objects)


def total_reward(
    text: str, num_objects: int, judge: list[float] | float, collision_ratio: float, constraint_ratio: float
) -> float:
    layout = furnishing.readable(text, num_objects)
    grades = sum(int(grade) for grade in judge) if isinstance(judge, list) else judge
    if layout == 1 and grades == 10:  # Released: its mark of a failed judge, and also five ones and a six.
        return 0.5 * layout + 0.2
    return furnishing.total(layout, grades or None, collision_ratio, constraint_ratio)


def discounted_turn_reward(rewards: list[float]) -> float:
    return combine.discounted_mean(rewards)
