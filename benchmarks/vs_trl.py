"""One GRPO step of TRL against ours: same model, rows, group size, lengths, KL penalty, optimizer and threads.

A Qwen2.5-VL of about 6 M parameters with random weights, 2 prompts with a 448-pixel picture each, 8 rollouts a prompt,
64 new tokens, KL against the start. The two sides take their steps in turn, in one process, so that whatever else the
machine does falls on both. Before that, their log-probabilities of the same rollouts are compared.

How OpenMP's threads wait is left as it is: `OMP_WAIT_POLICY=PASSIVE` slows TRL's side more than ours.

    python benchmarks/vs_trl.py [--steps N] [--threads N] [--json]
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from datasets import Dataset
from setting import BETA, GROUP, LR, PROMPTS, SHAPE, TOKENS, Ours, rows, vowels
from sides import Step, against, chosen, median, options, table, tell, timed
from transformers import AutoModelForImageTextToText, TrainerCallback
from transformers.trainer_callback import PrinterCallback
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

    def __init__(self, other: Callable[[], Step]) -> None:
        self.other = other
        self.theirs: list[Step] = []
        self.ours: list[Step] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.theirs.append({"step": time.perf_counter() - self.began, "cpu": time.process_time() - self.cpu})
        self.ours.append(timed(self.other))


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


def main() -> None:
    given = chosen(options(__doc__, steps=6))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = random.build("qwen2_5_vl", Path(scratch) / "model", scale=1.0, **SHAPE)
        ours = Ours(folder, Path(scratch) / "ours")
        alternate = Alternate(ours.step)
        trainer = trl_trainer(folder, Path(scratch) / "trl", given.steps + 1, alternate)
        difference = largest_difference(ours, trainer)
        trainer.train()
    theirs, steps = alternate.theirs[1:], alternate.ours[1:]
    result = against(theirs, steps, "trl") | {
        "tokens_per_step": median(steps)["tokens"],
        "parameters": sum(p.numel() for p in ours.policy.module.parameters()),
        "threads": given.threads,
        "steps": given.steps,
    }

    def lines() -> None:
        size = result["parameters"] / 1e6
        print(f"{size:.1f} M parameters, {PROMPTS} prompts × {GROUP} rollouts, {TOKENS} new tokens")
        table(result)

    tell(result, given.json, lines, {"log-probabilities": difference})


if __name__ == "__main__":
    main()
