"""What a tracker hears of a run."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import gamutrl
from gamutrl.cli.train import told_to_trackers
from gamutrl.training.watchers import _Tracker, tracker


def test_steps_are_counted_through_all_stages_also_by_a_run_that_goes_on(tmp_path):
    heard = []
    watcher = _Tracker(tmp_path, lambda values, step: heard.append((step, values)), lambda: None)
    watcher.begin("sft", 2, 0)
    watcher.step({"stage": "sft", "step": 0, "loss": 2.0, "reward/boxes": None})
    (tmp_path / "metrics.jsonl").write_text("{}\n{}\n{}\n")  # two steps of a first stage, one of a second
    watcher = _Tracker(tmp_path, lambda values, step: heard.append((step, values)), lambda: None)
    watcher.begin("rl", 5, 1)
    watcher.step({"stage": "rl", "step": 1, "loss": 1.0})
    assert heard == [(0, {"loss": 2.0}), (3, {"loss": 1.0})]


def test_a_tracker_is_told_every_setting():
    told = told_to_trackers(gamutrl.recipe("grpo").tiny, {"system": "grpo"}, 7)
    assert told["system"] == "grpo"
    assert told["seed"] == 7
    assert isinstance(told["stages.rl.optimizer.lr"], float)
    assert told["model.name"] == "vlm-tiny"


def test_a_run_gone_on_with_is_the_same_run_to_a_tracker(tmp_path, monkeypatch):
    asked = []

    def init(**about):
        asked.append(about["id"])
        return SimpleNamespace(log=lambda values, step: None, finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "other"):
        tracker("wandb", folder, {}).close()
    first, again, other = asked
    assert first == again != other


@pytest.mark.parametrize(("name", "extra"), [("wandb", "loggers"), ("trackio", "trackio")])
def test_a_tracker_that_is_not_installed_is_named_with_what_installs_it(name, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match=rf"--track {name} needs the package {name}.*gamutrl\[{extra}\]"):
        tracker(name, tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_begin_leaves_no_folder_behind(tmp_path, monkeypatch):
    def init(**about):
        raise RuntimeError("no key")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(RuntimeError, match="no key"):
        tracker("wandb", tmp_path / "run", {})
    assert not (tmp_path / "run").exists()
