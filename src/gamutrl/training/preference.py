"""The preference stage: learning from answers that are already there, in pairs, singly judged or ranked.

prompts ─answers▶ R answers with label_R ─prepare▶ what references say of them ─likelihood, objective▶ update

What is compared is the policy's likelihood of an answer, less a reference's: of a text, the log-probabilities of its
tokens; of a picture, minus its denoising error (`training.forward`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Source
from gamutrl.functional import preference
from gamutrl.functional.ratios import clip_log_ratio
from gamutrl.policies.base import Policy
from gamutrl.training.defaults import ActionWeights, Reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import LikelihoodFn, ObjectiveFn
from gamutrl.training.session import Session
from gamutrl.training.update import update
from gamutrl.training.walk import of_run, walk

AnswersFn = Callable[[Policy, Sequence[Prompt]], Batch]
PrepareFn = Callable[["Preference", Batch, Context], Batch]
PairLossFn = Callable[[Tensor, Tensor, float], Tensor]


# -- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Each row's two answers, from two columns; a group is a row.

    tie: a column that is true where neither is better (such rows teach nothing here).
    """

    chosen: str = "chosen"
    rejected: str = "rejected"
    tie: str = "tie"

    def __call__(self, policy: Policy, prompts: Sequence[Prompt]) -> Batch:
        answers = [[column(prompt, self.chosen), column(prompt, self.rejected)] for prompt in prompts]
        return answered(policy, prompts, answers, [[0, 0] if p.columns.get(self.tie) else [1, 0] for p in prompts])


@dataclass(frozen=True)
class Judged:
    """Each row's one answer, and whether it is liked."""

    output: str = "output"
    liked: str = "liked"

    def __call__(self, policy: Policy, prompts: Sequence[Prompt]) -> Batch:
        answers = [[column(prompt, self.output)] for prompt in prompts]
        return answered(policy, prompts, answers, [[int(bool(column(prompt, self.liked)))] for prompt in prompts])


@dataclass(frozen=True)
class Ranked:
    """Each row's several answers and their ranks, the best the lowest; equal ranks are ties."""

    outputs: str = "outputs"
    rank: str = "rank"

    def __call__(self, policy: Policy, prompts: Sequence[Prompt]) -> Batch:
        answers = [list(column(prompt, self.outputs)) for prompt in prompts]
        labels = [[len(said) - float(r) for r in column(p, self.rank)] for p, said in zip(prompts, answers)]
        return answered(policy, prompts, answers, labels)


def answered(
    policy: Policy, prompts: Sequence[Prompt], answers: Sequence[Sequence[Any]], labels: Sequence[Sequence[float]]
) -> Batch:
    """Answers as rollouts: a group a prompt, with `label_R`, which is higher for what is better.

    Raises ValueError, naming the row, where a row has not as many labels as answers.
    """
    for prompt, said, told in zip(prompts, answers, labels):
        if len(said) != len(told):
            raise ValueError(f"Row {prompt.id or '?'} has {len(said)} answers and {len(told)} labels.")
    owner_R = [p for p, said in enumerate(answers) for _ in said]
    said = [answer for several in answers for answer in several]
    given = policy.demonstrated([prompts[p] for p in owner_R], said)
    batch = Batch.of(prompts, given.rollouts, owner_R, rows=given.rows, cache=given.cache)
    return batch.with_(label_R=torch.tensor([float(label) for several in labels for label in several]))


def column(prompt: Prompt, name: str) -> Any:
    """A column that a row must have. Raises ValueError, naming the row and what it has."""
    if prompt.columns.get(name) is None:
        have = ", ".join(prompt.columns) or "none"
        raise ValueError(f"Row {prompt.id or '?'} has no column {name!r} to learn a preference from; it has: {have}.")
    return prompt.columns[name]


# -- what references say ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Referred:
    """Attaches what each named copy says of the answers, as `logp_<name>_NT`: a `prepare`."""

    references: tuple[str, ...] = ("base",)

    def __call__(self, stage: Preference, batch: Batch, context: Context) -> Batch:
        policy: Policy = context.models[stage.trains]
        for name in self.references:
            with policy.reference(name):
                batch = batch.with_(**{f"logp_{name}_NT": stage.value(policy, batch)})
        return batch


# -- objectives -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gain:
    """How much likelier the policy finds an answer than the reference does, `[N, T]`.

    over: one number an "answer" (the sum over its actions, given to each of them; with `average`, their mean), or one
    an "action" (a noise level, a denoising step). reference: None compares with nothing. clip: log-ratios count no
    further than a ratio of 1 ± clip. Actions are weighed by `emphasis_NT` where the batch has it (RLHF-V).
    """

    over: Literal["answer", "action"] = "answer"
    average: bool = False
    reference: str | None = "base"
    clip: float | None = None

    def __call__(self, logp_NT: Tensor, batch: Batch) -> Tensor:
        gain_NT = logp_NT if self.reference is None else logp_NT - batch[f"logp_{self.reference}_NT"].to(logp_NT)
        if self.over == "answer":
            weight_NT = batch["emphasis_NT"].to(logp_NT) if "emphasis_NT" in batch else None
            mask_NT = batch.mask_NT.to(logp_NT.device)
            score_N = preference.sequence_logp(gain_NT, mask_NT, average=self.average, weight_MT=weight_NT)
            gain_NT = score_N[:, None].expand_as(logp_NT)
        return gain_NT if self.clip is None else clip_log_ratio(gain_NT, self.clip)


