"""One GRPO step of the released Flow-GRPO recipe against ours: same SD3 pipeline, steps, group, guidance and adapter.

The pipeline has random weights and SD3.5-medium's proportions at a twelfth of its width: as many tokens of text to one
of the picture, as much of attention in a pass, text encoders that outweigh the transformer, dual attention in half of
the blocks, an adapter of rank width / 32. 2 prompts × 8 rollouts, 10 stochastic steps of which 9 are trained, guidance
4.5, KL 0.04 against the base.

The released recipe (yifan123/flow_grpo at ac4c86e8, arXiv 2505.05470) is written out below in plain diffusers: batches
of 8 rows, each row's prompt encoded with its batch; each step's guided pair is one pass, trained as one pass and one
backward pass; the reference is another such pass with the adapter off. Old log-probabilities are those of sampling.
Its own accounting (logging, several processes, the moving average of weights) is left out.

The two sides take their steps in turn, in one process, so that whatever else the machine does falls on both; with the
KL penalty and without. Before that, their log-probabilities, rewards and gradients of the same rollouts are compared.
What each asks of the transformer is counted: `by_counts` is the ratio that would follow if a row cost both the same,
which it does not: ours has no adapter beside its weights, and its passes run side by side. `graph_megabytes` is what we
keep of sampling for the update; `--recomputed` keeps nothing.

How OpenMP's threads wait is left as it is: `OMP_WAIT_POLICY=PASSIVE` slows the released side on two threads.

    python benchmarks/flow.py [--steps N] [--updates 2] [--recomputed] [--threads N] [--json]
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, get_peft_model
from sides import Gamut, Step, against, chosen, options, table, tell, timed
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.policies.flow import FlowPolicy, FlowSampling
from gamutrl.policies.flow.pipelines import load_pipeline
from gamutrl.policies.models import Lora
from gamutrl.recipes.flow_plain import SD3
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import ClippedSurrogate, GroupAdvantage, sample_groups
from gamutrl.training.flow import GaussianKL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL
from gamutrl.zoo import random_pipelines

PROMPTS = ("a red square", "two blue circles")
GROUP, STEPS, TRAINED, ETA, GUIDANCE, BETA, CLIP, RATE = 8, 10, 9, 0.7, 4.5, 0.04, 1e-4, 3e-4
BATCH, RANK, SIDE, TEXT = 8, 4, 32, 8
assert SD3.lora is not None
TARGETS = SD3.lora.targets

SHAPE: dict[str, Any] = {
    "num_layers": 4,
    "dual_attention_layers": (0, 1),
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "caption_projection_dim": 128,
    "joint_attention_dim": 320,
    "pooled_projection_dim": 64 + 96,
    "in_channels": 16,
    "out_channels": 16,
    "text": {
        "tokens": 5,
        "clip": {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "projection_dim": 64},
        "clip_2": {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 6, "projection_dim": 96},
        "t5": {"num_layers": 5, "num_heads": 5, "d_kv": 64, "d_ff": 800},
    },
}
"""64 tokens of a picture and 5 + 8 of text, 128 wide (SD3.5-medium at 512 pixels: 1024 and 77 + 128, 1536 wide)."""


def brightness(pixels_R: Tensor) -> Tensor:
    """A reward with some spread: how bright a picture of bytes is."""
    return pixels_R.float().flatten(1).mean(1) / 255


def seen(batch: Batch, context: Context) -> Tensor:
    return brightness(
        torch.stack([torch.frombuffer(bytearray(r.output.tobytes()), dtype=torch.uint8) for r in batch.rollouts])
    )


def stage(beta: float, updates: int, recomputed: bool = False) -> RL:
    return RL(
        data=None,  # type: ignore[arg-type]
        rewards=(Reward("brightness", seen),),
        group_size=GROUP,
        sampling=FlowSampling(
            STEPS,
            eta=ETA,
            guidance=GUIDANCE,
            trained=tuple(range(TRAINED)),
            graph_bytes=0 if recomputed else None,
        ),
        advantage=GroupAdvantage(scale="batch", unbiased=False, clip=5.0),
        objective=ClippedSurrogate(CLIP),
        kl=GaussianKL(beta) if beta else None,
        minibatches=updates,
        optimizer=AdamW(lr=RATE, weight_decay=1e-4),
    )


class Released:
    """The released recipe's sampling and training, step by step, on one process and in float32."""

    def __init__(self, folder: Path, beta: float, updates: int) -> None:
        self.beta, self.updates = beta, updates
        self.pipeline = StableDiffusion3Pipeline.from_pretrained(folder, torch_dtype=torch.float32)
        model = self.pipeline.transformer.requires_grad_(False)
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, init_lora_weights="gaussian", target_modules=list(TARGETS))
        self.transformer = get_peft_model(model, config)
        self.trained = [parameter for parameter in self.transformer.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-4)
        self.pipeline.scheduler.set_timesteps(STEPS)
        with torch.no_grad():
            self.negative = [part.repeat(BATCH, *[1] * (part.dim() - 1)) for part in self.encode([""])]

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        text, _, pooled, _ = self.pipeline.encode_prompt(texts, texts, texts, "cpu", 1, False, max_sequence_length=TEXT)
        return text, pooled

    def predict(self, latents: Tensor, i: int, text: Tensor, pooled: Tensor, train: bool = False) -> Tensor:
        """The guided velocity of a batch, both halves in one pass."""
        both = self.transformer(
            hidden_states=torch.cat([latents] * 2),
            timestep=self.pipeline.scheduler.timesteps[i].expand(2 * len(latents)),
            encoder_hidden_states=torch.cat([self.negative[0][: len(text)], text]),
            pooled_projections=torch.cat([self.negative[1][: len(pooled)], pooled]),
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

    def rewards(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        pixels = self.pipeline.image_processor.postprocess(decoded, output_type="pt")
        return brightness((pixels * 255).round().clamp(0, 255).to(torch.uint8))

    def advantages(self, reward: Tensor, prompt: Tensor) -> Tensor:
        mean = torch.stack([reward[prompt == p].mean() for p in prompt])
        return ((reward - mean) / (reward.std(unbiased=False) + 1e-4)).clamp(-5, 5)

    @torch.no_grad()
    def sample(self, rows: Tensor) -> dict[str, Tensor]:
        """A batch: prompts encoded, latents drawn, rewards; rows are numbers of prompts."""
        text, pooled = self.encode([PROMPTS[p] for p in rows.tolist()])
        config = self.pipeline.transformer.config
        side = SIDE // self.pipeline.vae_scale_factor
        latents, logps = [torch.randn(len(rows), config.in_channels, side, side)], []
        for i in range(STEPS):
            after, logp, *_ = self.sde(self.predict(latents[-1], i, text, pooled), i, latents[-1], None)
            latents.append(after)
            logps.append(logp)
        reward = self.rewards(latents[-1])
        path = {"latents": torch.stack(latents, 1), "logps": torch.stack(logps, 1)}
        return {"prompt": rows, "text": text, "pooled": pooled, "reward": reward, **path}

    def train(self, batches: list[dict[str, Tensor]]) -> float:
        """One update from some batches, step after step; returns the seconds that the reference took."""
        apart = 0.0
        for batch in batches:
            latents, text, pooled = batch["latents"], batch["text"], batch["pooled"]
            for i in range(TRAINED):
                x, after = latents[:, i], latents[:, i + 1]
                _, logp, mean, std = self.sde(self.predict(x, i, text, pooled, train=True), i, x, after)
                ratio, advantage = torch.exp(logp - batch["logps"][:, i]), batch["advantage"]
                loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                if self.beta:
                    began = time.perf_counter()
                    with torch.no_grad(), self.transformer.disable_adapter():
                        _, _, reference, _ = self.sde(self.predict(x, i, text, pooled), i, x, after)
                    apart += time.perf_counter() - began
                    loss = loss + self.beta * (((mean - reference) ** 2).mean(dim=(1, 2, 3)) / (2 * std**2)).mean()
                (loss / (TRAINED * len(batches))).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return apart

    def step(self) -> Step:
        marks = [time.perf_counter()]
        rows = torch.arange(len(PROMPTS)).repeat_interleave(GROUP)[torch.randperm(len(PROMPTS) * GROUP)]
        batches = [self.sample(part) for part in rows.split(BATCH)]
        samples = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
        samples["advantage"] = self.advantages(samples["reward"], samples["prompt"])
        marks.append(time.perf_counter())
        order = torch.randperm(len(rows))
        batches = [{key: value[part] for key, value in samples.items()} for part in order.split(BATCH)]
        share = len(batches) // self.updates
        apart = sum(self.train(batches[k : k + share]) for k in range(0, len(batches), share))
        marks.append(time.perf_counter())
        return {"rollout": marks[1] - marks[0], "reference": apart, "update": marks[2] - marks[1] - apart}


def differences(ours: Gamut, released: Released) -> dict[str, float]:
    """The most by which the two sides' log-probabilities, rewards and gradients of the same rollouts differ.

    Both get the same adapter, which is far from adding nothing; gradients are relative to the largest.
    """
    weights = dict(ours.policy.module.named_parameters())
    names = [name for name, parameter in released.transformer.named_parameters() if parameter.requires_grad]
    with torch.no_grad():
        for name, parameter in zip(names, released.trained):
            weights[name].normal_(std=0.02)
            parameter.copy_(weights[name])
    found: list[list[Tensor]] = []
    for side, parameters in ((ours, [weights[name] for name in names]), (released, released.trained)):
        side.optimizer.register_step_pre_hook(
            lambda *_, parameters=parameters: found.append([p.grad.clone() for p in parameters])
        )
    ours.step()
    batch = ours.batch
    steps: list[list[Any]] = [list(rollout.turns) for rollout in batch.rollouts]
    with torch.no_grad():
        text, pooled = released.encode([rollout.prompt.text for rollout in batch.rollouts])
        path = [torch.stack([turns[0].latent for turns in steps])]
        path += [torch.cat([turns[i].tokens_T for turns in steps]) for i in range(STEPS)]
        logps = []
        for rows in torch.arange(len(steps)).split(BATCH):
            velocities = [released.predict(path[i][rows], i, text[rows], pooled[rows]) for i in range(STEPS)]
            found_logps = [released.sde(v, i, path[i][rows], path[i + 1][rows])[1] for i, v in enumerate(velocities)]
            logps.append(torch.stack(found_logps, 1))
        reward = released.rewards(path[-1])
    samples = {"text": text, "pooled": pooled, "latents": torch.stack(path, 1), "logps": torch.cat(logps)}
    samples["advantage"] = released.advantages(reward, batch.prompt_N)
    split = torch.arange(len(reward)).split(BATCH)
    released.train([{key: value[rows] for key, value in samples.items()} for rows in split])
    own, theirs = (torch.cat([gradient.flatten() for gradient in side]) for side in found)
    for side in (ours, released):
        side.optimizer._optimizer_step_pre_hooks.clear()
    return {
        "log-probabilities": float((samples["logps"][:, :TRAINED] - batch.logp_sampled_NT[:, :TRAINED]).abs().max()),
        "rewards": float((reward - batch["reward_R"]).abs().max()),
        "gradients": float((own - theirs).abs().max() / theirs.abs().max()),
    }


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[dict[str, float]]:
    """How many rows go through a module inside: "forward" without a gradient, "trained" with one.

    A copy of the module that shares its hooks is counted too.
    """
    rows, alone = {"forward": 0.0, "trained": 0.0}, threading.Lock()

    def note(_: Any, args: Any, kwargs: Any) -> None:
        with alone:
            rows["trained" if torch.is_grad_enabled() else "forward"] += len(kwargs["hidden_states"])

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def seconds_a_row(released: Released) -> dict[str, float]:
    """What a row costs forward, and what it costs forward and backward, the fastest of a few times."""
    text, pooled = (part[:BATCH] for part in released.negative)
    config, side = released.pipeline.transformer.config, SIDE // released.pipeline.vae_scale_factor
    x = torch.randn(BATCH, config.in_channels, side, side)
    cost = {"forward": math.inf, "trained": math.inf}
    for _ in range(4):
        for kind in cost:
            began = time.process_time()
            with torch.set_grad_enabled(kind == "trained"):
                both = released.predict(x, 0, text, pooled)
            if kind == "trained":
                both.sum().backward()
            cost[kind] = min(cost[kind], (time.process_time() - began) / (2 * BATCH))
    released.optimizer.zero_grad()
    return cost


def main() -> None:
    parser = options(__doc__, steps=5)
    parser.add_argument("--updates", type=int, choices=(1, 2), default=1, help="of a step (the released configs: 2)")
    parser.add_argument("--recomputed", action="store_true", help="keep no graphs of sampling for the update")
    given = chosen(parser)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    penalties = {"kl": BETA, "no_kl": 0.0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_pipelines.build("sd3", Path(scratch) / "pipeline", scale=1.0, **SHAPE)
        denoiser = load_pipeline(
            folder,
            dtype="float32",
            device="cpu",
            lora=Lora(RANK, 2 * RANK, TARGETS),
            height=SIDE,
            width=SIDE,
            max_text=TEXT,
        )
        policy = FlowPolicy(denoiser)
        prompts = [Prompt.ask(text, id=str(i)) for i, text in enumerate(PROMPTS)]
        ours = {
            name: Gamut(policy, stage(beta, given.updates, given.recomputed), prompts, Path(scratch) / name)
            for name, beta in penalties.items()
        }
        released = {name: Released(folder, beta, given.updates) for name, beta in penalties.items()}
        checked = Gamut(policy, stage(BETA, 1, given.recomputed), prompts, Path(scratch) / "checked")
        apart = differences(checked, Released(folder, BETA, 1))
        taken: dict[str, tuple[list[Step], list[Step]]] = {name: ([], []) for name in penalties}
        counts: dict[str, list[dict[str, float]]] = {}
        for _ in range(given.steps + 1):
            for name, (theirs, own) in taken.items():
                with counted(released[name].pipeline.transformer) as their_rows:
                    theirs.append(timed(released[name].step))
                with counted(denoiser.model) as own_rows:
                    own.append(timed(ours[name].step))
                counts[name] = [their_rows, own_rows]
        cost = seconds_a_row(released["kl"])
        sampled = sample_groups(ours["kl"].stage, prompts, ours["kl"].session.context(0, 1))
        kept = policy.graphs.bytes / 2**20 if sampled.rows else 0.0
        encoders = (denoiser.pipeline.text_encoder, denoiser.pipeline.text_encoder_2, denoiser.pipeline.text_encoder_3)
        sizes = {
            "transformer": sum(p.numel() for p in denoiser.model.parameters()),
            "text encoders": sum(p.numel() for encoder in encoders for p in encoder.parameters()),
        }
    results = {}
    for name, (theirs, own) in taken.items():
        each = [{kind: rows / (len(PROMPTS) * GROUP) for kind, rows in side.items()} for side in counts[name]]
        whole = [sum(side[kind] * cost[kind] for kind in cost) for side in each]
        results[name] = against(theirs[1:], own[1:], "released") | {
            "rows_a_rollout": dict(zip(("released", "gamut"), each)),
            "by_counts": whole[0] / whole[1],
        }
    about = {"parameters": sizes, "row_milliseconds": {kind: 1e3 * s for kind, s in cost.items()}}
    about |= {"updates": given.updates, "threads": given.threads, "steps": given.steps, "graph_megabytes": kept}

    def lines() -> None:
        print(", ".join(f"{name} {size / 1e6:.1f} M" for name, size in sizes.items()), end="; ")
        print(f"{len(PROMPTS)} prompts × {GROUP} rollouts × {STEPS} steps, {given.updates} updates a step")
        print(f"a row costs {1e3 * cost['forward']:.1f} ms forward, {1e3 * cost['trained']:.1f} with its backward pass")
        for name, result in results.items():
            print()
            table(result, {"kl": f"KL {BETA}", "no_kl": "without KL"}[name])
            for side, rows in result["rows_a_rollout"].items():
                print(f"  {side}: {rows['forward']:.0f} rows forward a rollout, {rows['trained']:.0f} trained")
            print(f"  by these counts alone {result['by_counts']:.2f}")
        print(f"\ngraphs of sampling: {kept:.0f} MiB")

    tell({"ratio": results["kl"]["ratio"], **results, **about}, given.json, lines, apart)


if __name__ == "__main__":
    main()
