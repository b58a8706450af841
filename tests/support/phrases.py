"""A policy that chooses among phrases: one right, some wrong, one always the same. It stands for a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from standin import StandIn
from torch import Tensor, nn

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn

ALWAYS = 4
"""The number of the phrase that is the same for every row."""


def phrases(prompt: Prompt, always: str) -> list[str]:
    """What may be said of a row: right; wrong, twice; no layout; always the same."""
    answer = str(prompt.answer)
    wrong = [str(int(answer) + d) if answer.isdigit() else f"not {answer}" for d in (1, 2)]
    thought = str(prompt.columns.get("thought") or "I look at the picture.")
    said = [f"<think>{thought}</think><answer>{text}</answer>" for text in (answer, *wrong)]
    return [*said, answer, f"<think></think><answer>{always}</answer>"]


class PhrasePolicy(StandIn):
    """One logit a phrase, the same for all rows; every answer is one action."""

    def __init__(self, start: Sequence[float], always: str) -> None:
        logits = nn.Embedding(1, len(start))
        with torch.no_grad():
            logits.weight.copy_(torch.tensor([start]))
        super().__init__(logits)
        self.always = always

    def _logp_V(self) -> Tensor:
        return self.acting(torch.tensor([0]))[0].log_softmax(-1)

    def rollout(self, prompts, group_size, environment, sampling: Sampling, *, seed: int) -> Batch:
        logp_V = self._logp_V().detach()
        rollouts = []
        for p, prompt in enumerate(prompts):
            generator = torch.Generator().manual_seed(seed % 2**40 + p * 7919)
            # A policy that is better on some rows than on others, also when it is greedy.
            luck = torch.Generator().manual_seed(sum(prompt.id.encode()))
            for _ in range(group_size):
                drawn = luck if sampling.temperature == 0 else generator
                token = int(torch.multinomial(logp_V.exp(), 1, generator=drawn))
                text = phrases(prompt, self.always)[token]
                rollouts.append(
                    Rollout(prompt, [Turn(text, text, torch.tensor([token]), logp_V[[token]])], output=text)
                )
        return Batch.of(prompts, rollouts, [p for p in range(len(prompts)) for _ in range(group_size)])

    def log_probs(self, batch: Batch, statistics: Mapping[str, Any] | None = None) -> Any:
        tokens_N = torch.stack([batch.rollouts[row.rollout].turns[0].tokens_T[0] for row in batch.rows])
        logp_NT = self._logp_V()[tokens_N][:, None]
        if not statistics:
            return logp_NT
        logits_NTV = self._logp_V().expand(len(tokens_N), 1, -1)
        return logp_NT, {name: fn(logits_NTV, batch.mask_NT) for name, fn in statistics.items()}


@dataclass(frozen=True)
class Phrases:
    """Names the policy in a preset. start: the logits it begins with; a folder's name loads what was saved there."""

    name: str = "phrases"
    start: tuple[float, ...] = (0.0, 0.6, 0.3, 0.3, -0.5)
    always: str = "7"

    def load(self) -> PhrasePolicy:
        policy = PhrasePolicy(self.start, self.always)
        saved = Path(self.name) / "model.safetensors"
        if saved.exists():
            policy.module.load_state_dict(load_file(saved))
        return policy
