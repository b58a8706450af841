"""Choosing frames of a clip to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gamutrl.core import Prompt
from gamutrl.environments.desk import Desk, Refusal, Shown
from gamutrl.environments.tools.crop import View
from gamutrl.rewards.parsing import numbers


def prompt_frames(prompt: Prompt) -> Sequence[Image.Image]:
    """The frames of a row's first clip; none where it has no clip."""
    return next((part.value for part in prompt.media if part.kind == "video"), ())


@dataclass(frozen=True)
class PickFrames:
    """Shows frames of the row's clip by number from 1, each as a picture (Pixel-Reasoner: at most 8 of 16).

    frames: where the clip's frames are at full resolution. most: of one call.
    """

    frames: Callable[[Prompt], Sequence[Image.Image]] = prompt_frames
    most: int = 8
    argument: str = "target_frames"
    view: View = View()

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        there = self.frames(desk.prompt)
        if not there:
            raise Refusal("there is no video to select frames from")
        asked = arguments.get(self.argument)
        asked = numbers(asked[: self.most + 1]) if isinstance(asked, list) else None
        if not asked or any(number != int(number) for number in asked):
            raise Refusal(f"{self.argument} must be a list of whole numbers of frames")
        if len(asked) > self.most:
            raise Refusal(f"at most {self.most} frames can be selected at once")
        if not all(1 <= number <= len(there) for number in asked):
            raise Refusal(f"frames are numbered from 1 to {len(there)}")
        picked = [int(number) for number in asked]
        full = tuple(there[number - 1] for number in picked)
        return Shown(pictures=tuple(map(self.view, full)), full=full, info={"frames": picked})


@dataclass(frozen=True)
class PickSpan:
    """Shows evenly spaced frames between two moments, in seconds, of the row's clip.

    rate: frames a second. count: how many frames are shown.
    """

    frames: Callable[[Prompt], Sequence[Image.Image]] = prompt_frames
    rate: float = 1.0
    count: int = 4
    view: View = View()

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        there = self.frames(desk.prompt)
        if not there:
            raise Refusal("there is no video to select frames from")
        span = numbers([arguments.get("start"), arguments.get("end")], 2)
        seconds = len(there) / self.rate
        if span is None or not 0 <= span[0] < span[1] <= seconds:
            raise Refusal(f"start and end must be seconds with 0 <= start < end <= {seconds:g}")
        first, last = int(span[0] * self.rate), max(int(span[0] * self.rate), int(span[1] * self.rate - 1e-9))
        count = min(self.count, last - first + 1)
        picked = [first + round(i * (last - first) / max(1, count - 1)) for i in range(count)]
        full = tuple(there[number] for number in picked)
        info = {"frames": [number + 1 for number in picked]}
        return Shown(pictures=tuple(map(self.view, full)), full=full, info=info)
