"""Plain GRPO on denoising steps: what the recipes for flows and diffusion start from, on blobs or on a pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamutrl.core import Source
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.rewards.base import Reward
from gamutrl.rewards.blobs import ARTEFACT, CLEAN, DENSITY, GOLD, MODE, PROXY
from gamutrl.rewards.of_pictures import DIGIT, DIGIT_PROBABILITY, PICK_SCORE, SHOWN, SHOWN_IN_PART
from gamutrl.training.defaults import ClippedSurrogate, GroupAdvantage
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL

CLIP = ClippedSurrogate(low=1e-4)
"""The clip range of nearly every flow paper: log-probabilities are means over the latent, so ratios are near 1."""

GROUP_SCALE = GroupAdvantage(unbiased=False, clip=5.0)
BATCH_SCALE = GroupAdvantage(scale="batch", unbiased=False, clip=5.0)
"""Over the deviation of the group, or of all rewards of the step (Flow-GRPO's code)."""

FEW = (0, 1, 2, 3)
"""The steps of ten that are trained in tiny presets: late ones draw little noise, so that their log-probabilities bring
more noise than news into a small model's few updates."""

SDE = FlowSampling(steps=10, eta=0.7, trained=FEW)
"""Flow-GRPO's: every step draws noise."""

ENDS = ("first", "last")
"""What stays as it is of a blob's denoiser: what is learned then moves along what it knows of pictures."""

ODE = FlowSampling(steps=10, eta=0.0)

ATTENTION = ("add_k_proj", "add_q_proj", "add_v_proj", "to_add_out", "to_k", "to_out.0", "to_q", "to_v")
SD3 = FlowModel(
    "stabilityai/stable-diffusion-3.5-medium",
    lora=Lora(rank=32, alpha=64, targets=tuple(f"attn.{name}" for name in ATTENTION)),
    height=512,
    width=512,
)
FLUX = FlowModel("black-forest-labs/FLUX.1-dev", height=720, width=720, gradient_checkpointing=True)

PICKSCORE = replace(PICK_SCORE, weight=1 / 26)
"""PickScore about 1, as Flow-GRPO and its successors reward it."""

PICK_A_PIC = FileRows("yuvalkirstain/pickapic_v1_no_images", Columns(prompt="caption", image="none"))
HPD = FileRows("ymhao/HPDv2", Columns(prompt="prompt", image="none"))


def tiny(
    rewards: tuple[Reward, ...] = (GOLD,),
    *,
    task: str = "pictures",
    model: str = "blobs-flow",
    sampling: FlowSampling = SDE,
    measured_by: FlowSampling = ODE,
    rows: int = 280,
    **changes: Any,
) -> Preset:
    """A `tiny` preset on blobs: a step in a fraction of a second.

    rewards: what is trained on. task, model: the space and its denoiser. sampling: of training; measured_by: of the
    held-out rows, without noise. changes: fields of the RL stage.
    """
    data = WorldRows("blobs", task)
    stage = RL(
        data,
        rewards,
        sampling=sampling,
        **{
            "steps": 40,
            "prompts_per_step": 32,
            "group_size": 8,
            "advantage": GROUP_SCALE,
            "objective": CLIP,
            "kl": None,
            "optimizer": AdamW(lr=4e-4, warmup=0.1, schedule="cosine"),
            **changes,
        },
    )
    seen = (PROXY, ARTEFACT, MODE, CLEAN, DENSITY)
    held_out = WorldRows("blobs", task, "test", size=rows)
    return Preset(
        FlowModel(model, freeze=ENDS),
        (stage,),
        Evaluation(held_out, GOLD, seen, rows, measured_by, batch=280),
        save_every=50,
    )


def drawn(
    model: str = "flow-tiny",
    *,
    task: str = "pair",
    reward: Reward = SHOWN_IN_PART,
    metric: Reward = SHOWN,
    sampling: FlowSampling = SDE,
    measured_by: FlowSampling = ODE,
    rows: int = 200,
    **changes: Any,
) -> Preset:
    """A `tiny` preset on a pipeline of the zoo: it draws shapes for prompts, which a small vision program reads back.

    task: of the world of pictures. reward, metric: of training and of the held-out rows. sampling: of training;
    measured_by: of the held-out rows, without noise. changes: fields of the RL stage.
    """
    data = WorldRows("pictures", task)
    stage = RL(
        data,
        (reward,),
        sampling=sampling,
        **{
            "steps": 40,
            "prompts_per_step": 8,
            "group_size": 12,
            "advantage": GROUP_SCALE,
            "objective": CLIP,
            "kl": None,
            "optimizer": AdamW(lr=2e-4, warmup=0.1),
            **changes,
        },
    )
    held_out = WorldRows("pictures", task, "test", size=rows)
    evaluation = Evaluation(held_out, metric, (reward,), rows, measured_by, batch=100)
    return Preset(FlowModel(model), (stage,), evaluation, save_every=50)


def digits(model: str = "flow-tiny", **changes: Any) -> Preset:
    """The same of handwritten digits: paid by how sure a small reader is of them, measured by what it reads."""
    return drawn(model, task="digit", reward=DIGIT_PROBABILITY, metric=DIGIT, **changes)


def paper(
    model: FlowModel,
    data: Source,
    rewards: tuple[Reward, ...],
    *,
    sampling: FlowSampling,
    measured_by: FlowSampling,
    metric: Reward | None = None,
    rows: int = 200,
    **changes: Any,
) -> Preset:
    """A `paper` preset: the published pipeline, prompts and settings, as fields of the RL stage.

    Held out are the data's test rows, where it has a split; measured is a metric, or else the rewards.
    """
    held_out = replace(data, split="test") if isinstance(data, FileRows) else data
    stage = RL(
        data,
        rewards,
        sampling=sampling,
        **{"advantage": GROUP_SCALE, "objective": CLIP, "kl": None, **changes},
    )
    measured = rewards if metric is None else (metric,)
    evaluation = Evaluation(held_out, measured[0], measured[1:], rows=rows, sampling=measured_by)
    return Preset(model, (stage,), evaluation, save_every=50)
