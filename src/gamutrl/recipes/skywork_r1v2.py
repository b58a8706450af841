"""Skywork R1V2: Multimodal Hybrid Reinforcement Learning for Reasoning (arXiv 2504.16656), its GRPO stage.

What it changes: rewards are hybrid (a rule for the answer, a reward model for the whole reply, a layout), and a
Selective Sample Buffer keeps rollouts that had an advantage and replays them in proportion to |advantage|. It should
help because, as training goes on, more and more groups are all right or all wrong: their advantages vanish and updates
learn from ever fewer rows (in the report from 60% down to 40%); replay keeps the share up at no cost in rollouts.

Source: the report alone; the released code does not train, and buffer size, mixing, age and every GRPO setting are not
given (`assumptions`). Left out here: the preference stage (MPO) before it, and the filter of prompts by a first pass
(which is a `collect` stage with `PassRate`).
"""

from __future__ import annotations

from dataclasses import replace

from gamutrl.core import Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import ACCURACY, FORMAT, paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy
from gamutrl.rewards.asking import ModelScore
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import tag_text
from gamutrl.training.defaults import keep_all
from gamutrl.training.optimizer import AdamW
from gamutrl.training.replay import Replay
from gamutrl.training.responders import Endpoint


def reasoned(text: str, thought: str) -> float:
    """How well the think block agrees with the world's own reasoning: steps in both, over the larger number of steps.

    A step is what stands between commas and colons. In the place of a reward model: it is no better for being long.
    """
    said, true = (_steps(words) for words in (tag_text(text, "think", missing="empty"), thought))
    return len(set(said) & set(true)) / max(len(said), len(true), 1)


def _steps(words: str) -> list[str]:
    return [step for part in words.replace(":", ",").split(",") if (step := part.strip())]


TINY = tiny(
    "scenes",
    "attribute",
    (ACCURACY, Reward("model", per_rollout(reasoned)), FORMAT),
    ACCURACY,
    select=Replay(capacity=256, max_age=10),
    optimizer=AdamW(lr=1.5e-5),
)

RULE = Reward("accuracy", per_rollout(accuracy))

PAPER = replace(
    paper(
        TextModel(
            "OpenGVLab/InternVL3-8B-hf",
            max_prompt_tokens=8192,
            freeze=("vision",),
            gradient_checkpointing=True,
        ),
        FileRows("skywork-r1v2/train.parquet", Columns(prompt="problem", answer="answer")),
        (RULE, Reward("model", ModelScore("reward_model")), FORMAT),
        RULE,
        held_out=FileRows("skywork-r1v2/train.parquet", Columns(prompt="problem", answer="answer"), split="test"),
        steps=1000,
        prompts_per_step=64,
        sampling=Sampling(max_tokens=4096),
        select=Replay(capacity=8192, max_age=20),
        kl=None,
    ),
    responders=(("reward_model", Endpoint(model="Skywork/Skywork-VL-Reward-7B")),),
    stand_in="InternVL3-8B for InternViT-6B + MLP adapter + QwQ-32B, which no library has put together",
)

RECIPE = Recipe(
    title="Skywork R1V2: Multimodal Hybrid Reinforcement Learning for Reasoning",
    arxiv="2504.16656",
    kind="understanding",
    source="reconstruction",
    change="rollouts with an advantage are kept and replayed, by |advantage|, for those without",
    formulas=(
        "r = r_rule + r_model + r_format, unweighted; A = (r − mean_group) / std_group",
        "a rollout with A = 0 gives its place to a kept one, drawn with P ∝ |A|",
        "loss as GRPO, its ratio against the log-probabilities each rollout was sampled with, clipped at 0.2",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": with_stage(TINY, select=keep_all)},
    claim=Claim(
        "accuracy on held-out rows, share of rows with an advantage",
        baseline="skywork-r1v2/ablation, without replay",
    ),
    assumptions={
        "select": "how many are replayed (as many as have no advantage), the buffer's size, first in first out, and an "
        "age of at most 10 (tiny) or 20 steps are ours: the report gives none",
        "objective": "stored log-probabilities and the clip correct for staleness; the report does not say how",
        "tiny.rewards.model": "a rule that compares the reasoning with the world's own stands for the reward model",
        "tiny.kl": "0.02: a small model forgets its layout sooner; the report's formula has no KL",
        "paper.responders": "the reward model is asked at an endpoint that answers a conversation with its score",
        "paper.data": "prompts and mixture are not published; one file of problem, answer, image",
        "paper.sampling": "not published, nor are the number of steps and the batch",
        "paper.model.freeze": "the vision encoder; the report's best model trained the adapter alone",
    },
)
