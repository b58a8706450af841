"""Batches made by hand: rollouts of given texts."""

import pytest
import torch
from hypothesis import settings

from gamutrl.core import Batch, Prompt, Rollout, Turn

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def make_batch(texts, rows=None, per_prompt=1):
    """Rollouts with these texts; `rows[p]` are the columns of prompt p (`answer` among them), `per_prompt` a group."""
    rows = rows or [{} for _ in range(len(texts) // per_prompt)]
    prompts = [Prompt.ask(f"question {p}", id=f"test/{p}", **columns) for p, columns in enumerate(rows)]
    rollouts, owner = [], []
    for r, text in enumerate(texts):
        tokens = torch.arange(len(text.split()))
        turn = Turn(text, text, tokens, torch.zeros(len(tokens)))
        rollouts.append(Rollout(prompts[r // per_prompt], [turn], output=text))
        owner.append(r // per_prompt)
    return Batch.of(prompts, rollouts, owner)


@pytest.fixture
def batch_of():
    return make_batch
