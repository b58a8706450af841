"""Packing: a batch's rows as `[prompt | prompt | … | row | row | …]`, each prompt once, each row continuing its own.

One flat sequence without padding. Positions (three-axis ones too) continue per row where its prompt stopped; media are
put in by segment; the layout says who sees whom. Exact: every row's log-probabilities are those of `[its prompt | row]`
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from gamutrl.core import Batch, Turn
from gamutrl.policies.attention import Packed
from gamutrl.policies.families import Backbone
from gamutrl.policies.segments import Segment, Segments


@dataclass(eq=False)
class Continuation:
    """One row before packing: the segments after its prompt, and which of their tokens are the actions.

    prompt: the segment it continues. rest: what follows. action_T: the flat place (in `rest`) of each action.
    """

    prompt: Segment
    rest: list[Segment]
    action_T: Tensor

    @property
    def tokens(self) -> Tensor:
        return torch.cat([segment.tokens_L for segment in self.rest])


class Rows:
    """A batch's rows as continuations. What a prompt or an observation becomes is kept in the batch's cache."""

    def __init__(self, batch: Batch, segments: Segments) -> None:
        self.batch, self.segments = batch, segments
        self.cache: dict[object, Segment] = batch.cache.setdefault(f"segments/{id(segments):x}", {})

    def continuations(self) -> list[Continuation]:
        return [self._continuation(n) for n in range(len(self.batch.rows))]

    def _continuation(self, n: int) -> Continuation:
        row = self.batch.rows[n]
        turns = self.batch.rollouts[row.rollout].turns
        begin = next(t for t in range(row.turns.start, -1, -1) if t == 0 or turns[t].context is not None)
        prompt = self._prompt(int(self.batch.prompt_R[row.rollout]), turns[begin])
        rest: list[Segment] = []
        actions: list[Tensor] = []
        place = 0
        for t in range(begin, row.turns.stop):
            if t > begin:
                rest.append(self._observation(turns[t - 1], turns[t]))
                place += len(rest[-1])
            said, action_T = self._said(turns[t])
            if t in row.turns:
                actions.append(place + action_T)
            rest.append(said)
            place += len(said)
        return Continuation(prompt, rest, torch.cat(actions))

    def _said(self, turn: Turn) -> tuple[Segment, Tensor]:
        """A turn as it stands in the context, and where in it its actions are."""
        return self.segments.text(turn.tokens_T), torch.arange(len(turn))

    def _prompt(self, p: int, turn: Turn) -> Segment:
        """A prompt that several rollouts share is one segment, so it is packed once."""
        shared = turn.context is None
        key = (self.batch.prompts[p] if shared else turn, turn.prefill)
        if key not in self.cache:
            messages = self.batch.prompts[p].messages if turn.context is None else turn.context
            self.cache[key] = self.segments.prompt(messages, turn.prefill)
        return self.cache[key]

    def _observation(self, turn: Turn, following: Turn) -> Segment:
        key = (turn, following.prefill)
        if key not in self.cache:
            closed = len(turn) > 0 and int(turn.tokens_T[-1]) in self.segments.eos
            self.cache[key] = self.segments.observation(
                turn.observation, turn.observation_role, following.prefill, closed
            )
        return self.cache[key]


@dataclass(eq=False)
class Pack:
    """Some rows in one flat sequence of L tokens.

    rows: their numbers in the batch. wanted_W: the tokens of L whose hidden states may predict an action. source_NT:
    from which of these each action is predicted; padded like the batch's own axis T.
    """

    rows: list[int]
    segments: list[Segment]
    tokens_L: Tensor
    position_AL: Tensor
    layout: Packed
    wanted_W: Tensor
    source_NT: Tensor
    starts: list[int]


def packs(continuations: Sequence[Continuation], budget: int, backbone: Backbone) -> Iterator[Pack]:
    """Packs of at most `budget` tokens each (a prompt with its rows is never split, so one may be longer)."""
    order: dict[Segment, list[int]] = {}
    for n, one in enumerate(continuations):
        order.setdefault(one.prompt, []).append(n)
    chosen: list[int] = []
    size = 0
    for prompt, rows in order.items():
        more = len(prompt) + sum(len(s) for n in rows for s in continuations[n].rest)
        if chosen and size + more > budget:
            yield pack(continuations, chosen, backbone)
            chosen, size = [], 0
        chosen, size = chosen + rows, size + more
    if chosen:
        yield pack(continuations, chosen, backbone)


def pack(continuations: Sequence[Continuation], rows: Sequence[int], backbone: Backbone) -> Pack:
    """Rows, sorted by their prompts, in one flat sequence."""
    prompts = list(dict.fromkeys(continuations[n].prompt for n in rows))
    number = {prompt: p for p, prompt in enumerate(prompts)}
    prompt_starts = [0, *accumulate(len(prompt) for prompt in prompts)]
    # The last token of a row predicts nothing that is scored.
    lengths = [max(0, sum(len(s) for s in continuations[n].rest) - 1) for n in rows]
    row_starts = [prompt_starts[-1] + start for start in (0, *accumulate(lengths))]

    tokens = [prompt.tokens_L for prompt in prompts]
    positions = [prompt.position_AL for prompt in prompts]
    blocked = backbone.blocks and any(s.placed for n in rows for s in (continuations[n].prompt, *continuations[n].rest))
    blocks = [prompt.block_L for prompt in prompts] if blocked else []
    segments, starts = list(prompts), prompt_starts[:-1]
    sources: list[Tensor] = []
    for n, length, start in zip(rows, lengths, row_starts):
        one = continuations[n]
        reached, pictures = one.prompt.span, one.prompt.pictures
        row_positions, row_blocks, place = [], [], start
        for segment in one.rest:
            row_positions.append(segment.position_AL + reached)
            if blocked:
                row_blocks.append(torch.where(segment.block_L >= 0, segment.block_L + pictures, -1))
            reached, pictures = reached + segment.span, pictures + segment.pictures
            segments.append(segment)
            starts.append(place)
            place += len(segment)
        tokens.append(one.tokens[:length])
        positions.append(torch.cat(row_positions, dim=1)[:, :length])
        if blocked:
            blocks.append(torch.cat(row_blocks)[:length])
        before = one.action_T - 1
        # Wanted are each prompt's last token and all tokens of the rows.
        after = len(prompts) + start - prompt_starts[-1]
        sources.append(torch.where(before < 0, number[one.prompt], after + before))

    device = backbone.device
    ends = torch.tensor(prompt_starts[1:]) - 1
    return Pack(
        rows=list(rows),
        segments=segments,
        tokens_L=torch.cat(tokens).to(device),
        position_AL=torch.cat(positions, dim=1).to(device),
        layout=Packed(
            [len(prompt) for prompt in prompts],
            lengths,
            [number[continuations[n].prompt] for n in rows],
            torch.cat(blocks).to(device) if blocked else None,
            device,
        ),
        wanted_W=torch.cat([ends, torch.arange(prompt_starts[-1], prompt_starts[-1] + sum(lengths))]).to(device),
        source_NT=torch.nn.utils.rnn.pad_sequence(sources, batch_first=True).to(device),
        starts=starts,
    )
