"""How `vlm-tiny` is trained: vision, then language; resumable, a function of the seed and the numbers of steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gamutrl.zoo.architecture import IMAGE_TOKENS
from gamutrl.zoo.batches import LessonBatches, Packed
from gamutrl.zoo.phases import Measured, Phase, beside, walk
from gamutrl.zoo.vision import Canvases, Heads

PHASES = ("vision_steps", "reading_steps", "varied_from", "language_steps")


@dataclass(frozen=True)
class Plan:
    """The length of each phase in steps (the first of the language phase are of dense reading, those from
    `varied_from` on ask questions of every kind), and its learning rate: risen to in `warmup` steps, held, and brought
    to nearly nothing over the last part (`decay`) of the phase.

    Vision stays as the first phase leaves it: the gradients of language wiped it out when they reached it.
    """

    vision_steps: int = 900
    reading_steps: int = 400
    varied_from: int = 2800
    language_steps: int = 4500
    vision_rate: float = 1.5e-3
    language_rate: float = 1.5e-3
    warmup: int = 100
    decay: float = 0.35
    seed: int = 0


def see(model: Idefics3ForConditionalGeneration, pixels_MCHW: Tensor) -> Tensor:
    """Visual tokens `[M, 9, D]` of canvases in uint8; equal to what the processor and `get_image_features` give."""
    pixels = pixels_MCHW.float() / 127.5 - 1.0
    side = model.model.vision_model.embeddings.num_patches_per_side
    whole = torch.ones(len(pixels), side, side, dtype=torch.bool)
    hidden = model.model.vision_model(pixel_values=pixels, patch_attention_mask=whole).last_hidden_state
    return model.model.connector(hidden)


def tower(model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> nn.ModuleDict:
    """What the first phase trains: vision, connector, word embeddings and the heads that read the pictures off."""
    words = model.get_input_embeddings()
    heads = Heads(words.embedding_dim, tokenizer)
    parts = {"vision": model.model.vision_model, "connector": model.model.connector, "heads": heads, "embed": words}
    return nn.ModuleDict(parts)


def language_loss(model: Idefics3ForConditionalGeneration, batch: Packed) -> Measured:
    """The mean negative log-likelihood of all replies' tokens, and how many of them greedy decoding would get right.

    No gradient reaches the vision tower or the connector.
    """
    embedded = model.model.text_model.get_input_embeddings()(batch.ids_BL)
    with torch.no_grad():
        features = see(model, batch.pixels_MCHW)
    embedded = embedded.masked_scatter((batch.ids_BL == model.config.image_token_id)[..., None], features)
    assert features.shape[1] == IMAGE_TOKENS
    branch, length = batch.branch_BL, batch.ids_BL.shape[1]
    allowed = (branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == 0)
    allowed &= torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
    hidden = model.model.text_model(
        inputs_embeds=embedded, attention_mask=mask, position_ids=batch.position_BL, use_cache=False
    ).last_hidden_state
    trained = batch.target_BL >= 0
    logits, target = model.lm_head(hidden[trained]), batch.target_BL[trained]
    loss = F.cross_entropy(logits, target)
    return loss, {"loss": loss.item(), "right": (logits.detach().argmax(-1) == target).float().mean().item()}


def train(
    model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, plan: Plan, folder: Path
) -> tuple[Phase, Phase]:
    """Both phases, from where a run in this folder stopped. The model is changed in place."""
    seeing, words = tower(model, tokenizer), model.get_input_embeddings()
    vision, language = Phase.start("vision", seeing), Phase.start("language", model.model.text_model)
    canvases = beside(Canvases(plan.vision_steps, plan.seed))
    lessons = beside(LessonBatches(tokenizer, plan.language_steps, plan.seed, plan.reading_steps, plan.varied_from))

    def vision_loss(batch: tuple[Tensor, ...]) -> Measured:
        pixels, *shown = batch
        return seeing["heads"](see(model, pixels), words.weight, *shown)

    go = partial(walk, folder=folder, warmup=plan.warmup, decay=plan.decay, least=0.01)
    go(vision, plan.vision_steps, canvases, vision_loss, rate=plan.vision_rate)
    go(language, plan.language_steps, lessons, partial(language_loss, model), rate=plan.language_rate)
    return vision, language
