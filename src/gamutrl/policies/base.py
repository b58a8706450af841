"""What every family of policy promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from gamutrl.core import Batch, Prompt
from gamutrl.environments import Environment

Statistic = Callable[[Tensor, Tensor], Tensor]
"""`fn(logits_GcV, mask_Gc) -> value_Gc`: full-vocabulary logits of one group's rows at one chunk of action indices."""


@dataclass(frozen=True)
class StateValue:
    """A statistic of the state that an action is taken in, not of its distribution: what the policy's value head says
    of it. A policy that has a head answers it; any other calls it like every statistic, and it says what is missing."""

    def __call__(self, *_: Any) -> Tensor:
        raise ValueError(
            "This policy has no value head. A critic needs a text model that is named with one: "
            "model=CriticModel(name) in the preset, as `gamut train grpo --variant ppo` has it."
        )


VALUE = StateValue()


class Policy(Protocol):
    """A model that acts, can score its own actions, and can be trained.

    `log_probs` is differentiable and, under the same settings, equal to what sampling recorded. Parameters are reached
    through `parameters()` (the trainable ones) and saved as safetensors by `save`.
    """

    module: nn.Module

    @property
    def exact(self) -> bool:
        """Whether what sampling records is, for these weights, what `log_probs` answers."""

    def rollout(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        environment: Environment,
        sampling: Any,
        *,
        seed: int,
    ) -> Batch:
        """A group of rollouts a prompt. sampling: the settings of the policy's family (`Sampling`, `FlowSampling`)."""

    def log_probs(self, batch: Batch, statistics: Mapping[str, Statistic] | None = None) -> Any:
        """`logp_NT`; with `statistics`, the pair `(logp_NT, {name: value_NT})`. Zero where the mask is False."""

    def reference(self, name: str) -> AbstractContextManager[None]:
        """Inside, the policy acts and scores as its named copy ("base", "old", …), without gradient."""

    def keep_reference(self, name: str) -> None:
        """Make the named copy from the weights of now ("base" comes for free where the policy has adapters)."""

    def update_reference(self, name: str, decay: float = 0.0) -> None:
        """Move the named copy: copy ← decay · copy + (1 − decay) · weights of now."""

    def demonstrated(self, prompts: Sequence[Prompt], made: Sequence[Any]) -> Batch:
        """One rollout a prompt whose actions are the given assistant text and its end token (nothing was sampled).

        Several turns are given with what an environment answered to each (`environments.scripted.play`). Who makes
        pictures is given pictures.
        """

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def save(self, folder: Path) -> None: ...
