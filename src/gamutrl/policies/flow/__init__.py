"""Flow matching and diffusion: policies whose actions are denoising steps."""

from gamutrl.policies.flow.corruption import Corruption, Outputs
from gamutrl.policies.flow.denoiser import Condition, Denoiser
from gamutrl.policies.flow.policy import FlowPolicy, StepStatistic, prediction, step_mean
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.policies.flow.schedules import DiffusionSchedule, FlowSchedule, Grid, Schedule
from gamutrl.policies.flow.state import Denoised, State

__all__ = [
    "Condition",
    "Corruption",
    "Denoised",
    "Denoiser",
    "DiffusionSchedule",
    "FlowPolicy",
    "FlowSampling",
    "FlowSchedule",
    "Grid",
    "Outputs",
    "Schedule",
    "State",
    "StepStatistic",
    "prediction",
    "step_mean",
]
