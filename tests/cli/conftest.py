"""A catalogue cache of the test's own, and a random vision-language model to try the verbs with."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import SMALL


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Nothing is read from or written to the user's home or the checkout's runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A random model of a real architecture, as small as it goes."""
    from gamutrl.zoo.random import build

    return build("smolvlm", tmp_path_factory.mktemp("models") / "smolvlm")


@pytest.fixture(scope="session")
def finished(model, tmp_path_factory) -> Path:
    """A run directory made by `gamut train`, with the user's own reward."""
    from gamutrl.cli import main

    folder = tmp_path_factory.mktemp("finished")
    reward = folder / "short_reward.py"
    reward.write_text(
        "def short(rollouts, answer, **columns):\n    return [float(len(r.text) < 5) for r in rollouts]\n"
    )
    run = folder / "run"
    words = ["train", "grpo", "--model", str(model), "--steps", "1", "--seed", "3", "--out", str(run), *SMALL]
    assert main([*words, "--reward", f"{reward}:short", "--reward", "format"]) == 0
    return run
