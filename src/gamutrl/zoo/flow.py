"""`flow-tiny` and `unet-tiny`: small diffusers pipelines that draw shapes and digits for short prompts.

First an autoencoder learns to give 32-pixel pictures back from latents of 4 × 8 × 8; then text encoders and denoiser
learn together, from nothing, to predict what was added to the latent of each prompt's picture. `flow-tiny` has the
classes of Stable Diffusion 3 (a rectified flow), `unet-tiny` those of Stable Diffusion 1 (noise prediction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.core import Context
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import FlowPolicy, FlowSampling
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser
from gamutrl.policies.flow.families.sd3 import StableDiffusion3
from gamutrl.policies.flow.families.unet import StableDiffusion
from gamutrl.policies.flow.pipelines import load_pipeline
from gamutrl.rewards.of_pictures import DIGIT, SHOWN
from gamutrl.rewards.table import score
from gamutrl.zoo import latents, tokens, writing
from gamutrl.zoo.phases import Measured, Phase

NO_PROMPT = 0.1
"""The share of pictures that are learned without their prompt: what guidance leads away from."""
ROWS = 100
PLAIN, GUIDED = FlowSampling(steps=10, eta=0.0), FlowSampling(steps=10, eta=0.0, guidance=3.0)

_README = """# {name}

{what} {parameters:.2f} million parameters.

It draws 32-pixel pictures of one to four coloured shapes, or of a handwritten digit, for prompts like
`two red circles`, `a green square and a blue cross` and `the digit 7`, and is half-competent on purpose: what is left
to learn is what a recipe teaches.

Trained by `gamut zoo build {name}` on pictures of the world `pictures`, seed {seed}: {phases}; {minutes:.0f} minutes on
a shared core. {remarks}

Measured on {rows} held-out prompts a task, one sample each, {levels} steps without noise: the share of pictures that
show exactly what was asked (a small vision program looks; digits: a reader of digits), without guidance and with
guidance {guidance:g}.

| task | plain | guided |
| --- | --- | --- |
{table}

By itself: `{pipeline}.from_pretrained(folder, torch_dtype=torch.float32)("two red circles"{told})`.
"""


@dataclass(frozen=True)
class Plan:
    """How many pictures there are to learn from, and the steps and rows of each phase."""

    pictures: int = 16000
    autoencoder_steps: int = 350
    steps: int = 800
    batch: int = 96
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Kind:
    """A pipeline of the zoo: how it is made around an autoencoder, as which denoiser it trains, and how long."""

    what: str
    make: Callable[[Any], Any]
    family: type[PipelineDenoiser]
    plan: Plan
    uniform: bool
    told: str = ""
    """What its pipeline has to be told beside the prompt."""


def sd3(vae: Any) -> Any:
    """A StableDiffusion3Pipeline of random weights around an autoencoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import T5Config, T5EncoderModel

    words = latents.tokenizer()
    reader = T5Config(
        vocab_size=len(words),
        d_model=96,
        d_kv=24,
        d_ff=192,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
    )
    transformer = SD3Transformer2DModel(
        sample_size=latents.SIZE // 4,
        patch_size=2,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        num_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=reader.d_model,
        caption_projection_dim=128,
        pooled_projection_dim=96,
        pos_embed_max_size=latents.SIZE // 8,
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=clip(words, 48, projected=True),
        tokenizer=words,
        text_encoder_2=clip(words, 48, projected=True),
        tokenizer_2=words,
        text_encoder_3=T5EncoderModel(reader),
        tokenizer_3=words,
    )


def sd(vae: Any) -> Any:
    """A StableDiffusionPipeline of random weights around an autoencoder."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    words = latents.tokenizer()
    unet = UNet2DConditionModel(
        sample_size=latents.SIZE // 4,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=(48, 96),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=clip(words, 64, projected=False),
        tokenizer=words,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            timestep_spacing="trailing",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def clip(words: Any, width: int, *, projected: bool) -> Any:
    """A CLIP text encoder of two layers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=latents.LENGTH,
        projection_dim=width,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.eos_token_id,
        eos_token_id=words.eos_token_id,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


KINDS = {
    "flow-tiny": Kind(
        "A rectified flow of the classes of Stable Diffusion 3.",
        sd3,
        StableDiffusion3,
        Plan(),
        uniform=False,
        told=f", max_sequence_length={latents.LENGTH}, guidance_scale=3",
    ),
    "unet-tiny": Kind(
        "A diffusion of the classes of Stable Diffusion 1.",
        sd,
        StableDiffusion,
        Plan(steps=1500),
        uniform=True,
        told=", guidance_scale=3",
    ),
}


