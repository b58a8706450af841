"""GRPO, plain: the method that every recipe of this survey is compared with (DeepSeekMath, arXiv 2402.03300).

For each prompt, G answers are sampled; an answer's advantage is its reward, less the group's mean, over the group's
deviation; every token of an answer gets it. No value network, one update a batch, a KL penalty against the start.
Rewards here are the two of DeepSeek-R1 (arXiv 2501.12948): is the answer right, is the text laid out as asked.

As in TRL 1.16, which stands for the plain form: unbiased deviation + 1e-4, clip range 0.2, k3, the mean over an
answer's tokens and then over answers. Checked against TRL's and verl's functions (`gamut fidelity peer-trl peer-verl`).

Every other family of policy has it as a variant, in which only what the actions are differs: codes one after the other
(`image_tokens`), scales of codes (`next_scale`), denoising steps (`flow`), codes unmasked in a few steps (`masked`),
pictures and answers in one batch, each normalised in its own group (`unified`). What is plain stays plain there, with
three exceptions of `flow`: the steps are those of an SDE, as an ODE has nothing to score; ratios of means over a latent
are clipped at 1e-4; there is no penalty, as those recipes have one of their own or none.

The variant `ppo` is what GRPO departed from (Proximal Policy Optimization, arXiv 1707.06347): a critic in the group's
place, here a value head on the model's own last states, and generalised advantages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from gamutrl.core import Sampling
from gamutrl.policies.models import CriticModel, TextModel
from gamutrl.recipes.families_plain import FAMILIES
from gamutrl.recipes.plain import FORMAT, paper, tiny
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.critic import with_critic
from gamutrl.training.defaults import KL
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL

MATHS = Reward("accuracy", per_rollout(accuracy))


def ppo(preset: Preset) -> Preset:
    """The preset with a critic; every batch serves two updates."""
    stage = with_critic(cast(RL, preset.stages[-1]), updates_per_batch=2)
    model = cast(TextModel, preset.model)
    return replace(preset, model=CriticModel(model.name, **model.settings), stages=(stage,))


TINY = tiny("scenes", "attribute", sampling=Sampling(max_tokens=48))
PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=4096, gradient_checkpointing=True),
    "leonardPKU/GEOQA_R1V_Train_8K",
    (MATHS, FORMAT),
    MATHS,
    kl=KL(0.04),
    steps=1000,
)

RECIPE = Recipe(
    title="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
    arxiv="2402.03300",
    kind="understanding",
    change="nothing: the plain method, with a reward for the right answer and one for its layout",
    formulas=(
        "r = accuracy + format",
        "A = (r − mean_group) / (std_group + 1e-4)",
        "loss = mean over rollouts of mean over tokens of −min(ρ A, clip(ρ, 0.8, 1.2) A) + β k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("accuracy on held-out rows", baseline="the starting checkpoint"),
    variants={
        f"{name}/{variant}": preset
        for variant, presets in {**FAMILIES, "ppo": (ppo(TINY), ppo(PAPER))}.items()
        for name, preset in zip(("tiny", "paper"), presets)
    },
    assumptions={
        "variants": "a model that the family is known by; the paper trains language models only",
        "variants.ppo": "two updates a batch, value weight 0.5, clip 0.2, λ 0.95; penalty and groups stay GRPO's",
        "variants.data": "tiny: shapes, digits, and blobs for `flow`, where the zoo's models have something to learn",
        "variants.rewards": "paper: CLIP's score, which needs nothing but a prompt; of classes, their names",
    },
)
