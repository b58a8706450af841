"""Recipes on blobs, run small: an untrained denoiser in a folder, a step of a stage taken apart, two steps of a run."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gamutrl.core import Batch, Context
from gamutrl.policies.flow import FlowPolicy
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.run import Run, train
from gamutrl.zoo.blobs import BlobConfig, BlobDenoiser, BlobNet


def untrained(predicts: str = "velocity", seed: int = 0) -> FlowPolicy:
    """A small denoiser of pictures that predicts at random, and listens to what it is asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = BlobNet(BlobConfig(predicts=predicts, width=16, depth=1))  # type: ignore[arg-type]
        torch.nn.init.normal_(net.last.weight, std=0.1)
    return FlowPolicy(BlobDenoiser(net))


def prepared(stage: RL, policy: FlowPolicy, step: int = 0, steps: int = 10) -> tuple[Batch, Context]:
    """What a stage would train on at a step: sampled, scored, selected, prepared."""
    context = Context(step, steps, models={"policy": policy})
    context.score_batch = functools.partial(stage.score, context)
    for reference in stage.all_references():
        policy.keep_reference(reference.name)
    prompts = stage.data.batch(step, stage.prompts_per_step, 0)
    with torch.no_grad():
        scored = stage.with_advantage(stage.score(context, stage.rollout(stage, prompts, context)), context)
        batch = stage.select(scored, context)
        assert batch is not None
        return stage.prepare(stage, batch, context), context


def small(preset: Preset, **changes: Any) -> Any:
    """The last stage of a preset, for two prompts."""
    stage: Any = preset.stages[-1]
    size = "prompts_per_step" if hasattr(stage, "prompts_per_step") else "rows_per_step"
    return replace(stage, **{size: 2, **changes})


def short_run(preset: Preset, folder: Path, **changes: Any) -> tuple[Run, list[dict[str, Any]]]:
    """Two small steps of a preset on an untrained denoiser: the run, and its lines of metrics."""
    space, predicts = "pictures", "epsilon" if preset.model.name.endswith("eps") else "velocity"
    model = folder.parent / f"{folder.name}-{space}-{predicts}"
    untrained(predicts).save(model)
    stage = small(preset, steps=2, **changes)
    evaluation = replace(preset.evaluation, rows=4)
    run = train(replace(preset, stages=(stage,), evaluation=evaluation).with_model(str(model)), folder)
    return run, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def answered(stage: Any, policy: FlowPolicy, rows: int = 4) -> tuple[Batch, Context]:
    """What a preference stage would train on: its answers, prepared."""
    context = Context(models={"policy": policy})
    for reference in stage.references:
        policy.keep_reference(reference.name)
    with torch.no_grad():
        return stage.prepare(stage, stage.answers(policy, stage.data.batch(0, rows, 0)), context), context


def moved(policy: FlowPolicy, by: float = 0.05, seed: int = 7) -> FlowPolicy:
    """The same policy (with its references), its weights shifted at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return policy
