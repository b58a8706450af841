"""Generation: prompts are prefilled once, their caches expanded to the group, and all live rollouts decode together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gamutrl.core import Sampling
from gamutrl.policies import beside
from gamutrl.policies.attention import Cached, Layers, Packed
from gamutrl.policies.families import Backbone
from gamutrl.policies.media import embedded
from gamutrl.policies.sampling import choose
from gamutrl.policies.scoring import scored
from gamutrl.policies.segments import Segment, Segments
from gamutrl.policies.still import Still


@dataclass(frozen=True, eq=False)
class Sampled:
    """What one rollout said in one turn. `cut`: it was stopped by the length limit, not by itself."""

    tokens_T: Tensor
    logp_T: Tensor
    cut: bool


class Engine(Protocol):
    """What turns segments into sampled tokens: ours, the library's `generate`, or a server's.

    Rollouts are known by their number. A turn is one `decode`; between turns `extend` says what entered the contexts.
    """

    def begin(self, prompts: Sequence[Segment], prompt_R: Sequence[int], room: int) -> None:
        """Rollout r continues `prompts[prompt_R[r]]`; about `room` tokens will follow."""

    def decode(
        self, rollouts: Sequence[int], uniform: Tensor, sampling: Sampling, ended: Callable[[int, Sampled], bool]
    ) -> None:
        """Sample a turn of each of the rollouts. `ended(r, sampled)` is called as each ends; True: it won't go on."""

    def extend(self, rollouts: Sequence[int], said: Sequence[Sequence[Segment]], fresh: Sequence[bool]) -> None:
        """What enters each context before its next turn; `fresh`: in place of all that it held."""


