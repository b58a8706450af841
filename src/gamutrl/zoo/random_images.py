"""Small random models that draw by image tokens, built offline: the library's own classes, loaded like any."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3Processor,
    Emu3TextConfig,
    Emu3VQVAEConfig,
    JanusForConditionalGeneration,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.emu3.image_processing_emu3 import Emu3ImageProcessor

from gamutrl.zoo import janus
from gamutrl.zoo.random import TEXT, byte_tokenizer

FAMILIES = ("janus", "emu3")
EMU3_CODES = 32

_EMU3_TOKENS = {
    "bos_token": "<|extra_203|>",
    "eos_token": "<|extra_204|>",
    "pad_token": "<|endoftext|>",
    "image_token": "<image>",
    "boi_token": "<|image start|>",
    "eoi_token": "<|image end|>",
    "image_wrapper_token": "<|image token|>",
    "eof_token": "<|extra_201|>",
    "eol_token": "<|extra_200|>",
}
_EMU3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role.upper() }}: "
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def build(family: str, folder: Path | str, *, seed: int = 0, scale: float = 3.0) -> Path:
    """A random model of a family ("janus", "emu3"), saved with its processor; returns the folder.

    scale: the weights' size relative to the library's initialisation, so that outputs are far from uniform.
    """
    if family not in FAMILIES:
        raise ValueError(f"There is no random model of the family {family!r}; there are: {', '.join(FAMILIES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = _janus(seed) if family == "janus" else _emu3()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1 and "vqmodel" not in name:
                    parameter.normal_(std=0.02) if not parameter.any() else parameter.mul_(scale)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def _janus(seed: int) -> tuple[JanusForConditionalGeneration, ProcessorMixin]:
    tokenizer = janus.build_tokenizer(["a red circle and a blue square"] * 40)
    return janus.build_model(tokenizer, seed), janus.build_processor(tokenizer)


def _emu3() -> tuple[PreTrainedModel, ProcessorMixin]:
    visual = {f"visual_{code}_token": f"<|visual token {code:06d}|>" for code in range(EMU3_CODES)}
    tokenizer = byte_tokenizer({**_EMU3_TOKENS, **visual})
    config = Emu3Config(
        text_config=Emu3TextConfig(
            **TEXT,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attention_dropout=0.0,
        ),
        vq_config=Emu3VQVAEConfig(
            codebook_size=EMU3_CODES,
            embed_dim=4,
            latent_channels=4,
            base_channels=32,
            channel_multiplier=[1, 1, 1, 1],
            num_res_blocks=1,
            hidden_size=32,
            attn_resolutions=[3],
        ),
        vocabulary_map=tokenizer.get_vocab(),
    )
    model = Emu3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    pictures = Emu3ImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, spatial_factor=8)
    return model, Emu3Processor(pictures, tokenizer, chat_template=_EMU3_TEMPLATE)
