"""One GRPO step of the released Flow-GRPO recipe against ours: same SD3 pipeline, steps, group, guidance and adapter.

An SD3 pipeline of random weights, 2 prompts, 8 rollouts a prompt, 10 stochastic steps of which 9 are trained, guidance
4.5, LoRA of rank 32, KL 0.04 against the base. The released recipe (yifan123/flow_grpo, arXiv 2505.05470) is written
out below in plain diffusers: each row's prompt is encoded, each step's guided pair is trained as one batch. The two
sides take their steps in turn, in one process, so that whatever else the machine does falls on both. Before that, their
log-probabilities of the same rollouts are compared.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/flow.py [--steps N] [--threads N] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
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

import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, get_peft_model
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.policies.flow import FlowPolicy, FlowSampling
from gamutrl.policies.flow.pipelines import ATTENTION, load_pipeline
from gamutrl.policies.models import Lora
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import ClippedSurrogate, GroupAdvantage
from gamutrl.training.flow import GaussianKL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL
from gamutrl.training.session import Session
from gamutrl.training.update import update
from gamutrl.zoo import random_pipelines

PROMPTS = ("a red square above two blue circles", "the word GAMUT written on a wall")
GROUP, STEPS, TRAINED, ETA, GUIDANCE, BETA, CLIP, RATE, RANK = 8, 10, 9, 0.7, 4.5, 0.04, 1e-4, 3e-4, 32
SIDE, TEXT = 32, 128
SHAPE: dict[str, Any] = {
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 256,
    "caption_projection_dim": 128,
}
"""The transformer: 64 picture tokens and 152 of text, 128 wide."""


def brightness(pixels_R: Tensor) -> Tensor:
    """A reward with some spread: how bright a picture is."""
    return pixels_R.flatten(1).mean(1)


def seen(batch: Batch, context: Context) -> Tensor:
    pictures = [torch.frombuffer(bytearray(r.output.tobytes()), dtype=torch.uint8) for r in batch.rollouts]
    return brightness(torch.stack(pictures).float() / 255)


class Ours:
    """Our side: the stages' own functions, called in their order."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        denoiser = load_pipeline(
            folder, dtype="float32", device="cpu", lora=Lora(RANK, 2 * RANK), height=SIDE, width=SIDE, max_text=TEXT
        )
        self.policy = FlowPolicy(denoiser)
        self.prompts = [Prompt.ask(text, id=str(i)) for i, text in enumerate(PROMPTS)]
        self.stage = RL(
            data=None,  # type: ignore[arg-type]
            rewards=(Reward("brightness", seen),),
            group_size=GROUP,
            sampling=FlowSampling(STEPS, eta=ETA, guidance=GUIDANCE, trained=tuple(range(TRAINED))),
            advantage=GroupAdvantage(scale="batch", clip=5.0),
            objective=ClippedSurrogate(CLIP),
            kl=GaussianKL(BETA),
            optimizer=AdamW(lr=RATE),
        )
        self.session = Session(scratch, {"policy": self.policy})
        self.optimizer = self.stage.optimizer.build(self.policy.parameters())
        self.count = 0

    def step(self) -> dict[str, float]:
        """One step; the seconds of its parts."""
        context = self.session.context(self.count, 1000)
        self.count += 1
        marks = [time.perf_counter()]
        with torch.no_grad():
            batch = self.stage.rollout(self.stage, self.prompts, context)
            batch = self.stage.with_advantage(self.stage.score(context, batch), context)
            marks.append(time.perf_counter())
            batch = self.stage.prepare(self.stage, batch, context)
        marks.append(time.perf_counter())
        update(self.stage, self.policy, self.optimizer, batch, context, self.session)
        marks.append(time.perf_counter())
        parts = [after - before for before, after in itertools.pairwise(marks)]
        return dict(zip(("rollout", "reference", "update"), parts))


