"""Recipes that look closer start from what `agent-tiny` was shown: its rows, its prompts, its environments."""

from __future__ import annotations

import pytest

from gamutrl.data.sources import Mixture
from gamutrl.recipes.recipe import load
from gamutrl.zoo.agent_lessons import LESSONS

SYSTEMS = ("cof", "ground-r1", "vigorl", "vilasr", "active-o3", "grit")


@pytest.mark.parametrize("slug", SYSTEMS)
def test_a_tiny_preset_asks_as_its_lessons_did(slug):
    preset = load(slug).tiny
    rows = preset.stages[-1].data
    worlds = rows.source.sources if isinstance(rows.source, Mixture) else (rows.source,)
    lessons = [lesson for lesson in LESSONS if lesson.system == slug.replace("-", "_")]
    for world in worlds:
        (lesson,) = (lesson for lesson in lessons if (lesson.world, lesson.task) == (world.world, world.task))
        assert dict(world.knobs) == {"form": "think", **lesson.knobs}
        assert rows.change.text == lesson.asked
        assert preset.stages[-1].environment == preset.evaluation.environment == lesson.environment
        assert preset.stages[-1].sampling.max_tokens <= lesson.max_tokens
