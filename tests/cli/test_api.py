"""`import gamutrl` gives in a few lines what the command gives."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import gamutrl
from gamutrl.core import Sampling


def test_importing_it_does_not_wait_for_pytorch():
    code = "import gamutrl, sys; assert 'torch' not in sys.modules; assert 'train' in dir(gamutrl)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_is_a_value_that_is_changed_trained_and_evaluated(model, tmp_path):
    recipe = gamutrl.recipe("grpo")
    short = Sampling(max_tokens=4)
    preset = recipe.tiny.with_model(str(model)).with_steps(1)
    stage = dataclasses.replace(preset.stages[-1], prompts_per_step=2, group_size=2, sampling=short)
    evaluation = dataclasses.replace(preset.evaluation, rows=3, sampling=short)
    preset = dataclasses.replace(preset, stages=(stage,), evaluation=evaluation)

    run = gamutrl.train(preset, tmp_path / "mine", seed=1)

    assert run.summary["after"]["rows"] == 3
    assert (run.folder / "report.html").exists()
    outcome = gamutrl.evaluate(preset, run.folder / "model")
    assert outcome.measured == run.after


def test_systems_are_found_by_name():
    assert {"grpo", "visual-rft"} <= set(gamutrl.systems())
