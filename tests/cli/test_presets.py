"""From words to a preset."""

from __future__ import annotations

import argparse

import pytest

from gamutrl.cli.catalogue import describe_source
from gamutrl.cli.command import build_parser, split_overrides
from gamutrl.cli.compare import arms, sampled, under_equal_conditions
from gamutrl.cli.presets import free_folder, preset_of, settable, with_rewards
from gamutrl.data.sources import Changed, Mixture, Repeat, Stages, WorldRows
from gamutrl.data.transforms import WithSuffix
from gamutrl.environments import SingleTurn
from gamutrl.recipes.recipe import load
from gamutrl.training.config import override, paths


def asked(*words: str) -> argparse.Namespace:
    left, overrides = split_overrides(
        ["train", *words],
        {"--steps", "--model", "--data", "--columns", "--held-out", "--metric", "--reward", "--variant"},
    )
    args = build_parser().parse_args(left)
    args.overrides = overrides
    return args


def test_without_options_it_is_the_recipes_own():
    preset, about, allowed = preset_of(asked("visual-rft"))
    assert preset == load("visual-rft").tiny
    assert about["system"] == "visual-rft"
    assert allowed == []


def test_the_plain_method_on_another_family_is_told_as_that():
    preset, about, _ = preset_of(asked("grpo", "--variant", "masked"))
    assert preset.model.name == "mask-tiny"
    assert (about["variant"], about["change"]) == (
        "masked",
        "nothing: the plain method, on a policy of the family masked",
    )


def test_options_and_fields_change_it():
    preset, _, _ = preset_of(asked("visual-rft", "--steps", "7", "--model", "owner/name", "--rl.optimizer.lr", "3e-6"))
    assert preset.stages[-1].steps == 7
    assert preset.model.name == "owner/name"
    assert preset.stages[-1].optimizer.lr == 3e-6
    assert load("visual-rft").tiny.stages[-1].steps != 7


def test_rows_of_ones_own_go_to_every_stage_and_to_the_evaluation(tmp_path):
    preset, _, _ = preset_of(
        asked("grpo", "--data", "rows.parquet", "--columns", "prompt=q,answer=a", "--held-out", "50")
    )
    train, test = preset.stages[-1].data, preset.evaluation.data
    assert (train.path, train.split, train.held_out) == ("rows.parquet", "train", 50)
    assert (test.path, test.split) == ("rows.parquet", "test")
    assert train.columns.prompt == "q"


def test_a_reward_of_ones_own_replaces_the_recipes_and_is_measured(tmp_path):
    file = tmp_path / "own_reward.py"
    file.write_text("def score(rollouts):\n    return [1.0 for _ in rollouts]\n")
    preset, allowed = with_rewards(load("grpo").tiny, [f"{file}:score", "format"], None)
    assert [reward.name for reward in preset.stages[-1].rewards] == ["score", "format"]
    assert preset.evaluation.metric.name == "score"
    assert allowed == ["own_reward"]


def test_a_metric_can_be_chosen_apart_from_the_rewards():
    preset, _ = with_rewards(load("grpo").tiny, ["format"], "accuracy")
    assert [reward.name for reward in preset.stages[-1].rewards] == ["format"]
    assert preset.evaluation.metric.name == "accuracy"


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_every_field_that_help_lists_can_be_set_to_its_own_value(name):
    preset = load("visual-rft").preset(name)
    values = paths(preset)
    for path, _ in settable(preset):
        value = values[path] if path in values else values[f"stages.{path}"]
        if value is None or value == () or isinstance(value, tuple):
            continue
        assert override(preset, path, str(value)) == preset, path


def test_in_a_comparison_only_the_last_stage_is_a_systems_own():
    task, own = load("visual-rft").tiny, load("grpo").tiny
    equal = under_equal_conditions(own, task)
    assert equal.model == task.model
    assert equal.evaluation == task.evaluation
    assert equal.stages[-1].data == task.stages[-1].data
    assert [reward.name for reward in equal.stages[-1].rewards] == [reward.name for reward in own.stages[-1].rewards]
    assert equal.stages[-1].advantage == own.stages[-1].advantage
    assert sampled(equal.stages[-1]) == pytest.approx(sampled(task.stages[-1]), rel=0.02)


