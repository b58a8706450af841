"""What a rollout talks to: single turns, tools, games."""

from gamutrl.environments.base import Environment, Episode, SingleTurn, Step
from gamutrl.environments.desk import Desk, Refusal, Shown, Tool
from gamutrl.environments.reading import Wish
from gamutrl.environments.toolbox import Budget, Reply, Toolbox

__all__ = [
    "Budget",
    "Desk",
    "Environment",
    "Episode",
    "Refusal",
    "Reply",
    "Shown",
    "SingleTurn",
    "Step",
    "Tool",
    "Toolbox",
    "Wish",
]