class Released:
    """The released recipe's sampling and training, step by step, on one process and in float32."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = StableDiffusion3Pipeline.from_pretrained(folder, torch_dtype=torch.float32)
        model = self.pipeline.transformer.requires_grad_(False)
        targets = ["attn." + name for name in ATTENTION]
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, init_lora_weights="gaussian", target_modules=targets)
        self.transformer = get_peft_model(model, config)
        trained = [parameter for parameter in self.transformer.parameters() if parameter.requires_grad]
        self.trained = trained
        self.optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-4)
        with torch.no_grad():
            self.negative = self.encode([""])

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        text, _, pooled, _ = self.pipeline.encode_prompt(texts, texts, texts, "cpu", 1, False, max_sequence_length=TEXT)
        return text, pooled

    def predict(self, latents: Tensor, timestep: Tensor, text: Tensor, pooled: Tensor, train: bool) -> Tensor:
        """The guided velocity of a batch, both halves in one pass."""
        both = self.transformer(
            hidden_states=torch.cat([latents] * 2),
            timestep=torch.cat([timestep] * 2),
            encoder_hidden_states=text,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        unconditional, conditional = both.chunk(2)
        if train:
            unconditional = unconditional.detach()
        return unconditional + GUIDANCE * (conditional - unconditional)

    def sde(self, velocity: Tensor, i: int, x: Tensor, after: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The next latent (drawn, unless it is given), its log-probability, its mean, its deviation less √(-dt)."""
        sigmas = self.pipeline.scheduler.sigmas
        sigma, following = sigmas[i], sigmas[i + 1]
        dt = following - sigma
        std = (sigma / (1 - torch.where(sigma == 1, sigmas[1], sigma))).sqrt() * ETA
        mean = x * (1 + std**2 / (2 * sigma) * dt) + velocity * (1 + std**2 * (1 - sigma) / (2 * sigma)) * dt
        if after is None:
            after = mean + std * (-dt).sqrt() * torch.randn_like(x)
        whole = std * (-dt).sqrt()
        logp = -((after.detach() - mean) ** 2) / (2 * whole**2) - whole.log() - math.log(math.sqrt(2 * math.pi))
        return after, logp.mean(dim=(1, 2, 3)), mean, std

    def step(self) -> dict[str, float]:
        marks = [time.perf_counter()]
        scheduler, rows = self.pipeline.scheduler, len(PROMPTS) * GROUP
        with torch.no_grad():
            text, pooled = self.encode([prompt for prompt in PROMPTS for _ in range(GROUP)])
            text = torch.cat([self.negative[0].repeat(rows, 1, 1), text])
            pooled = torch.cat([self.negative[1].repeat(rows, 1), pooled])
            scheduler.set_timesteps(STEPS)
            config = self.pipeline.transformer.config
            side = SIDE // self.pipeline.vae_scale_factor
            latents, logps = [torch.randn(rows, config.in_channels, side, side)], []
            for i, t in enumerate(scheduler.timesteps):
                velocity = self.predict(latents[-1], t.expand(rows), text, pooled, False)
                after, logp, *_ = self.sde(velocity, i, latents[-1], None)
                latents.append(after)
                logps.append(logp)
            vae = self.pipeline.vae
            decoded = vae.decode(latents[-1] / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)
            reward = brightness(self.pipeline.image_processor.postprocess(decoded[0], output_type="pt"))
            grouped = reward.view(len(PROMPTS), GROUP)
            advantage = ((grouped - grouped.mean(1, keepdim=True)) / (reward.std(unbiased=False) + 1e-4)).flatten()
            advantage = advantage.clamp(-5, 5)
        marks.append(time.perf_counter())
        for i in range(TRAINED):
            t = scheduler.timesteps[i].expand(rows)
            velocity = self.predict(latents[i], t, text, pooled, True)
            _, logp, mean, std = self.sde(velocity, i, latents[i], latents[i + 1])
            with torch.no_grad(), self.transformer.disable_adapter():
                velocity = self.predict(latents[i], t, text, pooled, True)
                _, _, reference, _ = self.sde(velocity, i, latents[i], latents[i + 1])
            ratio = torch.exp(logp - logps[i])
            policy = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
            kl = (((mean - reference) ** 2).mean(dim=(1, 2, 3)) / (2 * std**2)).mean()
            ((policy + BETA * kl) / TRAINED).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(time.perf_counter())
        return {"rollout": marks[1] - marks[0], "update": marks[2] - marks[1]}


