"""Recipes that look closer start from what `agent-tiny` was shown: its rows, its prompts, its environments."""

from __future__ import annotations

import json

import pytest
from by_hand import short_run

from gamutrl import zoo
from gamutrl.core import Sampling
from gamutrl.data.sources import Mixture
from gamutrl.recipes.recipe import load
from gamutrl.zoo.agent_lessons import LESSONS

SYSTEMS = ("cof", "ground-r1", "vigorl", "vilasr", "active-o3", "grit")


def parts(rows):
    """The worlds' rows of a changed source."""
    return rows.source.sources if isinstance(rows.source, Mixture) else (rows.source,)


@pytest.mark.parametrize("slug", SYSTEMS)
def test_a_tiny_preset_asks_as_its_lessons_did(slug):
    """What no lesson was about, a warm start of the preset shows first, in the lessons' words and environment."""
    preset = load(slug).tiny
    *first, last = preset.stages
    lessons = [lesson for lesson in LESSONS if lesson.system == slug.replace("-", "_")]
    shown = [(rows.world, rows.task) for stage in first for rows in parts(stage.data)]
    for world in parts(last.data):
        lesson = next((one for one in lessons if (one.world, one.task) == (world.world, world.task)), None)
        if lesson is None:
            assert (world.world, world.task) in shown
        else:
            assert dict(world.knobs) == {"form": "think", **lesson.knobs}
    for lesson in lessons:
        assert {stage.data.change.text for stage in preset.stages} == {lesson.asked}
        assert last.environment == preset.evaluation.environment == lesson.environment
        assert last.sampling.max_tokens <= lesson.max_tokens


@pytest.mark.skipif("agent-tiny" not in zoo.available(), reason="`gamut zoo build agent-tiny` makes it")
def test_a_step_on_the_packaged_model_looks_and_learns(tmp_path):
    """Pictures that come back in mid-rollout are rolled out, scored and trained on."""
    sampling = Sampling(max_tokens=96)
    _, (line,) = short_run(load("cof").tiny, tmp_path, "agent-tiny", steps=1, group_size=6, sampling=sampling)
    rolled_out = [json.loads(row) for row in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert "image_zoom_in_tool" in json.dumps(rolled_out)
    assert line["grad_norm"] > 0
