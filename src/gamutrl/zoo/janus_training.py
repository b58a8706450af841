"""How `janus-tiny` is trained: codes of pictures first, then words and codes in one sequence. Resumable.

Codes: an autoencoder without a table for the first quarter, whose latents then are clustered into the table, which
follows them from there (`autoencoder`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from gamutrl.zoo import janus_lessons as lessons
from gamutrl.zoo.autoencoder import Codebook, convolutions
from gamutrl.zoo.janus import COUNT, all_but_codes
from gamutrl.zoo.phases import Measured, Phase, walk


@dataclass(frozen=True)
class Plan:
    """The length of each phase in steps, its batch and its learning rate."""

    code_steps: int = 500
    code_batch: int = 16
    code_rate: float = 4e-3
    decoder_steps: int = 150
    steps: int = 900
    batch: int = 32
    rate: float = 3e-3
    warmup: int = 20
    decay: float = 0.4
    seed: int = 0


def train(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, plan: Plan, folder: Path
) -> tuple[Phase, Phase, Phase]:
    """All phases, from where a run in this folder stopped."""
    return learn_codes(model, plan, folder), sharpen(model, plan, folder), learn_both(model, tokenizer, plan, folder)


def learn_codes(model: JanusForConditionalGeneration, plan: Plan, folder: Path) -> Phase:
    """The first phase: encoder, table and decoder."""
    table = _Table(model.model.vqmodel)
    phase = convolutions("codes", model.model.vqmodel)
    return _learn(phase, plan, plan.code_steps, plan.code_rate, lambda step: table.loss(step, plan), folder)


def sharpen(model: JanusForConditionalGeneration, plan: Plan, folder: Path) -> Phase:
    """The second phase: the decoder alone, so that the codes stay what they are. It may run beside the third."""
    vq = model.model.vqmodel
    phase = convolutions("decoder", nn.ModuleDict({"first": vq.post_quant_conv, "rest": vq.decoder}))

    def loss(step: int) -> Measured:
        pixels = lessons.canvases(plan.seed * 1_000_003 + 500_000 + step, plan.code_batch)
        error = _error(vq.decode(encode(model, pixels)), pixels)
        return error, {"error": error.item()}

    return _learn(phase, plan, plan.decoder_steps, plan.code_rate, loss, folder)


def learn_both(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, plan: Plan, folder: Path
) -> Phase:
    """The third phase: words and codes."""
    model.model.vqmodel.requires_grad_(False)
    phase = Phase.start("both", all_but_codes(model))

    def loss(step: int) -> Measured:
        found = lessons.lessons(plan.seed * 1_000_003 + step, plan.batch)
        return joint_loss(model, lessons.batch(found, tokenizer))

    return _learn(phase, plan, plan.steps, plan.rate, loss, folder)


def joint_loss(model: JanusForConditionalGeneration, batch: lessons.Batch) -> Measured:
    """The mean negative log-likelihood of words and codes, each action counting the same."""
    parts = model.model
    embeds = model.get_input_embeddings()(batch.ids_BL)
    if len(batch.seen_MCHW):
        seen = parts.get_image_features(batch.seen_MCHW).pooler_output
        embeds = embeds.masked_scatter((batch.ids_BL == model.config.image_token_id)[..., None], seen)
    code_MK = encode(model, batch.drawn_MCHW)
    rows = batch.drawn_B.nonzero()
    place_MK = batch.start_B[batch.drawn_B][:, None] + torch.arange(COUNT)
    embeds = embeds.index_put((rows, place_MK), model.prepare_embeddings_for_image_generation(code_MK))
    hidden_BLD = parts.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    code_logits = parts.generation_head(hidden_BLD[rows, place_MK - 1])
    target_BL = batch.target_BL[:, 1:]
    learned = target_BL >= 0
    word_logits = model.lm_head(hidden_BLD[:, :-1][learned])
    drawn = F.cross_entropy(code_logits.flatten(0, 1), code_MK.flatten(), reduction="sum")
    said = F.cross_entropy(word_logits, target_BL[learned], reduction="sum")
    loss = (drawn + said) / (code_MK.numel() + learned.sum())
    return loss, {
        "loss": loss.item(),
        "code_loss": drawn.item() / max(1, code_MK.numel()),
        "word_loss": said.item() / max(1, int(learned.sum())),
    }


@torch.no_grad()
def encode(model: JanusForConditionalGeneration, pixels_MCHW: Tensor) -> Tensor:
    """The codes of pictures in [-1, 1], `[M, COUNT]`."""
    vq = model.model.vqmodel
    latent = F.normalize(_rows(vq.quant_conv(vq.encoder(pixels_MCHW))), dim=-1)
    return (latent @ F.normalize(vq.quantize.embedding.weight, dim=-1).T).argmax(-1).view(-1, COUNT)


class _Table:
    """The autoencoder's loss, and its table of codes (unit vectors), which moves without a gradient."""

    def __init__(self, vq: Any) -> None:
        self.vq, self.book = vq, Codebook(vq.quantize.embedding.weight, unit=True)

    def loss(self, step: int, plan: Plan) -> Measured:
        begin = plan.code_steps // 4
        pixels = lessons.canvases(plan.seed * 1_000_003 + step, plan.code_batch)
        if step == begin:
            with torch.no_grad():
                many = lessons.canvases(-1 - plan.seed, 384)
                self.book.begin(F.normalize(_rows(self.vq.quant_conv(self.vq.encoder(many))), dim=-1))
        latent_BDHW = F.normalize(self.vq.quant_conv(self.vq.encoder(pixels)), dim=1)
        code, pull = latent_BDHW, latent_BDHW.new_zeros(())
        if step >= begin:
            rows = _rows(latent_BDHW)
            nearest = self.book.nearest(rows)
            entry = self.book.weight[nearest].view(len(pixels), *latent_BDHW.shape[2:], -1).permute(0, 3, 1, 2)
            pull = (latent_BDHW - entry).square().sum(1).mean()
            code = latent_BDHW + (entry - latent_BDHW).detach()
            if step < 0.9 * plan.code_steps:
                self.book.follow(rows.detach(), nearest, step)
        drawn = self.vq.decoder(self.vq.post_quant_conv(code))
        error = _error(drawn, pixels)
        return error + 0.25 * pull, {"error": error.item(), "pull": pull.item(), "used": self.book.used}


def _error(drawn: Tensor, pixels: Tensor) -> Tensor:
    """The mean absolute difference; most of a picture is ground, so what lies on it counts more."""
    weight = 1 + 4 * ((pixels - pixels[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.1)
    return ((drawn - pixels).abs() * weight).mean()


def _rows(latent_BDHW: Tensor) -> Tensor:
    return latent_BDHW.flatten(2).transpose(1, 2).flatten(0, 1)


def _learn(
    phase: Phase, plan: Plan, steps: int, rate: float, loss_of: Callable[[int], Measured], folder: Path
) -> Phase:
    return walk(phase, steps, range, loss_of, folder, rate=rate, warmup=plan.warmup, decay=plan.decay, least=0.02)
