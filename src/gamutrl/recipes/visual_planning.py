"""Visual Planning: Let's Think Only with Images (arXiv 2505.11409), VPRL.

What it changes: there are no words. A plan is a sequence of pictures, each painted from the one before by a model of
image tokens, and a rule reads from two frames which move was made. Stage one learns from random valid steps, so that
every move stays likely; stage two is GRPO on single steps, 1 for one that brings the goal nearer, 0 for one that does
not, -5 for a picture that shows no move. It should help because a path drawn in the picture needs no translation into
words, and because a model of optimal paths alone has nothing left to explore with.

Source: github.com/yix8/VisualPlanning at feef6afd and cce9dd65 (the trainers, the interpreter of frames). Left out: its
MiniBehavior, whose rewards are `data.worlds.grids.errand_reward`. As released, the goal counts as reached when its cell
is among the two that changed most, whatever is painted there: a policy may learn to paint over it. The released
schedule of the KL's weight is constant for the published values.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import DropPart
from gamutrl.data.worlds import mazes, render
from gamutrl.environments.planning import Painting
from gamutrl.policies.models import ImageTokenModel, Lora
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import KL
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.sft import SFT


@dataclass(frozen=True)
class NextFrame:
    """A target: the maze one valid step on, any, or (`best`) one on a shortest way."""

    best: bool = False

    def __call__(self, prompt: Prompt, seed: int) -> Image.Image:
        maze = prompt.columns["facts"]
        start = tuple(maze["start"])
        ends = [mazes.after(maze, start, move) for move in (prompt.columns["best"] if self.best else mazes.MOVES)]
        valid = [end for end in ends if end is not None and not mazes.fell(maze, end)]
        return render.picture(mazes.draw_maze(maze, random.Random(f"{prompt.id}/{seed}").choice(valid)))


def steps_of(batch: Batch) -> list[list[float]]:
    """What the rule said of each frame of each rollout."""
    return [[float(turn.info["reward"]) for turn in rollout.turns] for rollout in batch.rollouts]


def progress(batch: Batch, context: Context) -> Tensor:
    """The mean of a rollout's frames: 1 nearer to the goal, 0 not, -5 no move."""
    return torch.tensor([sum(said) / len(said) for said in steps_of(batch)])


def exact(batch: Batch, context: Context) -> Tensor:
    """1 if the frames are a shortest way, from the start to the goal."""
    there_R = [rollout.turns[-1].info.get("stop") == "goal" for rollout in batch.rollouts]
    return torch.tensor([float(there and min(said) == 1) for there, said in zip(there_R, steps_of(batch))])


def on_the_way(batch: Batch, context: Context) -> Tensor:
    """How much of a shortest way is walked before the first step that is not on one."""
    shares = []
    for rollout, said in zip(batch.rollouts, steps_of(batch)):
        wrong = next((k for k, value in enumerate(said) if value < 1), len(said))
        shares.append(
            wrong / mazes.distances_of(rollout.prompt.columns["facts"])[tuple(rollout.prompt.columns["start"])]
        )
    return torch.tensor(shares)


def invalid(batch: Batch, context: Context) -> Tensor:
    """1 if one of the frames shows no move."""
    return torch.tensor([float(min(said) < 0) for said in steps_of(batch)])


FOUR, SIX = ({"kind": "ice", "size": size, "far": 2} for size in (4, 6))
PROGRESS = Reward("progress", progress)
EXACT = Reward("exact", exact)
OTHERS = (Reward("on_the_way", on_the_way), Reward("invalid", invalid))


def frames(split: Literal["train", "test"], rows: int = 0, knobs: Mapping[str, Any] = FOUR) -> Changed:
    """Mazes as pictures, without a word."""
    # Trained are all states that a walk passes, the last before the goal among them.
    far = {"far": 1} if split == "train" else {}
    return Changed(WorldRows("mazes", "move", split, {**knobs, **far}, rows), DropPart("text"))


def walked(rows: int, knobs: Mapping[str, Any] = FOUR) -> Evaluation:
    """Whole walks, greedily: as many frames as a shortest way has."""
    greedy, walk = Sampling(temperature=0.0), Painting(turns=0)
    return Evaluation(frames("test", rows, knobs), EXACT, OTHERS, rows, greedy, walk, constants=())


STRAYING = SFT(frames("train"), NextFrame(), name="random-steps", steps=60, rows_per_step=32, optimizer=AdamW(lr=5e-4))
PLANNING = RL(
    frames("train"),
    (PROGRESS,),
    steps=80,
    prompts_per_step=12,
    group_size=10,
    environment=Painting(turns=1),
    sampling=Sampling(temperature=1.1),
    kl=KL(0.001),
    optimizer=AdamW(lr=3e-4, schedule="linear"),
)

TINY = Preset(ImageTokenModel("maze-tiny"), (STRAYING, PLANNING), walked(300))
IMITATING = replace(STRAYING, target=NextFrame(best=True), name="best-steps", steps=140)

ADAPTER = Lora(32, 64.0, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
PAPER = Preset(
    ImageTokenModel("BAAI/Emu3-Gen-hf", lora=ADAPTER, side=16, gradient_checkpointing=True),
    (
        SFT(
            frames("train", knobs=SIX),
            NextFrame(),
            name="random-steps",
            steps=5000,
            rows_per_step=8,
            optimizer=AdamW(lr=1.5e-4, warmup=0.1, schedule="cosine"),
        ),
        replace(
            PLANNING,
            data=frames("train", knobs=SIX),
            steps=10_000,
            prompts_per_step=1,
            rows_per_forward=10,
            optimizer=AdamW(lr=5e-5, betas=(0.9, 0.99), weight_decay=0.1, clip_norm=0.1, warmup=0.1, schedule="cosine"),
        ),
    ),
    walked(250, SIX),
    save_every=50,
    stand_in="Emu3 for LVM-7B, a Llama of pictures alone with a VQGAN's tokens: no library has it with its tokenizer",
)

RECIPE = Recipe(
    title="Visual Planning: Let's Think Only with Images",
    arxiv="2505.11409",
    kind="generation",
    policy="image_tokens",
    modalities=("image", "image"),
    change="plans are pictures, one a step: random steps first, then GRPO on the progress that a rule reads from them",
    formulas=(
        "r = 1 if the move read from (frame, painted frame) shortens the way, 0 if not, −5 if there is none or a hole",
        "A = (r − mean_group) / (std_group + 1e-4) over 10 frames painted from one state at temperature 1.1",
        "loss = −A + 0.001 k3 per token, strictly on-policy, mean over a frame's tokens",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": replace(TINY, stages=(IMITATING,))},
    claim=Claim(
        "share of held-out mazes walked on a shortest way, frame after frame; share with a frame that shows no move",
        baseline="visual-planning/ablation, VPFT: supervised on best steps, as many updates",
        budget="updates",
    ),
    assumptions={
        "tiny.model": "maze-tiny has one code for each of 16 cells, and has seen frames some random steps apart",
        "tiny.stages": "whole weights but the tower's and the codes', in the place of adapters",
        "paper.data": "icy mazes of the world, 6 × 6; the paper trains levels 3 to 6 together and three games apart",
        "paper.stages": "the numbers of rows are not stated: 5,000 and 10,000 updates in the place of ten epochs",
    },
)
