"""`mask-tiny`: masked diffusion over words and codes.

One transformer learns to draw a prompt's picture and to say what a picture shows, from whatever part is not masked.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gamutrl.data.worlds import pictures
from gamutrl.functional.masking import random_mask
from gamutrl.policies.masked import MaskedConfig, MaskedPolicy, MaskedSampling, MaskedTransformer
from gamutrl.policies.masked.model import Kind
from gamutrl.policies.next_scale import Tokenizer
from gamutrl.zoo import token_build, tokens
from gamutrl.zoo.janus_codes import CONFIG
from gamutrl.zoo.phases import Measured, Phase
from gamutrl.zoo.token_build import NO_PROMPT, RATE, Plan, Script

DESCRIBE = "describe the picture"
MODEL = MaskedConfig(
    words=(*pictures.WORDS, "describe", "picture"), text_length=tokens.WORDS, depth=4, width=96, heads=3
)
SAID = 0.3
"""The share of steps in which a picture is described instead of drawn."""


def fit(one: Tokenizer, shown: tokens.Bank, plan: Plan, work: Path) -> tuple[MaskedTransformer, tuple[Phase, ...]]:
    """The model, whose tokenizer is the one of one scale."""
    model = MaskedTransformer(MODEL, CONFIG)
    model.tokenizer.load_state_dict(one.state_dict())
    return model, (train(model, shown, plan, work),)


def train(model: MaskedTransformer, shown: tokens.Bank, plan: Plan, work: Path) -> Phase:
    """Train the transformer in place, from where a run in this folder stopped."""
    code_BS = tokens.codes(model.tokenizer, shown)
    word_BQ = model.words.rows(shown.prompts)
    empty, describe = model.words.rows(["", DESCRIBE])
    trained = torch.nn.ModuleDict({name: part for name, part in model.named_children() if name != "tokenizer"})
    phase = Phase.start("mask", trained)

    def loss_of(index: Tensor) -> Measured:
        kind: Kind = "text" if float(torch.rand(())) < SAID else "image"
        if kind == "text":
            layout, answer = model.layout(describe.expand(len(index), -1), code_BS[index]), word_BQ[index][:, 1:]
        else:
            question = word_BQ[index]
            question[torch.rand(len(index)) < NO_PROMPT] = empty
            layout, answer = model.layout(question, None), code_BS[index]
        rate_N = (torch.rand(len(index)) * math.pi / 2).cos().clamp(min=0.03)
        masked = random_mask(torch.ones_like(answer), rate_N, torch.rand(answer.shape))
        masked[:, 0] |= ~masked.any(1)
        filled = layout.filled(torch.where(masked, model.mask, model.tokens(answer, kind)))
        loss = F.cross_entropy(model.answers(filled, kind)[masked], answer[masked])
        return loss, {kind: float(loss.detach())}

    return tokens.drive(phase, loss_of, len(shown.prompts), plan.steps, RATE, work, plan.seed)


SCRIPT = Script(
    "A masked diffusion model over words and 6 × 6 picture codes that draws pictures for prompts like `the digit 7` "
    f"and, asked to `{DESCRIBE}`, writes such a prompt for a picture.",
    Plan(steps=2200),
    MaskedSampling(guidance=2.0),
    fit,
    MaskedPolicy.load,
)

build = partial(token_build.build, SCRIPT)
"""Trains the model and writes its folder."""
