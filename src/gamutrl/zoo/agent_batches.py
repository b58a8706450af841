"""Demonstrations of several turns as dense tensors, as the policy itself would read and write them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gamutrl.core import Prompt
from gamutrl.environments import Step
from gamutrl.environments.scripted import Played, play
from gamutrl.policies.models import TextModel
from gamutrl.policies.segments import Segments
from gamutrl.zoo import agent_lessons, lessons

OWN = 0.2
"""The share of what `vlm-tiny` was taught already, so that it is not forgotten."""


@dataclass(frozen=True)
class Spoken:
    """One context: its tokens, which of them the model is to say, and its pictures (uint8 `[M, 3, 72, 72]`)."""

    tokens_L: Tensor
    said_L: Tensor
    pixels_MCHW: Tensor


@dataclass(frozen=True)
class Contexts:
    """B rows of length L: `ids_BL`, `target_BL` (-100: not trained), `pixels_MCHW` (all pictures in order)."""

    ids_BL: Tensor
    target_BL: Tensor
    pixels_MCHW: Tensor


def contexts_of(segments: Segments, prompt: Prompt, played: Played) -> Iterator[Spoken]:
    """What the model reads and says in a rollout; a turn that opens a fresh context begins another."""
    tokens: list[Tensor] = []
    said: list[Tensor] = []
    pixels: list[Tensor] = []
    before = Step(context=prompt.messages)
    for text, step in played:
        if before.context is not None:
            if tokens:
                yield Spoken(torch.cat(tokens), torch.cat(said), torch.cat(pixels))
            tokens, said, pixels = [], [], [torch.zeros(0, 3, 72, 72, dtype=torch.uint8)]
            segment = segments.prompt(before.context, before.prefill)
        else:
            segment = segments.observation(before.parts, before.role, before.prefill)
        end = [] if step.role == "inside" else [segments.end]
        turn = torch.cat([segments.tokens_of(text), torch.tensor(end, dtype=torch.long)])
        tokens += [segment.tokens_L, turn]
        said += [torch.zeros(len(segment), dtype=torch.bool), torch.ones(len(turn), dtype=torch.bool)]
        if "pixel_values" in segment.media:
            pixels.append(((segment.media["pixel_values"][0] + 1) * 127.5).round().to(torch.uint8))
        before = step
    yield Spoken(torch.cat(tokens), torch.cat(said), torch.cat(pixels))


def packed(spoken: list[Spoken], pad: int) -> Contexts:
    """Contexts as one batch; a token that is to be said is the target of the place before it."""
    length = max(len(one.tokens_L) for one in spoken)
    ids = torch.full((len(spoken), length), pad)
    target = torch.full((len(spoken), length), -100)
    for k, one in enumerate(spoken):
        ids[k, : len(one.tokens_L)] = one.tokens_L
        target[k, : len(one.tokens_L) - 1] = torch.where(one.said_L, one.tokens_L, -100)[1:]
    return Contexts(ids, target, torch.cat([one.pixels_MCHW for one in spoken]))


class AgentBatches(Dataset[Contexts]):
    """Batch k of a run, a function of (seed, k) only; each round of `ROUND` shares out one pool by length."""

    ROUND = 4

    def __init__(self, steps: int, seed: int, size: int = 24, model: str = "vlm-tiny") -> None:
        self.steps, self.seed, self.size, self.model = steps, seed, size, model
        self.pool: tuple[int, list[Contexts]] = (-1, [])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> Contexts:
        turn, place = divmod(k, self.ROUND)
        if self.pool[0] != turn:
            self.pool = turn, list(self._round(self.seed * 1_000_003 + turn))
        return self.pool[1][place]

    @cached_property
    def segments(self) -> Segments:
        return TextModel(self.model, device="cpu").load().segments

    def _round(self, seed: int) -> Iterator[Contexts]:
        count = self.size * self.ROUND
        own = round(OWN * count)
        found = [spoken for one in self._taught(count - own, seed) for spoken in one]
        found += [spoken for one in self._known(own, seed) for spoken in one]
        # Fresh contexts make a few rows more: which of all are left out does not depend on their length.
        rng = random.Random(seed)
        found = sorted(rng.sample(found, count), key=lambda one: len(one.tokens_L))
        for b in rng.sample(range(self.ROUND), self.ROUND):
            yield packed(found[b * self.size : (b + 1) * self.size], self.segments.tokenizer.pad_token_id)

    def _taught(self, n: int, seed: int) -> Iterator[Iterator[Spoken]]:
        for lesson, row, said in agent_lessons.drawn(agent_lessons.LESSONS, n, seed):
            texts = [said] if isinstance(said, str) else said
            yield contexts_of(self.segments, row, play(lesson.environment, row, seed, texts))

    def _known(self, n: int, seed: int) -> Iterator[Iterator[Spoken]]:
        rng = random.Random(f"known/{seed}")
        (chosen,) = rng.choices((lessons.STILLS, lessons.SEVERAL, lessons.CLIPS), (8, 1, 1))
        for example in lessons.examples(chosen, n, seed, branches=2, varied=True):
            question, reply = rng.choice(example.dialogues)
            prompt = Prompt.ask(question, *example.media)
            yield contexts_of(self.segments, prompt, [(reply, Step(done=True))])
