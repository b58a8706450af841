"""Plain GRPO on every family of policy that draws."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import blob_runs
import drawn_runs
import pytest
import torch

from gamutrl.cli.presets import FAMILIES, VARIANTS
from gamutrl.data.rows import FileRows
from gamutrl.data.worlds import pictures
from gamutrl.functional.advantages import group_normalize
from gamutrl.policies.masked import MaskedConfig, MaskedPolicy, MaskedTransformer
from gamutrl.policies.next_scale import NextScale, TokenizerConfig, TransformerConfig
from gamutrl.policies.unified import tasks_of
from gamutrl.recipes.grpo import RECIPE
from gamutrl.recipes.recipe import Family, Variant
from gamutrl.rewards.digits import WEIGHTS
from gamutrl.training.config import from_json, to_json
from gamutrl.training.defaults import GroupAdvantage
from gamutrl.training.run import train

TEXT = {"words": pictures.WORDS, "text_length": 14, "depth": 1, "width": 16, "heads": 2}
reads_digits = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the reader of digits is not trained yet")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def tokens(*scales: int) -> TokenizerConfig:
    return TokenizerConfig(scales=scales, codes=16, latent=4, channels=8, multipliers=(1,), blocks=1, groups=2, patch=8)


def two_steps(family: str, model: Path, folder: Path) -> list[dict[str, Any]]:
    """Two small steps of a family's `tiny` preset on a random model: the lines of metrics."""
    preset = RECIPE.preset("tiny", family)  # type: ignore[arg-type]
    stage = replace(preset.stages[-1], steps=2, prompts_per_step=2, group_size=4)
    small = replace(preset, stages=(stage,), evaluation=replace(preset.evaluation, rows=4))
    train(small.with_model(str(model)), folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def learned(lines: list[dict[str, Any]]) -> bool:
    """Two steps with a loss that is a number."""
    return len(lines) == 2 and all(math.isfinite(line["loss"]) for line in lines)


def test_every_family_has_both_presets():
    drawn = {f"{name}/{family}" for name in ("tiny", "paper") for family in get_args(Family)}
    assert set(RECIPE.variants) == {*drawn, "tiny/ppo", "paper/ppo"}
    assert get_args(Family) == FAMILIES
    assert tuple(name for names in get_args(Variant) for name in get_args(names)) == VARIANTS


@pytest.mark.parametrize("name", RECIPE.variants)
def test_presets_are_written_and_read_back_equal(name):
    preset = RECIPE.variants[name]
    assert to_json(from_json(to_json(preset))) == to_json(preset)


@pytest.mark.parametrize("name", [name for name in RECIPE.variants if name.split("/")[1] not in ("flow", "ppo")])
def test_what_is_plain_stays_plain(name):
    """Given any family but flow: advantages, clip range and weights are those of GRPO on text."""
    stage, plain = RECIPE.variants[name].stages[-1], RECIPE.tiny.stages[-1]
    same = ("advantage", "objective", "weights", "prepare", "select", "updates_per_batch")
    assert {field: getattr(stage, field) for field in same} == {field: getattr(plain, field) for field in same}
    assert type(stage.kl) is type(plain.kl)


@reads_digits
def test_an_action_of_next_scale_is_a_whole_scale(tmp_path: Path):
    NextScale(tokens(1, 2), TransformerConfig(**TEXT, text_depth=1)).save(tmp_path / "model")
    lines = two_steps("next_scale", tmp_path / "model", tmp_path / "run")
    assert learned(lines)
    assert lines[0]["length/mean"] == 2


@reads_digits
def test_masked_scores_each_token_as_it_was_unmasked(tmp_path: Path):
    MaskedPolicy(MaskedTransformer(MaskedConfig(**TEXT), tokens(3))).save(tmp_path / "model")
    lines = two_steps("masked", tmp_path / "model", tmp_path / "run")
    assert learned(lines)
    assert lines[0]["length/mean"] == 9


@reads_digits
def test_a_label_in_rows_of_ones_own_is_no_answer_to_a_picture(tmp_path: Path):
    """Given rows with a column that usually holds an answer: no text is held against what was drawn."""
    rows = [{"prompt": f"the digit {d}", "objects": [str(d)], "label": d} for d in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    MaskedPolicy(MaskedTransformer(MaskedConfig(**TEXT), tokens(3))).save(tmp_path / "model")
    data = FileRows(str(tmp_path / "rows.jsonl"), held_out=4)
    preset = RECIPE.variants["tiny/masked"].with_data(data, replace(data, split="test"))
    run = train(preset.with_steps(1).with_model(str(tmp_path / "model")), tmp_path / "run")
    assert run.summary["after"]["rows"] == 4
    assert "constant" not in run.summary


def test_flow_is_denoised_by_an_sde(tmp_path: Path):
    _, lines = blob_runs.short_run(RECIPE.variants["tiny/flow"], tmp_path / "run", group_size=4)
    assert learned(lines)
    assert isinstance(RECIPE.variants["tiny/flow"].stages[-1].advantage, GroupAdvantage)


@pytest.mark.parametrize("family", ["image_tokens", "unified"])
def test_janus_draws_and_answers(family, tmp_path: Path):
    _, lines = drawn_runs.short_run(RECIPE.variants[f"tiny/{family}"], tmp_path / "run")
    assert learned([line for line in lines if "loss" in line])
    assert ("reward/answer" in lines[0]) == (family == "unified")


def test_pictures_and_answers_are_each_normalised_in_their_own_group():
    batch, _ = drawn_runs.scored(drawn_runs.small(RECIPE.variants["tiny/unified"]), drawn_runs.untrained())
    drew_R = tasks_of(batch) == 0
    assert drew_R.sum() == (~drew_R).sum() == 6
    for part_R in (drew_R, ~drew_R):
        alone_R = group_normalize(batch["reward_R"][part_R], batch.group_R[part_R])
        assert torch.allclose(batch["advantage_NT"][part_R][:, 0], alone_R)
