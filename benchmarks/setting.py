"""What the benchmarks run: a Qwen2.5-VL of about 6 M parameters with random weights, two prompts with a 448-pixel
picture each, 8 rollouts a prompt, 64 new tokens, a KL penalty against the start."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gamutrl.core import Prompt, Sampling, image
from gamutrl.policies.text import TextPolicy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL
from gamutrl.training.session import Session
from gamutrl.training.update import update

PROMPTS, GROUP, SIDE, TOKENS, BETA, LR = 2, 8, 448, 64, 0.04, 1e-5
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "vision": {
        "depth": 4,
        "hidden_size": 160,
        "intermediate_size": 320,
        "num_heads": 4,
        "fullatt_block_indexes": [3],
    },
}


def vowels(text: str) -> float:
    """A reward with some spread: the share of vowels."""
    return sum(letter in "aeiou" for letter in text) / max(1, len(text))


def rows() -> list[tuple[Image.Image, str]]:
    noise = np.random.default_rng(0)
    return [
        (Image.fromarray(noise.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)), f"What is in picture {i}?")
        for i in range(PROMPTS)
    ]


class Ours:
    """Our side: the stages' own functions, called in their order."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.policy = TextPolicy.load(folder, dtype="float32", device="cpu")
        self.prompts = [Prompt.ask(text, image(picture), id=str(i)) for i, (picture, text) in enumerate(rows())]
        self.stage = RL(
            data=None,  # type: ignore[arg-type]
            rewards=(Reward("vowels", per_rollout(vowels)),),
            group_size=GROUP,
            sampling=Sampling(max_tokens=TOKENS),
            kl=KL(BETA),
            optimizer=AdamW(lr=LR),
        )
        self.session = Session(scratch, {"policy": self.policy})
        self.optimizer = self.stage.optimizer.build(self.policy.parameters())
        self.policy.keep_reference("base")
        self.count = 0

    def step(self) -> dict[str, float]:
        """One step; the seconds of its parts."""
        context = self.session.context(self.count, 1000)
        self.count += 1
        marks = [time.perf_counter()]
        with torch.no_grad():
            batch = self.stage.rollout(self.stage, self.prompts, context)
            marks.append(time.perf_counter())
            batch = self.stage.with_advantage(self.stage.score(context, batch), context)
            batch = self.stage.prepare(self.stage, batch, context)
        marks.append(time.perf_counter())
        update(self.stage, self.policy, self.optimizer, batch, context, self.session)
        marks.append(time.perf_counter())
        parts = [after - before for before, after in itertools.pairwise(marks)]
        return dict(zip(("rollout", "reference", "update"), parts)) | {"tokens": float(batch.mask_NT.sum())}
