"""GRPO, plain: the method that every recipe of this survey is compared with (DeepSeekMath, arXiv 2402.03300).

For each prompt, G answers are sampled; an answer's advantage is its reward, less the group's mean, over the group's
deviation; every token of an answer gets it. No value network, one update a batch, a KL penalty against the start.
Rewards here are the two of DeepSeek-R1 (arXiv 2501.12948): is the answer right, is the text laid out as asked.

As in TRL 1.16, which stands for the plain form: unbiased deviation + 1e-4, clip range 0.2, k3, the mean over an
answer's tokens and then over answers. Checked against TRL's and verl's functions (`gamut fidelity peer-trl peer-verl`).
"""

from __future__ import annotations

from gamutrl.core import Sampling
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import FORMAT, paper, tiny
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL

MATHS = Reward("accuracy", per_rollout(accuracy))

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
    tiny=tiny("scenes", "attribute", sampling=Sampling(max_tokens=48)),
    paper=paper(
        TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=4096, gradient_checkpointing=True),
        "leonardPKU/GEOQA_R1V_Train_8K",
        (MATHS, FORMAT),
        MATHS,
        kl=KL(0.04),
        steps=1000,
    ),
    claim=Claim("accuracy on held-out rows", baseline="the starting checkpoint"),
)
