"""Does a picture show what its row asks for: objects, how many, their colours, how they lie; by whatever looks at it.

A row asks in GenEval's flat columns (`objects`, `counts`, `colors`, `relation` of the first object to the second,
`cells`) or in GenEval's own (`include`, `exclude`). Looking is a `See`: the vision program of `seeing`, a detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.asked import RELATIONS, Asked, listed
from gamutrl.functional.geometry import box_iou
from gamutrl.rewards.composition import relative_positions, shows
from gamutrl.rewards.digits import digit_log_probs
from gamutrl.rewards.named import named_boxes_score
from gamutrl.rewards.outputs import picture_of, pixels_of
from gamutrl.rewards.parsing import Detection
from gamutrl.rewards.seeing import BLOB, See, Seen, see_shapes

_WAYS = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}


def facts_shown(seen: Sequence[Seen], asked: Asked, *, exact: bool = True) -> dict[str, bool]:
    """Each fact that is asked for, and whether it holds.

    exact: as many as asked and nothing else beside; otherwise at least as many. A relation must hold between all things
    of both kinds; "near" asks for nothing but both.
    """
    facts: dict[str, bool] = {}
    groups: list[list[Seen]] = []
    for i, (name, count, color) in enumerate(zip(asked.objects, asked.counts, asked.colors)):
        named = [thing for thing in seen if thing.name == name]
        group = [thing for thing in named if color in (None, thing.color)]
        groups.append(group)
        facts[f"object {i}"] = bool(named)
        if color:
            facts[f"color {i}"] = bool(group)
        facts[f"count {i}"] = len(group) == count if exact else len(group) >= count
        if asked.cells:
            facts[f"cell {i}"] = bool(group) and all(in_cell(thing, asked.cells[i]) for thing in group)
    if asked.relation:
        first, second = groups[0], groups[1]
        way = _WAYS.get(RELATIONS[asked.relation])
        facts["relation"] = bool(first and second) and all(
            way is None or way in relative_positions(one.box, other.box) for one in first for other in second
        )
    if exact:
        facts["nothing else"] = len(seen) == sum(asked.counts)
    return facts


def in_cell(thing: Seen, cell: str) -> bool:
    """Whether a thing's centre lies where a cell's name says; a side that is not named is the middle third."""
    x, y = thing.center
    words = set(cell.split())
    # Two words that name no middle are corners, of a grid of two cells or of three.
    halves = len(words) == 2
    return _along(x, words & {"left", "right"}, halves) and _along(y, words & {"top", "bottom"}, halves)


def _along(at: float, side: set[str], halves: bool) -> bool:
    if not side:
        return 1 / 3 <= at <= 2 / 3
    edge = 1 / 2 if halves else 1 / 3
    return at < edge if side & {"left", "top"} else at > 1 - edge


@dataclass(frozen=True)
class Shown:
    """Whether each picture shows what its row asks for: all (1 or 0) or, `partial`, the share of the facts that hold.

    exact: as many as asked and nothing else. A rollout without a picture gets 0; a row that names no objects, NaN.
    """

    see: See = see_shapes
    partial: bool = False
    exact: bool = True

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        asked_R = [Asked.of(rollout.prompt.columns) for rollout in batch.rollouts]
        seen_R = look(batch, self.see, [asked.objects if asked else () for asked in asked_R])
        value_R = []
        for asked, seen in zip(asked_R, seen_R):
            facts = facts_shown(seen, asked, exact=self.exact) if asked and seen is not None else {"picture": False}
            held = sum(facts.values()) / len(facts)
            value_R.append(torch.nan if asked is None else held if self.partial else float(held == 1))
        return torch.tensor(value_R)


@dataclass(frozen=True)
class GenEval:
    """GenEval's own verdict on rows with its `include` and `exclude` (2310.11513): 1 where nothing is amiss, else 0."""

    see: See

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        columns_R = [rollout.prompt.columns for rollout in batch.rollouts]
        names_R = [
            [one["class"] for key in ("include", "exclude") for one in columns.get(key) or ()] for columns in columns_R
        ]
        value_R = []
        for columns, seen in zip(columns_R, look(batch, self.see, names_R)):
            detections: dict[str, list[Any]] = {}
            colors: dict[str, list[str]] = {}
            for thing in seen or ():
                detections.setdefault(thing.name, []).append(thing.box)
                colors.setdefault(thing.name, []).append(thing.color or "")
            right = seen is not None and shows(detections, colors, _without_nulls(columns))
            value_R.append(float(right) if columns.get("include") else torch.nan)
        return torch.tensor(value_R)


@dataclass(frozen=True)
class LayoutOverlap:
    """How well things lie in the row's `boxes` (as fractions of the picture) of its `labels`: mean IoU over labels.

    A thing's label is its colour and name, or its name where no label has a colour. NaN for rows without boxes.
    """

    see: See = see_shapes

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        columns_R = [rollout.prompt.columns for rollout in batch.rollouts]
        seen_R = look(batch, self.see, [columns.get("labels") or () for columns in columns_R])
        value_R = []
        for columns, seen in zip(columns_R, seen_R):
            labels = columns.get("labels") or ()
            true = [Detection(box, str(label)) for box, label in zip(columns.get("boxes") or (), labels)]
            found = [Detection(thing.box, _label(thing, labels)) for thing in seen or ()]
            value_R.append(named_boxes_score(found, true, overlap=box_iou) if true else torch.nan)
        return torch.tensor(value_R)


@dataclass(frozen=True)
class DigitShown:
    """How probable a reader of digits holds the one that a row asks for (its first object); NaN for other rows.

    Differentiable, unless `certain`.

    certain: 1 where it is the most probable of all, "no digit" among them, else 0.
    """

    certain: bool = False

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        values = []
        for rollout in batch.rollouts:
            asked = str((listed(rollout.prompt.columns.get("objects")) or [""])[0])
            pixel_CHW = pixels_of(rollout)
            if len(asked) != 1 or asked not in "0123456789":
                values.append(torch.tensor(torch.nan))
            elif pixel_CHW is None:
                values.append(torch.tensor(0.0))
            else:
                logp_K = digit_log_probs(pixel_CHW[None])[0]
                values.append((logp_K.argmax() == int(asked)).float() if self.certain else logp_K[int(asked)].exp())
        return torch.stack(values).cpu()


def look(batch: Batch, see: See, names_R: Sequence[Sequence[str]]) -> list[list[Seen] | None]:
    """What is seen in each rollout's picture, all pictures at once; None where there is none."""
    picture_R = [picture_of(rollout) for rollout in batch.rollouts]
    there = [r for r, picture in enumerate(picture_R) if picture is not None]
    found: list[list[Seen] | None] = [None] * len(picture_R)
    pictures = [picture for picture in picture_R if picture is not None]
    for r, seen in zip(there, see(pictures, [names_R[r] for r in there])):
        found[r] = seen
    return found


def _without_nulls(columns: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """GenEval's lists less the empty fields that tables put where a struct has none."""
    return {
        key: [{name: value for name, value in one.items() if value is not None} for one in columns.get(key) or ()]
        for key in ("include", "exclude")
    }


def _label(thing: Seen, labels: Sequence[str]) -> str:
    full = f"{thing.color} {thing.name}" if thing.color else thing.name
    return full if thing.name == BLOB or thing.name not in labels else thing.name
