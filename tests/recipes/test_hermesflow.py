"""HermesFlow: own best against own worst, of pictures and of captions."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gamutrl.core import Context
from gamutrl.data.worlds import pictures
from gamutrl.policies.masked import MaskedConfig, MaskedPolicy, MaskedSampling, MaskedTransformer
from gamutrl.policies.next_scale import TokenizerConfig
from gamutrl.recipes.hermesflow import DESCRIBE, RECIPE, Homologous, SharedMask, described, renewed
from gamutrl.training.config import from_json, to_json
from gamutrl.training.run import train

QUICK = MaskedSampling(unmasking=2)
TOKENS = TokenizerConfig(scales=(3,), codes=16, latent=4, channels=8, multipliers=(1,), blocks=1, groups=2, patch=8)


@pytest.fixture
def policy() -> MaskedPolicy:
    torch.manual_seed(0)
    words = (*pictures.WORDS, *DESCRIBE.split()[::2])
    return MaskedPolicy(MaskedTransformer(MaskedConfig(words, text_length=14, depth=1, width=16, heads=2), TOKENS))


@pytest.fixture
def rows():
    return pictures.rows("train", 2, task="object")


def test_a_row_is_asked_for_both_ways(rows):
    other = described(rows[0])
    assert other.text == DESCRIBE
    assert other.answer == rows[0].columns["prompt"]
    assert other.media[0].value.size == (24, 24)


def test_the_best_of_now_meets_the_winner_that_it_beats_else_the_loser():
    old = (("winner", 0.6), ("loser", 0.2))
    assert renewed((("new", 0.8), ("bad", 0.0)), old) == (("new", 0.8), ("winner", 0.6))
    assert renewed((("new", 0.6), ("bad", 0.0)), old) == (("new", 0.6), ("loser", 0.2))


def test_pairs_are_own_best_and_worst(policy, rows):
    answers = Homologous(tries=5, enough=-1.0, sampling=QUICK)
    batch = answers(policy, rows)
    assert len(batch.rollouts) == 8
    assert batch.group_R.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [row.part for row in batch.rows] == ["image"] * 4 + ["text"] * 4
    asked = [*rows, *map(described, rows)]
    for group, scored in enumerate(answers.scored(policy, asked)):
        values = [value for _, value in scored]
        clear = max(values) > min(values)
        assert batch["label_R"][2 * group : 2 * group + 2].tolist() == [float(clear), 0.0]
        if group > 1:
            assert batch.rollouts[2 * group].output == max(scored, key=lambda one: one[1])[0]


def test_both_of_a_pair_are_scored_under_one_mask(policy, rows):
    policy.keep_reference("base")
    stage = RECIPE.tiny.stages[0]
    batch = SharedMask()(stage, Homologous(tries=2, sampling=QUICK)(policy, rows), Context(models={"policy": policy}))
    assert torch.equal(batch.mask_NT, batch["masked_NT"])
    assert torch.equal(batch.mask_NT[0::2], batch.mask_NT[1::2])
    assert torch.allclose(policy.log_probs(batch), batch["logp_base_NT"], atol=1e-6)


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_rounds_on_a_random_model(policy, tmp_path: Path):
    policy.save(tmp_path / "model")
    tiny = RECIPE.tiny.with_model(str(tmp_path / "model"))
    small = {"steps": 2, "rows_per_step": 2}
    stages = tuple(
        replace(s, **small, answers=replace(s.answers, tries=3, enough=-1.0, sampling=QUICK)) for s in tiny.stages
    )
    evaluation = replace(tiny.evaluation, rows=4, sampling=QUICK)
    run = train(replace(tiny, stages=stages, evaluation=evaluation), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["pairs1", "pairs1", "pairs2", "pairs2"]
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert set(run.summary["others"]["after"]) == {"drawn", "described"}
