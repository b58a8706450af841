"""Rollouts made by hand, a policy that says what it is told to, and a small random model to run presets on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn, video
from gamutrl.training.preset import Preset
from gamutrl.training.run import Run, train


def spoken(prompt: Prompt, words: str) -> Rollout:
    """A rollout whose actions are the characters of `words`, and an end token."""
    length = len(words) + 1
    return Rollout(
        prompt,
        [Turn(words, words + "$", torch.arange(length), torch.zeros(length), tuple(range(length)))],
        output=words,
    )


def answered(thought: str, answer: str) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def groups_of(prompts: Sequence[Prompt], said: Sequence[Sequence[str]]) -> Batch:
    """A batch of the prompts with what was said to each."""
    rollouts = [spoken(prompt, words) for prompt, all_said in zip(prompts, said) for words in all_said]
    return Batch.of(prompts, rollouts, [p for p, all_said in enumerate(said) for _ in all_said])


def clip(*shades: int, answer: str = "A", **columns) -> Prompt:
    """A video question whose frames are grey pictures of these shades."""
    frames = [Image.new("L", (2, 2), shade) for shade in shades]
    return Prompt.ask("What next?", video(frames), answer=answer, id=f"clip-{shades}", **columns)


def shades_of(prompt: Prompt) -> list[int]:
    return [frame.getpixel((0, 0)) for part in prompt.media for frame in part.value]


class Scripted:
    """A policy whose k-th rollout of a prompt says `script(prompt, k)`; it keeps what it was asked."""

    exact = True

    def __init__(self, script: Callable[[Prompt, int], str]) -> None:
        self.script = script
        self.asked: list[tuple[list[Prompt], int, int]] = []

    def rollout(self, prompts, group_size, environment, sampling: Sampling, *, seed: int) -> Batch:
        self.asked.append((list(prompts), group_size, seed))
        return groups_of(prompts, [[self.script(prompt, k) for k in range(group_size)] for prompt in prompts])

    @contextmanager
    def reference(self, name: str) -> Iterator[None]:
        yield


def short_run(preset: Preset, folder: Path, model: Path | str, **changes) -> tuple[Run, list[dict]]:
    """A preset on another model for two small steps: the run, and its lines of metrics."""
    small = {"steps": 2, "prompts_per_step": 2, "group_size": 4, "sampling": Sampling(max_tokens=12), **changes}
    evaluation = replace(preset.evaluation, rows=4, sampling=Sampling(max_tokens=12, temperature=0.0))
    stages = (replace(preset.stages[-1], **small),)
    run = train(replace(preset, stages=stages, evaluation=evaluation).with_model(str(model)), folder)
    return run, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def random_model(folder: Path) -> Path:
    """A random model that takes clips as pictures, as `vlm-tiny` does."""
    from gamutrl.zoo import random

    torch.set_num_threads(1)
    return random.build("idefics3", folder)