def largest_difference(ours: Ours, released: Released) -> float:
    """Between both sides' log-probabilities of the same rollouts, under the same adapter."""
    weights = dict(ours.policy.module.named_parameters())
    with torch.no_grad():
        for name, parameter in released.transformer.named_parameters():
            if parameter.requires_grad:
                weights[name].normal_(std=0.02)
                parameter.copy_(weights[name])
        context = ours.session.context(0, 1)
        batch = ours.stage.rollout(ours.stage, ours.prompts, context)
        text, pooled = released.encode([rollout.prompt.text for rollout in batch.rollouts])
        text = torch.cat([released.negative[0].repeat(len(text), 1, 1), text])
        pooled = torch.cat([released.negative[1].repeat(len(pooled), 1), pooled])
        released.pipeline.scheduler.set_timesteps(STEPS)
        worst = 0.0
        for i, t in enumerate(released.pipeline.scheduler.timesteps[:TRAINED]):
            steps: list[Any] = [rollout.turns[i] for rollout in batch.rollouts]
            x = torch.stack([step.latent for step in steps])
            velocity = released.predict(x, t.expand(len(x)), text, pooled, False)
            _, logp, *_ = released.sde(velocity, i, x, torch.cat([step.tokens_T for step in steps]))
            worst = max(worst, float((logp - batch.logp_sampled_NT[:, i]).abs().max()))
    return worst


def timed(step: Callable[[], dict[str, float]]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    parts = step()
    return {"step": time.perf_counter() - began, "cpu": time.process_time() - cpu, **parts}


def _median(steps: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(step[key] for step in steps) for key in steps[0]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=3, help="timed steps of each side (one more warms up)")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_pipelines.build("sd3", Path(scratch) / "pipeline", scale=1.0, **SHAPE)
        ours, released = Ours(folder, Path(scratch) / "ours"), Released(folder)
        difference = largest_difference(ours, released)
        sides: dict[str, list[dict[str, float]]] = {"released": [], "gamut": []}
        for _ in range(chosen.steps + 1):
            sides["released"].append(timed(released.step))
            sides["gamut"].append(timed(ours.step))
    theirs, own = (_median(steps[1:]) for steps in (sides["released"], sides["gamut"]))
    result = {
        "ratio": theirs["step"] / own["step"],
        "released_seconds": theirs["step"],
        "gamut_seconds": own["step"],
        "cpu_ratio": theirs["cpu"] / own["cpu"],
        "released_cpu_seconds": theirs["cpu"],
        "gamut_cpu_seconds": own["cpu"],
        "released_parts": {key: theirs[key] for key in ("rollout", "update")},
        "gamut_parts": {key: own[key] for key in ("rollout", "reference", "update")},
        "parameters": sum(parameter.numel() for parameter in ours.policy.denoiser.model.parameters()),
        "largest_log_probability_difference": difference,
        "threads": chosen.threads,
        "steps": chosen.steps,
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['parameters'] / 1e6:.1f} M parameters, {len(PROMPTS)} prompts × {GROUP} rollouts × {STEPS} steps"
        )
        print(f"log-probabilities differ by at most {difference:.1e}")
        print(f"{'':12}{'median s':>10}{'fastest s':>11}{'CPU s':>8}")
        for name, middle in (("released", theirs), ("gamut", own)):
            fastest = min(step["step"] for step in sides[name][1:])
            print(f"{name:12}{middle['step']:10.3f}{fastest:11.3f}{middle['cpu']:8.2f}")
            for key in ("rollout", "reference", "update"):
                if key in middle:
                    print(f"  {key:10}{middle[key]:10.3f}")
        print(f"ratio {result['ratio']:.1f} (of CPU time {result['cpu_ratio']:.1f})")
    if difference > 1e-4:
        sys.exit("The two sides do not compute the same log-probabilities: the times can't be compared.")


if __name__ == "__main__":
    main()