@dataclass(frozen=True)
class PairLoss:
    """A loss of every two answers of a group of which one is better (`functional.preference`): an `objective`.

    Each of a group's rows carries the mean loss of the pairs it is in, so that the mean over the group is that of its
    pairs. A row in no pair, and a group of ties, carries none.
    """

    loss: PairLossFn = preference.dpo
    beta: float = 0.1
    gain: Gain = Gain()
    options: Mapping[str, Any] | None = None

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        gain_NT = self.gain(logp_NT, batch)
        better_M, worse_M = pairs_of(batch)
        loss_MT = self.loss(gain_NT[better_M], gain_NT[worse_M], self.beta, **(self.options or {}))
        return on_rows(loss_MT, better_M, worse_M, batch)


@dataclass(frozen=True)
class Imitation:
    """Minus the likelihood of each group's best answers, 0 for the others and where there is none: an `objective`.

    Supervised fine-tuning on the winners, the baseline of every preference loss.
    """

    weight: float = 1.0

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        label_N, group_N = batch["label_R"][batch.rollout_N], batch.group_N.unique(return_inverse=True)[1]
        top_G = torch.zeros(int(group_N.max()) + 1).scatter_reduce(0, group_N, label_N, "amax")
        liked_N = (label_N > 0) & (label_N == top_G[group_N])
        return -self.weight * logp_NT * liked_N[:, None].to(logp_NT)


@dataclass(frozen=True)
class Sum:
    """Several objectives, added up (MPO: DPO, BCO and likelihood)."""

    objectives: tuple[ObjectiveFn, ...]
    weights: tuple[float, ...]

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        terms = [w * objective(logp_NT, batch, context) for w, objective in zip(self.weights, self.objectives)]
        return torch.stack(terms).sum(0)


def pairs_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """The row numbers of every pair: two rows of one group of which the first has the higher label, `[M]` each."""
    label_N, group_N = batch["label_R"][batch.rollout_N], batch.group_N
    above_NN = (group_N[:, None] == group_N) & (label_N[:, None] > label_N)
    better_M, worse_M = above_NN.nonzero().unbind(1)
    return better_M, worse_M


def on_rows(loss_MT: Tensor, one_M: Tensor, other_M: Tensor, batch: Batch) -> Tensor:
    """Losses of pairs as terms of their rows, `[N, T]`: the mean over a group's rows is that over its pairs."""
    group_N = batch.group_N.unique(return_inverse=True)[1]
    rows_G = torch.bincount(group_N)
    pairs_G = torch.bincount(group_N[one_M], minlength=len(rows_G)).clamp(min=1)
    half_MT = loss_MT * (rows_G / (2 * pairs_G))[group_N[one_M]].to(loss_MT)[:, None]
    zero_NT = loss_MT.new_zeros(len(group_N), loss_MT.shape[1])
    one_M, other_M = one_M.to(loss_MT.device), other_M.to(loss_MT.device)
    return zero_NT.index_add(0, one_M, half_MT).index_add(0, other_M, half_MT)


# -- the stage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preference:
    """Learning from judged answers; DPO on pairs of texts unless a field says otherwise.

    data: rows. answers: `(policy, prompts) -> batch`, the answers of rows as rollouts with `label_R`. prepare,
    likelihood, objective, weights, references: as in `training.rl.RL`. rows_per_step: rows of one step;
    updates_per_batch, minibatches: how often and in how many parts (of whole groups) they are used; rows_per_forward:
    the most answers in one forward pass (0: all).
    """

    data: Source
    answers: AnswersFn = Pairs()
    name: str = "preference"
    trains: str = "policy"
    steps: int = 100
    rows_per_step: int = 32
    prepare: PrepareFn = Referred()
    likelihood: LikelihoodFn | None = None
    objective: ObjectiveFn = PairLoss()
    weights: ActionWeights = ActionWeights("group")
    references: tuple[Reference, ...] = (Reference("base"),)
    optimizer: AdamW = AdamW()
    updates_per_batch: int = 1
    minibatches: int = 1
    rows_per_forward: int = 0

    def __post_init__(self) -> None:
        for name in ("rows_per_step", "updates_per_batch", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")

    def run(self, session: Session) -> None:
        stage = of_run(self, session)
        for policy, optimizer, prompts, context, record, timer in walk(stage, session, stage.rows_per_step):
            with timer("prepare"), torch.no_grad():
                batch = stage.prepare(stage, stage.answers(policy, prompts), context)
            with timer("update"):
                record.metrics |= update(stage, policy, optimizer, batch, context, session)

    def value(self, policy: Policy, batch: Batch) -> Tensor:
        """What the policy says of the answers: its likelihood, `[N, T]`."""
        return policy.log_probs(batch) if self.likelihood is None else self.likelihood(policy, batch)

    def loss(self, policy: Policy, batch: Batch, context: Context) -> tuple[Tensor, dict[str, float]]:
        """The loss terms `[N, T]` of some answers; and how the policy, against its reference, now orders them."""
        logp_NT = self.value(policy, batch)
        return self.objective(logp_NT, batch, context), order(logp_NT.detach(), batch)


def order(logp_NT: Tensor, batch: Batch) -> dict[str, float]:
    """The mean gain of better and of worse answers, and the share of pairs where the better one gained more."""
    gain_N = Gain(average=True, reference="base" if "logp_base_NT" in batch else None)(logp_NT, batch)[:, 0].cpu()
    better_M, worse_M = pairs_of(batch)
    if len(better_M):
        won = (gain_N[better_M] > gain_N[worse_M]).float().mean()
        found = {"gain/better": gain_N[better_M].mean(), "gain/worse": gain_N[worse_M].mean(), "pairs/right": won}
    else:
        liked_N = batch["label_R"][batch.rollout_N] > 0
        sides = {"gain/better": gain_N[liked_N], "gain/worse": gain_N[~liked_N]}
        found = {name: side.mean() for name, side in sides.items() if len(side)}
    return {name: float(value) for name, value in found.items()}
