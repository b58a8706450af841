"""Rollouts of a preset outside of a run: its model's own, or those of somebody who takes the model's seat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Message, Prompt, Rollout, Source, Turn
from gamutrl.environments import Environment, SingleTurn
from gamutrl.environments.base import Episode, Step
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import RewardError, score, weighted_sum
from gamutrl.training.preset import ModelSpec, Preset

Split = Literal["train", "test"]


@dataclass(eq=False)
class WhenAsked(Mapping[str, Any]):
    """A preset's models by name ("policy" is the one that it trains), each loaded when it is first asked for."""

    specs: Mapping[str, ModelSpec]
    _loaded: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, preset: Preset) -> WhenAsked:
        return cls({"policy": preset.model, **dict(preset.models)})

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.specs[name].load()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


@dataclass(frozen=True)
class Setting:
    """What a rollout of a preset meets, and what it is paid.

    rows: `(first, how many, seed) -> prompts`. rewards: of the last stage that scores rollouts, else what is measured
    on held-out rows. combine: how they become one number. measured: what counts on held-out rows.
    """

    rows: Callable[[int, int, int], list[Prompt]]
    environment: Environment
    sampling: Any
    rewards: tuple[Reward, ...]
    combine: Callable[[Batch, Context], Tensor]
    measured: Reward

    @property
    def writes(self) -> bool:
        """Whether the first turn is text, as far as the environment says."""
        return getattr(self.environment, "makes", "text") == "text"


def setting_of(preset: Preset, split: Split = "test") -> Setting:
    """The setting of a preset's last stage that samples; of its evaluation, where no stage does."""
    evaluation = preset.evaluation
    stage: Any = next((stage for stage in reversed(preset.stages) if hasattr(stage, "rewards")), None)

    def held_out(first: int, count: int, seed: int) -> list[Prompt]:
        return evaluation.prompts()[first : first + count]

    def trained(first: int, count: int, seed: int) -> list[Prompt]:
        last: Any = stage or preset.stages[-1]
        data: Source = last.data
        return [prompt for row in range(first, first + count) for prompt in data.batch(row, 1, seed)]

    return Setting(
        held_out if split == "test" else trained,
        getattr(stage, "environment", evaluation.environment),
        getattr(stage, "sampling", evaluation.sampling),
        getattr(stage, "rewards", (evaluation.metric, *evaluation.others)),
        getattr(stage, "combine", weighted_sum),
        evaluation.metric,
    )


def rows_of(setting: Setting, first: int, count: int, seed: int = 0) -> list[Prompt]:
    """Rows of a setting by number. Raises ValueError, saying how many there are, where the first is none."""
    if first < 0 or count < 1:
        raise ValueError(f"Rows are numbered from 0, and at least one must be asked for; not {count} from {first}.")
    if found := setting.rows(first, count, seed):
        return found
    there = len(setting.rows(0, first, seed))
    raise ValueError(f"There is no row {first}: there are {there}, numbered from 0.")


@torch.no_grad()
def sampled(policy: Any, setting: Setting, prompts: Sequence[Prompt], n: int, seed: int = 0) -> Batch:
    """`n` rollouts of each prompt by a policy, as training samples them; greedy settings draw once, at 0 only."""
    sampling = setting.sampling
    if n > 1 and getattr(sampling, "temperature", None) == 0:
        sampling = replace(sampling, temperature=1.0)
    return policy.rollout(prompts, n, setting.environment, sampling, seed=seed)


def scored(setting: Setting, batch: Batch, context: Context) -> tuple[Batch, dict[str, str]]:
    """The batch with its reward table, and `reward_R` where all of it could be scored; and why some could not be.

    A reward whose model, judge or column is not there is left out, which is no error outside of training.
    """

    def again(batch: Batch, names: Sequence[str] | None = None) -> Batch:
        return score([r for r in setting.rewards if names is None or r.name in names], batch, context)

    context.score_batch = again
    missing: dict[str, str] = {}
    try:
        table = score(setting.rewards, batch, context)
    except RewardError:
        table, missing = _what_can_be(setting.rewards, batch, context)
    if not missing:
        try:
            table = table.with_(reward_R=setting.combine(table, context))
        except (KeyError, RuntimeError, ValueError) as error:
            missing["total"] = str(error)
    return table, missing


def _what_can_be(rewards: Sequence[Reward], batch: Batch, context: Context) -> tuple[Batch, dict[str, str]]:
    kept: list[Reward] = []
    missing: dict[str, str] = {}
    for reward in rewards:
        try:
            score((*kept, reward), batch, context)
        except RewardError as error:
            missing[reward.name] = str(error)
        else:
            kept.append(reward)
    return score(kept, batch, context), missing


def measured(setting: Setting, batch: Batch, context: Context) -> Tensor | None:
    """What counts on held-out rows, `[R]`; None where it cannot be said."""
    try:
        return score((setting.measured,), batch, context).reward(setting.measured.name)
    except RewardError:
        return None


@dataclass(eq=False)
class Seat:
    """A rollout whose turns somebody else than a model writes.

    `said` is each turn as it stays in the context, with the step that followed; `opens` are the messages that the next
    turn sees where it starts afresh (None: it goes on), `prefill` is how its text begins.
    """

    prompt: Prompt
    environment: Environment = SingleTurn()
    seed: int = 0
    prefill: str = ""
    said: list[tuple[str, Step]] = field(default_factory=list)
    episode: Episode = field(init=False)
    _begun: list[tuple[str, tuple[Message, ...] | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.episode = self.environment(self.prompt, self.seed)
        self._begun = [(self.prefill, None)]

    @property
    def paints(self) -> bool:
        """Whether a turn is a picture that the episode can paint from words (`painted`)."""
        return hasattr(self.episode, "painted")

    @property
    def over(self) -> bool:
        return bool(self.said) and self.said[-1][1].done

    def say(self, text: str) -> Step:
        """Take a turn; what the environment answers. Raises ValueError where the episode is over."""
        if self.over:
            raise ValueError("This episode is over: nothing more can be said.")
        step = self.episode.step(self.episode.painted(text) if self.paints else text)  # type: ignore[attr-defined]
        self.said.append((text if step.keep is None else step.keep, step))
        self.prefill = step.prefill
        self._begun.append((step.prefill, step.context))
        return step

    def rollout(self) -> Rollout:
        """What was said and what came back, as rewards and the report read it; its actions count as words."""
        turns = []
        for (text, step), (prefill, context) in zip(self.said, self._begun):
            words = torch.zeros(max(1, len(text.split())), dtype=torch.long)
            turns.append(
                Turn(
                    text=text,
                    raw_text=text,
                    tokens_T=words,
                    logp_T=torch.zeros(len(words)),
                    char_of_T=(0,) * len(words),
                    calls=step.calls,
                    info=step.info,
                    context=context,
                    observation=step.parts,
                    observation_role=step.role,
                    prefill=prefill,
                    exact=False,
                )
            )
        rollout = Rollout(self.prompt, turns, output=turns[-1].text if turns else "")
        rollout.end = self.said[-1][1].info.get("end", "eos") if self.over else "budget"
        return rollout

    def batch(self) -> Batch:
        """The rollout as a batch of one."""
        return Batch.of([self.prompt], [self.rollout()], [0])