def test_rollouts_beside_the_trained_ones_count_in_a_comparison():
    task = load("grpo").tiny
    equal = under_equal_conditions(load("video-r1").tiny, task).stages[-1]
    given = task.stages[-1]
    # Half a group more, of shuffled frames, for each question: two thirds of the steps.
    assert equal.rollouts_per_step == equal.prompts_per_step * (equal.group_size + equal.group_size // 2)
    assert equal.steps * equal.rollouts_per_step == pytest.approx(given.steps * given.rollouts_per_step, rel=0.02)


def test_runs_get_the_next_free_folder(tmp_path):
    assert free_folder("grpo", tmp_path).name == "grpo-001"
    (tmp_path / "grpo-001").mkdir()
    assert free_folder("grpo", tmp_path).name == "grpo-002"


def test_readers_that_the_evaluation_asks_come_along():
    task, own = load("visionary-r1").tiny, load("grpo").tiny

    equal = under_equal_conditions(own, task)

    assert dict(equal.responders) == dict(task.responders)


def test_an_exact_text_reward_becomes_the_measure_of_the_task():
    """Where answers are boxes, exact text is right never, and plain GRPO would be no baseline."""
    task = load("vlm-r1").tiny
    accuracy, layout = under_equal_conditions(load("grpo").tiny, task).stages[-1].rewards
    assert (accuracy.name, accuracy.score) == ("accuracy", task.evaluation.metric.score)
    assert layout.name == "format"
    assert under_equal_conditions(task, task).stages[-1].rewards == task.stages[-1].rewards


def test_a_system_is_compared_with_itself_less_what_it_claims():
    args = build_parser().parse_args(["compare", "vlm-r1", "vlm-r1/ablation"])
    args.overrides = []
    whole, part = arms(args).values()
    assert whole.stages[-1].rewards != part.stages[-1].rewards
    assert whole.stages[-1].steps == part.stages[-1].steps
    assert whole.evaluation == part.evaluation


def test_what_trains_without_the_tools_is_measured_without_them():
    task = load("deepeyes").tiny
    equal = under_equal_conditions(load("grpo").tiny, task)
    assert equal.evaluation.environment == equal.stages[-1].environment == SingleTurn()
    assert equal.evaluation.data == task.evaluation.data


def test_an_ablation_keeps_the_stages_that_it_keeps():
    args = build_parser().parse_args(["compare", "g1", "g1/ablation", "grpo"])
    args.overrides = []
    whole, part, plain = arms(args).values()
    assert [stage.name for stage in whole.stages] == ["sft", "rl"]
    assert [stage.name for stage in part.stages] == ["rl"]  # Its claim is about the cold start, too.
    assert plain.stages[0] == whole.stages[0]


@pytest.mark.parametrize("slug", ["vlm-r1", "jigsaw-r1", "skywork-r1v2", "grpo-care", "tw-grpo", "visual-rft"])
def test_a_claim_against_an_ablation_has_one(slug):
    recipe = load(slug)
    assert recipe.claim.baseline.startswith(f"{slug}/ablation")
    assert recipe.preset("tiny", "ablation").stages != recipe.tiny.stages


def test_a_source_tells_what_it_is_made_of():
    sums, counts = WorldRows("digits", "sum"), WorldRows("scenes", "count")
    assert describe_source(sums) == "WorldRows(digits, sum, train)"
    mixed = Mixture((sums, Changed(counts, WithSuffix("!"))), (3, 1))
    assert describe_source(mixed) == (
        "Mixture(3 × WorldRows(digits, sum, train), 1 × Changed(WorldRows(scenes, count, train), WithSuffix))"
    )
    later = Stages(((0, sums), (20, Repeat(counts, 2))))
    assert describe_source(later) == (
        "Stages(from 0: WorldRows(digits, sum, train), from 20: Repeat(WorldRows(scenes, count, train), 2 times))"
    )
