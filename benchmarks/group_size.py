"""What an update costs as the group grows: the picture and the prompt are paid for once, whatever the group's size.

The model and the rows of `vs_trl.py`; an update (forward, backward, optimizer) with groups of 8 and of 32, in turn.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/group_size.py [--small 8] [--large 32] [--steps N] [--threads N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from setting import BETA, LR, SHAPE, TOKENS, rows
from transformers.utils import logging as transformers_logging

from gamutrl.core import Prompt, Sampling, image
from gamutrl.environments import SingleTurn
from gamutrl.policies.text import TextPolicy
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL
from gamutrl.training.session import Session
from gamutrl.training.update import update as descend
from gamutrl.zoo import random


def updates(policy: TextPolicy, group: int, scratch: Path) -> Callable[[], tuple[float, float]]:
    """A function that makes one update with groups of this size, and says its wall and CPU seconds."""
    prompts = [Prompt.ask(text, image(picture), id=str(i)) for i, (picture, text) in enumerate(rows())]
    stage = RL(data=None, rewards=(), group_size=group, kl=KL(BETA), optimizer=AdamW(lr=LR))  # type: ignore[arg-type]
    session = Session(scratch, {"policy": policy})
    context = session.context(0, 1000)
    optimizer = stage.optimizer.build(policy.parameters())
    batch = policy.rollout(prompts, group, SingleTurn(), Sampling(max_tokens=TOKENS), seed=0)
    advantage_NT = torch.randn(len(batch.rows), 1).expand_as(batch.mask_NT)
    batch = stage.prepare(stage, batch.with_(advantage_NT=advantage_NT), context)

    def update() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        descend(stage, policy, optimizer, batch, context, session)
        return time.perf_counter() - wall, time.process_time() - cpu

    return update


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--small", type=int, default=8)
    options.add_argument("--large", type=int, default=32)
    options.add_argument("--steps", type=int, default=6, help="timed updates of each size (one more warms up)")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    sizes = (chosen.small, chosen.large)
    with tempfile.TemporaryDirectory() as scratch:
        policy = TextPolicy.load(random.build("qwen2_5_vl", Path(scratch) / "model", scale=1.0, **SHAPE))
        policy.keep_reference("base")
        update = {size: updates(policy, size, Path(scratch)) for size in sizes}
        taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(chosen.steps + 1):
            for size in sizes:
                taken[size].append(update[size]())
    wall = {size: statistics.median(seconds for seconds, _ in taken[size][1:]) for size in sizes}
    cpu = {size: statistics.median(seconds for _, seconds in taken[size][1:]) for size in sizes}
    result = {
        "ratio": wall[chosen.large] / wall[chosen.small],
        "cpu_ratio": cpu[chosen.large] / cpu[chosen.small],
        "seconds": {str(size): wall[size] for size in sizes},
        "threads": chosen.threads,
        "steps": chosen.steps,
    }
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"{'group':>6}{'median s':>10}{'CPU s':>8}")
    for size in sizes:
        print(f"{size:6}{wall[size]:10.3f}{cpu[size]:8.2f}")
    print(f"ratio {result['ratio']:.2f} (of CPU time {result['cpu_ratio']:.2f})")


if __name__ == "__main__":
    main()
