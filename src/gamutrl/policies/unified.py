"""Understanding and drawing in one batch, and how one model sees a picture beside its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Message, Prompt, Sampling, image, text
from gamutrl.environments import Environment
from gamutrl.policies.attention import Packed
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.policies.media import embedded
from gamutrl.policies.segments import TEXT


@dataclass(frozen=True)
class Task:
    """What one of several groups of a row does: its prompts, its environment, how it is sampled."""

    prompts: Sequence[Prompt]
    environment: Environment
    sampling: Sampling


def side_by_side(policy: ImageTokenPolicy, tasks: Sequence[Task], group_size: int, seed: int) -> Batch:
    """Groups of every task in one batch, task after task; `rollout.info["twin"]` is what goes with what: sample i of a
    task's prompt p with sample i of every other task's prompt p.

    Raises ValueError for tasks of unequal numbers of prompts.
    """
    if len({len(task.prompts) for task in tasks}) > 1:
        raise ValueError("Tasks side by side need as many prompts each.")
    batches = []
    for task in tasks:
        batch = policy.rollout(task.prompts, group_size, task.environment, task.sampling, seed=seed)
        if len(batch.prompts) < len(task.prompts):
            raise ValueError("A prompt was left out as too long; tasks side by side need each of theirs.")
        for number, rollout in enumerate(batch.rollouts):
            rollout.info["twin"] = number
        batches.append(batch)
    return Batch.concat(batches)


def by_twin(batch: Batch, value_R: Tensor) -> Tensor:
    """Values of each task's rollouts, side by side by what goes with what: `[twins, tasks]`, NaN where one is missing.

    The columns are the tasks in their order.
    """
    twin_R = torch.tensor([rollout.info["twin"] for rollout in batch.rollouts])
    table = torch.full((int(twin_R.max()) + 1, len(tasks_of(batch).unique())), torch.nan)
    table[twin_R, tasks_of(batch)] = value_R.float()
    return table


def tasks_of(batch: Batch) -> Tensor:
    """The number of each rollout's task, `[R]`: twins come once a task, in order."""
    seen: dict[int, int] = {}
    tasks = []
    for rollout in batch.rollouts:
        twin = rollout.info["twin"]
        tasks.append(seen.get(twin, 0))
        seen[twin] = tasks[-1] + 1
    return torch.tensor(tasks)


@torch.no_grad()
def seen_beside(
    policy: ImageTokenPolicy, pictures: Sequence[Image.Image], captions: Sequence[str]
) -> list[tuple[Tensor, Tensor]]:
    """The last hidden states of each picture's tokens `[L, D]` and of its caption's `[M, D]`, seen in one context."""
    backbone, segments = policy.backbone, policy.segments
    found = []
    for picture, caption in zip(pictures, captions):
        segment = segments.prompt([Message("user", (image(picture), text(caption)))])
        layout = Packed([len(segment)], [], [], None, backbone.device)
        embeds, deep = embedded(backbone, segment.tokens_L.to(backbone.device), [segment], [0], False)
        states = backbone.hidden(embeds, segment.position_AL[:, None].to(backbone.device), layout, deep)[0]
        placed = (segment.kind_L != TEXT).to(states.device)
        last = int(placed.nonzero().max()) + 1
        found.append((states[placed], states[last:]))
    return found


def with_picture(prompt: Prompt, picture: Image.Image, question: str) -> Prompt:
    """A row as a question about a picture."""
    return replace(prompt, messages=(Message("user", (image(picture), text(question))),), id=f"{prompt.id}/seen")
