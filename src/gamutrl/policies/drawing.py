"""What policies that draw in one go share: who draws what, with which randomness, and the pictures that come out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Prompt, ResponderError, Rollout
from gamutrl.environments import Environment
from gamutrl.policies.sampling import draws


def uniforms(prompts: Sequence[Prompt], copies: int, seed: int, count: int) -> Tensor:
    """`count` uniform numbers a rollout, `[P · copies, count]` float64: a function of the seed, the row and the
    number of the copy, not of who else draws."""
    return torch.stack([draws(seed, name, place, 0, count) for name, place in _names(prompts, copies)])


def _names(prompts: Sequence[Prompt], copies: int) -> Iterator[tuple[str, int]]:
    times: Counter[str] = Counter()
    for prompt in prompts:
        name = prompt.id or hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        yield from ((name, times[name] * copies + copy) for copy in range(copies))
        times[name] += 1


def answered(rollouts: Sequence[Rollout], environment: Environment, seed: int) -> None:
    """Show the environment what was drawn. Raises ValueError where it wants to go on."""
    for rollout in rollouts:
        try:
            step = environment(rollout.prompt, seed).step(rollout.output)
        except ResponderError as error:
            rollout.end, rollout.info["error"] = "error", str(error)
            continue
        rollout.info.update(step.info)
        if not step.done:
            raise ValueError("This policy answers once; the environment wants to go on after its output.")


def pictures_of(value_N3SS: Tensor) -> list[Image.Image]:
    """Values in [-1, 1] as pictures."""
    pixels = ((value_N3SS.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def values_of(pictures: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures as `[N, 3, side, side]` in [-1, 1], resized where they are of another size."""
    sized = [p if p.size == (side, side) else p.resize((side, side), Image.Resampling.BICUBIC) for p in pictures]
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in sized])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
