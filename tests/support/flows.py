"""A flow policy small enough to check by hand: a random network on the world's points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.worlds import blobs
from gamutrl.policies.flow import FlowPolicy
from gamutrl.zoo.blobs import BlobConfig, BlobDenoiser, BlobNet


def small_policy(predicts: str = "velocity", seed: int = 0) -> FlowPolicy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = BlobNet(BlobConfig("points", predicts, width=12, depth=1))
        torch.nn.init.normal_(net.last.weight, std=0.3)
    return FlowPolicy(BlobDenoiser(net))


def point_rows(n: int, task: str = "points", **knobs) -> list[Prompt]:
    return blobs.rows("train", n, seed=1, task=task, **({"space": "points"} if task != "points" else {}), **knobs)


@dataclass(frozen=True)
class SmallFlow:
    """Names the policy above in a preset."""

    name: str = "small-flow"

    def load(self) -> FlowPolicy:
        return small_policy()


@dataclass(frozen=True)
class ToTheRight:
    """How far right a point lies: a reward whose gradient is the same everywhere."""

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return torch.stack([rollout.output.values_D[0] for rollout in batch.rollouts])


def gradient(policy: FlowPolicy) -> Tensor:
    """The gradient of all weights in one vector, 0 where there is none."""
    return torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in policy.module.parameters()]
    )
