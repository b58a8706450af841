"""UniGRPO: masks drawn for every update, shared by new, old and reference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from by_hand import short_run

from gamutrl.core import Context
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.masked import MaskedConfig, MaskedPolicy, MaskedSampling, MaskedTransformer
from gamutrl.policies.next_scale import TokenizerConfig
from gamutrl.recipes.unigrpo import RECIPE, DrawnMasks, MaskedCopies
from gamutrl.training.config import from_json, to_json

STAGE = RECIPE.tiny.stages[0]
TOKENS = TokenizerConfig(scales=(3,), codes=16, latent=4, channels=8, multipliers=(1,), blocks=1, groups=2, patch=8)


@pytest.fixture
def policy() -> MaskedPolicy:
    torch.manual_seed(0)
    config = MaskedConfig(words=pictures.WORDS, text_length=14, depth=1, width=16, heads=2)
    return MaskedPolicy(MaskedTransformer(config, TOKENS))


@pytest.fixture
def batch(policy):
    rows = pictures.rows("train", 3, task="object")
    return policy.rollout(rows, 4, SingleTurn(), MaskedSampling(unmasking=3), seed=0)


def levels(shares: str, updates: int, rows: int = 200, **bounds) -> torch.Tensor:
    return DrawnMasks(shares, **bounds).levels(rows, updates, torch.Generator().manual_seed(0))


def test_shares_spread_evenly_from_a_random_start_to_all():
    level = levels("spread", 5)
    assert (level[:, -1] == 1).all()
    steps = level.diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-6)
    assert level[:, 0].min() < 0.05
    assert level[:, 0].max() > 0.95


def test_the_papers_example_spreads_around():
    """A start of 100 of 1000 and five updates: 100, 300, 500, 700, 900."""
    level = levels("around", 5)
    assert torch.allclose(level.sort(1).values.diff(dim=1), torch.tensor(0.2), atol=1e-6)
    start = level[:, 0].sort().values
    assert start[0] < 0.05
    assert start[-1] > 0.95


def test_other_ways_to_draw_shares():
    assert (levels("full", 3) == 1).all()
    level = levels("random", 2, low=0.1, high=0.9)
    assert level.min() >= 0.1
    assert level.max() <= 0.9
    assert level.std() > 0.2


def test_new_old_and_reference_see_the_same_masks(policy, batch):
    policy.keep_reference("base")
    stage = replace(STAGE, updates_per_batch=3)
    prepared = DrawnMasks()(stage, batch, Context(models={"policy": policy}))
    masks = []
    for use in range(3):
        used = prepared.of_update(use)
        assert torch.equal(used.mask_NT, used["masked_NT"])
        assert torch.allclose(policy.log_probs(used), used["logp_old_NT"], atol=1e-6)
        assert torch.equal(used["logp_old_NT"], used["logp_base_NT"])
        assert (used["logp_old_NT"] != 0).eq(used.mask_NT).all()
        masks.append(used.mask_NT)
    assert masks[2].all()
    assert not torch.equal(masks[0], masks[1])


def test_released_copies_have_masks_of_their_own(policy, batch):
    stage = RECIPE.variants["tiny/released"].stages[0]
    copies = MaskedCopies()(stage, batch, Context(models={"policy": policy})).of_update(0)
    assert len(copies.rows) == 2 * len(batch.rows)
    assert copies.rollout_N.tolist() == [r for r in range(12) for _ in range(2)]
    assert not torch.equal(copies.mask_NT[0::2], copies.mask_NT[1::2])
    share = copies.mask_NT.float().mean(1)
    assert 0 < share.min() < share.max() <= 1


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


@pytest.mark.parametrize("variant", ["default", "released"])
def test_two_steps_on_a_random_model(policy, tmp_path: Path, variant):
    policy.save(tmp_path / "model")
    preset = RECIPE.preset("tiny", variant)
    _, lines = short_run(preset, tmp_path / "run", tmp_path / "model", sampling=MaskedSampling(unmasking=3))
    assert len(lines) == 2
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert lines[0]["ratio/mean"] == pytest.approx(1, abs=0.3)
