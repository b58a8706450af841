"""Run directories as training leaves them, made by a policy that chooses among phrases."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from phrases import Phrases

from gamutrl.recipes.plain import ACCURACY, FORMAT, tiny
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.run import train

ABOUT = {"system": "grpo", "preset": "tiny", "title": "A title", "arxiv": "2402.03300", "change": "nothing at all"}


def says_seven(text: str) -> float:
    """A reward that a policy can have without looking."""
    return float("<answer>7<" in text)


def preset(rewards=(ACCURACY, FORMAT), steps=30):
    plain = tiny("digits", "sum", rewards, ACCURACY, steps=steps, optimizer=AdamW(lr=0.15), kl=KL(0.01), rows=60)
    return dataclasses.replace(plain, model=Phrases())


@pytest.fixture(scope="session")
def learned(tmp_path_factory) -> Path:
    """A run whose policy learned to answer right."""
    folder = tmp_path_factory.mktemp("runs") / "learned"
    train(preset(), folder, about=ABOUT, allowed=("phrases",))
    return folder


@pytest.fixture(scope="session")
def collapsed(tmp_path_factory) -> Path:
    """A run whose policy learned to answer 7, whatever it sees."""
    folder = tmp_path_factory.mktemp("runs") / "collapsed"
    train(preset((Reward("seven", per_rollout(says_seven)), FORMAT)), folder, about=ABOUT, allowed=("phrases",))
    return folder


@pytest.fixture
def copied(learned, tmp_path):
    """A copy of the good run to spoil."""
    return Path(shutil.copytree(learned, tmp_path / "run"))
