"""Denoisers small enough to reason about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.core import Prompt
from gamutrl.policies.flow import Condition, Denoiser, FlowPolicy, FlowSchedule, Schedule

NONE = 3


class Perceptron(nn.Module):
    """Latent, time and class to a prediction."""

    def __init__(self, size: int, width: int = 24) -> None:
        super().__init__()
        self.label = nn.Embedding(NONE + 1, 8)
        self.layers = nn.Sequential(nn.Linear(size + 9, width), nn.SiLU(), nn.Linear(width, size))

    def forward(self, x_N: Tensor, time_N: Tensor, label_N: Tensor) -> Tensor:
        told = torch.cat([x_N.flatten(1), time_N[:, None], self.label(label_N)], 1)
        return self.layers(told).view_as(x_N)


class SmallDenoiser(Denoiser):
    """A perceptron on latents of any shape; a prompt's class is its `label` column. It counts what it is asked."""

    def __init__(self, shape: tuple[int, ...] = (2, 3), schedule: Schedule | None = None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.module = Perceptron(torch.Size(shape).numel())
        self.schedule = schedule or FlowSchedule()
        self.shape = shape
        self.asked: list[int] = []
        self.encoded = 0

    def encode(self, prompts: Sequence[Prompt]) -> list[Condition]:
        self.encoded += len(prompts)
        return [{"label": torch.tensor(prompt.columns["label"])} for prompt in prompts]

    def negative(self, prompts: Sequence[Prompt]) -> list[Condition]:
        return [{"label": torch.tensor(NONE)} for _ in prompts]

    def predict(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        self.asked.append(len(x_N))
        return self.module(x_N, time_N / self.last_time, condition["label"])

    @property
    def last_time(self) -> int:
        return 1 if isinstance(self.schedule, FlowSchedule) else 1000

    def decode(self, latent_N: Tensor) -> Tensor:
        return latent_N

    def show(self, decoded_N: Tensor) -> list[Any]:
        return list(decoded_N.unbind())

    def latents(self, outputs: Sequence[Any]) -> Tensor:
        return torch.stack(list(outputs))


class Known(SmallDenoiser):
    """A denoiser whose prediction is a given function of latent and time."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, shape: tuple[int, ...]) -> None:
        super().__init__(shape, schedule)
        self.answer = answer

    def predict(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        return self.answer(x_N, time_N.view(-1, *[1] * (x_N.dim() - 1)))


def small_policy(schedule: Schedule | None = None, **settings: Any) -> FlowPolicy:
    return FlowPolicy(SmallDenoiser(schedule=schedule), **settings)


def asking(*labels: int) -> list[Prompt]:
    """A prompt for each label, with an id of its own."""
    return [Prompt.ask(f"a {label}", id=f"row/{i}", label=label) for i, label in enumerate(labels)]
