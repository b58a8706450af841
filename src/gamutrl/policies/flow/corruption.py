"""Clean outputs and how they are noised: what likelihoods by matching error are estimated on."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from gamutrl.core import Prompt


@dataclass(frozen=True, eq=False)
class Outputs:
    """N clean latents and the prompts that they answer. cache: encoded prompts, shared with the batch they are of."""

    prompts: list[Prompt]
    latent_N: Tensor
    cache: MutableMapping[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)


class Corruption(NamedTuple):
    """N outputs at L noise levels each: latents and noise `[N, L, ...]`, the schedule's level and time `[N, L]`.

    Drawn once, in `prepare`, and shared by new, old and reference. It travels on a batch as four tensors:
    `batch.with_(**corruption._asdict())`, and comes back by `Corruption.of(batch)`.
    """

    noised_NL: Tensor
    noise_NL: Tensor
    level_NL: Tensor
    time_NL: Tensor

    @classmethod
    def of(cls, batch: Any) -> Corruption:
        return cls(*(batch[name] for name in cls._fields))
