"""Plain GRPO on every family of policy that draws: the variants of `grpo`."""

from __future__ import annotations

from dataclasses import replace

from gamutrl.core import Sampling, Source
from gamutrl.data.classes import Classes
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.masked import MaskedSampling
from gamutrl.policies.models import MaskedModel, NextScaleModel
from gamutrl.recipes import flow_plain, tokens_plain
from gamutrl.recipes.corl import X2X, DrawAndAnswer, answered, of_column
from gamutrl.recipes.var_grpo import IMAGENET
from gamutrl.rewards.base import Reward, Score, per_rollout
from gamutrl.rewards.of_pictures import CLIP_SCORE, DIGIT, DIGIT_PROBABILITY
from gamutrl.rewards.outputs import Only
from gamutrl.rewards.tags import tag_format
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import ModelSpec, Preset
from gamutrl.training.rl import RL

JANUS = Sampling(max_tokens=576, guidance=5.0, guidance_train=1.0)
"""A picture of Janus-Pro: sampled with guidance, without which it draws poorly; the conditional distribution trains."""


def digits(model: ModelSpec, sampling: Sampling) -> Preset:
    """A `tiny` preset of handwritten digits, judged by a small reader."""
    stage = RL(
        WorldRows("pictures", "digit"),
        (DIGIT_PROBABILITY,),
        sampling=sampling,
        steps=30,
        kl=KL(0.01),
        optimizer=AdamW(lr=2e-4, warmup=0.1),
    )
    held_out = WorldRows("pictures", "digit", "test", size=200)
    return Preset(model, (stage,), Evaluation(held_out, DIGIT, (DIGIT_PROBABILITY,), 200, sampling, batch=100))


def judged(model: ModelSpec, data: Source, sampling: Sampling, stand_in: str = "") -> Preset:
    """A `paper` preset of captions or classes, whose pictures CLIP judges."""
    stage = RL(data, (CLIP_SCORE,), sampling=sampling, steps=1000, kl=KL(0.04), optimizer=AdamW(lr=1e-6))
    held_out = replace(data, split="test") if isinstance(data, FileRows) else data
    evaluation = Evaluation(held_out, CLIP_SCORE, (), 500, replace(sampling, guidance_train=None))
    return Preset(model, (stage,), evaluation, save_every=50, stand_in=stand_in)


def both(drawn: Score) -> tuple[Reward, ...]:
    """What a picture is paid for, and what an answer is: being right, and its layout."""
    return (
        Reward("drawn", Only("image", drawn)),
        Reward("answer", Only("text", per_rollout(answered))),
        Reward("format", Only("text", per_rollout(tag_format))),
    )


PLAIN_WEIGHTS = ActionWeights()

FAMILIES = {
    "image_tokens": (
        tokens_plain.tiny(weights=PLAIN_WEIGHTS),
        judged(tokens_plain.JANUS_PRO, flow_plain.PICK_A_PIC, JANUS),
    ),
    "next_scale": (
        digits(NextScaleModel("var-tiny"), Sampling()),
        judged(
            NextScaleModel("FoundationVision/var/var_d30.pth"), Classes(IMAGENET, "a photo of a {name}"), Sampling()
        ),
    ),
    "flow": (
        flow_plain.tiny(),
        flow_plain.paper(
            flow_plain.SD3,
            flow_plain.PICK_A_PIC,
            (CLIP_SCORE,),
            sampling=FlowSampling(steps=10, eta=0.7, guidance=4.5, trained=tuple(range(9))),
            measured_by=FlowSampling(steps=40, eta=0.0, guidance=4.5),
            steps=1000,
            rows_per_forward=8,
            optimizer=AdamW(lr=3e-4),
        ),
    ),
    "masked": (
        digits(MaskedModel("mask-tiny"), MaskedSampling(unmasking=3)),
        judged(
            MaskedModel("mask-tiny"),
            flow_plain.PICK_A_PIC,
            MaskedSampling(unmasking=50),
            stand_in="mask-tiny for MMaDA-8B: no library has its architecture",
        ),
    ),
    "unified": (
        tokens_plain.tiny(
            both(tokens_plain.FACTS.score),
            sampling=Sampling(max_tokens=56),
            rollout=DrawAndAnswer(tokens_plain.world_picture, before="Think. "),
            weights=PLAIN_WEIGHTS,
        ),
        tokens_plain.paper(
            tokens_plain.JANUS_PRO,
            X2X,
            both(CLIP_SCORE.score),
            sampling=JANUS,
            rollout=DrawAndAnswer(of_column, question="qa_problem"),
            metric=CLIP_SCORE,
            weights=PLAIN_WEIGHTS,
            steps=1000,
            kl=KL(0.04),
        ),
    ),
}
"""Plain GRPO on every family of policy that draws: its `tiny` and its `paper` preset."""
