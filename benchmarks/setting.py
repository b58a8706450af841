"""What the benchmarks run: a Qwen2.5-VL of about 6 M parameters with random weights, two prompts with a 448-pixel
picture each, 8 rollouts a prompt, 64 new tokens, a KL penalty against the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sides import Gamut

from gamutrl.core import Prompt, Sampling, image
from gamutrl.policies.text import TextPolicy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL

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


class Ours(Gamut):
    """Our side."""

    policy: TextPolicy

    def __init__(self, folder: Path, scratch: Path) -> None:
        stage = RL(
            data=None,  # type: ignore[arg-type]
            rewards=(Reward("vowels", per_rollout(vowels)),),
            group_size=GROUP,
            sampling=Sampling(max_tokens=TOKENS),
            kl=KL(BETA),
            optimizer=AdamW(lr=LR),
        )
        prompts = [Prompt.ask(text, image(picture), id=str(i)) for i, (picture, text) in enumerate(rows())]
        super().__init__(TextPolicy.load(folder, dtype="float32", device="cpu"), stage, prompts, scratch)
