"""A small policy that is real in every part but its size: a table of logits, one row a prompt, sampled and scored
exactly."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn

LETTERS = "abcdefgh"


class TablePolicy:
    """Answers with `length` letters, each drawn from the logits of its prompt's `kind` and its place."""

    exact = True

    def __init__(self, kinds: int = 4, length: int = 2) -> None:
        self.module = nn.Embedding(kinds, length * len(LETTERS))
        nn.init.zeros_(self.module.weight)
        self.copies: dict[str, nn.Module] = {}
        self.acting: nn.Module = self.module
        self.length = length

    def _logp_ALV(self, kinds: Sequence[int]) -> Tensor:
        return self.acting(torch.tensor(kinds)).view(len(kinds), self.length, len(LETTERS)).log_softmax(-1)

    def rollout(self, prompts, group_size, environment, sampling: Sampling, *, seed: int) -> Batch:
        logp_PLV = self._logp_ALV([prompt.columns["kind"] for prompt in prompts]).detach()
        rollouts = []
        for p, prompt in enumerate(prompts):
            for g in range(group_size):
                if sampling.temperature == 0:
                    tokens = logp_PLV[p].argmax(-1)
                else:
                    generator = torch.Generator().manual_seed(seed * 7919 + p * 101 + g)
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

    @contextmanager
    def reference(self, name: str) -> Iterator[None]:
        self.acting = self.copies[name]
        try:
            yield
        finally:
            self.acting = self.module

    def keep_reference(self, name: str) -> None:
        self.copies[name] = copy.deepcopy(self.module).requires_grad_(False)

    def update_reference(self, name: str, decay: float = 0.0) -> None:
        with torch.no_grad():
            for kept, now in zip(self.copies[name].parameters(), self.module.parameters()):
                kept.mul_(decay).add_(now, alpha=1 - decay)

    def parameters(self):
        return self.module.parameters()

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "copies": {k: v.state_dict() for k, v in self.copies.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        for name, weights in state["copies"].items():
            self.keep_reference(name)
            self.copies[name].load_state_dict(weights)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.module.state_dict(), folder / "model.safetensors")


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
