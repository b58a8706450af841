"""The demo: two acts, a run and a report each."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("diffusers")

from gamutrl import zoo
from gamutrl.cli import main
from gamutrl.cli.presets import with_last_rl
from gamutrl.recipes.recipe import Recipe


def test_the_demo_ends_with_two_tables_and_two_reports(tmp_path, monkeypatch, capsys):
    if not {"vlm-tiny", "flow-tiny"} <= set(zoo.available()):
        pytest.skip("the models of the demo are not built")
    from dataclasses import replace

    whole = Recipe.preset

    def short(recipe, name="tiny", variant="default"):
        preset = with_last_rl(whole(recipe, name, variant), steps=1, prompts_per_step=2, group_size=2)
        return replace(preset, evaluation=replace(preset.evaluation, rows=2))

    monkeypatch.setattr(Recipe, "preset", short)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    told = capsys.readouterr().out
    for folder, system in (("demo", "visual-rft"), ("demo-pictures", "diffusionnft")):
        run = tmp_path / folder
        assert (run / "report.html").is_file()
        assert str(run / "report.html") in told
        assert json.loads((run / "config.json").read_text("utf-8"))["about"]["system"] == system
    assert told.count("gain") == 2
