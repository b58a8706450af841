"""Packing: a batch's rows as `[prompt | prompt | … | row | row | …]`, each prompt once, each row continuing its own.

One flat sequence without padding. Positions (three-axis ones too) continue per row where its prompt stopped; media are
put in by segment; the layout says who sees whom. Exact: every row's log-probabilities are those of `[its prompt | row]`
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Turn
from gamutrl.policies.attention import Packed
from gamutrl.policies.families import Backbone
from gamutrl.policies.segments import IMAGE, TEXT, VIDEO, Segment, Segments


@dataclass(eq=False)
class Sequence_:
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
    """A batch's rows as sequences. What a prompt or an observation becomes is kept in the batch's cache."""

    def __init__(self, batch: Batch, segments: Segments) -> None:
        self.batch, self.segments = batch, segments
        self.cache: dict[object, Segment] = batch.cache.setdefault(f"segments/{id(segments):x}", {})

    def sequences(self) -> list[Sequence_]:
        return [self._sequence(n) for n in range(len(self.batch.rows))]

    def _sequence(self, n: int) -> Sequence_:
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
            if t in row.turns:
                actions.append(torch.arange(place, place + len(turns[t])))
            rest.append(self.segments.text(turns[t].tokens_T))
            place += len(turns[t])
        return Sequence_(prompt, rest, torch.cat(actions))

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

    rows: their numbers in the batch. source_NT: from whose hidden state (an index into L) each action is predicted;
    padded like the batch's own axis T.
    """

    rows: list[int]
    segments: list[Segment]
    tokens_L: Tensor
    position_AL: Tensor
    layout: Packed
    source_NT: Tensor
    starts: list[int]


def packs(sequences: Sequence[Sequence_], budget: int, backbone: Backbone) -> Iterator[Pack]:
    """Packs of at most `budget` tokens each (a prompt with its rows is never split, so one may be longer)."""
    order: dict[Segment, list[int]] = {}
    for n, sequence in enumerate(sequences):
        order.setdefault(sequence.prompt, []).append(n)
    chosen: list[int] = []
    size = 0
    for prompt, rows in order.items():
        more = len(prompt) + sum(len(s) for n in rows for s in sequences[n].rest)
        if chosen and size + more > budget:
            yield pack(sequences, chosen, backbone)
            chosen, size = [], 0
        chosen, size = chosen + rows, size + more
    if chosen:
        yield pack(sequences, chosen, backbone)


def pack(sequences: Sequence[Sequence_], rows: Sequence[int], backbone: Backbone) -> Pack:
    """Rows, sorted by their prompts, in one flat sequence."""
    prompts = list(dict.fromkeys(sequences[n].prompt for n in rows))
    number = {prompt: p for p, prompt in enumerate(prompts)}
    prompt_starts = [0, *accumulate(len(prompt) for prompt in prompts)]
    # The last token of a row predicts nothing that is scored.
    lengths = [sum(len(s) for s in sequences[n].rest) - 1 for n in rows]
    row_starts = [prompt_starts[-1] + start for start in (0, *accumulate(lengths))]

    tokens = [prompt.tokens_L for prompt in prompts]
    positions = [prompt.position_AL for prompt in prompts]
    blocks = [prompt.block_L for prompt in prompts]
    segments, starts = list(prompts), prompt_starts[:-1]
    sources: list[Tensor] = []
    for n, length, start in zip(rows, lengths, row_starts):
        sequence = sequences[n]
        reached, pictures = sequence.prompt.span, sequence.prompt.pictures
        row_positions, row_blocks, place = [], [], start
        for segment in sequence.rest:
            row_positions.append(segment.position_AL + reached)
            row_blocks.append(torch.where(segment.block_L >= 0, segment.block_L + pictures, -1))
            reached, pictures = reached + segment.span, pictures + segment.pictures
            segments.append(segment)
            starts.append(place)
            place += len(segment)
        tokens.append(sequence.tokens[:length])
        positions.append(torch.cat(row_positions, dim=1)[:, :length])
        blocks.append(torch.cat(row_blocks)[:length])
        before = sequence.action_T - 1
        prompt_end = prompt_starts[number[sequence.prompt] + 1] - 1
        sources.append(torch.where(before < 0, prompt_end, start + before))

    device = backbone.device
    block = torch.cat(blocks).to(device) if backbone.blocks and any(s.placed for s in segments) else None
    return Pack(
        rows=list(rows),
        segments=segments,
        tokens_L=torch.cat(tokens).to(device),
        position_AL=torch.cat(positions, dim=1).to(device),
        layout=Packed(
            [len(prompt) for prompt in prompts],
            lengths,
            [number[sequences[n].prompt] for n in rows],
            block,
            device,
        ),
        source_NT=torch.nn.utils.rnn.pad_sequence(sources, batch_first=True),
        starts=starts,
    )


