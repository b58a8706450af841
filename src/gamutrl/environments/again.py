"""Looking at the picture again: it is shown once more, inside the same turn, wherever the model begins to reflect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gamutrl.core import Prompt, image
from gamutrl.environments.base import Episode, Step
from gamutrl.environments.desk import pictures_of


@dataclass(frozen=True)
class ShowAgain:
    """Shows the row's pictures again after each `mark`, at most `most` times, and lets the turn go on (Qwen-LA, COPY).

    The mark must be among the stop strings of sampling. Source: 2505.23558.
    """

    mark: str = "<REFLECTION>"
    most: int = 4

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _Again(self, prompt)


@dataclass(eq=False)
class _Again:
    task: ShowAgain
    prompt: Prompt
    shown: int = 0

    def step(self, output: Any) -> Step:
        if not str(output).rstrip().endswith(self.task.mark):
            return Step(done=True)
        if self.shown >= self.task.most:
            return Step(done=True, info={"end": "budget", "stop": "pictures"})
        self.shown += 1
        return Step(tuple(image(picture) for picture in pictures_of(self.prompt)), role="inside")
