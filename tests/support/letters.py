"""A small policy that is real in every part but its size: a table of logits, one row a prompt, sampled and scored
exactly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from standin import StandIn
from torch import Tensor, nn

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn

LETTERS = "abcdefgh"


class TablePolicy(StandIn):
    """Answers with `length` letters, each drawn from the logits of its prompt's `kind` and its place."""

    def __init__(self, kinds: int = 4, length: int = 2) -> None:
        table = nn.Embedding(kinds, length * len(LETTERS))
        nn.init.zeros_(table.weight)
        super().__init__(table)
        self.length = length

    def _logp_ALV(self, kinds: Sequence[int]) -> Tensor:
        return self.acting(torch.tensor(kinds)).view(len(kinds), self.length, len(LETTERS)).log_softmax(-1)

    def rollout(self, prompts, group_size, environment, sampling: Sampling, *, seed: int) -> Batch:
        logp_PLV = self._logp_ALV([prompt.columns["kind"] for prompt in prompts]).detach()
        rollouts = []
        for p, prompt in enumerate(prompts):
            own = zlib.crc32(prompt.id.encode()) % 1_000_003
            for g in range(group_size):
                if sampling.temperature == 0:
                    tokens = logp_PLV[p].argmax(-1)
                else:
                    generator = torch.Generator().manual_seed(seed * 7919 + own * 101 + g)
                    tokens = torch.multinomial(logp_PLV[p].exp(), 1, generator=generator).flatten()
                words = "".join(LETTERS[t] for t in tokens)
                logp = logp_PLV[p].gather(1, tokens[:, None]).flatten()
                rollouts.append(Rollout(prompt, [Turn(words, words, tokens, logp)], output=words))
        return Batch.of(prompts, rollouts, [p for p in range(len(prompts)) for _ in range(group_size)])

    def log_probs(self, batch: Batch, statistics: Mapping[str, Any] | None = None) -> Any:
        tokens = torch.stack([batch.rollouts[row.rollout].turns[0].tokens_T for row in batch.rows])
        kinds = [batch.rollouts[row.rollout].prompt.columns["kind"] for row in batch.rows]
        logp_NTV = self._logp_ALV(kinds)
        logp_NT = logp_NTV.gather(2, tokens[..., None])[..., 0] * batch.mask_NT
        if not statistics:
            return logp_NT
        return logp_NT, {name: fn(logp_NTV, batch.mask_NT) for name, fn in statistics.items()}

    def demonstrated(self, prompts, texts) -> Batch:
        rollouts = []
        for prompt, words in zip(prompts, texts):
            tokens = torch.tensor([LETTERS.index(c) for c in words])
            rollouts.append(Rollout(prompt, [Turn(words, words, tokens, torch.zeros(len(tokens)))]))
        return Batch.of(prompts, rollouts, range(len(prompts)))


@dataclass(frozen=True)
class TableModel:
    """Names the policy above in a preset."""

    name: str = "table"
    kinds: int = 4
    length: int = 2

    def load(self) -> TablePolicy:
        return TablePolicy(self.kinds, self.length)


@dataclass(frozen=True)
class Letters:
    """Rows that ask for the first letters after their kind's own."""

    kinds: int = 4

    def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        kinds = torch.randint(self.kinds, (size,), generator=generator).tolist()
        return [
            Prompt.ask(f"kind {k}?", answer=LETTERS[k] * 2, id=f"letters/{index}/{i}", kind=k)
            for i, k in enumerate(kinds)
        ]


def share_right(text: str, answer: str) -> float:
    return sum(a == b for a, b in zip(text, answer)) / len(answer)


def all_right(text: str, answer: str) -> float:
    return float(text == answer)
