"""A user's own reward function, in our signature or the ecosystem's."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import numbers
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.rewards.base import Reward


def from_user(function: Callable[..., Any] | str, name: str | None = None, weight: float = 1.0) -> Reward:
    """A reward of a function, or of where one is (`path/to/file.py:function`, `module:function`); a `Reward` that is
    found there is taken as it is (`gamutrl.rewards.of_pictures:PICK_SCORE`).

    Two signatures are understood. Ours: `(rollouts, **columns) -> list[float]`. The ecosystem's: `(completions,
    **columns)` or `(prompts, completions, **columns)`, with what TRL passes: `completion_ids`, `trainer_state`
    (`global_step`, `max_steps`), `log_metric`, `log_extra`, columns as lists with one item a rollout. A column is
    passed if the function names it or takes `**kwargs`. It returns one number, or None for "does not apply", for each
    rollout; a coroutine is awaited.
    """
    loaded = load(function) if isinstance(function, str) else function
    if isinstance(loaded, Reward):
        return loaded if name is None else replace(loaded, name=name)
    own_name: str = getattr(loaded, "__name__", type(loaded).__name__)
    return Reward(name or own_name, UserReward(loaded), weight)


def load(where: str) -> Any:
    """The function or `Reward` at `path/to/file.py:name` or `module:name`. Raises ValueError saying what is missing."""
    source, colon, name = where.rpartition(":")
    if not colon or not source or not name:
        raise ValueError(f"Name a reward as path/to/file.py:function or module:function, not {where!r}.")
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"There is no file {source} to take the reward {name!r} from.")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        if str(path.parent.resolve()) not in sys.path:
            sys.path.append(str(path.parent.resolve()))  # so that it may import its neighbours, as a script may
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise ValueError(f"The module {source!r} of the reward {where!r} cannot be imported: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function) and not isinstance(function, Reward):
        raise ValueError(f"{source} has no function called {name!r}.")
    return function


@dataclass(frozen=True)
class UserReward:
    """Calls a user's function on the rollouts of a batch and reads what it returns."""

    function: Callable[..., Any]

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        parameters = inspect.signature(self.function).parameters.values()
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        offered, first = batch.columns_R(), tuple[Any, ...]()
        if {"prompts", "completions", "completion_ids"} & {p.name for p in named} or (takes_all and not named):
            offered |= _ecosystem(batch, context)
        else:
            first, named = (batch.rollouts,), named[1:]
        missing = [p.name for p in named if p.default is p.empty and p.name not in offered]
        if missing:
            have = ", ".join(sorted(offered))
            raise TypeError(f"it asks for {', '.join(missing)}, which the rows do not have (they have: {have})")
        names = {p.name for p in named}
        given = {name: value for name, value in offered.items() if takes_all or name in names}
        values = self.function(*first, **given)
        if inspect.iscoroutine(values):
            values = asyncio.run(values)
        return _numbers(values, len(batch.rollouts))


class Completion(str):
    """A completion that reads as the ecosystem's plain string and as its list of one message alike.

    Functions written for either work unchanged: `re.search(pattern, completion)`, `completion[0]["content"]`.
    """

    def __getitem__(self, key: Any) -> Any:
        if key in (0, -1):
            return _Message(super().__getitem__(key) if self else "", str(self))
        return super().__getitem__(key)


class _Message(str):
    """The first or last character of a completion, which answers `["content"]` and `["role"]` as its message does."""

    content: str

    def __new__(cls, character: str, content: str) -> _Message:
        message = super().__new__(cls, character)
        message.content = content
        return message

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return {"role": "assistant", "content": self.content}[key]
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return {"role": "assistant", "content": self.content}.get(key, default)


def _ecosystem(batch: Batch, context: Context) -> dict[str, Any]:
    owners = [batch.prompts[p] for p in batch.prompt_R.tolist()]
    return {
        "prompts": [_as_messages(prompt) for prompt in owners],
        "completions": [Completion(rollout.text) for rollout in batch.rollouts],
        "completion_ids": [
            [token for turn in rollout.turns for token in turn.tokens_T.tolist()] for rollout in batch.rollouts
        ],
        "trainer_state": SimpleNamespace(
            global_step=context.step, max_steps=context.steps, epoch=context.progress, log_history=[]
        ),
        "log_metric": lambda name, value: context.metrics.update({name: float(value)}),
        "log_extra": lambda name, values: [r.info.update({name: v}) for r, v in zip(batch.rollouts, values)],
    }


def _as_messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [
        {
            "role": message.role,
            "content": message.text
            if all(part.kind == "text" for part in message.parts)
            else [{"type": part.kind, part.kind: part.value} for part in message.parts],
        }
        for message in prompt.messages
    ]


def _numbers(values: Any, count: int) -> Tensor:
    if isinstance(values, Tensor):
        values = values.detach().cpu().tolist()
    elif hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"it must return a list of {count} numbers, not {type(values).__name__}")
    if len(values) != count:
        raise ValueError(f"it returned {len(values)} values for {count} rollouts")
    read = []
    for value in values:
        if isinstance(value, Tensor) or hasattr(value, "item"):
            value = value.item()
        if value is not None and not isinstance(value, numbers.Real):
            raise TypeError(f"it returned {value!r}, which is neither a number nor None")
        read.append(float("nan") if value is None else float(value))
    return torch.tensor(read, dtype=torch.float32)
