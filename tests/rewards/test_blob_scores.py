"""Scores of blobs as rewards: columns of a table, with a gradient to what was made."""

from __future__ import annotations

import pytest
import torch

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.data.worlds import blobs
from gamutrl.rewards.blobs import ARTEFACT, CLEAN, DENSITY, GOLD, MODE, PROXY, TEXTURE, BlobScore
from gamutrl.rewards.table import score


def made(values_RD: torch.Tensor, rows: list[Prompt]) -> Batch:
    rollouts = [Rollout(row, [], output=blobs.Blob("pictures", x_D)) for row, x_D in zip(rows, values_RD)]
    return Batch.of(rows, rollouts, range(len(rows)))


def test_every_score_is_a_column_and_knows_whose_class_it_is():
    space, rows = blobs.space("pictures"), blobs.rows("test", 5, task="pictures")
    best_RD = torch.stack([space.mode_CMD[row.columns["class"], -1] for row in rows])
    batch = score((GOLD, PROXY, ARTEFACT, DENSITY, MODE, TEXTURE, CLEAN), made(best_RD, rows), Context())
    assert batch.reward("gold").tolist() == pytest.approx([1.0] * 5)
    assert (batch.reward("artefact").abs() < 0.1).all()
    assert torch.allclose(batch.reward("proxy"), 1 + 1.5 * batch.reward("artefact"), atol=1e-5)
    assert (batch.reward("mode") > 0.9).all()
    assert score((GOLD,), made(best_RD.flip(0), rows), Context()).reward("gold").mean() < 0.9


def test_a_gradient_reaches_the_output():
    rows = blobs.rows("train", 3, task="pictures")
    values_RD = torch.zeros(3, 64, requires_grad=True)
    BlobScore("proxy")(made(values_RD, rows), Context()).sum().backward()
    assert (values_RD.grad @ blobs.space("pictures").artefact_D > 0).all()


def test_rows_of_another_world_are_refused():
    prompt = Prompt.ask("Sum of the digits?")
    batch = Batch.of([prompt], [Rollout(prompt, [], output=blobs.Blob("pictures", torch.zeros(64)))], [0])
    with pytest.raises(ValueError, match="not of one space of the world 'blobs'"):
        GOLD.score(batch, Context())
