"""The noise schedule of a pipeline, from its scheduler's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gamutrl.functional.sampling import resolution_mu
from gamutrl.policies.flow.schedules import DiffusionSchedule, FlowSchedule, Grid, Schedule


@dataclass(frozen=True)
class SchedulerLevels(FlowSchedule):
    """The levels of a diffusers FlowMatchEulerDiscreteScheduler, asked of itself.

    mu: the exponent of its time shift, where that depends on the resolution. even: it is given evenly spaced levels,
    as FLUX's and Qwen-Image's pipelines do.
    """

    scheduler: Any = None
    mu: float | None = None
    even: bool = False

    def grid(self, steps: int) -> Grid:
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        levels = {"sigmas": np.linspace(1, 1 / steps, steps)} if self.even else {"num_inference_steps": steps}
        scheduler.set_timesteps(**levels, mu=self.mu)
        level_S1 = scheduler.sigmas.to(torch.float32)
        return Grid(level_S1, level_S1[:-1])


def schedule_of(scheduler: Any, tokens: int, even: bool) -> Schedule:
    """A scheduler's settings as a schedule; a solver for flows (UniPC, DPM-Solver) becomes its flow, other ones DDIM.

    tokens: how many patches a picture is.
    """
    config = scheduler.config
    if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
        mu = None
        if config.use_dynamic_shifting:
            low = (config.base_image_seq_len, config.base_shift)
            mu = resolution_mu(tokens, low, (config.max_image_seq_len, config.max_shift))
        return SchedulerLevels(scheduler=scheduler, mu=mu, even=even)
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return FlowSchedule(config.get("flow_shift") or 1.0)
    from diffusers import DDIMScheduler

    ddim = DDIMScheduler.from_config(config)
    settings = ddim.config
    return DiffusionSchedule(
        ddim.alphas_cumprod,
        predicts=settings.prediction_type,
        spacing=settings.timestep_spacing,
        offset=settings.steps_offset,
        final=1.0 if settings.set_alpha_to_one else None,
        clip=settings.clip_sample_range if settings.clip_sample else None,
    )
