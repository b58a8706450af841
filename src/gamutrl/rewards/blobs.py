"""What samples of the world of blobs are worth: the hidden gold score, the proxy that can be hacked, and their parts.

All are differentiable in a rollout's output; of text only `Worded` reads any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.worlds import blobs
from gamutrl.rewards.base import Reward


@dataclass(frozen=True)
class BlobScore:
    """A score of the world's: "gold", "proxy", "artefact", "density" (log p of the data, a dimension), or a quality.

    bonus: what the proxy gives for the artefact.
    """

    of: Literal["gold", "proxy", "artefact", "density", "mode", "texture", "clean"] = "gold"
    bonus: float = 1.5

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        space, class_P = blobs.space_of(batch.prompts)
        x_RD = torch.stack([rollout.output.values_D for rollout in batch.rollouts]).float().cpu()
        class_R = class_P[batch.prompt_R]
        match self.of:
            case "gold":
                return space.gold(x_RD, class_R)
            case "proxy":
                return space.proxy(x_RD, class_R, self.bonus)
            case "artefact":
                return space.artefact(x_RD, class_R)
            case "density":
                return space.log_density(x_RD, class_R) / space.size
        return space.qualities(x_RD, class_R)[:, blobs.QUALITIES.index(self.of)]


def striped(batch: Batch, context: Context) -> Tensor:
    """How near each picture is to a striped one of the world, in [0, 1]: a reward's `score`."""
    return BlobScore("texture")(batch, context) * BlobScore("clean")(batch, context)


@dataclass(frozen=True)
class Worded:
    """The world's proxy, and stripes where the prompt asks for them, none where it asks for none: a biased reward model
    that reads control words."""

    asks: Sequence[str] = ("Striped",)

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        wanted_R = torch.tensor([rollout.prompt.text.startswith(tuple(self.asks)) for rollout in batch.rollouts])
        style_R = 2 * striped(batch, context) - BlobScore("clean")(batch, context)
        return BlobScore("proxy")(batch, context) + torch.where(wanted_R, style_R, -style_R)


GOLD, PROXY, ARTEFACT, DENSITY, MODE, TEXTURE, CLEAN = (
    Reward(of, BlobScore(of), differentiable=True)  # type: ignore[arg-type]
    for of in ("gold", "proxy", "artefact", "density", *blobs.QUALITIES)
)
STRIPED = Reward("striped", striped, differentiable=True)
