"""VideoAlign: a reward model that knows ties, and DPO on flow errors with one β."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, small, untrained

from gamutrl.core import Context
from gamutrl.policies.scorer import ScorerModel
from gamutrl.recipes.videoalign import RECIPE, ByQuality
from gamutrl.rewards.blobs import GOLD
from gamutrl.training.config import from_json, to_json
from gamutrl.training.forward import Matching


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_every_quality_is_judged_and_near_ones_are_ties():
    scorer = ScorerModel(size=64, heads=3).load()
    rows = RECIPE.tiny.stages[0].data.batch(0, 40, 0)
    label_RH = ByQuality(band=0.1)(scorer, rows)["label_RH"]
    assert label_RH.shape == (80, 3)
    lead_MH = label_RH[0::2] - label_RH[1::2]
    assert set(lead_MH.flatten().tolist()) == {-1.0, 0.0, 1.0}
    wider = ByQuality(band=0.5)(scorer, rows)["label_RH"]
    assert (wider[0::2] == 0).sum() > (lead_MH == 0).sum()


def test_the_reward_model_has_a_loss_for_each_head():
    stage = RECIPE.tiny.stages[0]
    scorer = ScorerModel(size=64, heads=3).load()
    context = Context(models={"reward": scorer})
    batch = stage.prepare(stage, stage.answers(scorer, stage.data.batch(0, 8, 0)), context)
    terms_NH, measured = stage.loss(scorer, batch, context)
    assert terms_NH.shape == (16, 3)
    assert (terms_NH > 0).all()
    assert 0 <= measured["pairs/right"] <= 1


def test_the_best_and_the_worst_of_a_group_are_a_pair_noised_alike():
    stage = small(RECIPE.tiny, group_size=5, rewards=(GOLD,))
    batch, _ = prepared(stage, untrained())
    assert batch["label_R"].sort().values.tolist() == [-1, -1, 1, 1]
    assert batch.group_R.tolist() == [0, 0, 1, 1]
    assert torch.equal(batch["noise_NL"][0], batch["noise_NL"][1])
    reward_PG = batch["reward_R"].view(2, 2)
    label_PG = batch["label_R"].view(2, 2)
    assert ((reward_PG[:, 0] > reward_PG[:, 1]) == (label_PG[:, 0] > label_PG[:, 1])).all()


def test_the_variant_weighs_levels_by_the_square_of_the_signal():
    policy = untrained()
    batch, _ = prepared(small(RECIPE.tiny, group_size=4, rewards=(GOLD,)), policy)
    even, tilted = Matching(0.5)(policy, batch), RECIPE.preset("tiny", "paper").stages[-1].likelihood(policy, batch)
    assert torch.allclose(tilted, even * (1 - batch["level_NL"]).square(), rtol=1e-5)
