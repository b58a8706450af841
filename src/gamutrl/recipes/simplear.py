"""SimpleAR: Pushing the Frontier of Autoregressive Visual Generation through Pretraining, SFT, and RL (2504.11455).

What it changes: nothing in GRPO; it is used on the codes of pictures. A plain decoder over one vocabulary of words and
codes is trained by GRPO with one reward, how well picture and caption agree under CLIP. It should help because
likelihood rewards every code of one picture alike, while the reward asks whether the whole picture fits. Sampling is
without guidance, so the policy must draw well by itself; the loss is one mean over all codes of a batch.

Source: github.com/wdrink/SimpleAR at d56b6e5c, with TRL at 69ad852e. A released defect, mended here: the special
tokens of a prompt are stripped as sets of characters, so CLIP reads "two dog" for "two dogs".
"""

from __future__ import annotations

from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithPrefix
from gamutrl.policies.models import ImageTokenModel
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import FACTS, ONE, paper, tiny
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.embedding import ClipScore
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW

TINY = tiny((FACTS,))

CAPTIONS = FileRows("CaptionEmporium/midjourney-niji-1m-llavanext", Columns(prompt="prompt", image="none"))

PAPER = paper(
    ImageTokenModel("BAAI/Emu3-Gen-hf", side=64, gradient_checkpointing=True),
    Changed(CAPTIONS, WithPrefix("A photo of ")),
    (Reward("clip", ClipScore("laion/CLIP-ViT-H-14-laion2B-s32B-b79K")),),
    sampling=ONE,
    steps=400,
    prompts_per_step=7,
    group_size=4,
    kl=KL(0.04),
    optimizer=AdamW(lr=1e-6, schedule="cosine", warmup=0.1, end_lr_share=0.1),
    stand_in="Emu3, a plain decoder over one vocabulary as SimpleAR's is, which no library has",
)

RECIPE = Recipe(
    title="SimpleAR: Pushing the Frontier of Autoregressive Visual Generation through Pretraining, SFT, and RL",
    arxiv="2504.11455",
    kind="generation",
    policy="image_tokens",
    modalities=("text", "image"),
    change="GRPO on the codes of pictures, with one reward: how well picture and caption agree",
    formulas=(
        "r = cos(image, text) under CLIP ViT-H-14",
        "A = (r − mean_group) / (std_group + 1e-4), groups of 4",
        "loss = mean over all codes of the batch of −min(ρ A, clip(ρ, 0.8, 1.2) A) + 0.04 k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("pictures that show all that is asked for, on held-out prompts", baseline="the starting checkpoint"),
    assumptions={
        "tiny.rewards": "the share of facts that the world's vision program finds stands for CLIP's cosine",
        "tiny.model": "a Janus, whose codes have a head of their own; its pretraining is the paper's first two stages",
        "paper.data": "the authors' list of captions is not released; any data set with a prompt column will do",
        "paper.steps": "one epoch of about eleven thousand prompts",
    },
)
