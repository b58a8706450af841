"""`agent-tiny`: demonstrations read as the policy reads them, pictures drawn as the tower knows them, a build."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from gamutrl import zoo
from gamutrl.data.worlds import render
from gamutrl.environments.scripted import calls, play
from gamutrl.policies.models import TextModel
from gamutrl.zoo import agent, agent_lessons, agent_seeing
from gamutrl.zoo.agent_batches import AgentBatches, Reading, contexts_of, packed, pixels_of
from gamutrl.zoo.agent_lessons import LESSONS


@pytest.fixture(scope="module")
def policy():
    return TextModel("vlm-tiny", device="cpu").load()


def demonstrated(lesson: agent_lessons.Lesson, seed: int):
    ((_, row, said),) = agent_lessons.drawn([lesson], 1, seed)
    return row, play(lesson.environment, row, seed, [said] if isinstance(said, str) else said)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
class TestLessons:
    def test_it_reads_as_the_policy_reads_it(self, lesson, policy):
        row, played = demonstrated(lesson, 3)
        batch = policy.demonstrated([row], [played])
        with torch.no_grad():
            logp_NT = policy.log_probs(batch)
            said = 0.0
            for spoken in contexts_of(Reading(policy.segments), row, played):
                loss, _ = agent.language_loss(policy.model, packed([spoken], 0))
                said -= loss.item() * agent.TOKENS
        assert said == pytest.approx(float((logp_NT * batch.mask_NT).sum()), rel=2e-3)

    def test_what_is_demonstrated_ends_and_no_call_fails(self, lesson, policy):
        for seed in range(6):
            _, played = demonstrated(lesson, seed)
            assert played[-1][1].done
            assert not [call.error for call in calls(played) if call.error]

    def test_demonstrations_are_right_often_but_for_those_that_guess(self, lesson, policy):
        values = []
        for seed in range(30):
            row, played = demonstrated(lesson, seed)
            values.append(lesson.right(row, policy.demonstrated([row], [played]).rollouts[0]))
        assert 0.2 < np.mean(values) <= 1


@pytest.mark.parametrize("make", [make for make, _ in agent_seeing.KINDS], ids=lambda make: make.__name__)
def test_what_the_tower_is_to_see_is_drawn_where_it_is(make):
    rng = random.Random(2)
    for sight in [sight for _ in range(4) for sight in make(rng)]:
        assert sight.shown.shape == sight.drawn.shape == (render.SIZE, render.SIZE, 3)
        for cell in sight.cells:
            top, left = (at * render.CELL for at in divmod(cell, agent_seeing.GRID))
            part = sight.drawn[top : top + render.CELL, left : left + render.CELL]
            assert part.max() > 150


def test_pictures_are_shrunk_as_the_processor_does_it(policy):
    for size in ((72, 72), (112, 112), (504, 504), (120, 60)):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8))
        taken = policy.processor.image_processor([picture], return_tensors="pt")["pixel_values"][0, 0]
        assert torch.equal(((taken + 1) * 127.5).round().to(torch.uint8), pixels_of(picture))


def test_a_batch_is_a_function_of_seed_and_number():
    one, other = (AgentBatches(40, seed=3, size=3) for _ in range(2))
    for k in (9, 2, 10):
        assert torch.equal(one[k].ids_BL, other[k].ids_BL)
        assert torch.equal(one[k].pixels_MCHW, other[k].pixels_MCHW)


def test_seeing_as_before_costs_nothing_and_other_sights_cost(policy):
    shown, drawn, cells = agent_seeing.Sights(1, 0, 12)[0]
    with torch.no_grad():
        kept, _ = agent.seeing_loss(policy.model, policy.model, shown, drawn, torch.zeros_like(cells))
        new, _ = agent.seeing_loss(policy.model, policy.model, shown, drawn, cells)
    assert float(kept) == pytest.approx(0, abs=1e-6)
    assert float(new) > 0.1


@pytest.mark.slow
def test_a_short_build_can_be_loaded(tmp_path):
    out = agent.build(steps=1, rows=2, out=tmp_path / "agent", lessons=LESSONS[:1])
    assert (out / "card.json").exists()
    assert "deepeyes" in (out / "README.md").read_text()
    assert TextModel(str(out)).load().exact


@pytest.mark.skipif("agent-tiny" not in zoo.available(), reason="agent-tiny is not packaged")
def test_the_packaged_model_is_what_its_card_says(policy):
    taught = TextModel("agent-tiny", device="cpu").load()
    assert sum(p.numel() for p in taught.model.parameters()) == sum(p.numel() for p in policy.model.parameters())
