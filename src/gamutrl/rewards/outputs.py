"""What a rollout made, as rewards of pictures take it: a picture to look at, or pixels that a gradient goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.rewards.base import Score


def picture_of(rollout: Rollout) -> Image.Image | None:
    """The picture that a rollout made, the middle frame of a clip; None where it made none.

    Raises TypeError for a rollout of text, whose policy makes no pictures.
    """
    output = _still(rollout)
    return drawn(output) if isinstance(output, Tensor) else output


def pixels_of(rollout: Rollout) -> Tensor | None:
    """The same as `[3, H, W]` in [0, 1]; with a gradient where the rollout's output has one."""
    output = _still(rollout)
    return output if output is None or isinstance(output, Tensor) else pixels(output)


def pixels(picture: Image.Image) -> Tensor:
    """A picture as `[3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0).float() / 255


def drawn(pixel_CHW: Tensor) -> Image.Image:
    """Pixels `[3, H, W]` in [0, 1] as a picture."""
    return Image.fromarray((pixel_CHW.detach() * 255).round().clamp(0, 255).byte().movedim(0, -1).cpu().numpy())


def asked_text(prompt: Prompt) -> str:
    """What a picture is asked for: the row's column `prompt`, or its words."""
    said = prompt.columns.get("prompt")
    return said if isinstance(said, str) else prompt.text


def _still(rollout: Rollout) -> Image.Image | Tensor | None:
    output = rollout.output
    if isinstance(output, list | tuple) and output:
        output = output[len(output) // 2]
    if isinstance(output, Tensor) and output.dim() == 4:
        output = output[len(output) // 2]
    if isinstance(output, str):
        raise TypeError("it looks at pictures, but this policy answers with text; choose a model that makes pictures.")
    return output if isinstance(output, Image.Image | Tensor) else None


@dataclass(frozen=True)
class Only:
    """A score of the rollouts that drew, or of those that wrote; it does not apply to the others."""

    makes: Literal["text", "image"]
    score: Score

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        drew_R = torch.tensor([isinstance(rollout.output, Image.Image) for rollout in batch.rollouts])
        applies_R = drew_R if self.makes == "image" else ~drew_R
        value_R = torch.full((len(drew_R),), torch.nan)
        if applies_R.any():
            value_R[applies_R] = self.score(batch.take_rollouts(applies_R), context).float()
        return value_R