class Native:
    """The engine that runs the policy's own model, sharing prompts within a group."""

    def __init__(self, backbone: Backbone, segments: Segments, keep_features: bool, budget: int) -> None:
        self.backbone, self.segments, self.keep, self.budget = backbone, segments, keep_features, budget
        self.banned = torch.tensor(segments.banned, dtype=torch.long, device=backbone.device)
        self.eos = set(segments.eos)

    def begin(self, prompts: Sequence[Segment], prompt_R: Sequence[int], room: int) -> None:
        device = self.backbone.device
        kept: Layers = {}
        lasts = []
        for part in _within(prompts, self.budget):
            layers, last = self._prefill(part)
            lasts.append(last)
            for layer, (key, value) in layers.items():
                if layer in kept:
                    key, value = torch.cat([kept[layer][0], key], 2), torch.cat([kept[layer][1], value], 2)
                kept[layer] = (key, value)
        prompt_N = torch.tensor(list(prompt_R), dtype=torch.long, device=device)
        self.block = self.backbone.blocks and any(prompt.placed for prompt in prompts)
        block = torch.cat([prompt.block_L for prompt in prompts]).to(device) if self.block else None
        self.cache = Cached.of_prompts(kept, [len(prompt) for prompt in prompts], prompt_N, room, block)
        self.still = Still.of(self.backbone.decoder, self.backbone.logits)
        self.logits = self.backbone.logits if self.still is None else self.still.logits
        self.number = list(range(len(prompt_R)))
        self.last = torch.cat(lasts)[prompt_N]
        self.length = torch.tensor([len(prompt) for prompt in prompts], device=device)[prompt_N]
        self.reached = torch.tensor([prompt.span for prompt in prompts], device=device)[prompt_N]
        self.unsaid: dict[int, int] = {}
        self.gone: set[int] = set()
        self.pictures = max((prompt.pictures for prompt in prompts), default=0)

    def decode(
        self, rollouts: Sequence[int], uniform: Tensor, sampling: Sampling, ended: Callable[[int, Sampled], bool]
    ) -> None:
        live = set(rollouts)
        said: dict[int, list[int]] = {rollout: [] for rollout in rollouts}
        logps: dict[int, list[float]] = {rollout: [] for rollout in rollouts}
        stops = {rollout: Stop(sampling.stop, self.segments.tokenizer) for rollout in rollouts if sampling.stop}
        place = {rollout: i for i, rollout in enumerate(rollouts)}
        uniform_NT = self._of_rows(uniform, place)
        hidden = self.last
        for step in range(sampling.max_tokens):
            with self._briefly():
                logits = scored(self.logits(hidden), sampling.score_temperature, self.banned)
                token, logp = choose(logits, uniform_NT[:, step], sampling)
            for rollout, one, value in zip(self.number, token.tolist(), logp.tolist()):
                if rollout not in live:
                    continue
                said[rollout].append(one)
                logps[rollout].append(value)
                own = one in self.eos or bool(stops and stops[rollout].hears(one))
                if own or step + 1 == sampling.max_tokens:
                    live.discard(rollout)
                    sampled = Sampled(torch.tensor(said[rollout]), torch.tensor(logps[rollout]), not own)
                    if ended(rollout, sampled):
                        self.gone.add(rollout)
                    else:
                        self.unsaid[rollout] = one
            if not live:
                break
            if (index := self._leave(half=True)) is not None:
                token, uniform_NT = token[index], self._of_rows(uniform, place)
            with self._briefly():
                hidden = self._step(token, live)
        self.last = hidden
        self._leave()

    def extend(self, rollouts: Sequence[int], said: Sequence[Sequence[Segment]], fresh: Sequence[bool]) -> None:
        """One forward pass for all: what they said last and has not been fed, then what entered their contexts."""
        device = self.backbone.device
        row_of = {rollout: row for row, rollout in enumerate(self.number)}
        rows = torch.tensor([row_of[rollout] for rollout in rollouts], device=device)
        starting = torch.tensor([r for r, new in zip(rows.tolist(), fresh) if new], dtype=torch.long, device=device)
        if len(starting):
            self.cache.forget(starting)
            self.length[starting] = 0
            self.reached[starting] = 0
        whole: list[list[Segment]] = []
        for rollout, segments, new in zip(rollouts, said, fresh):
            last = self.unsaid.pop(rollout, None)
            head = [] if last is None or new else [self.segments.text(torch.tensor([last]))]
            whole.append([*head, *segments])
        lengths = [sum(len(s) for s in segments) for segments in whole]
        width = max(lengths)
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        position = torch.zeros(self.backbone.axes, len(rows), width, dtype=torch.long)
        index = torch.full((len(rows), width), -1)
        block = torch.full((len(rows), width), -1)
        places: list[tuple[Segment, int]] = []
        for i, segments in enumerate(whole):
            place, reached, length = 0, int(self.reached[rows[i]]), int(self.length[rows[i]])
            for segment in segments:
                end = place + len(segment)
                tokens[i, place:end] = segment.tokens_L
                position[:, i, place:end] = segment.position_AL + reached
                index[i, place:end] = torch.arange(place, end) + length
                block[i, place:end] = torch.where(segment.block_L >= 0, segment.block_L + self.pictures, -1)
                self.pictures += segment.pictures
                places.append((segment, i * width + place))
                place, reached = end, reached + segment.span
            self.reached[rows[i]], self.length[rows[i]] = reached, length + place
        if self.cache.block_NC is None and self.backbone.blocks:
            self.cache.block_NC = torch.full_like(self.cache.index_NC, -1)
        everyone = len(rows) == len(self.number) and rows.tolist() == list(range(len(rows)))
        self.cache.open(index.to(device), block.to(device), None if everyone else rows)
        embeds, deep = embedded(
            self.backbone,
            tokens.flatten().to(device),
            [segment for segment, _ in places],
            [start for _, start in places],
            self.keep,
        )
        if "visual_pos_masks" in deep:
            deep["visual_pos_masks"] = deep["visual_pos_masks"].view(len(rows), width)
        hidden = self.backbone.hidden(embeds.view(len(rows), width, -1), position.to(device), self.cache, deep)
        ends = torch.tensor(lengths, device=device) - 1
        self.last[rows] = hidden[torch.arange(len(rows), device=device), ends]

    # -- one forward pass each ------------------------------------------------------------------------------------

    def _prefill(self, prompts: Sequence[Segment]) -> tuple[Layers, Tensor]:
        """Each layer's keys and values `[1, H, L, D]` of prompts side by side, and each prompt's last hidden state."""
        device = self.backbone.device
        lengths = [len(prompt) for prompt in prompts]
        ends = torch.tensor(lengths).cumsum(0)
        tokens = torch.cat([prompt.tokens_L for prompt in prompts]).to(device)
        position = torch.cat([prompt.position_AL for prompt in prompts], dim=1).to(device)
        blocks = self.backbone.blocks and any(prompt.placed for prompt in prompts)
        block = torch.cat([prompt.block_L for prompt in prompts]).to(device) if blocks else None
        kept: Layers = {}
        layout = Packed(lengths, [], [], block, device, kept)
        embeds, deep = embedded(self.backbone, tokens, prompts, [0, *ends[:-1].tolist()], self.keep)
        return kept, self.backbone.hidden(embeds, position[:, None], layout, deep, (ends - 1).to(device))

    def _step(self, token: Tensor, live: set[int]) -> Tensor:
        """Feed one token a row; the last hidden states `[N, D]`. Rows that wait are fed too, into a hole."""
        self.cache.open(self.length[:, None])
        position = self.reached.expand(self.backbone.axes, -1)[..., None]
        self.length, self.reached = self.length + 1, self.reached + 1
        waiting = [row for row, r in enumerate(self.number) if r not in live and r not in self.gone]
        if waiting:
            held = torch.tensor(waiting, device=token.device)
            self.cache.hole(held)
            self.length[held] -= 1
            self.reached[held] -= 1
        embeds = self.backbone.embed(token)
        if self.still is not None:
            return self.still(embeds, self.backbone.counted(position), self.cache)
        return self.backbone.hidden(embeds[:, None], position, self.cache)[:, 0]

    def _briefly(self) -> AbstractContextManager[None]:
        """One token a row is little work."""
        return beside.undivided(len(self.number) * self.backbone.widest, self.backbone.device)

    def _of_rows(self, uniform: Tensor, place: dict[int, int]) -> Tensor:
        """The draws `[N, T]` of the rows there are; those that do not sample have any."""
        return uniform[[place.get(rollout, 0) for rollout in self.number]].to(self.backbone.device)

    def _leave(self, half: bool = False) -> Tensor | None:
        """Drop the rows of rollouts that are gone (with `half`, only once they are half of all); returns who stays."""
        gone = sum(rollout in self.gone for rollout in self.number)
        if gone == 0 or (half and 2 * gone < len(self.number)):
            return None
        staying = self.cache.even([row for row, rollout in enumerate(self.number) if rollout not in self.gone])
        if len(staying) == len(self.number):
            return None
        index = torch.tensor(staying, dtype=torch.long, device=self.backbone.device)
        self.cache.select(index)
        self.number = [self.number[row] for row in staying]
        self.length, self.reached, self.last = self.length[index], self.reached[index], self.last[index]
        return index


class Stop:
    """Listens for stop strings in the last few tokens of a turn."""

    def __init__(self, strings: Sequence[str], tokenizer: Any) -> None:
        self.strings, self.tokenizer = strings, tokenizer
        self.heard: list[int] = []
        # A stop string spans at most as many tokens as it has bytes.
        self.reach = max(len(string.encode()) for string in strings) + 1

    def hears(self, token: int) -> bool:
        self.heard.append(token)
        del self.heard[: -self.reach]
        text = self.tokenizer.decode(self.heard, skip_special_tokens=False)
        return any(string in text for string in self.strings)


def _within(prompts: Sequence[Segment], budget: int) -> list[list[Segment]]:
    """Neighbouring prompts, as many as fit a budget of tokens."""
    parts: list[list[Segment]] = []
    size = budget + 1
    for prompt in prompts:
        if size + len(prompt) > budget:
            parts.append([])
            size = 0
        parts[-1].append(prompt)
        size += len(prompt)
    return parts
