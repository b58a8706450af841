"""The batch: R scored rollouts, N trained rows, and every tensor a step makes of them.

Axes are named in suffixes: P prompts, R rollouts, N trained rows, T actions of a row (right-padded), K reward
components. Any tensor attached to a batch has a name that ends in its axes (`logp_old_NT`, `reward_RK`, `pass_rate_P`),
and that name is how `take_rollouts`, `take_rows` and `concat` know what to do with it. For plain GRPO N = R = P·G.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core.prompt import Prompt
from gamutrl.core.rollout import Rollout, Row


@dataclass(eq=False)
class Batch:
    """R rollouts of P prompts, as N rows of at most T actions.

    prompts: P prompts. rollouts: R rollouts. rows: N rows.
    prompt_R: which prompt a rollout answers, int64 `[R]`. group_R: which rollouts are compared, int64 `[R]`.
    mask_NT: True where the policy acted and may be trained, bool `[N, T]`.
    logp_sampled_NT: what sampling recorded. tensors: everything later steps attach, by axis-suffixed name.
    reward_names: the K columns of `reward_RK`, in order. info: what else is known, of the batch or (a list) of each
    prompt: `media_size`, the sampling settings. cache: whatever the policy keeps to score the rows without doing work
    twice (processed media, prompt tokens); shared, not copied, by every batch taken from this one.
    """

    prompts: list[Prompt]
    rollouts: list[Rollout]
    prompt_R: Tensor
    group_R: Tensor
    rows: list[Row]
    mask_NT: Tensor
    logp_sampled_NT: Tensor
    reward_names: tuple[str, ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)

    # -- construction ---------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        rollouts: Sequence[Rollout],
        prompt_R: Tensor | Sequence[int],
        group_R: Tensor | Sequence[int] | None = None,
        rows: Sequence[Row] | None = None,
        cache: dict[str, Any] | None = None,
    ) -> Batch:
        """Rollouts to a batch: by default a group is a prompt, and a row is a context of a rollout.

        An empty rollout (no turns) keeps its place among the R and has no row.
        """
        prompt_R = torch.as_tensor(prompt_R, dtype=torch.long)
        group_R = prompt_R.clone() if group_R is None else torch.as_tensor(group_R, dtype=torch.long)
        if not len(rollouts) == len(prompt_R) == len(group_R):
            raise ValueError(f"{len(rollouts)} rollouts need as many prompt and group numbers.")
        if rows is None:
            rows = [Row(r, turns) for r, rollout in enumerate(rollouts) for turns in rollout.contexts()]
        logps = [_row_logp(rollouts[row.rollout], row) for row in rows]
        logp_NT = pad(logps)
        mask_NT = torch.arange(logp_NT.shape[1])[None] < torch.tensor([len(logp) for logp in logps]).reshape(-1, 1)
        return cls(
            prompts=list(prompts),
            rollouts=list(rollouts),
            prompt_R=prompt_R,
            group_R=group_R,
            rows=list(rows),
            mask_NT=mask_NT,
            logp_sampled_NT=logp_NT,
            cache={} if cache is None else cache,
        )

    # -- what follows from the rows -------------------------------------------------------------------------------

    @property
    def rollout_N(self) -> Tensor:
        """Whose reward a row inherits."""
        return torch.tensor([row.rollout for row in self.rows], dtype=torch.long)

    @property
    def prompt_N(self) -> Tensor:
        """Whose prefix a row shares."""
        return self.prompt_R[self.rollout_N]

    @property
    def group_N(self) -> Tensor:
        return self.group_R[self.rollout_N]

    @property
    def length_R(self) -> Tensor:
        """The number of the policy's own actions in each rollout."""
        return torch.tensor([rollout.length for rollout in self.rollouts], dtype=torch.long)

    # -- attached tensors -----------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            have = ", ".join(sorted(self.tensors)) or "none"
            raise KeyError(f"The batch has no {name!r} yet (attached: {have}).") from None

    def with_(self, **tensors: Tensor) -> Batch:
        """A copy with tensors attached; each name must end in its axes and match this batch's sizes."""
        for name, tensor in tensors.items():
            self._check(name, tensor)
        return replace(self, tensors={**self.tensors, **tensors})

    def reward(self, name: str) -> Tensor:
        """One column of the reward table, `[R]`."""
        if name not in self.reward_names:
            raise KeyError(f"No reward is called {name!r}; this batch has: {', '.join(self.reward_names) or 'none'}.")
        return self["reward_RK"][:, self.reward_names.index(name)]

    def columns_R(self) -> dict[str, list[Any]]:
        """Every column of the prompts, repeated for their rollouts; a column that a row lacks is None there."""
        names = dict.fromkeys(name for prompt in self.prompts for name in prompt.columns)
        owners = [self.prompts[p] for p in self.prompt_R.tolist()]
        columns = {name: [prompt.columns.get(name) for prompt in owners] for name in names}
        columns["answer"] = [prompt.answer for prompt in owners]
        return columns

    def rows_to_rollouts(self, value_N: Tensor) -> Tensor:
        """The sum over each rollout's rows, `[R]` (0 for a rollout without any)."""
        return value_N.new_zeros(len(self.rollouts)).index_add(0, self.rollout_N.to(value_N.device), value_N)

    # -- parts ----------------------------------------------------------------------------------------------------

    def take_rows(self, index_N: Tensor | Sequence[int]) -> Batch:
        """Some trained rows; the rollouts stay (so statistics over groups do not change)."""
        index_N = torch.as_tensor(index_N, dtype=torch.long)
        return replace(
            self,
            rows=[self.rows[n] for n in index_N.tolist()],
            mask_NT=self.mask_NT[index_N],
            logp_sampled_NT=self.logp_sampled_NT[index_N],
            tensors={k: v[index_N] if _axes(k)[0] == "N" else v for k, v in self.tensors.items()},
        )

    def of_update(self, number: int) -> Batch:
        """The batch as its `number`-th use sees it: what has U for its last axis holds a value for each use, and is
        found by its name without it (`logp_old_NT` from `logp_old_NTU`; `mask_NTU` becomes the mask)."""
        own = {k[:-1]: v[..., number] for k, v in self.tensors.items() if _axes(k)[-1] == "U"}
        mask_NT = own.pop("mask_NT", self.mask_NT)
        return replace(self, mask_NT=mask_NT, tensors={**self.tensors, **own})

    def take_rollouts(self, keep_R: Tensor | Sequence[int]) -> Batch:
        """Some rollouts with their rows. The prompts stay, so that prompt numbers and caches remain valid."""
        keep_R = torch.as_tensor(keep_R)
        index_R = keep_R.nonzero().flatten() if keep_R.dtype == torch.bool else keep_R.long()
        new_of = {old: new for new, old in enumerate(index_R.tolist())}
        index_N = [n for n, row in enumerate(self.rows) if row.rollout in new_of]
        batch = self.take_rows(index_N)
        return replace(
            batch,
            rollouts=[self.rollouts[r] for r in index_R.tolist()],
            rows=[replace(row, rollout=new_of[row.rollout]) for row in batch.rows],
            prompt_R=self.prompt_R[index_R],
            group_R=self.group_R[index_R],
            tensors={k: v[index_R] if _axes(k)[0] == "R" else v for k, v in batch.tensors.items()},
        )

    @staticmethod
    def concat(batches: Iterable[Batch]) -> Batch:
        """Batches side by side: groups stay apart, T is padded, only tensors that all of them have are kept.

        Caches are dropped: the policy makes them again.
        """
        batches = list(batches)
        if not batches:
            raise ValueError("Nothing to concatenate.")
        if len({batch.reward_names for batch in batches}) > 1:
            raise ValueError("Batches with different reward columns cannot be put together.")
        width = max(batch.mask_NT.shape[1] for batch in batches)
        shared = set.intersection(*(set(batch.tensors) for batch in batches))
        p = r = g = 0
        rows: list[Row] = []
        prompt_R, group_R = [], []
        for batch in batches:
            rows += [replace(row, rollout=row.rollout + r) for row in batch.rows]
            prompt_R.append(batch.prompt_R + p)
            group_R.append(batch.group_R + g)
            p, r = p + len(batch.prompts), r + len(batch.rollouts)
            g += int(batch.group_R.max()) + 1 if len(batch.group_R) else 0

        def joined(get: Callable[[Batch], Tensor], name: str) -> Tensor:
            return torch.cat([_widen(get(b), width) if _axes(name) == "NT" else get(b) for b in batches])

        return Batch(
            prompts=[prompt for batch in batches for prompt in batch.prompts],
            rollouts=[rollout for batch in batches for rollout in batch.rollouts],
            prompt_R=torch.cat(prompt_R),
            group_R=torch.cat(group_R),
            rows=rows,
            mask_NT=joined(lambda b: b.mask_NT, "mask_NT"),
            logp_sampled_NT=joined(lambda b: b.logp_sampled_NT, "logp_NT"),
            reward_names=batches[0].reward_names,
            tensors={k: joined(operator.methodcaller("__getitem__", k), k) for k in sorted(shared)},
            info={key: _joined_info([batch.info.get(key) for batch in batches]) for key in batches[0].info},
        )

    # -- checks ---------------------------------------------------------------------------------------------------

    def _check(self, name: str, tensor: Tensor) -> None:
        sizes = {"P": len(self.prompts), "R": len(self.rollouts), "N": len(self.rows), "T": self.mask_NT.shape[1]}
        axes = _axes(name)
        if len(axes) > tensor.dim() or any(a in sizes and sizes[a] != s for a, s in zip(axes, tensor.shape)):
            want = ", ".join(f"{a}={sizes[a]}" if a in sizes else a for a in axes)
            raise ValueError(f"{name} must have the axes [{want}], not the shape {list(tensor.shape)}.")


def pad(values: Sequence[Tensor], fill: float = 0.0) -> Tensor:
    """Vectors of unequal length to one right-padded `[N, T]`."""
    if not values:
        return torch.zeros(0, 0)
    return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True, padding_value=fill)


def _axes(name: str) -> str:
    axes = name.rsplit("_", 1)[-1]
    if "_" not in name or not axes.isupper():
        raise ValueError(f"A tensor's name must end in its axes (like reward_RK or logp_old_NT), not {name!r}.")
    return axes


def _joined_info(values: list[Any]) -> Any:
    """What is told a prompt at a time is joined; what is told of the whole batch is the first's."""
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values[0]


def _row_logp(rollout: Rollout, row: Row) -> Tensor:
    turns = [rollout.turns[t] for t in row.turns]
    return torch.cat([turn.logp_T for turn in turns]).float() if turns else torch.zeros(0)


def _widen(tensor_NT: Tensor, width: int) -> Tensor:
    missing = width - tensor_NT.shape[1]
    return torch.nn.functional.pad(tensor_NT, (0, missing)) if missing else tensor_NT
