"""What README and docs say is what the code does."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
from pathlib import Path

import pytest

import gamutrl
from gamutrl.cli import keep
from gamutrl.cli.catalogue import catalogue
from gamutrl.cli.command import _options_of, build_parser, split_overrides
from gamutrl.cli.docs import recipes_page, results_page, with_catalogue
from gamutrl.cli.errors import UsageError
from gamutrl.cli.keep import fingerprint, kept
from gamutrl.cli.presets import find_preset, find_recipe
from gamutrl.training.config import to_json

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    (page.name, line.strip().split("   #")[0].split(" # ")[0].strip())
    for page in PAGES
    for line in page.read_text().splitlines()
    if re.match(r"    gamut ", line)
]


def test_the_catalogue_is_current():
    entries = catalogue()
    readme = (ROOT / "README.md").read_text()
    assert with_catalogue(readme, entries) == readme, "run `make docs`"
    assert recipes_page(entries) == (ROOT / "docs" / "recipes.md").read_text(), "run `make docs`"
    assert results_page(entries) == (ROOT / "docs" / "results.md").read_text(), "run `make docs`"


def test_every_measure_that_is_kept_is_of_a_system_there_is():
    """Given the files in `evidence/`: each is shown, under a system of the catalogue."""
    entries = {entry["slug"]: entry for entry in catalogue()}
    compared, runs = (sorted((ROOT / "evidence" / place).glob("*.json")) for place in ("", "runs"))
    assert {file.stem for file in compared} == {slug for slug, entry in entries.items() if entry["evidence"]}
    assert len(runs) == sum(len(entry["runs"]) for entry in entries.values())
    for file in runs:
        system, _, variant = file.stem.partition(".")
        about = json.loads(file.read_text())["about"]
        assert (about["system"].partition("/")[0], about["variant"]) == (system, variant or "default")


@pytest.mark.parametrize("file", sorted((ROOT / "evidence" / "runs").glob("*.json")), ids=lambda file: file.stem)
def test_a_kept_run_is_of_todays_preset(file):
    """What a preset was before reaches nothing: train it again and keep that, or delete the file."""
    system, _, variant = file.stem.partition(".")
    preset = find_preset(find_recipe(system), "tiny", variant or "default")
    assert json.loads(file.read_text())["fingerprint"] == fingerprint(preset)


def test_a_run_is_kept_with_its_presets_fingerprint_and_another_is_refused(tmp_path):
    preset = find_preset(find_recipe("flow-grpo"), "tiny", "default")
    about = {"system": "flow-grpo", "preset": "tiny", "variant": "default"}
    for name, of in (("same", preset), ("other", preset.with_steps(3))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"preset": to_json(of)}))
        (tmp_path / name / "summary.json").write_text(json.dumps({"about": about}))
    name, summary = kept(tmp_path / "same")
    assert (name, summary["fingerprint"]) == ("flow-grpo.json", fingerprint(preset))
    with pytest.raises(UsageError, match="other settings than flow-grpo"):
        kept(tmp_path / "other")
    with pytest.raises(UsageError, match="no finished run"):
        kept(tmp_path)


def test_a_run_that_is_refused_keeps_no_other_from_being_kept(tmp_path, monkeypatch, capsys):
    preset = find_preset(find_recipe("flow-grpo"), "tiny", "default")
    summary = {"about": {"system": "flow-grpo"}, "before": {"value": 0.25}, "after": {"value": 0.5}}
    gone = {**to_json(preset), "model": {"class": "gamutrl.policies.models:Gone"}}
    for name, of in (("gone", gone), ("same", to_json(preset))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"preset": of}))
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["keep", "gone", "same", "nowhere"])
    assert keep.main() == 2
    assert "gamutrl.policies.models:Gone" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "evidence" / "runs").iterdir()] == ["flow-grpo.json"]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_that_is_shown_is_one_that_can_be_given(page, command):
    words = shlex.split(command)[1:]
    if words[0] == "fidelity" or words == ["--help"]:
        return
    parser = build_parser()
    left, overrides = split_overrides(words, _options_of(parser, words))
    if "--help" in left:
        left.remove("--help")
    args = parser.parse_args(left)
    assert isinstance(args, argparse.Namespace)
    system = getattr(args, "system", None)
    if overrides and system:
        from gamutrl.cli.presets import preset_of
        from gamutrl.training.config import override

        args.overrides, args.model, args.reward = [], None, []
        preset, _, _ = preset_of(args)
        for path, text in overrides:
            if "rewards.score" not in path:  # A reward of the reader's own.
                override(preset, path, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_parses_and_names_what_there_is(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gamutrl":
                assert hasattr(gamutrl, node.attr), node.attr


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
