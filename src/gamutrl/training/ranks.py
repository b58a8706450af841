"""Several processes that train as one: plain SPMD, started by `torchrun`.

Every process holds the same weights and takes the same steps on the same batch. What is shared out is the work: each
samples its own prompts and scores its own groups of rows, and all of them learn what came out. So everything between
(rewards, advantages, selection, objectives, hooks) is written for one process and sees the whole batch. The gradient of
a process is that of its own rows under the loss of all; their sum is the gradient that one process alone would find.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gamutrl.core import Batch, Prompt, Rollout, Sampling
from gamutrl.environments import Environment

T = TypeVar("T")


def begin() -> None:
    """Join the other processes, if `torchrun` started several; NCCL on GPUs, a GPU a process, else Gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def number() -> int:
    """Which of them this is."""
    return dist.get_rank() if size() > 1 else 0


def first() -> bool:
    """Whether this is the process that writes and shows."""
    return number() == 0


def agreed(value: T) -> T:
    """The first process's value, for all."""
    if size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def most(value: int) -> int:
    """The largest of the processes' values, for all."""
    if size() == 1:
        return value
    held = torch.tensor(value, device=_device())
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return int(held)


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Every parameter's gradient becomes the sum over the processes; one that has none in any of them keeps none."""
    if size() == 1:
        return
    has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=_device())
    dist.all_reduce(has, dist.ReduceOp.MAX)
    waiting = []
    for parameter, somewhere in zip(parameters, has.tolist()):
        if somewhere:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.contiguous()
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
    for work in waiting:
        work.wait()


def alike(batch: Batch) -> Batch:
    """The scored batch as the first process has it: a judge may tell two processes different things."""
    if size() == 1:
        return batch
    reward_RK, ends = agreed((batch["reward_RK"], [rollout.end for rollout in batch.rollouts]))
    for rollout, end in zip(batch.rollouts, ends):
        rollout.end = end
    return batch.with_(reward_RK=reward_RK.to(batch["reward_RK"].device))


def shared(policy: Any) -> Any:
    """The policy as several processes use it; one process uses it as it is.

    Raises ValueError for a policy that is not sampled and scored by `rollout` and `log_probs` alone.
    """
    if size() == 1:
        return policy
    if hasattr(policy, "begin"):
        raise ValueError(f"A {type(policy).__name__} is trained by one process: start it without torchrun.")
    return Shared(policy)


class Shared:
    """A policy whose prompts and rows are shared out among the processes; all else is the policy's own."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def rollout(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        environment: Environment,
        sampling: Sampling,
        *,
        seed: int,
    ) -> Batch:
        """What `policy.rollout` gives: each process samples some of the prompts, and learns of the others' rollouts."""
        # A row's draws depend on its id and on how often that id came before, so rows of one id stay together.
        names = [prompt.id or prompt.text for prompt in prompts]
        mine = set(_part(list(dict.fromkeys(names))))
        places = [p for p, name in enumerate(names) if name in mine]
        batch = self.policy.rollout([prompts[p] for p in places], group_size, environment, sampling, seed=seed)
        kept = _places_of(batch.prompts, prompts, places)
        sent = replace(batch, prompts=[], rollouts=[_without_prompt(rollout) for rollout in batch.rollouts], cache={})
        told: list[Any] = [None] * size()
        dist.all_gather_object(told, (kept, sent))
        parts = [batch if k == number() else _with_prompts(sent, kept, prompts) for k, (kept, sent) in enumerate(told)]
        return replace(Batch.concat(parts), cache=batch.cache)

    def log_probs(self, batch: Batch, statistics: Mapping[str, Any] | None = None) -> Any:
        """What `policy.log_probs` gives, with the gradient of this process's own groups of rows."""
        group_N = batch.group_N.tolist()
        own = set(_part(list(dict.fromkeys(group_N))))
        rows = [n for n, group in enumerate(group_N) if group in own]
        found: Mapping[str, Tensor] = {}
        if not rows:
            logp_nT = torch.zeros(0, batch.mask_NT.shape[1])
            found = dict.fromkeys(statistics or {}, logp_nT)
        elif statistics is None:
            logp_nT = self.policy.log_probs(batch.take_rows(rows))
        else:
            logp_nT, found = self.policy.log_probs(batch.take_rows(rows), statistics)
        logp_NT = _whole(logp_nT, rows, batch.mask_NT.shape)
        if statistics is None:
            return logp_NT
        return logp_NT, {name: _whole(found[name], rows, batch.mask_NT.shape) for name in statistics}


def _part(items: Sequence[T]) -> Sequence[T]:
    """This process's share of some items: neighbours, as many as others have, give or take one."""
    each, more = divmod(len(items), size())
    start = number() * each + min(number(), more)
    return items[start : start + each + (number() < more)]


def _places_of(kept: Sequence[Prompt], prompts: Sequence[Prompt], places: Sequence[int]) -> list[int]:
    """Where the prompts that a policy kept stand among all (it may drop some, every time they come)."""
    found, left = [], iter(places)
    for prompt in kept:
        found.append(next(place for place in left if prompts[place] is prompt))
    return found


def _without_prompt(rollout: Rollout) -> Rollout:
    """The rollout as it is sent: every process has the prompts, with their media."""
    sent = copy.copy(rollout)
    sent.prompt = None  # type: ignore[assignment]
    return sent


def _with_prompts(batch: Batch, places: Sequence[int], prompts: Sequence[Prompt]) -> Batch:
    own = [prompts[place] for place in places]
    for rollout, p in zip(batch.rollouts, batch.prompt_R.tolist()):
        rollout.prompt = own[p]
    return replace(batch, prompts=own)


def _whole(value_nT: Tensor, rows: Sequence[int], shape: Iterable[int]) -> Tensor:
    """The values of all rows, a gradient flowing to one's own."""
    value_nT = value_nT.to(_device()) if dist.get_backend() == "nccl" else value_nT
    index = torch.tensor(rows, dtype=torch.long, device=value_nT.device)
    own_NT = value_nT.new_zeros(tuple(shape)).index_copy(0, index, value_nT)
    sum_NT = own_NT.detach().clone()
    dist.all_reduce(sum_NT)
    return own_NT + (sum_NT - own_NT.detach())


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