def embedded(
    backbone: Backbone, tokens_L: Tensor, segments: Sequence[Segment], starts: Sequence[int], keep: bool
) -> tuple[Tensor, dict[str, Any]]:
    """Embeddings `[1, L, D]` with every segment's media in their places, and the deeper layers' additions.

    starts: where in L a segment begins. keep: encoded media may be kept on their segments (the tower does not train).
    """
    vocabulary_only = tokens_L.clamp(max=backbone.vocabulary - 1)
    embeds = backbone.embed(vocabulary_only)[None]
    seen = [(segment, start) for segment, start in zip(segments, starts) if segment.placed]
    if not seen:
        return embeds, {}
    encode(backbone, [segment for segment, _ in seen], keep)
    places = [start + (segment.kind_L != TEXT).nonzero().flatten() for segment, start in seen]
    place = torch.cat(places).to(embeds.device)
    depth = max(len(segment.features or []) for segment, _ in seen)
    layers = [torch.cat([(segment.features or [])[layer] for segment, _ in seen]) for layer in range(depth)]
    order = place.argsort()
    embeds = embeds.index_copy(1, place, layers[0].to(embeds.dtype)[None])
    if not keep:
        for segment, _ in seen:
            segment.features = None
    if depth == 1:
        return embeds, {}
    mask = torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    mask[0, place] = True
    return embeds, {"visual_pos_masks": mask, "deepstack_visual_embeds": [layer[order] for layer in layers[1:]]}


def encode(backbone: Backbone, segments: Sequence[Segment], keep: bool) -> None:
    """Encode the media of segments, those of the same shape together, and put the features on their segments."""
    todo = list(dict.fromkeys(segment for segment in segments if not (keep and segment.features)))
    parts: dict[Segment, dict[int, list[Tensor]]] = {segment: {} for segment in todo}
    for kind, name, pixels in ((IMAGE, "image", "pixel_values"), (VIDEO, "video", "pixel_values_videos")):
        alike: dict[tuple[object, ...], list[Segment]] = {}
        for segment in todo:
            if bool((segment.kind_L == kind).any()):
                shape = segment.media[pixels].shape if pixels in segment.media else segment.media["pixel_values"].shape
                axis = backbone.media_axis()
                alike.setdefault((*shape[:axis], *shape[axis + 1 :]), []).append(segment)
        for group in alike.values():
            media = {
                key: torch.cat([s.media[key] for s in group], backbone.media_axis() if value.dim() > 2 else 0)
                for key, value in group[0].media.items()
            }
            counts = [int((s.kind_L == kind).sum()) for s in group]
            layers = backbone.features(name, media)
            if len(layers[0]) != sum(counts):
                raise ValueError(
                    f"The vision tower made {len(layers[0])} features for {sum(counts)} places: "
                    "the processor and the model do not belong together."
                )
            for layer in layers:
                for segment, features in zip(group, layer.split(counts)):
                    parts[segment].setdefault(kind, []).append(features)
    for segment, by_kind in parts.items():
        kinds = segment.kind_L[segment.kind_L != TEXT]
        if len(by_kind) == 1:
            segment.features = next(iter(by_kind.values()))
            continue
        merged = []
        for of_kinds in zip(*(by_kind[kind] for kind in sorted(by_kind))):
            joined = of_kinds[0].new_zeros(len(kinds), of_kinds[0].shape[1])
            for kind, features in zip(sorted(by_kind), of_kinds):
                joined = joined.index_copy(0, (kinds == kind).nonzero().flatten().to(joined.device), features)
            merged.append(joined)
        segment.features = merged
