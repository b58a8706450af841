"""Generation: prompts are prefilled once, their caches expanded to the group, and all live rollouts decode together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gamutrl.core import Sampling
from gamutrl.policies.attention import Cached, Packed
from gamutrl.policies.families import Backbone
from gamutrl.policies.packing import embedded, encode
from gamutrl.policies.sampling import choose
from gamutrl.policies.scoring import scored
from gamutrl.policies.segments import Segment, Segments


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
        encode(self.backbone, [prompt for prompt in prompts if prompt.placed and not prompt.features], True)
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        lasts = []
        for part in _within(prompts, self.budget):
            layers, last = self._prefill(part)
            lasts.append(last)
            for layer, (key, value) in layers.items():
                if layer in kept:
                    key, value = torch.cat([kept[layer][0], key], 2), torch.cat([kept[layer][1], value], 2)
                kept[layer] = (key, value)
        if not self.keep:
            for prompt in prompts:
                prompt.features = None
        prompt_N = torch.tensor(list(prompt_R), dtype=torch.long, device=device)
        self.block = self.backbone.blocks and any(prompt.placed for prompt in prompts)
        block = torch.cat([prompt.block_L for prompt in prompts]).to(device) if self.block else None
        self.cache = Cached.of_prompts(kept, [len(prompt) for prompt in prompts], prompt_N, room, block)
        self.number = list(range(len(prompt_R)))
        self.last = torch.cat(lasts)[prompt_N]
        self.length = torch.tensor([len(prompt) for prompt in prompts], device=device)[prompt_N]
        self.reached = torch.tensor([prompt.span for prompt in prompts], device=device)[prompt_N]
        self.unsaid: dict[int, int] = {}
        self.pictures = max((prompt.pictures for prompt in prompts), default=0)

    def decode(
        self, rollouts: Sequence[int], uniform: Tensor, sampling: Sampling, ended: Callable[[int, Sampled], bool]
    ) -> None:
        device = self.backbone.device
        row_of = {rollout: row for row, rollout in enumerate(self.number)}
        rows = [row_of[rollout] for rollout in rollouts]
        uniform_NT = torch.zeros(len(self.number), sampling.max_tokens, dtype=torch.float64)
        uniform_NT[rows] = uniform
        uniform_NT = uniform_NT.to(device)
        tokens_NT = torch.zeros(len(self.number), sampling.max_tokens, dtype=torch.long, device=device)
        logp_NT = torch.zeros(len(self.number), sampling.max_tokens, device=device)
        live, waiting = set(rows), set(range(len(self.number))) - set(rows)
        gone: set[int] = set()
        stops = [Stop(sampling.stop, self.segments.tokenizer) for _ in self.number] if sampling.stop else []
        hidden = self.last
        for step in range(sampling.max_tokens):
            logits = scored(self.backbone.logits(hidden), sampling.score_temperature, self.banned)
            token, logp = choose(logits, uniform_NT[:, step], sampling)
            tokens_NT[:, step], logp_NT[:, step] = token, logp
            said = token.tolist()
            for row in sorted(live):
                own = said[row] in self.eos or bool(stops and stops[row].hears(said[row]))
                if own or step + 1 == sampling.max_tokens:
                    live.discard(row)
                    rollout = self.number[row]
                    result = Sampled(tokens_NT[row, : step + 1].cpu(), logp_NT[row, : step + 1].cpu(), not own)
                    if ended(rollout, result):
                        gone.add(row)
                    else:
                        waiting.add(row)
                        self.unsaid[rollout] = said[row]
            if not live:
                break
            if 2 * len(gone) >= len(self.number):
                left = [row for row in range(len(self.number)) if row not in gone]
                place = {row: i for i, row in enumerate(left)}
                live, waiting, gone = {place[r] for r in live}, {place[r] for r in waiting}, set()
                stops = [stops[row] for row in left] if stops else []
                index = torch.tensor(left, device=device)
                self._select(index)
                token, uniform_NT, tokens_NT, logp_NT = (
                    token[index],
                    uniform_NT[index],
                    tokens_NT[index],
                    logp_NT[index],
                )
            hidden = self._step(token, waiting)
        self.last = hidden
        if gone:
            self._select(torch.tensor([r for r in range(len(self.number)) if r not in gone], device=device).long())

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

    def _prefill(self, prompts: Sequence[Segment]) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor]:
        """Each layer's keys and values `[1, H, L, D]` of prompts side by side, and each prompt's last hidden state."""
        device = self.backbone.device
        lengths = [len(prompt) for prompt in prompts]
        ends = torch.tensor(lengths).cumsum(0)
        tokens = torch.cat([prompt.tokens_L for prompt in prompts]).to(device)
        position = torch.cat([prompt.position_AL for prompt in prompts], dim=1).to(device)
        blocks = self.backbone.blocks and any(prompt.placed for prompt in prompts)
        block = torch.cat([prompt.block_L for prompt in prompts]).to(device) if blocks else None
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        layout = Packed(lengths, [], [], block, device, kept)
        embeds, deep = embedded(self.backbone, tokens, prompts, [0, *ends[:-1].tolist()], True)
        hidden = self.backbone.hidden(embeds, position[:, None], layout, deep)
        return kept, hidden[0, (ends - 1).to(device)]

    def _step(self, token: Tensor, waiting: set[int]) -> Tensor:
        """Feed one token a row; the last hidden states `[N, D]`. Rows that wait are fed too, into a hole."""
        self.cache.open(self.length[:, None])
        moved = torch.ones_like(self.length)
        if waiting:
            held = torch.tensor(sorted(waiting), device=token.device)
            self.cache.hole(held)
            moved[held] = 0
        position = self.reached.expand(self.backbone.axes, -1)[..., None]
        hidden = self.backbone.hidden(self.backbone.embed(token[:, None]), position, self.cache)[:, 0]
        self.length, self.reached = self.length + moved, self.reached + moved
        return hidden

    def _select(self, index: Tensor) -> None:
        self.cache.select(index)
        self.number = [self.number[row] for row in index.tolist()]
        self.length, self.reached = self.length[index], self.reached[index]
        self.last = self.last[index]


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
