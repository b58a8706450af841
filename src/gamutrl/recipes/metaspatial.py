"""MetaSpatial: Reinforcing 3D Spatial Reasoning in VLMs for the Metaverse (arXiv 2503.18470).

What it changes: a task without one right answer (where to put a room's things), so the reward is layered: a layout must
be readable, then a judge grades the rendered room, and collisions and broken relations cost. Training refines: each try
sees the last one, its reward and its picture, and a trajectory's reward is the discounted mean of its tries'; at test
time there is one. 3D-SPO (version 2) charges the tokens that spell a thing's x, y, z with that thing's own collisions
and broken relation. It should help because physics says which of many numbers are wrong.

Source: github.com/PzySeere/MetaSpatial at a3c89c27. Code and paper differ:
- 3D-SPO is the paper's alone, and the weight of its penalty is in neither; the code has outcome GRPO (variant
  `released`).
- The code marks a judge that failed by a sum of 0 and an empty answer by 10, which grades may also sum to; here such a
  rollout has no grade. In its rules things that need not touch may lie half a metre beyond each other's ends, by the
  order of operators: `furniture.allowed(margin=0.5)`. Its trainer of several tries does not run as released.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling, Turn
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds.turns import AtOnce
from gamutrl.environments import SingleTurn
from gamutrl.environments.refining import Refining
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import begun_with, paper, tiny, warm_start, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.furnishing import Refined, collisions, furnished_by, kept, sound, worth
from gamutrl.training.defaults import KL, ActionWeights, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

_NUMBER = re.compile(r'"(?:new_object_id"\s*+:\s*+"([^"]{1,80})"|[xyz]"\s*+:\s*+(-?[0-9.]{1,20}))')


@dataclass(frozen=True)
class PerThing:
    """3D-SPO: the reward, at the tokens of a thing's coordinates less what physics says of that thing, as an advantage.

    R = r − collisions · the share of others it collides with − broken · whether its relations are; A = (R − mean) /
    (std + eps), both over all actions of a group.
    """

    collisions: float = 0.2
    broken: float = 0.2
    eps: float = 1e-6

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        reward_NT = batch["reward_R"].double()[batch.rollout_N][:, None].repeat(1, batch.mask_NT.shape[1])
        for n, row in enumerate(batch.rows):
            rollout, start = batch.rollouts[row.rollout], 0
            for t in row.turns:
                length, made = len(rollout.turns[t]), furnished_by(rollout, t)
                faults = () if made is None else made.faults()
                cost = {thing.name: self.collisions * hits + self.broken * missed for thing, hits, missed in faults}
                for name, spelt_T in coordinates(rollout.turns[t]):
                    reward_NT[n, start : start + length] -= cost.get(name, 0.0) * spelt_T
                start += length
        advantage_NT = torch.zeros_like(reward_NT)
        for group in batch.group_N.unique():
            inside_NT = (batch.group_N == group)[:, None] & batch.mask_NT
            value = reward_NT[inside_NT]
            advantage_NT[inside_NT] = (value - value.mean()) / (value.std(unbiased=False) + self.eps)
        return advantage_NT.float()


def coordinates(turn: Turn) -> Iterator[tuple[str, Tensor]]:
    """For each number of a layout: whose it is, and which actions spell it, bool `[T]`."""
    name = ""
    for found in _NUMBER.finditer(turn.raw_text):
        if found[1] is not None:
            name = found[1]
        else:
            yield name, turn.spelling(*found.span(2))


KEPT = Reward("kept", per_rollout(kept))
OTHERS = (Reward("sound", per_rollout(sound)), Reward("collisions", per_rollout(collisions)))
CODE = GroupAdvantage(eps=1e-6, singleton="raw")
REFINING = Refining(turns=3, grade=worth, good=1.5)

SMALL = {"form": "think", "things": 2, "room": (4.0, 4.0, 3.0), "beside": 0.0}
TINY = begun_with(
    warm_start(WorldRows("rooms", "place", "train", SMALL, seed=1), AtOnce("direct", 0.1), lr=3e-4),
    tiny(
        "rooms",
        "place",
        (Reward("room", Refined()),),
        KEPT,
        knobs=SMALL,
        others=OTHERS,
        model=TextModel("agent-tiny"),
        rows=200,
        measured_at=1.0,
        sampling=Sampling(max_tokens=100),
        environment=replace(REFINING, turns=2),
        advantage=PerThing(collisions=0.05, broken=0.05),
        weights=ActionWeights("turn"),
        steps=20,
        optimizer=AdamW(lr=2e-5),
    ),
)

WISHES = FileRows(
    "zhenyupan/3d_layout_reasoning",
    Columns(
        prompt="problem",
        image="images",
        extra=(
            ("entries", "scene_graph"),
            ("room", "json(answer).size_of_room"),
            ("user_preference", "json(answer).user_preference"),
        ),
    ),
    held_out=0.2,
)

PAPER = replace(
    paper(
        TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=12800, gradient_checkpointing=True),
        WISHES,
        (Reward("room", Refined(judge="judge")),),
        KEPT,
        held_out=replace(WISHES, split="test"),
        environment=REFINING,
        advantage=PerThing(),
        weights=ActionWeights("turn"),
        steps=3000,
        prompts_per_step=4,
        group_size=3,
        sampling=Sampling(max_tokens=4000),
        entropy_bonus=1e-3,
        kl=KL(0.01, clamp=10.0),
        optimizer=AdamW(lr=1e-6, weight_decay=0.01),
    ),
    responders=(("judge", Endpoint(model="gpt-4o")),),
)

RECIPE = Recipe(
    title="MetaSpatial: Reinforcing 3D Spatial Reasoning in VLMs for the Metaverse",
    arxiv="2503.18470",
    kind="understanding",
    change="layouts are refined over several tries, graded and checked by physics; tokens bear their thing's faults",
    formulas=(
        "r_t = S/50 + 0.5 F − 0.2 collisions − 0.2 broken; 0.5 F where the layout can't be read (F < 1)",
        "r = Σ 0.9^t r_t / Σ 0.9^t over the tries",
        "R_k = r − 0.2 collisions_i − 0.2 broken_i at tokens k of thing i; A_k = (R_k − mean) / std over the group",
        "loss = clipped at 0.2 + 0.01 k3, averaged over the turns",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(TINY, environment=SingleTurn(), advantage=CODE, weights=ActionWeights()),
        "paper/released": with_stage(PAPER, advantage=CODE, weights=ActionWeights("token")),
    },
    claim=Claim(
        "share of things in held-out rooms that lie where they should, and of pairs that collide, in one try",
        baseline="metaspatial/ablation, plain GRPO on the same reward: one try, one advantage for all tokens",
    ),
    assumptions={
        "advantage": "the penalty's weights, and that mean and deviation are over all of a group's actions",
        "tiny.data": "two things in a room of 4 × 4 metres, each at a wall; at most two tries",
        "tiny.stages.sft": "a warm start, on layouts of which a tenth is wrong: the packaged model keeps few relations",
        "tiny.rewards": "the judge is a rule: inside the room, where it should be, apart from others",
        "tiny.advantage": "penalties of 0.05: of a model that places nearly everything wrong, more of them only wears "
        "down what it writes",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.data": "rows have their scene graph as a column too; rooms are rendered from above, not by Blender",
        "paper.environment": "between tries the policy is told the rule's reward; trained is the judge's",
        "paper.stages": "the staged schedule of the paper's reward (format, physics, rendering) is not published",
    },
)
