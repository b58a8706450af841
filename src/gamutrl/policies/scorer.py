"""Small networks that say how good outputs are for their prompts, where nothing larger is named: a reward model, and
the value of what is not finished yet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.core import Batch, Prompt, Rollout, Row

WORDS = 4096
"""Words are told apart by a hash of so many values."""


@dataclass(frozen=True)
class ScorerModel:
    """Names a new scorer. size: how many numbers an output has. heads: how many scores it gets. seed: of its start."""

    size: int = 64
    heads: int = 1
    width: int = 64
    seed: int = 0
    name: str = "scorer"

    def load(self) -> Scorer:
        return Scorer(self)


class ScoreNet(nn.Module):
    """Two hidden layers on an output and the mean of its prompt's words."""

    mean_H: Tensor
    std_H: Tensor

    def __init__(self, config: ScorerModel) -> None:
        super().__init__()
        width = config.width
        self.word = nn.EmbeddingBag(WORDS, width, mode="mean")
        self.first, self.second = nn.Linear(config.size, width), nn.Linear(width, width)
        self.last = nn.Linear(width, config.heads)
        self.register_buffer("mean_H", torch.zeros(config.heads))
        self.register_buffer("std_H", torch.ones(config.heads))

    def forward(self, x_RD: Tensor, words: Tensor, start_R: Tensor) -> Tensor:
        h_RW = torch.nn.functional.silu(self.first(x_RD) + self.word(words, start_R))
        return self.last(torch.nn.functional.silu(self.second(h_RW)))


class Value(nn.Module):
    """What a noisy latent is worth at a step, for a prompt's words: three layers, scaled by each step's own factors."""

    def __init__(self, size: int, steps: int, width: int) -> None:
        super().__init__()
        self.word = nn.EmbeddingBag(WORDS, width, mode="mean")
        self.layers = nn.ModuleList(nn.Linear(k, width) for k in (size + width, width, width))
        self.scales = nn.ModuleList(nn.Embedding(steps, width) for _ in self.layers)
        self.last = nn.Linear(width, 1)
        for scale in self.scales:
            nn.init.uniform_(scale.weight)  # type: ignore[arg-type]

    def forward(self, x_MD: Tensor, step_M: Tensor, words: Tensor, start_M: Tensor) -> Tensor:
        h_MW = torch.cat([x_MD, self.word(words, start_M)], 1)
        for layer, scale in zip(self.layers, self.scales):
            h_MW = torch.relu(layer(h_MW) * scale(step_M))
        return self.last(h_MW)[:, 0]


class Scorer:
    """A trainable score of outputs that are numbers (tensors, lists, blobs), differentiable in them."""

    def __init__(self, config: ScorerModel) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.module = ScoreNet(config)
        self.size = config.size

    def scores(self, batch: Batch) -> Tensor:
        """The scores of the batch's rollouts, `[R, H]`. Raises ValueError for outputs of another size."""
        return self.module(*self._inputs(batch))

    def standardised(self, batch: Batch) -> Tensor:
        """The scores in deviations from their mean, `[R, H]` (as `standardise` found both); the weights get no
        gradient."""
        frozen = {name: parameter.detach() for name, parameter in self.module.named_parameters()}
        score_RH = torch.func.functional_call(self.module, frozen, self._inputs(batch))
        return (score_RH - self.module.mean_H) / self.module.std_H

    @torch.no_grad()
    def standardise(self, batch: Batch) -> None:
        """Take the mean and deviation of these rollouts' scores as the scale of all."""
        score_RH = self.scores(batch)
        self.module.mean_H.copy_(score_RH.mean(0))
        self.module.std_H.copy_(score_RH.std(0).clamp(min=1e-6))

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        x_RD = torch.stack([numbers_of(rollout.output) for rollout in batch.rollouts])
        if x_RD.shape[1] != self.size:
            raise ValueError(f"This scorer reads outputs of {self.size} numbers, not of {x_RD.shape[1]}.")
        words_R = [words_of(rollout.prompt) for rollout in batch.rollouts]
        start_R = torch.tensor([0, *(len(words) for words in words_R[:-1])]).cumsum(0)
        return x_RD, torch.tensor([word for words in words_R for word in words]), start_R

    def demonstrated(self, prompts: Sequence[Prompt], outputs: Sequence[Any]) -> Batch:
        """One rollout a prompt that ended in the given output."""
        rollouts = [Rollout(prompt, [], output=output) for prompt, output in zip(prompts, outputs)]
        rows = [Row(r, range(0)) for r in range(len(rollouts))]
        return Batch.of(prompts, rollouts, range(len(rollouts)), rows=rows)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.module.load_state_dict(state)


def numbers_of(output: Any) -> Tensor:
    """An output as a vector, with its gradient where it has one."""
    values = getattr(output, "values_D", output)
    return torch.as_tensor(values, dtype=torch.float32).flatten()


def words_of(prompt: Prompt) -> list[int]:
    """The prompt's words by number (one for a prompt without any)."""
    return [zlib.crc32(word.encode()) % WORDS for word in prompt.text.lower().split()] or [0]
