"""The layouts, against attention written out one query at a time."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gamutrl.policies.attention import Cached, Packed, Ragged

HEADS, KEY_HEADS, DIM = 4, 2, 8


def one_by_one(query: Tensor, key: Tensor, value: Tensor, seen: list[list[int]]) -> Tensor:
    """`[1, H, L, D]` and for each query the indices of what it sees, to `[1, L, H, D]`."""
    out = torch.zeros(1, query.shape[2], HEADS, DIM)
    for i, indices in enumerate(seen):
        for head in range(HEADS):
            own = head // (HEADS // KEY_HEADS)
            weight = (query[0, head, i] @ key[0, own, indices].T * DIM**-0.5).softmax(-1)
            out[0, i, head] = weight @ value[0, own, indices]
    return out


lengths = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    lengths,
    st.data(),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
    st.sampled_from([1, 40, 10**6]),
)
def test_a_row_sees_its_prompt_and_itself(prompt_lengths, data, window, pictures, budget):
    """Given prompts and rows of any lengths (rows of none too), whatever shares a padded call: nothing else is seen."""
    rows = [data.draw(st.lists(st.integers(0, 5), max_size=3)) for _ in prompt_lengths]
    row_lengths = [length for own in rows for length in own]
    prompt_N = [p for p, own in enumerate(rows) for _ in own]
    total = sum(prompt_lengths) + sum(row_lengths)
    generator = torch.Generator().manual_seed(total)
    query = torch.randn(1, HEADS, total, DIM, generator=generator, requires_grad=True)
    key, value = (torch.randn(1, KEY_HEADS, total, DIM, generator=generator, requires_grad=True) for _ in range(2))
    block = torch.tensor(data.draw(st.lists(st.integers(-1, 0), min_size=total, max_size=total)))

    def visible(sequence: list[int], first: int) -> dict[int, list[int]]:
        """What each token of a sequence sees, from its `first` one on."""
        return {
            q: [
                k
                for j, k in enumerate(sequence)
                if (j <= i or (pictures and block[q] == block[k] >= 0)) and (window is None or j > i - window)
            ]
            for i, q in enumerate(sequence)
            if i >= first
        }

    places = iter(range(total))
    contexts = [[next(places) for _ in range(length)] for length in prompt_lengths]
    tails = [[next(places) for _ in range(length)] for length in row_lengths]
    sees: dict[int, list[int]] = {}
    for context in contexts:
        sees |= visible(context, 0)
    for p, tail in zip(prompt_N, tails):
        sees |= visible(contexts[p] + tail, len(contexts[p]))
    seen = [sees[q] for q in range(total)]
    layout = Packed(prompt_lengths, row_lengths, prompt_N, block if pictures else None, budget=budget)
    ours = layout.attend(0, query, key, value, DIM**-0.5, window)
    theirs = one_by_one(query, key, value, seen)
    assert torch.allclose(ours, theirs, atol=1e-5)
    wanted = torch.randn(ours.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad((ours * wanted).sum(), (query, key, value)),
        torch.autograd.grad((theirs * wanted).sum(), (query, key, value)),
    ):
        assert torch.allclose(a, b, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(lengths, st.integers(1, 3), st.integers(1, 5), st.sampled_from([None, 2]), st.booleans(), st.data())
def test_decoding_sees_what_was_said(prompt_lengths, group, steps, window, half, data):
    """Given rows that wait in some steps: each query sees its prompt and its own words, in either way of caching."""
    prompt_N = torch.arange(len(prompt_lengths)).repeat_interleave(group)
    generator = torch.Generator().manual_seed(steps)
    dtype = torch.float64 if half else torch.float32
    total = sum(prompt_lengths)
    kept = {0: tuple(torch.randn(1, KEY_HEADS, total, DIM, generator=generator).to(dtype) for _ in range(2))}
    cache = Cached.of_prompts(kept, prompt_lengths, prompt_N, room=1, block=None)
    said = {
        row: list(range(sum(prompt_lengths[:p]), sum(prompt_lengths[: p + 1])))
        for row, p in enumerate(prompt_N.tolist())
    }
    keys, values = kept[0]
    for _ in range(steps):
        waiting = sorted(data.draw(st.sets(st.integers(0, len(prompt_N) - 1))))
        query = torch.randn(len(prompt_N), HEADS, 1, DIM, generator=generator).to(dtype)
        key, value = (torch.randn(len(prompt_N), KEY_HEADS, 1, DIM, generator=generator).to(dtype) for _ in range(2))
        cache.open(torch.tensor([[len(said[row])] for row in said]))
        if waiting:
            cache.hole(torch.tensor(waiting))
        out = cache.attend(0, query, key, value, DIM**-0.5, window)
        for row in said:
            if row in waiting:
                continue
            said[row].append(keys.shape[2])
            keys = torch.cat([keys, key[row : row + 1]], dim=2)
            values = torch.cat([values, value[row : row + 1]], dim=2)
            seen = said[row] if window is None else said[row][-window:]
            wanted = one_by_one(query[row : row + 1].float(), keys.float(), values.float(), [seen])
            assert torch.allclose(out[row].float(), wanted[0], atol=1e-5)
        assert out.isfinite().all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_padding_and_back_is_nothing(sizes):
    flat = torch.randn(1, 2, sum(sizes), 3)
    ragged = Ragged(0, sizes, torch.device("cpu"))
    padded = ragged.pad(flat)
    assert padded.shape == (len(sizes), 2, max(sizes), 3)
    assert torch.equal(ragged.flat(padded), flat[0].transpose(0, 1))
