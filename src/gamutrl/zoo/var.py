"""`var-tiny`: a small VAR over pictures of shapes and digits.

First a tokenizer of one scale learns to give pictures back (`mask-tiny` has it too), then one of four scales goes on
from there, whose first code tells where things lie, then its decoder alone, then the transformer learns the codes of
each prompt's picture.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gamutrl.core import Sampling
from gamutrl.data.worlds import pictures
from gamutrl.policies.next_scale import NextScale, NextScalePolicy, Tokenizer, TransformerConfig
from gamutrl.policies.words import Words
from gamutrl.zoo import token_build, tokens
from gamutrl.zoo.janus_codes import CONFIG
from gamutrl.zoo.phases import Measured, Phase
from gamutrl.zoo.token_build import NO_PROMPT, RATE, Plan, Script

MANY = replace(CONFIG, scales=(1, 2, 3, 6), codes=512)
MODEL = TransformerConfig(
    depth=4, width=96, heads=3, shared=True, words=pictures.WORDS, text_length=tokens.WORDS, text_depth=2
)


def fit(one: Tokenizer, shown: tokens.Bank, plan: Plan, work: Path) -> tuple[NextScale, tuple[Phase, ...]]:
    """The model: several scales' codes for the tokenizer of one, then the transformer."""
    model = NextScale(MANY, MODEL)
    scales = tokens.train_scales(model.tokenizer, one, shown, plan.scales_steps, work, plan.seed)
    decoder = tokens.sharpen(model.tokenizer, shown, plan.decoder_steps, work, plan.seed)
    return model, (scales, decoder, train(model, shown, plan, work))


def train(model: NextScale, shown: tokens.Bank, plan: Plan, work: Path) -> Phase:
    """Train the transformer in place, from where a run in this folder stopped."""
    code_BL = tokens.codes(model.tokenizer, shown)
    words = Words(MODEL.words, MODEL.text_length)
    word_BS, empty_S = words.rows(shown.prompts), words.rows([""])[0]
    # Scales count by the square root of their tokens: the coarse ones decide what is drawn.
    share_K = torch.tensor(MANY.scales) / sum(MANY.scales)
    phase = Phase.start("var", model.transformer)

    def loss_of(index: Tensor) -> Measured:
        code_NL, word_NS = code_BL[index], word_BS[index]
        word_NS[torch.rand(len(index)) < NO_PROMPT] = empty_S
        with torch.no_grad():
            seen = model.tokenizer.quantize.inputs(code_NL)
        logits = model.transformer(seen, model.transformer.texts(word_NS))
        loss_NL = F.cross_entropy(logits.flatten(0, 1), code_NL.flatten(), reduction="none").view(code_NL.shape)
        loss_K = torch.stack([part.mean() for part in model.tokenizer.quantize.split(loss_NL)])
        return (share_K * loss_K).sum(), {f"scale{k}": value for k, value in enumerate(loss_K.tolist())}

    return tokens.drive(phase, loss_of, len(shown.prompts), plan.steps, RATE, work, plan.seed)


SCRIPT = Script(
    "A next-scale model (VAR) that draws pictures in four scales (1, 2, 3 and 6 codes a side) for prompts like "
    "`the digit 7` and `a red circle`. All codes of a scale are drawn at once; the one code of the first was taught to "
    "tell where things lie.",
    Plan(scales_steps=1800, decoder_steps=100, steps=3000),
    Sampling(guidance=2.0),
    fit,
    NextScalePolicy.load,
)

build = partial(token_build.build, SCRIPT)
"""Trains the model and writes its folder."""
