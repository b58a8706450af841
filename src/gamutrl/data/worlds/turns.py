"""Demonstrations of several turns: what to look at, turn after turn, and how a system writes that down.

A world gives a plan, which knows no notation: steps, then the answer. A writer puts a step into the notation of a
system; the environment that reads it is the recipe's. Boxes and points are in the model's view, unless a writer says
otherwise.
"""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gamutrl.core import Prompt
from gamutrl.data.worlds import base, forms


@dataclass(frozen=True)
class Look:
    """One step: why, and what is looked at (`box`, `point`, `frames`, `query`, or any tool's own arguments)."""

    thought: str
    at: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is looked at in order; then why the answer is what it is, and the answer."""

    looks: Sequence[Look]
    thought: str
    answer: str


Writer = Callable[[Look], str]


@dataclass(frozen=True)
class Demonstration:
    """A target of supervised training: the turns that a row's own world demonstrates.

    write: the notation (None: the world's usual one). error_rate, detour: how often the answer is wrong, a look goes
    astray. options: further arguments of the world's `demonstrate_turns`.
    """

    write: Writer | None = None
    error_rate: float = 0.0
    detour: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, prompt: Prompt, seed: int) -> list[str]:
        world: Any = importlib.import_module(f"gamutrl.data.worlds.{prompt.columns['world']}")
        asked = {"error_rate": self.error_rate, "seed": seed, **self.options}
        asked |= {"write": self.write} if self.write else {}
        asked |= {"detour": self.detour} if self.detour else {}
        return world.demonstrate_turns(prompt, **asked)


@dataclass(frozen=True)
class AtOnce:
    """A target of one turn, in which nothing is looked at: the row's world answers in one of its styles."""

    style: str = "work"
    error_rate: float = 0.0

    def __call__(self, prompt: Prompt, seed: int) -> str:
        world: Any = importlib.import_module(f"gamutrl.data.worlds.{prompt.columns['world']}")
        return world.demonstrate(prompt, self.style, self.error_rate, seed)


@dataclass(frozen=True)
class Either:
    """One of several targets for each row, as `(share, target)`: demonstrations of unequal worth."""

    targets: Sequence[tuple[float, Callable[[Prompt, int], Any]]]

    def __call__(self, prompt: Prompt, seed: int) -> Any:
        rng = random.Random(f"{prompt.id}/either/{seed}")
        ((_, target),) = rng.choices(self.targets, [share for share, _ in self.targets])
        return target(prompt, seed)


@dataclass(frozen=True)
class Drawn:
    """A target for ViLaSR (2506.09965): what the row's world plans to look at is drawn, all of it at once, then told.

    detour: how often a box is drawn beside its thing first, and again on the next picture. looks: whether anything is
    drawn before the answer. error_rate: how often that is wrong.
    """

    error_rate: float = 0.0
    detour: float = 0.0
    looks: bool = True

    def __call__(self, prompt: Prompt, seed: int) -> list[str]:
        plan, rng = _planned(prompt, self.error_rate, seed), random.Random(f"{prompt.id}/drawn/{seed}")
        items = [{"bbox_2d": list(look.at["box"]), "label": look.thought} for look in plan.looks if self.looks]
        said: list[str] = []
        if items and rng.random() < self.detour:
            k = rng.randrange(len(items))
            astray = [*items]
            astray[k] = {**items[k], "bbox_2d": base.misplaced(items[k]["bbox_2d"], rng)}
            said, items = [_draws("draw both" if len(items) > 1 else "draw it", 1, astray)], [items[k]]
        if items:
            thought = "draw again" if said else "draw both" if len(items) > 1 else "draw it"
            said.append(_draws(thought, len(said) + 1, items))
        thought = plan.thought if self.looks else ""
        return [*said, f"<think>{thought}</think> Action: Answer\n<answer>{plan.answer}</answer>"]


@dataclass(frozen=True)
class Grounded:
    """A target for GRIT (2505.15879): one turn, in whose thought stand the boxes that the row's world plans to look at.

    detour: how often a box stands beside its thing. looks: whether boxes are written at all. error_rate: how often the
    answer is wrong.
    """

    error_rate: float = 0.0
    detour: float = 0.0
    looks: bool = True

    def __call__(self, prompt: Prompt, seed: int) -> str:
        plan, rng = _planned(prompt, self.error_rate, seed), random.Random(f"{prompt.id}/grounded/{seed}")
        boxes = [base.misplaced(b, rng) if rng.random() < self.detour else b for b in (x.at["box"] for x in plan.looks)]
        found = [f"{look.thought} {_corners(box)}" for look, box in zip(plan.looks, boxes)]
        thought = (", ".join(found) or "none") if self.looks else ""
        rethought = plan.thought if self.looks else ""
        return f"<think>{thought}</think><rethink>{rethought}</rethink><answer>{plan.answer}</answer>"


def _planned(prompt: Prompt, error_rate: float, seed: int) -> Plan:
    world: Any = importlib.import_module(f"gamutrl.data.worlds.{prompt.columns['world']}")
    return world.plan_turns(prompt, error_rate, seed)


def _draws(thought: str, picture: int, items: Sequence[Mapping[str, Any]]) -> str:
    numbered = [{"index": picture, **item} for item in items]
    return drawn_boxes(Look(thought, {"tool": "Object Mapper", "items": numbered}))


def written(plan: Plan, write: Writer, form: str = "think") -> list[str]:
    """The assistant's turns of a plan."""
    return [*(write(look) for look in plan.looks), forms.write(form, plan.answer, plan.thought)]


def clumsy(plan: Plan, rng: random.Random, detour: float = 0.0, error_rate: float = 0.0, wrong: str = "") -> Plan:
    """The plan as a half-competent model would carry it out.

    detour: how often a box is first placed beside what is looked for, seen to be wrong, and corrected. error_rate: how
    often the answer is `wrong`.
    """
    looks: list[Look] = []
    for look in plan.looks:
        if "box" in look.at and rng.random() < detour:
            looks.append(replace(look, at={**look.at, "box": base.misplaced(look.at["box"], rng)}))
        looks.append(look)
    answer = wrong if wrong and rng.random() < error_rate else plan.answer
    return replace(plan, looks=tuple(looks), answer=answer)


def tool_call(name: str, arguments: Mapping[str, Any], thought: str | None = None) -> str:
    """A thought and a call as chat templates write it."""
    said = "" if thought is None else f"<think>{thought}</think>"
    return f"{said}<tool_call>{json.dumps({'name': name, 'arguments': dict(arguments)})}</tool_call>"


def zoom_call(look: Look) -> str:
    """DeepEyes, Chain-of-Focus."""
    return tool_call("image_zoom_in_tool", {"bbox_2d": look.at["box"]}, look.thought)


def crop_or_frames_call(look: Look) -> str:
    """Pixel-Reasoner: a crop of the first picture, or frames by number."""
    if "frames" in look.at:
        return f"{look.thought}{tool_call('select_frames', {'target_frames': list(look.at['frames'])})}"
    return f"{look.thought}{tool_call('crop_image_normalized', {'bbox_2d': look.at['box'], 'target_image': 1})}"


def point_call(look: Look) -> str:
    """ViGoRL: the middle of what is looked at."""
    x1, y1, x2, y2 = look.at["box"]
    return tool_call("search_coordinate", {"coordinate": [(x1 + x2) // 2, (y1 + y2) // 2]}, look.thought)


def box_tag(look: Look) -> str:
    """Ground-R1."""
    return f"<think>{look.thought}</think><box>{_corners(look.at['box'])}</box>"


def search_or_crop_tag(look: Look) -> str:
    """VRAG-RL."""
    inside = (
        f"<search>{look.at['query']}</search>" if "query" in look.at else f"<bbox>{_corners(look.at['box'])}</bbox>"
    )
    return f"<think>{look.thought}</think>\n{inside}"


def drawn_boxes(look: Look) -> str:
    """ViLaSR: boxes and arrows on a picture, in a fence."""
    return f"<think>{look.thought}</think> Action: {look.at['tool']}\n```json\n{json.dumps(look.at['items'])}\n```"


def json_action(look: Look) -> str:
    """OpenThinkIMG."""
    action = {"name": look.at["tool"], "arguments": {"image": "img_1", **look.at.get("arguments", {})}}
    return json.dumps({"thought": look.thought, "actions": [action]})


def terminated(thought: str, answer: str) -> str:
    """OpenThinkIMG's last turn."""
    return forms.write("actions", answer, thought)


def _corners(box: Sequence[int]) -> str:
    return f"[{', '.join(map(str, box))}]"
