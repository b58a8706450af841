"""Gamut: the executable survey of reinforcement learning for generative multimodal models.

import dataclasses, gamutrl

recipe = gamutrl.recipe("visual-rft")
run = gamutrl.train(recipe.tiny.with_steps(20), "runs/mine", seed=0)
print(run.summary["before"], run.summary["after"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gamutrl.api import evaluate, override, recipe, resume, systems, train, write_report
    from gamutrl.rewards.base import Reward, per_rollout
    from gamutrl.rewards.users import from_user
    from gamutrl.training.evaluation import Evaluation, Measured, Outcome
    from gamutrl.training.preset import Preset
    from gamutrl.training.run import Run

_PLACES = {
    "evaluate": "gamutrl.api",
    "override": "gamutrl.api",
    "recipe": "gamutrl.api",
    "systems": "gamutrl.api",
    "resume": "gamutrl.api",
    "train": "gamutrl.api",
    "write_report": "gamutrl.api",
    "Reward": "gamutrl.rewards.base",
    "per_rollout": "gamutrl.rewards.base",
    "from_user": "gamutrl.rewards.users",
    "Evaluation": "gamutrl.training.evaluation",
    "Measured": "gamutrl.training.evaluation",
    "Outcome": "gamutrl.training.evaluation",
    "Preset": "gamutrl.training.preset",
    "Run": "gamutrl.training.run",
}

__all__ = [
    "Evaluation",
    "Measured",
    "Outcome",
    "Preset",
    "Reward",
    "Run",
    "evaluate",
    "from_user",
    "override",
    "per_rollout",
    "recipe",
    "resume",
    "systems",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `gamut --help` does not wait for PyTorch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'gamutrl' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
