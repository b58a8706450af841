"""Attention under a layout: which token sees which, and where keys and values are kept.

transformers' attention interface hands every layer's queries, keys and values to `attend`; a `layout` passed through
the model's keyword arguments then decides. `Packed` is for prompts with their rollouts beside them (update, prefill),
`Cached` for decoding. Without a layout the library's own attention runs, so the model stays usable by anyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

IMPLEMENTATION = "gamut"

Layers = dict[int, tuple[Tensor, Tensor]]
"""Keys and values by layer."""


class Layout(Protocol):
    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Queries `[B, H, L, D]`, keys and values `[B, Hk, L, D]` of one layer to its output `[B, L, H, D]`."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function registered with transformers; `layout` comes from the call of the language model."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    for extra in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(extra) is not None:
            raise NotImplementedError(f"attention with {extra}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return layout.attend(module.layer_idx, query, key, value, scale, sliding_window), None


AttentionInterface.register(IMPLEMENTATION, attend)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


class Ragged:
    """Stretches of unequal length that lie side by side in a flat axis, to and from one right-padded tensor.

    start: where in the whole axis the first of them begins.
    """

    def __init__(self, start: int, lengths: Sequence[int], device: torch.device) -> None:
        self.start, self.lengths, self.width = start, list(lengths), max(lengths, default=0)
        self.size = sum(lengths)
        self.uniform = all(length == self.width for length in lengths)
        offset_B1 = torch.arange(len(self.lengths), device=device)[:, None] * self.width
        self.real_BM = torch.arange(self.width, device=device) < torch.tensor(self.lengths, device=device).view(-1, 1)
        self.slot = (offset_B1 + torch.arange(self.width, device=device))[self.real_BM]

    def pad(self, flat: Tensor) -> Tensor:
        """Their part `[1, H, L, D]` of the flat axis to `[B, H, M, D]`."""
        part = flat[0].transpose(0, 1)
        if not self.uniform:
            part = _Spread.apply(part, self.slot, self.real_BM.numel())
        return part.unflatten(0, self.real_BM.shape).transpose(1, 2)

    def flat(self, padded: Tensor) -> Tensor:
        """`[B, H, M, D]` to `[L, H, D]`."""
        rows = padded.transpose(1, 2).flatten(0, 1)
        return rows if self.uniform else _Gather.apply(rows, self.slot)


class Packed:
    """Prompts side by side, then rollouts side by side; a rollout sees its own prompt and itself.

    prompt_lengths: P. row_lengths: N, the rows sorted by prompt. prompt_N: whose prompt a row continues.
    block: for each token of the flat axis, the picture whose tokens see each other both ways (-1: none), or None.
    kept: if a dictionary, every layer's keys and values are put in it.
    """

    def __init__(
        self,
        prompt_lengths: Sequence[int],
        row_lengths: Sequence[int],
        prompt_N: Sequence[int],
        block: Tensor | None = None,
        device: torch.device | str = "cpu",
        kept: Layers | None = None,
        budget: int = 2**25,
    ) -> None:
        self.kept = kept
        device = torch.device(device)
        self.stretches: list[_Stretch] = []
        prompt_starts = _starts(0, prompt_lengths)
        row_starts = _starts(sum(prompt_lengths), row_lengths)
        for first, last in _bins(prompt_lengths, row_lengths, prompt_N, budget):
            rows = [n for n, p in enumerate(prompt_N) if first <= p < last]
            prompts = Ragged(prompt_starts[first], prompt_lengths[first:last], device)
            start = row_starts[rows[0]] if rows else 0
            rollouts = Ragged(start, [row_lengths[n] for n in rows], device)
            self.stretches.append(_Stretch(prompts, rollouts, [prompt_N[n] - first for n in rows], block))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        if self.kept is not None:
            self.kept[layer] = (key, value)
        # Split, not sliced: the gradient of a split is put together in one go.
        sizes = [stretch.prompts.size for stretch in self.stretches] + [s.rows.size for s in self.stretches]
        parts = list(zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value))))
        count = len(self.stretches)
        done = [
            stretch.attend(prompts, rows, scale, window)
            for stretch, prompts, rows in zip(self.stretches, parts[:count], parts[count:])
        ]
        return torch.cat([prompt for prompt, _ in done] + [rows for _, rows in done if rows is not None])[None]


class _Stretch:
    """Some of a pack's prompts with all of their rows, attended to in two calls: prompts, then rows."""

    def __init__(self, prompts: Ragged, rows: Ragged, prompt_of_row: list[int], block: Tensor | None) -> None:
        self.prompts, self.rows = prompts, rows
        device = prompts.slot.device
        self.prompt_of_row = torch.tensor(prompt_of_row, dtype=torch.long, device=device)
        counts = torch.bincount(self.prompt_of_row, minlength=len(prompts.lengths)).tolist()
        self.share = counts[0] if len(set(counts)) == 1 else None
        self.block = block
        self.masks: dict[tuple[bool, int | None], Tensor | None] = {}

    def attend(
        self, prompts: Sequence[Tensor], rows: Sequence[Tensor], scale: float, window: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Queries, keys and values of the prompts and of the rows to the outputs `[L, H, D]` of both."""
        query, prompt_key, prompt_value = (self.prompts.pad(tensor) for tensor in prompts)
        mask = self._prompt_mask(window)
        prompt_out = self.prompts.flat(_attention(query, prompt_key, prompt_value, mask, scale, mask is None))
        if not self.rows.width:
            return prompt_out, None
        query, key, value = (self.rows.pad(tensor) for tensor in rows)
        key = torch.cat([self._shared(prompt_key), key], dim=2)
        value = torch.cat([self._shared(prompt_value), value], dim=2)
        return prompt_out, self.rows.flat(_attention(query, key, value, self._row_mask(window), scale))

    def _shared(self, prompt: Tensor) -> Tensor:
        """`[P, …]` to `[N, …]`: each row's own prompt."""
        if self.share is not None:
            return prompt[:, None].expand(-1, self.share, *prompt.shape[1:]).flatten(0, 1)
        return prompt.index_select(0, self.prompt_of_row)

    def _prompt_mask(self, window: int | None) -> Tensor | None:
        """`[P, 1, S, S]`, or None for the plain causal one (what pads a prompt lies in its future)."""
        if self.block is None and (window is None or window >= self.prompts.width):
            return None
        if (key := (True, window)) not in self.masks:
            index = torch.arange(self.prompts.width, device=self.prompts.slot.device)[None]
            block = None if self.block is None else self._blocks(self.prompts)
            self.masks[key] = _visible(index, index, block, block, window)
        return self.masks[key]

    def _row_mask(self, window: int | None) -> Tensor:
        """`[N or 1, 1, T, S + T]`."""
        if (key := (False, window)) not in self.masks:
            device = self.rows.slot.device
            prompt, rows = self.prompts, self.rows
            prompt_index = torch.arange(prompt.width, device=device).expand(len(prompt.lengths), -1)
            prompt_index = torch.where(prompt.real_BM, prompt_index, -1)[self.prompt_of_row]
            prompt_length = torch.tensor(prompt.lengths, device=device)[self.prompt_of_row][:, None]
            row_length = torch.tensor(rows.lengths, device=device)[:, None]
            step = torch.arange(rows.width, device=device)[None]
            # What pads a row looks where its last real token looks: a query that sees nothing would be NaN.
            query_index = prompt_length + torch.minimum(step, row_length - 1)
            key_index = torch.cat([prompt_index, torch.where(rows.real_BM, prompt_length + step, -1)], dim=1)
            blocks: tuple[Tensor | None, Tensor | None] = (None, None)
            if self.block is not None:
                row_block = self._blocks(rows)
                blocks = (row_block, torch.cat([self._blocks(prompt)[self.prompt_of_row], row_block], dim=1))
            elif prompt.uniform and rows.uniform:
                query_index, key_index = query_index[:1], key_index[:1]
            self.masks[key] = _visible(query_index, key_index, *blocks, window)
        mask = self.masks[key]
        assert mask is not None
        return mask

    def _blocks(self, ragged: Ragged) -> Tensor:
        assert self.block is not None
        padded = self.block.new_full(ragged.real_BM.shape, -1)
        padded[ragged.real_BM] = self.block[ragged.start : ragged.start + ragged.size]
        return padded


class Cached:
    """Keys and values of rollouts that decode together: one row a rollout, one column a step, written in place.

    The columns of the prompts come first. In float32 they are held once a prompt, and the rows of a prompt, which are
    neighbours and as many for each, attend to them in one product. In a shorter type that product would be rounded, so
    the prompts are expanded to their rows and the fused kernel does it all.

    layers: each layer's keys and values `[P, Hk, R, columns, D]`, R rows a prompt; where the prompts are expanded,
    every row is a prompt's only one. index_NC: where in its own sequence a row's column lies (-1: nothing of this row
    is there). Rows advance in the same columns whatever their lengths, so a step is one contiguous write; `dense`
    says that no row has a hole.
    """

    def __init__(self, prompts: Layers, layers: Layers, prompt_N: Tensor, index_NC: Tensor, block_NC: Tensor | None):
        self.prompts, self.layers, self.prompt_N = prompts, layers, prompt_N
        self.index_NC, self.block_NC = index_NC, block_NC
        self.shared = next(iter(prompts.values()))[0].shape[2] if prompts else 0
        self.columns = 0
        self.dense = False
        self.rows: Tensor | None = None
        self.hidden: dict[int | None, Tensor | None] = {}
        self.length = 0

    @classmethod
    def of_prompts(
        cls, kept: Layers, lengths: Sequence[int], prompt_N: Tensor, room: int, block: Tensor | None
    ) -> Cached:
        """What a prefill kept, for rows that continue prompts `prompt_N`, with room for more columns."""
        some = next(iter(kept.values()))[0]
        device, rows = some.device, len(prompt_N)
        ragged = Ragged(0, lengths, device)
        width = ragged.width

        def empty(padded: Tensor, groups: int, columns: int) -> Tensor:
            return padded.new_zeros(groups, padded.shape[1], rows // groups, columns, padded.shape[3])

        def expanded(padded: Tensor) -> Tensor:
            whole = empty(padded, rows, width + room)
            whole[:, :, 0, :width] = padded[prompt_N]
            return whole

        padded = {n: (ragged.pad(key).contiguous(), ragged.pad(value).contiguous()) for n, (key, value) in kept.items()}
        if some.dtype == torch.float32:
            count = len(lengths)
            prompts = padded
            layers = {n: (empty(key, count, room), empty(value, count, room)) for n, (key, value) in padded.items()}
        else:
            prompts, layers = {}, {n: (expanded(k), expanded(v)) for n, (k, v) in padded.items()}
        index = torch.full((rows, width + room), -1, dtype=torch.long, device=device)
        index[:, :width] = torch.where(ragged.real_BM, torch.arange(width, device=device), -1)[prompt_N]
        blocks = None
        if block is not None:
            padded_block = block.new_full(ragged.real_BM.shape, -1)
            padded_block[ragged.real_BM] = block
            blocks = block.new_full(index.shape, -1)
            blocks[:, :width] = padded_block[prompt_N]
        cached = cls(prompts, layers, prompt_N, index, blocks)
        cached.columns, cached.dense = width, ragged.uniform
        return cached

    def open(self, index: Tensor, block: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Make columns for the next tokens: index `[B, L]` (-1: padding) of all rows, or of those named."""
        length = index.shape[1]
        self._reserve(self.columns + length)
        begin, self.columns = self.columns, self.columns + length
        whole = slice(None) if rows is None else rows
        self.index_NC[whole, begin : self.columns] = index
        if self.block_NC is not None:
            self.block_NC[whole, begin : self.columns] = -1 if block is None else block
        if rows is not None or length > 1:
            self.dense = False
        self.rows, self.length, self.hidden = rows, length, {}

    def hole(self, rows: Tensor) -> None:
        """Rows that wait while others decode: the column just opened holds nothing of theirs."""
        self.index_NC[rows, self.columns - 1] = -1
        self.dense = False

    def forget(self, rows: Tensor) -> None:
        """Rows that open a fresh context see nothing of what came before."""
        self.index_NC[rows] = -1
        self.dense = False

    def even(self, wanted: Sequence[int]) -> list[int]:
        """Rows to keep so that the wanted ones stay: as many for each prompt, which some others fill up."""
        prompts = self.prompt_N.tolist()
        keep: dict[int, list[int]] = {}
        for row in wanted:
            keep.setdefault(prompts[row], []).append(row)
        if not self.prompts or not keep:
            return sorted(wanted)
        size = max(len(rows) for rows in keep.values())
        for row, prompt in enumerate(prompts):
            if prompt in keep and len(keep[prompt]) < size and row not in keep[prompt]:
                keep[prompt].append(row)
        return [row for prompt in sorted(keep) for row in sorted(keep[prompt])]

    def select(self, rows: Tensor) -> None:
        """Keep some rows (as `even` has them); the others' memory is freed."""
        left = self.prompt_N[rows].unique() if self.prompts else rows

        def kept(tensor: Tensor) -> Tensor:
            chosen = tensor.transpose(1, 2).flatten(0, 1)[rows]
            return chosen.unflatten(0, (len(left), len(rows) // max(1, len(left)))).transpose(1, 2).contiguous()

        self.layers = {n: (kept(key), kept(value)) for n, (key, value) in self.layers.items()}
        self.index_NC = self.index_NC[rows]
        self.block_NC = None if self.block_NC is None else self.block_NC[rows]
        self.prompt_N = self.prompt_N[rows]
        if self.prompts:
            self.prompts = {n: (key[left], value[left]) for n, (key, value) in self.prompts.items()}
            self.prompt_N = torch.searchsorted(left, self.prompt_N)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        if self.length == 1 and self.rows is None:
            return self.step(layer, query[:, :, 0], key[:, :, 0], value[:, :, 0], scale, window)[:, None]
        keys, values = (tensor.transpose(1, 2) for tensor in self.layers[layer])
        end = self.columns - self.shared
        rows = torch.arange(len(self.prompt_N), device=query.device) if self.rows is None else self.rows
        group, place = rows // keys.shape[1], rows % keys.shape[1]
        keys[group, place, :, end - self.length : end] = key
        values[group, place, :, end - self.length : end] = value
        keys, values = keys[group, place, :, :end], values[group, place, :, :end]
        if self.prompts:
            prompt_key, prompt_value = self.prompts[layer]
            keys, values = torch.cat([prompt_key[group], keys], 2), torch.cat([prompt_value[group], values], 2)
        hidden = self._hidden(window)
        return _attention(query, keys, values, None if hidden is None else ~hidden, scale).transpose(1, 2)

    def step(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """One token of every row: queries `[N, H, D]`, keys and values `[N, Hk, D]` to its output `[N, H, D]`.

        The heads that share a key head stand in for queries, so nothing is repeated.
        """
        keys, values = self.layers[layer]
        end = self.columns - self.shared
        groups, heads, rows = keys.shape[:3]
        keys[:, :, :, end - 1] = key.unflatten(0, (groups, rows)).transpose(1, 2)
        values[:, :, :, end - 1] = value.unflatten(0, (groups, rows)).transpose(1, 2)
        keys, values, hidden = keys[:, :, :, :end], values[:, :, :, :end], self._hidden(window)
        # [P, Hk, R, g, D]
        folded = query.view(groups, rows, heads, -1, query.shape[-1]).transpose(1, 2)
        if self.prompts:
            out = self._two_parts(layer, folded, keys, values, scale, hidden)
        else:
            seen = None if hidden is None else ~hidden
            out = scaled_dot_product_attention(
                folded[:, :, 0], keys[:, :, 0], values[:, :, 0], attn_mask=seen, scale=scale
            )[:, :, None]
        return out.transpose(1, 2).reshape(query.shape)

    def _two_parts(
        self, layer: int, query: Tensor, keys: Tensor, values: Tensor, scale: float, hidden: Tensor | None
    ) -> Tensor:
        """Attention `[P, Hk, R, g, D]` to the prompts, once for all of their rows, and to each row's own columns."""
        prompt_key, prompt_value = (tensor.flatten(0, 1) for tensor in self.prompts[layer])
        shape, width = query.shape, prompt_key.shape[1]
        query = (query if scale == 1 else query * scale).reshape(*shape[:2], -1, shape[4])
        to_prompt = query.flatten(0, 1) @ prompt_key.transpose(1, 2)
        to_own = query.reshape(-1, *shape[3:]) @ keys.flatten(0, 2).transpose(1, 2)
        score = torch.cat([to_prompt.view(*shape[:4], -1), to_own.view(*shape[:4], -1)], dim=-1)
        if hidden is not None:
            score = score.masked_fill(hidden.view(shape[0], 1, shape[2], 1, -1), -torch.inf)
        weight = score.softmax(-1)
        out = weight[..., :width].flatten(2, 3).flatten(0, 1) @ prompt_value
        own = weight[..., width:].flatten(0, 2)
        return torch.baddbmm(out.view(-1, *shape[3:]), own, values.flatten(0, 2)).view(shape)

    def _hidden(self, window: int | None) -> Tensor | None:
        """What is not seen, `[B, 1, L, columns]`; None if all is."""
        if window not in self.hidden:
            if self.dense and self.length == 1 and (window is None or self.columns <= window):
                self.hidden[window] = None
            else:
                whole = slice(None) if self.rows is None else self.rows
                index = self.index_NC[whole, : self.columns]
                block = None if self.block_NC is None else self.block_NC[whole, : self.columns]
                query = index[:, -self.length :]
                seen = _visible(query, index, None if block is None else block[:, -self.length :], block, window)
                # A query that is padding looks at everything, so that it is a number.
                self.hidden[window] = ~(seen | (query < 0)[:, None, :, None])
        return self.hidden[window]

    def _reserve(self, columns: int) -> None:
        have = self.index_NC.shape[1]
        if columns <= have:
            return
        more = max(columns, have + have // 2) - have

        def wider(tensor: Tensor) -> Tensor:
            return torch.cat([tensor, tensor.new_zeros(*tensor.shape[:3], more, tensor.shape[4])], dim=3)

        self.layers = {n: (wider(key), wider(value)) for n, (key, value) in self.layers.items()}
        self.index_NC = nn.functional.pad(self.index_NC, (0, more), value=-1)
        if self.block_NC is not None:
            self.block_NC = nn.functional.pad(self.block_NC, (0, more), value=-1)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention with shared key heads."""
    if query.is_cuda and mask is not None and query.shape[1] != key.shape[1]:
        # With a mask, CUDA's fused kernels take no shared key heads and the fallback holds every score.
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def _visible(
    query: Tensor, key: Tensor, query_block: Tensor | None, key_block: Tensor | None, window: int | None
) -> Tensor:
    """Which keys `[B, K]` a query `[B, Q]` sees, by index in its own sequence: `[B, 1, Q, K]`.

    What came before and itself; within a picture's block, what comes after too; within the window, if there is one.
    """
    query, key = query[:, None, :, None], key[:, None, None, :]
    seen = key <= query
    if query_block is not None and key_block is not None:
        query_block, key_block = query_block[:, None, :, None], key_block[:, None, None, :]
        seen = seen | ((query_block == key_block) & (query_block >= 0))
    if window is not None:
        seen = seen & (key > query - window)
    return seen & (key >= 0)


def _starts(first: int, lengths: Sequence[int]) -> list[int]:
    starts = [first]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts


def _bins(
    prompt_lengths: Sequence[int], row_lengths: Sequence[int], prompt_N: Sequence[int], budget: int
) -> list[tuple[int, int]]:
    """Neighbouring prompts that share a padded call, while its mask stays within the budget."""
    widths, counts = [0] * len(prompt_lengths), [0] * len(prompt_lengths)
    for length, p in zip(row_lengths, prompt_N):
        widths[p] = max(widths[p], length)
        counts[p] += 1
    bins: list[tuple[int, int]] = []
    first = width = prompt = rows = 0
    for p, length in enumerate(prompt_lengths):
        new_width, new_prompt, new_rows = max(width, widths[p]), max(prompt, length), rows + counts[p]
        size = max(new_rows * new_width, (p + 1 - first) * new_prompt) * (new_prompt + new_width)
        if p > first and size > budget:
            bins.append((first, p))
            first, new_width, new_prompt, new_rows = p, widths[p], length, counts[p]
        width, prompt, rows = new_width, new_prompt, new_rows
    return [*bins, (first, len(prompt_lengths))]


class _Spread(torch.autograd.Function):
    """Rows to distinct slots of a larger tensor of zeros. Distinct, so the gradient is a gather, not a sum."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slot: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(slot)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, slot, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Gather(torch.autograd.Function):
    """Rows from distinct slots: the inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        ctx.size = len(rows)
        return rows.index_select(0, slot)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slot,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.size, *grads[0].shape[1:]).index_copy_(0, slot, grads[0]), None
