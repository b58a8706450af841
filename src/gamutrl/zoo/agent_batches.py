"""Demonstrations of several turns as dense tensors, as the policy itself would read and write them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gamutrl.core import Message, Part, Prompt
from gamutrl.environments import Step
from gamutrl.environments.scripted import Played, play
from gamutrl.policies.models import TextModel
from gamutrl.policies.segments import Segments
from gamutrl.zoo import agent_lessons, lessons
from gamutrl.zoo.architecture import IMAGE_SIZE, IMAGE_TOKENS

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


class Reading:
    """What a policy's `Segments` make of messages and observations, without the processor's work on each picture."""

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        picture = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"
        self.picture = picture

    def prompt(self, messages: Sequence[Message], prefill: str) -> tuple[Tensor, list[Tensor]]:
        """Tokens of a conversation up to where the policy speaks, and its pictures."""
        media: list[Part] = []
        chat = [self.segments._chat(message, media) for message in messages]
        return self._read(self.segments._render(chat) + prefill, media)

    def observation(self, step: Step) -> tuple[Tensor, list[Tensor]]:
        """Tokens of what the environment said after a turn, and its pictures."""
        media: list[Part] = []
        content = self.segments._chat(Message("user", step.parts), media)["content"]
        end = self.segments.tokenizer.decode([self.segments.end])
        return self._read(self.segments._between_turns(content, step.role).removeprefix(end) + step.prefill, media)

    def _read(self, text: str, media: list[Part]) -> tuple[Tensor, list[Tensor]]:
        return self.segments.tokens_of(text.replace("<image>", self.picture)), [pixels_of(part.value) for part in media]


def pixels_of(picture: Image.Image) -> Tensor:
    """A picture as the tower is given it, uint8 `[3, 72, 72]`: to its longest edge first, then square."""
    picture = picture.convert("RGB")
    for size in (_longest(picture.size), (IMAGE_SIZE, IMAGE_SIZE)):
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def _longest(size: tuple[int, int]) -> tuple[int, int]:
    """The size in which the longest edge is that of a canvas; the other one even."""
    width, height = (max(1, int(IMAGE_SIZE * side / max(size))) for side in size)
    return (width, height + height % 2) if width >= height else (width + width % 2, height)


def contexts_of(reading: Reading, prompt: Prompt, played: Played) -> Iterator[Spoken]:
    """What the model reads and says in a rollout; a turn that opens a fresh context begins another."""
    tokens: list[Tensor] = []
    said: list[Tensor] = []
    pixels: list[Tensor] = []
    before = Step(context=prompt.messages)
    for text, step in played:
        if before.context is not None:
            if tokens:
                yield _spoken(tokens, said, pixels)
            tokens, said, pixels = [], [], []
            read, seen = reading.prompt(before.context, before.prefill)
        else:
            read, seen = reading.observation(before)
        turn = torch.cat([reading.segments.tokens_of(text), torch.tensor([reading.segments.end])])
        tokens += [read, turn]
        said += [torch.zeros(len(read), dtype=torch.bool), torch.ones(len(turn), dtype=torch.bool)]
        pixels += seen
        before = step
    yield _spoken(tokens, said, pixels)


def _spoken(tokens: list[Tensor], said: list[Tensor], pixels: list[Tensor]) -> Spoken:
    none = torch.zeros(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    return Spoken(torch.cat(tokens), torch.cat(said), torch.stack(pixels) if pixels else none)


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
    """Batch k of a run, a function of (seed, k) only.

    Each pool of demonstrations is shared out by length to `ROUND` batches, `TIMES` times, each time otherwise: they
    take as long to make as to learn from.
    """

    ROUND = 4
    TIMES = 2

    def __init__(self, steps: int, seed: int, size: int = 24, model: str = "vlm-tiny") -> None:
        self.steps, self.seed, self.size, self.model = steps, seed, size, model
        self.pool: tuple[int, list[Contexts]] = (-1, [])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> Contexts:
        turn, place = divmod(k, self.ROUND * self.TIMES)
        if self.pool[0] != turn:
            self.pool = turn, list(self._round(self.seed * 1_000_003 + turn))
        return self.pool[1][place]

    @cached_property
    def reading(self) -> Reading:
        return Reading(TextModel(self.model, device="cpu").load().segments)

    def _round(self, seed: int) -> Iterator[Contexts]:
        count = self.size * self.ROUND
        own = round(OWN * count)
        found = [spoken for one in self._taught(count - own, seed) for spoken in one]
        found += [spoken for one in self._known(own, seed) for spoken in one]
        rng, pad = random.Random(seed), self.reading.segments.tokenizer.pad_token_id
        for _ in range(self.TIMES):
            # Fresh contexts make a few rows more: which of all are left out does not depend on their length.
            length = {id(one): len(one.tokens_L) * rng.uniform(0.85, 1.15) for one in found}
            chosen = sorted(rng.sample(found, count), key=lambda one: length[id(one)])
            for b in rng.sample(range(self.ROUND), self.ROUND):
                yield packed(chosen[b * self.size : (b + 1) * self.size], pad)

    def _taught(self, n: int, seed: int) -> Iterator[Iterator[Spoken]]:
        for lesson, row, said in agent_lessons.drawn(agent_lessons.LESSONS, n, seed):
            texts = [said] if isinstance(said, str) else said
            yield contexts_of(self.reading, row, play(lesson.environment, row, seed, texts))

    def _known(self, n: int, seed: int) -> Iterator[Iterator[Spoken]]:
        rng = random.Random(f"known/{seed}")
        (chosen,) = rng.choices((lessons.STILLS, lessons.SEVERAL, lessons.CLIPS), (8, 1, 1))
        for example in lessons.examples(chosen, n, seed, branches=2, varied=True):
            question, reply = rng.choice(example.dialogues)
            prompt = Prompt.ask(question, *example.media)
            yield contexts_of(self.reading, prompt, [(reply, Step(done=True))])
