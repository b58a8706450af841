"""Drawing one token: from the right ones, as often as they deserve, and recorded before truncation."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gamutrl.core import Sampling
from gamutrl.policies.sampling import choose, draws
from gamutrl.policies.scoring import scored

logit_rows = st.lists(st.floats(-8, 8), min_size=3, max_size=9)


@settings(max_examples=100, deadline=None)
@given(logit_rows, st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.floats(0.05, 1.0), st.data())
def test_only_what_truncation_leaves_is_drawn(logits, uniform, top_k, top_p, data):
    banned = sorted(data.draw(st.sets(st.integers(0, len(logits) - 1), max_size=2)))
    row = scored(torch.tensor([logits]), 1.0, torch.tensor(banned, dtype=torch.long))
    sampling = Sampling(top_k=top_k, top_p=top_p)
    token, logp = choose(row, torch.tensor([uniform], dtype=torch.float64), sampling)
    order = sorted((i for i in range(len(logits)) if i not in banned), key=lambda i: -logits[i])
    kept = order[: top_k or None]
    probability = torch.tensor([logits[i] for i in kept], dtype=torch.float64).softmax(0).tolist()
    before = [sum(probability[:i]) for i in range(len(kept))]
    least = min(logits[i] for i, b in zip(kept, before) if b < top_p + 1e-5)
    assert int(token) not in banned
    assert logits[int(token)] >= least - 1e-6
    whole = torch.tensor([logits[i] for i in order], dtype=torch.float64)
    assert abs(float(logp) - (logits[int(token)] - float(whole.logsumexp(0)))) < 1e-4


def test_logits_that_are_not_numbers_are_told_by_the_log_probability():
    for sampling in (Sampling(), Sampling(top_k=2), Sampling(temperature=0)):
        token, logp = choose(torch.full((1, 4), torch.nan), torch.tensor([0.3], dtype=torch.float64), sampling)
        assert 0 <= int(token) < 4
        assert logp.isnan().all()


def test_tokens_come_as_often_as_they_should():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    uniform = torch.linspace(0, 1, 4001, dtype=torch.float64)[:-1]
    token, _ = choose(logits.expand(4000, -1), uniform, Sampling())
    share = torch.bincount(token, minlength=4) / 4000
    assert torch.allclose(share, logits.softmax(0), atol=1e-3)


def test_draws_are_a_rollouts_own():
    assert torch.equal(draws(1, "row", 2, 0, 5), draws(1, "row", 2, 0, 9)[:5])
    others = [draws(2, "row", 2, 0, 5), draws(1, "raw", 2, 0, 5), draws(1, "row", 3, 0, 5), draws(1, "row", 2, 1, 5)]
    assert all(not torch.equal(draws(1, "row", 2, 0, 5), other) for other in others)
