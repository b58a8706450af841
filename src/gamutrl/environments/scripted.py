"""Demonstrations in an environment: turns that are given, and what the environment answers to each."""

from __future__ import annotations

from collections.abc import Sequence

from gamutrl.core import Call, Prompt
from gamutrl.environments.base import Environment, Step

Played = list[tuple[str, Step]]
"""Each turn's text as it stays in the context, and the step that followed."""


def play(environment: Environment, prompt: Prompt, seed: int, texts: Sequence[str]) -> Played:
    """The given turns, one after another, until they or the episode end."""
    episode = environment(prompt, seed)
    played: Played = []
    for said in texts:
        step = episode.step(said)
        played.append((said if step.keep is None else step.keep, step))
        if step.done:
            break
    return played


def calls(played: Played) -> list[Call]:
    """What was called, in order."""
    return [call for _, step in played for call in step.calls]
