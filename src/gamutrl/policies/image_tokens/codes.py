"""Pictures as codes: how a model's class embeds, predicts, encodes and decodes them.

Janus has a generation head and a code table of its own; Emu3's codes are words of the one vocabulary. A code is a
number from 0 here, whatever its place in the model's vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

PICTURES_AT_ONCE = 32


class Codes(Protocol):
    """What a class of models says of its codes.

    size: how many codes there are. count: how many a picture has. row, line: after each `row` codes the token `line`
    is written (None: nothing is). opening: the text before the first code; its first token opens a picture.
    tokenizer: the parameters that turn pictures to codes and back, which never train; generation: those that embed and
    predict codes and are no part of the language model.
    """

    size: int
    count: int
    row: int
    line: int | None
    opening: str
    tokenizer: list[nn.Parameter]
    generation: list[nn.Parameter]

    def embed(self, code: Tensor) -> Tensor:
        """Codes of any shape to embeddings `[…, D]`."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states `[…, D]` to logits over the codes `[…, size]`."""

    def unconditional(self, length: int) -> Tensor:
        """The tokens that stand for a context of `length` tokens, its opening included, where nothing was asked."""

    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures to their codes, int64 `[B, count]`."""

    def decode(self, code_BK: Tensor) -> list[Image.Image]:
        """Codes `[B, count]` to pictures."""


def codes_of(model: PreTrainedModel, processor: ProcessorMixin, side: int | None = None) -> Codes:
    """The codes of a model's class. side: how many codes a picture's edge has, where the class leaves that open.

    Raises ValueError, naming the classes there are, for a model that draws in no way known here.
    """
    kind = model.config.model_type
    if kind == "janus":
        return JanusCodes(model, processor)
    if kind == "emu3":
        return Emu3Codes(model, processor, side)
    raise ValueError(
        f"A model of type {kind!r} does not draw by image tokens; those that do are janus and emu3. "
        "Choose another model with --model, or load this one as what it is."
    )


class JanusCodes:
    """Janus and Janus-Pro (arXiv 2410.13848, 2501.17811): a code table and a generation head beside the words'."""

    row: int = 0
    line: int | None = None

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        base = self.model.model
        self.vq = base.vqmodel
        self.size = self.vq.config.num_embeddings
        self.count = self.vq.config.num_patches**2
        self.logits = base.generation_head
        self.opening: str = self.processor.image_start_token
        self.tokenizer = list(self.vq.parameters())
        parts = (base.generation_embeddings, base.generation_aligner, base.generation_head)
        self.generation = [parameter for part in parts for parameter in part.parameters()]

    def embed(self, code: Tensor) -> Tensor:
        return self.model.prepare_embeddings_for_image_generation(code)

    def unconditional(self, length: int) -> Tensor:
        words = self.processor.tokenizer
        tokens = torch.full((length,), words.pad_token_id)
        if words.bos_token_id is not None:
            tokens[0] = words.bos_token_id
        tokens[-1] = words.convert_tokens_to_ids(self.opening)
        return tokens

    @torch.no_grad()
    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        found = []
        for begin in range(0, len(pictures), PICTURES_AT_ONCE):
            pixels = _pixels(self.processor, pictures[begin : begin + PICTURES_AT_ONCE], self.vq.quant_conv.weight)
            latent_BDHW = self.vq.quant_conv(self.vq.encoder(pixels))
            # The nearest by angle: decoding normalises the table, which the library's own quantiser leaves out.
            latent_BKD = nn.functional.normalize(latent_BDHW.flatten(2).transpose(1, 2), dim=-1)
            table_VD = nn.functional.normalize(self.vq.quantize.embedding.weight, dim=-1)
            found.append((latent_BKD @ table_VD.T).argmax(-1))
        return torch.cat(found).cpu()

    @torch.no_grad()
    def decode(self, code_BK: Tensor) -> list[Image.Image]:
        device = self.vq.quant_conv.weight.device
        return [
            picture
            for codes in code_BK.to(device).split(PICTURES_AT_ONCE)
            for picture in _pictures(self.processor, self.vq.decode(codes))
        ]


class Emu3Codes:
    """Emu3 (arXiv 2409.18869): one vocabulary for words and codes; a token ends each row of codes.

    side: codes along a picture's edge; by default what the processor draws.
    """

    def __init__(self, model: Any, processor: Any, side: int | None) -> None:
        self.model, self.processor = model, processor
        mapping = self.model.vocabulary_mapping
        if not mapping.image_tokens:
            raise ValueError(
                "This Emu3 lists no visual tokens in its configuration's vocabulary_map, so it can't draw."
            )
        height, width = processor.calculate_generate_size(processor.ratio, processor.image_area, 8)
        height, width = (height, width) if side is None else (side, side)
        self.shape = height, width
        self.count, self.row = height * width, width
        self.line: int | None = int(mapping.eol_token_id)
        self.token_of = mapping.img2bpe_mapping_tensor.long()
        self.size = len(self.token_of)
        self.opening = f"{processor.image_start_token}{height}*{width}{processor.fake_token_around_image}"
        self.tokenizer = list(self.model.model.vqmodel.parameters())
        self.generation: list[nn.Parameter] = []
        first, last = int(self.token_of[0]), int(self.token_of[-1]) + 1
        neighbours = bool((self.token_of == torch.arange(first, last)).all()) if last - first == self.size else False
        self.place: slice | Tensor = slice(first, last) if neighbours else self.token_of

    def embed(self, code: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(self.token_of.to(code.device)[code])

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.model.lm_head.weight[self.place])

    def unconditional(self, length: int) -> Tensor:
        opening = self.processor.tokenizer(self.opening, add_special_tokens=False)["input_ids"]
        return torch.tensor([self.processor.tokenizer.bos_token_id, *opening])

    @torch.no_grad()
    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        height, width = (edge * 8 for edge in self.shape)
        resized = [picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC) for picture in pictures]
        vq, found = self.model.model.vqmodel, []
        for picture in resized:
            made = self.processor.image_processor([picture], do_resize=False, return_tensors="pt")
            pixels = made["pixel_values"].to(next(vq.parameters()))
            out = vq.encode(pixels.reshape(1, *pixels.shape[-3:]), torch.tensor([[height, width]]))
            found.append(out.image_tokens[0].reshape(1, self.count))
        return torch.cat(found).long().cpu()

    @torch.no_grad()
    def decode(self, code_BK: Tensor) -> list[Image.Image]:
        vq = self.model.model.vqmodel
        device = next(vq.parameters()).device
        return [
            picture
            for codes in code_BK.to(device).split(PICTURES_AT_ONCE)
            for picture in _pictures(self.processor, vq.decode(codes.reshape(-1, *self.shape)))
        ]


def _pixels(processor: Any, pictures: Sequence[Image.Image], like: Tensor) -> Tensor:
    made = processor.image_processor([picture.convert("RGB") for picture in pictures], return_tensors="pt")
    return made["pixel_values"].to(like)


def _pictures(processor: Any, pixels: Tensor) -> list[Image.Image]:
    """What a decoder made, as 8-bit pictures: the processor's normalisation taken back."""
    pixels_BCHW = pixels.reshape(-1, *pixels.shape[-3:]).float().cpu()
    mean, std = (
        torch.tensor(getattr(processor.image_processor, name)).view(3, 1, 1) for name in ("image_mean", "image_std")
    )
    bytes_BHWC = ((pixels_BCHW * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return [Image.fromarray(np.ascontiguousarray(picture.numpy())) for picture in bytes_BHWC]
