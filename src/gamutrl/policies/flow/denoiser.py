"""The model side of a flow policy: what turns prompts and noise into predictions, and latents into pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gamutrl.core import Prompt
from gamutrl.functional.denoising import guide
from gamutrl.policies.flow.schedules import Schedule

Condition = Mapping[str, Tensor]
"""What a denoiser is told beside the latent: named tensors, of one prompt (without a row axis) or of N rows."""


class Denoiser(Protocol):
    """A velocity or noise predictor with all that goes with it. Subclass it: what is written here are the defaults.

    module: what trains (with an adapter, a `PeftModel`); it is never put in training mode. schedule: what it was
    trained to undo. shape: of one latent, `[C, H, W]`, `[C, F, H, W]` or `[D]`. device: where it computes.
    embeds_guidance: it is told the guidance weight (as the condition's "guidance") and needs no second pass.
    """

    module: nn.Module
    schedule: Schedule
    shape: tuple[int, ...]
    embeds_guidance: bool = False

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def encode(self, prompts: Sequence[Prompt]) -> list[Condition]:
        """Each prompt as a condition, without a row axis; no gradient."""
        ...

    def negative(self, prompts: Sequence[Prompt]) -> list[Condition]:
        """What guidance leads away from, for each prompt: its `negative_prompt` column, or nothing."""
        ...

    def predict(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        """The prediction for N latents (float32 in and out); time as the schedule's grid tells it."""
        ...

    def decode(self, latent_N: Tensor) -> Tensor:
        """Latents to pixels `[N, 3, H, W]` in [0, 1] (clips `[N, F, 3, H, W]`, points `[N, D]`), differentiable."""
        ...

    def show(self, decoded_N: Tensor) -> list[Any]:
        """What was decoded as rollouts' outputs: PIL images, lists of them, points."""
        ...

    def carry(self, decoded_N: Tensor) -> list[Any]:
        """What was decoded as outputs that a gradient flows through, for rewards to score: tensors."""
        return list(decoded_N.unbind())

    def latents(self, outputs: Sequence[Any]) -> Tensor:
        """The inverse of `decode` and `show`, as far as there is one: data to train on."""
        ...

    def collate(self, conditions: Sequence[Condition]) -> Condition:
        """Conditions of single prompts as rows."""
        return {name: torch.stack([condition[name] for condition in conditions]) for name in conditions[0]}

    def join(self, conditions: Sequence[Condition]) -> Condition:
        """Conditions of rows, one after the other."""
        return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}

    def guide(self, conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
        """Classifier-free guidance of predictions."""
        return guide(conditional, unconditional, weight)

    def save(self, folder: Path) -> None:
        """What `load` needs to find the weights again, as safetensors."""
        ...


class Kept(NamedTuple):
    """A pass whose graph is kept: its rows, and their guided predictions."""

    row_M: list[int]
    guided_M: Tensor


class Predicted(NamedTuple):
    """A guided prediction, the unconditional one in it (None where there is no guidance), and passes that it is of."""

    guided: Tensor
    negative: Tensor | None = None
    kept: tuple[Kept, ...] = ()

    def take(self, index_N: Tensor) -> Predicted:
        """Some rows of it, without graphs that were kept."""
        return Predicted(self.guided[index_N], None if self.negative is None else self.negative[index_N])


def predict(
    denoiser: Denoiser,
    x_N: Tensor,
    time_N: Tensor,
    condition: Condition,
    negative: Condition | None,
    weight: float = 1.0,
    *,
    detach: bool = True,
    known: Tensor | None = None,
) -> Predicted:
    """Both halves of guidance in one pass; the negative one apart where no gradient may go through it.

    known: the unconditional prediction, where it was made before.
    """
    time_N = time_N.float()
    if denoiser.embeds_guidance:
        told = {**condition, "guidance": torch.full_like(time_N, weight)}
        return Predicted(denoiser.predict(x_N, time_N, told))
    if weight == 1 or negative is None:
        return Predicted(denoiser.predict(x_N, time_N, condition))
    if known is None and detach and torch.is_grad_enabled():
        with torch.no_grad():
            known = denoiser.predict(x_N, time_N, negative)
    if known is not None:
        conditional = denoiser.predict(x_N, time_N, condition)
        return Predicted(denoiser.guide(conditional, known, weight), known)
    both = denoiser.join([condition, negative])
    predicted = denoiser.predict(torch.cat([x_N, x_N]), torch.cat([time_N, time_N]), both)
    conditional, unconditional = predicted.chunk(2)
    return Predicted(denoiser.guide(conditional, unconditional, weight), unconditional)


def rows(condition: Condition, index_N: Tensor) -> Condition:
    """Some rows of a condition."""
    return {name: value.index_select(0, index_N.to(value.device)) for name, value in condition.items()}
