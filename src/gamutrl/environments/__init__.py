"""What a rollout talks to: single turns, tools, games."""

from gamutrl.environments.base import Environment, Episode, SingleTurn, Step

__all__ = ["Environment", "Episode", "SingleTurn", "Step"]
