"""Skywork R1V2: a hybrid reward, and rollouts with an advantage that are replayed for those without."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace

import pytest
import torch
from by_hand import answered, groups_of, random_model, short_run
from safetensors.torch import load_file

from gamutrl.core import Batch, Context, Prompt
from gamutrl.recipes.skywork_r1v2 import RECIPE, reasoned
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json
from gamutrl.training.run import Run, resume

THOUGHT = "red 2, square 1: 3"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("red 2, square 1: 3", 1),
        ("square 1, red 2: 3", 1),
        ("red 2, square 2: 4", 1 / 3),
        ("", 0),
        ("red 0, red 1, red 2, red 3, square 0, square 1: 3", 3 / 7),
        ("red 2, red 2, red 2", 1 / 3),
    ],
)
def test_reasoning_is_worth_the_steps_it_shares_with_the_worlds_own(said, value):
    assert reasoned(answered(said, "3"), THOUGHT) == pytest.approx(value)


def test_the_reward_is_the_sum_of_rule_model_and_layout():
    row = Prompt.ask("Count.", answer="3", thought=THOUGHT)
    batch = score(
        RECIPE.tiny.stages[0].rewards, groups_of([row], [[answered(THOUGHT, "3"), answered("", "3"), "3"]]), Context()
    )
    assert weighted_sum(batch, Context()).tolist() == [3, 2, 0]


def test_the_reward_model_is_asked_with_the_prompt_and_the_reply():
    asked = []

    def reward_model(conversations):
        asked.extend(conversations)
        return ["3.5", "-1.25", "no idea"]

    row = Prompt.ask("Count.", answer="3")
    model: Reward = RECIPE.paper.stages[0].rewards[1]
    batch = groups_of([row], [["a", "b", "c"]])
    value_R = score((model,), batch, Context(responders={"reward_model": reward_model})).reward("model")
    assert value_R[:2].tolist() == [3.5, -1.25]
    assert value_R[2].isnan()
    assert [[(m.role, m.text) for m in c] for c in asked][1] == [("user", "Count."), ("assistant", "b")]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


@dataclass(frozen=True)
class SpreadAtFirst:
    """0, 1, 2, … within the batch until step 2, then 1 for all."""

    def __call__(self, batch: Batch, context: Context) -> torch.Tensor:
        count = len(batch.rollouts)
        return torch.arange(count).float() if context.step < 2 else torch.ones(count)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory) -> tuple[Run, list[dict]]:
    """Three steps on a random model: two with spread in every group, one without."""
    folder = tmp_path_factory.mktemp("skywork")
    stage = RECIPE.tiny.stages[0]
    preset = replace(RECIPE.tiny, stages=(replace(stage, rewards=(Reward("model", SpreadAtFirst()),)),), save_every=1)
    return short_run(preset, folder / "run", random_model(folder / "model"), steps=3)


def test_a_random_model_replays_what_had_an_advantage(replayed):
    _, lines = replayed
    assert [line["replay/share"] for line in lines] == [0, 0, 1]
    assert [line["replay/effective_before"] for line in lines] == [1, 1, 0]
    assert lines[2]["replay/effective"] == 1
    assert lines[2]["grad_norm"] > 0


def test_a_resumed_run_replays_the_same_pictures_and_words(replayed, tmp_path):
    run, lines = replayed
    again = tmp_path / "again"
    shutil.copytree(run.folder, again)
    for place in ("checkpoints/stage-00-step-000003", "model"):
        shutil.rmtree(again / place)
    for place in ("summary.json", "evaluation/after.json"):
        (again / place).unlink()

    resume(again, allowed=[__name__])

    clocks = ("seconds", "peak_memory_gib", "tokens_per_second")
    told = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    one, other = ([{k: v for k, v in line.items() if not k.startswith(clocks)} for line in ls] for ls in (told, lines))
    assert one == other
    mine, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (again, run.folder))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