def build(
    name: str = "flow-tiny",
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
    rows: int = ROWS,
) -> Path:
    """Train a pipeline, or go on where a build in `work` stopped, and write its folder.

    steps: of the denoiser. rows: held-out prompts of each task to measure it on.
    """
    kind = KINDS[name]
    plan = replace(kind.plan, seed=seed, steps=steps or kind.plan.steps)
    with writing.folders(name, out, work) as (out, work):
        shown = latents.bank(plan.pictures, plan.seed)
        torch.manual_seed(plan.seed)
        vae = latents.autoencoder()
        first = latents.train_autoencoder(vae, shown, plan.autoencoder_steps, work, plan.seed)
        torch.manual_seed(plan.seed)
        denoiser = kind.family(kind.make(vae), max_text=latents.LENGTH)
        second = train(denoiser, shown, plan, work, uniform=kind.uniform)
        denoiser.pipeline.to(torch.float16).save_pretrained(out)
        write_card(out, name, plan, (first, second), rows)
    return out


def train(denoiser: PipelineDenoiser, shown: tokens.Bank, plan: Plan, work: Path, *, uniform: bool) -> Phase:
    """Train denoiser and text encoders in place, from where a run in this folder stopped.

    uniform: levels of noise are drawn evenly; otherwise they are the sigmoids of normal draws.
    """
    latent_B = latents.latents(denoiser.pipeline.vae, shown)
    parts = {name: part for name, part in denoiser.pipeline.components.items() if isinstance(part, nn.Module)}
    trained = nn.ModuleDict({name: part for name, part in parts.items() if name != "vae"}).requires_grad_(True)
    phase = latents.phase_of("denoiser", trained)
    schedule = denoiser.schedule

    def loss_of(index: Tensor) -> Measured:
        clean, noise = latent_B[index], torch.randn(len(index), *denoiser.shape)
        said = ["" if lost else shown.prompts[i] for i, lost in zip(index.tolist(), torch.rand(len(index)) < NO_PROMPT)]
        level, time = schedule.at(torch.rand(len(index)) if uniform else torch.randn(len(index)).sigmoid())
        predicted = denoiser.predict(schedule.mix(clean, noise, level), time, denoiser.encode_texts(said))
        loss = F.mse_loss(predicted, schedule.target(clean, noise, level))
        return loss, {"loss": loss.item()}

    tokens.drive(phase, loss_of, len(shown.prompts), plan.steps, plan.rate, work, plan.seed, plan.batch)
    trained.requires_grad_(False)
    return phase


def measured(
    policy: FlowPolicy, sampling: FlowSampling, rows: int = ROWS, tasks: Iterable[str] = latents.TASKS
) -> dict[str, float]:
    """The share of held-out prompts of each task whose picture is right."""
    found = {}
    for task in tasks:
        asked = pictures.rows("test", rows, task=task)
        with torch.no_grad():
            batch = policy.rollout(asked, 1, SingleTurn(), sampling, seed=0)
        reward = DIGIT if task == "digit" else SHOWN
        found[task] = float(score((reward,), batch, Context()).reward(reward.name).mean())
    return found


def write_card(folder: Path, name: str, plan: Plan, phases: Sequence[Phase], rows: int, remarks: str = "") -> None:
    """Measure what the folder holds and write its card."""
    kind = KINDS[name]
    policy = FlowPolicy(load_pipeline(folder, dtype="float32", device="cpu"))
    plain, guided = (measured(policy, sampling, rows) for sampling in (PLAIN, GUIDED))
    parts = policy.denoiser.pipeline.components.values()  # type: ignore[attr-defined]
    writing.write_card(
        folder,
        name,
        _README,
        nn.ModuleList(part for part in parts if isinstance(part, nn.Module)),
        plan,
        phases,
        {"plain": plain, "guided": guided},
        packages=(*writing.PACKAGES, "diffusers"),
        remarks=remarks,
        what=kind.what,
        rows=rows,
        levels=PLAIN.steps,
        guidance=GUIDED.guidance,
        table="\n".join(f"| {task} | {plain[task]:.0%} | {guided[task]:.0%} |" for task in plain),
        pipeline=kind.family.pipeline_class,
        told=kind.told,
    )
