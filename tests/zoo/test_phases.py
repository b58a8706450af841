"""Phases of training: the learning rate, the walk and how it goes on, plans made shorter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gamutrl.zoo import phases
from gamutrl.zoo.phases import Phase, beside, ramp, scaled, walk

RAMP = {"rate": 0.1, "warmup": 2, "decay": 0.5, "least": 0.01}


def test_a_rate_rises_is_held_and_falls_to_the_least():
    rates = [ramp(step, 100, 8.0, warmup=4, decay=0.25, least=0.05) for step in range(100)]
    assert rates[:4] == [2.0, 4.0, 6.0, 8.0]
    assert set(rates[4:76]) == {8.0}
    assert rates[80] == pytest.approx(8.0 * 20 / 25)
    assert rates[99] == pytest.approx(8.0 * 0.05)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_walks_have_a_rate_too(steps):
    assert all(0 < ramp(step, steps, 1.0, warmup=1, decay=0.4, least=0.01) <= 1 for step in range(steps))


class Squares(Dataset[Tensor]):
    """Rows that are a function of their number."""

    def __getitem__(self, k: int) -> Tensor:
        return torch.randn(4, 3, generator=torch.Generator().manual_seed(k))


class Walker:
    """A phase of a linear layer, and which batches it was given; stopped by a batch's number."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)
        self.phase = Phase("layer", self.layer, [torch.optim.AdamW(self.layer.parameters())])
        self.stop_at, self.taken = stop_at, []

    def loss(self, step: int) -> phases.Measured:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.taken.append(step)
        loss = self.layer(Squares()[step]).square().mean()
        return loss, {"loss": loss.item()}


def test_a_walk_that_stopped_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    whole = Walker()
    assert walk(whole.phase, 6, range, whole.loss, tmp_path / "whole", **RAMP) is whole.phase
    monkeypatch.setattr(phases, "CHECKPOINT_SECONDS", -1)
    first = Walker(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        walk(first.phase, 6, range, first.loss, tmp_path / "stopped", **RAMP)
    again = Walker()
    walk(again.phase, 6, range, again.loss, tmp_path / "stopped", **RAMP)
    assert (whole.taken, first.taken, again.taken) == ([*range(6)], [0, 1, 2, 3], [4, 5])
    assert torch.equal(again.layer.weight, whole.layer.weight)
    assert again.phase.measured == whole.phase.measured
    assert again.phase.seconds > first.phase.seconds


def test_a_walk_that_is_done_takes_no_step(tmp_path):
    first, again = Walker(), Walker()
    walk(first.phase, 3, range, first.loss, tmp_path, **RAMP)
    walk(again.phase, 3, range, again.loss, tmp_path, **RAMP)
    assert again.taken == []
    assert again.phase.step == 3
    assert torch.equal(again.layer.weight, first.layer.weight)


def test_a_loss_that_is_no_number_ends_the_walk(tmp_path):
    walker = Walker()
    with pytest.raises(FloatingPointError, match="layer phase is nan at step 0"):
        walk(walker.phase, 3, range, lambda step: (torch.tensor(torch.nan), {}), tmp_path, **RAMP)


def test_batches_made_beside_are_those_asked_for():
    made: Iterator[Tensor] = iter(beside(Squares())(5, 8))
    assert all(torch.equal(one, Squares()[k]) for one, k in zip(made, range(5, 8), strict=True))


@dataclass(frozen=True)
class Plan:
    looking: int = 40
    steps: int = 100
    batch: int = 8


def test_a_plan_is_scaled_by_minutes_or_by_the_steps_of_its_last_phase():
    def of(minutes, steps):
        return scaled(Plan(), ("looking", "steps"), takes=10.0, minutes=minutes, steps=steps)

    assert of(None, None) == Plan()
    assert of(5.0, None) == Plan(20, 50)
    assert of(None, 10) == Plan(4, 10)
    assert of(None, 1) == Plan(1, 1)
    with pytest.raises(ValueError, match="not both"):
        of(5.0, 10)
