"""One GRPO step of TRL against ours: same model, rows, group size, lengths, KL penalty, optimizer and threads.

A Qwen2.5-VL of about 6 M parameters with random weights, 2 prompts with a 448-pixel picture each, 8 rollouts a prompt,
64 new tokens, KL against the start. The two sides take their steps in turn, in one process, so that whatever else the
machine does falls on both. Before that, their log-probabilities of the same rollouts are compared.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/vs_trl.py [--steps N] [--threads N] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from datasets import Dataset
from setting import BETA, GROUP, LR, PROMPTS, SHAPE, TOKENS, Ours, rows, vowels
from transformers import AutoModelForImageTextToText, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from gamutrl.core import Sampling
from gamutrl.environments import SingleTurn
from gamutrl.policies.text import TextPolicy
from gamutrl.zoo import random


def trl_trainer(folder: Path, scratch: Path, steps: int, callback: TrainerCallback) -> GRPOTrainer:
    data = [
        {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}], "image": picture}
        for picture, text in rows()
    ]
    config = GRPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP,
        max_completion_length=TOKENS,
        max_steps=steps,
        learning_rate=LR,
        lr_scheduler_type="constant",
        beta=BETA,
        loss_type="grpo",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=10**6,
        disable_tqdm=True,
        shuffle_dataset=False,
        dataloader_num_workers=0,
    )
    trainer = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [vowels(c[0]["content"]) for c in completions],
        args=config,
        train_dataset=Dataset.from_list(data * steps),
        processing_class=TextPolicy.load(folder).processor,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Alternate(TrainerCallback):
    """Times TRL's steps, and takes one of another's after each."""

    def __init__(self, other: Callable[[], dict[str, float]]) -> None:
        self.other = other
        self.theirs: list[dict[str, float]] = []
        self.ours: list[dict[str, float]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        self.theirs.append({"step": began - self.began, "cpu": cpu - self.cpu})
        parts = self.other()
        self.ours.append({"step": time.perf_counter() - began, "cpu": time.process_time() - cpu, **parts})


def largest_difference(ours: Ours, trainer: GRPOTrainer) -> float:
    """Between both sides' log-probabilities of the same rollouts, over the same vocabulary."""
    policy = ours.policy
    banned, policy.segments.banned = policy.segments.banned, []
    batch = policy.rollout(ours.prompts, GROUP, SingleTurn(), Sampling(max_tokens=TOKENS), seed=0)
    with torch.no_grad():
        logp_NT = policy.log_probs(batch)
        worst = 0.0
        for n, row in enumerate(batch.rows):
            prompt = policy.segments.prompt(ours.prompts[int(batch.prompt_N[n])].messages)
            said = batch.rollouts[row.rollout].turns[0].tokens_T
            tokens = torch.cat([prompt.tokens_L, said])[None]
            kind = torch.cat([prompt.kind_L, torch.zeros_like(said)])[None]
            theirs, *_ = trainer._get_per_token_logps_and_entropies(
                trainer.model,
                tokens,
                torch.ones_like(tokens),
                len(said),
                num_images=[1],
                mm_token_type_ids=kind,
                **prompt.media,
            )
            worst = max(worst, float((theirs[0] - logp_NT[n, : len(said)]).abs().max()))
    policy.segments.banned = banned
    return worst


def _median(steps: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(step[key] for step in steps) for key in steps[0]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=6, help="timed steps of each side (one more warms up)")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.filterwarnings("ignore")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = random.build("qwen2_5_vl", Path(scratch) / "model", scale=1.0, **SHAPE)
        ours = Ours(folder, Path(scratch) / "ours")
        alternate = Alternate(ours.step)
        trainer = trl_trainer(folder, Path(scratch) / "trl", chosen.steps + 1, alternate)
        difference = largest_difference(ours, trainer)
        trainer.train()
    theirs, steps = alternate.theirs[1:], alternate.ours[1:]
    median, trl = _median(steps), _median(theirs)
    result = {
        "ratio": trl["step"] / median["step"],
        "trl_seconds": trl["step"],
        "gamut_seconds": median["step"],
        "cpu_ratio": trl["cpu"] / median["cpu"],
        "trl_cpu_seconds": trl["cpu"],
        "gamut_cpu_seconds": median["cpu"],
        "gamut_parts": {key: median[key] for key in ("rollout", "reference", "update")},
        "tokens_per_step": median["tokens"],
        "parameters": sum(p.numel() for p in ours.policy.module.parameters()),
        "largest_log_probability_difference": difference,
        "threads": chosen.threads,
        "steps": chosen.steps,
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['parameters'] / 1e6:.1f} M parameters, {PROMPTS} prompts × {GROUP} rollouts, {TOKENS} new tokens"
        )
        print(f"log-probabilities differ by at most {difference:.1e}")
        print(f"{'':12}{'median s':>10}{'fastest s':>11}{'CPU s':>8}")
        for name, side, middle in (("TRL", theirs, trl), ("Gamut", steps, median)):
            print(f"{name:12}{middle['step']:10.3f}{min(step['step'] for step in side):11.3f}{middle['cpu']:8.2f}")
        for key, value in result["gamut_parts"].items():
            print(f"  {key:10}{value:10.3f}")
        print(f"ratio {result['ratio']:.1f} (of CPU time {result['cpu_ratio']:.1f})")
    if difference > 1e-4:
        sys.exit("The two sides do not compute the same log-probabilities: the times can't be compared.")


if __name__ == "__main__":
    main()
