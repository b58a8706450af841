"""Regions to look at, all proposed in one turn, and what a detector then finds in them (Active-O3, 2505.21457)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gamutrl.core import Prompt
from gamutrl.data.worlds import render
from gamutrl.environments import calls, crops
from gamutrl.environments.base import Episode, Step, needed
from gamutrl.environments.desk import Desk
from gamutrl.environments.tools.detect import Detector, Found
from gamutrl.rewards.parsing import numbers


def asked_for(prompt: Prompt) -> list[str]:
    """The name of what a row of `clutter` asks for."""
    query = needed(prompt, "query")
    return [f"{query['colour']} {query['shape']}"]


@dataclass(frozen=True)
class Proposing:
    """One turn of up to `most` boxes, as JSON objects with `bbox_2d` wherever they stand; then it is over.

    The turn's `info` holds `regions` (fractions of the row's first picture; corners put in order, clipped, boxes
    without area left out) and `found`, what the detector sees in them close up, in fractions of the whole picture.
    frame: the size in which boxes are written. names: what is to be found.
    """

    detector: Detector
    most: int = 3
    frame: tuple[float, float] = (render.SIZE, render.SIZE)
    names: Callable[[Prompt], Sequence[str]] = asked_for

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _Proposed(self, prompt)


def regions_in(text: str, frame: Sequence[float], most: int) -> list[list[float]]:
    """The first boxes of a text that have an area in the picture, as fractions of it."""
    found = (numbers(item.get("bbox_2d"), 4) for item in calls.flat_objects(text, "bbox_2d"))
    boxes = (crops.clipped(crops.ordered(box), frame) for box in found if box)
    return [crops.scaled(box, frame, (1, 1)) for box in islice(filter(crops.croppable, boxes), most)]


@dataclass(eq=False)
class _Proposed:
    task: Proposing
    prompt: Prompt

    def step(self, output: Any) -> Step:
        regions = regions_in(str(output), self.task.frame, self.task.most)
        picture, names = Desk.of(self.prompt, 0).picture(0).full, self.task.names(self.prompt)
        found: list[Found] = []
        for region in regions:
            seen = self.task.detector(self.prompt, picture, names, region)
            boxes = crops.out_of([one["bbox_2d"] for one in seen], region)
            found += [{**one, "bbox_2d": box} for one, box in zip(seen, boxes)]
        return Step(done=True, info={"end": "answer", "regions": regions, "found": found})
