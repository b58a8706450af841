"""VideoAlign: Improving Video Generation with Human Feedback (arXiv 2501.13918).

What it changes. The reward model has a head a quality, and learns from pairs of which many are ties: Bradley-Terry
with ties (Rao-Kupper) leaves them room, where the plain form would have to leave them out. Then DPO on flows: the best
and the worst of a group, noised alike, with denoising errors for log-probabilities and one β for all noise levels. It
should help because ties say where qualities are equal, and because the β that theory gives, (1 − t)² β, trains the
noisy levels hardest and is hacked there.

Source: github.com/KwaiVGI/VideoAlign at 219ab9db (the reward model) and github.com/yifan123/flow_grpo at ac4c86e8
(Flow-DPO, for pictures). Variant `paper`: β_t = (1 − t)² β, which the authors compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds import blobs
from gamutrl.functional.selection import best_and_worst
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.scorer import ScorerModel
from gamutrl.recipes.denoising_plain import EPOCH, PROMPTS, on_blobs, spoiled
from gamutrl.recipes.flow_plain import PICK_A_PIC, PICKSCORE, SD3, paper
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import ActionWeights, Reference
from gamutrl.training.forward import Ends, LogitNormal, Matching, Noised
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, PairLoss, Pairs
from gamutrl.training.reward_model import ModelScore, Ordering, Standardise, reward_model
from gamutrl.training.rl import RL


@dataclass(frozen=True)
class ByQuality:
    """Each row's two answers, judged by the world in each of its qualities; what differs by `band` at most is a tie."""

    band: float = 0.1

    def __call__(self, policy: Any, prompts: Sequence[Prompt]) -> Batch:
        batch = spoiled(Pairs()(policy, prompts))
        space, class_P = blobs.space_of(prompts)
        x_RD = torch.stack([rollout.output for rollout in batch.rollouts])
        one_MH, other_MH = space.qualities(x_RD, class_P[batch.prompt_R]).unflatten(0, (-1, 2)).unbind(1)
        lead_MH = torch.where((one_MH - other_MH).abs() > self.band, (one_MH - other_MH).sign(), 0.0)
        return batch.with_(label_RH=torch.stack([lead_MH, torch.zeros_like(lead_MH)], 1).flatten(0, 1))


def extremes(batch: Batch, context: Context) -> Batch:
    """Keeps the best and the worst of each group, labelled so: a `select`."""
    sign_R = best_and_worst(batch["reward_R"], batch.group_R)
    return batch.with_(label_R=sign_R).take_rollouts(sign_R != 0)


FLOW_DPO: dict[str, Any] = {
    "rollout": Ends(levels=1),
    "select": extremes,
    "prepare": Noised(LogitNormal(), shared=True),
    "likelihood": Matching(scale=0.5),
    "objective": PairLoss(beta=100.0, gain=Gain("action")),
    "weights": ActionWeights("group"),
    "references": (Reference("base"),),
    "kl": None,
}

PAIRS = WorldRows("blobs", "pairs")
TINY = on_blobs(
    reward_model(
        PAIRS,
        answers=ByQuality(),
        objective=Ordering(ties=5.0),
        steps=100,
        rows_per_step=64,
        optimizer=AdamW(lr=3e-3),
    ),
    Standardise(PAIRS, ByQuality()),
    RL(
        PROMPTS,
        (Reward("learned", ModelScore("reward", head=None)),),
        sampling=FlowSampling(steps=10, eta=0.0),
        **{
            **FLOW_DPO,
            "rollout": Ends(levels=2),
            "prepare": Noised(LogitNormal(2), shared=True),
            "steps": 60,
            "prompts_per_step": 32,
            "group_size": 8,
            "optimizer": AdamW(lr=2e-4),
        },
    ),
    model="blobs-flow",
    models=(("reward", ScorerModel(size=64, heads=len(blobs.QUALITIES), width=128)),),
)

PICTURES = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=40, eta=0.0, guidance=4.5),
    measured_by=FlowSampling(steps=40, eta=0.0, guidance=4.5),
    **{
        **FLOW_DPO,
        **EPOCH,
        "rows_per_forward": 8,
    },
)

PAPER = replace(
    PICTURES, stand_in="Flow-DPO as released for pictures, on SD3.5: the video model of the paper is not public"
)

BY_LEVEL = Matching(scale=0.5, tilt=2.0)

RECIPE = Recipe(
    title="Improving Video Generation with Human Feedback",
    arxiv="2501.13918",
    kind="generation",
    policy="flow",
    modalities=("text", "image", "video"),
    change="a reward model that learns from ties, a head a quality; DPO on flow errors with one β for all noise levels",
    formulas=(
        "better: −log σ(d − log k); tied: −log σ(d − log k) − log σ(−d − log k) − log(k² − 1), k = 5",
        "e = mean (v_θ(x_t) − (ε − x₀))², one t and one ε a pair",
        "loss = −log σ(−β/2 · [(e_w − e_base,w) − (e_l − e_base,l)])",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_stage(TINY, likelihood=BY_LEVEL),
        "paper/paper": with_stage(PAPER, likelihood=BY_LEVEL),
    },
    claim=Claim("gold score", baseline="videoalign/paper, with β_t = (1 − t)² β", budget="rollouts"),
    assumptions={
        "tiny": "pictures of the world stand for clips; its three qualities for visual quality, motion and alignment",
        "tiny.stages.rl.prepare.levels": "two levels a pair, to use what was drawn",
        "paper.rewards": "PickScore, as in the released Flow-DPO; the authors' reward model reads clips",
    },
)
