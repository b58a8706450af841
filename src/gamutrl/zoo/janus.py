"""`janus-tiny`: a Janus of about a million parameters that draws coloured shapes and reads them, in transformers' own
class.

24-pixel pictures as 6 × 6 codes of 256; four Llama layers of 128; a SigLIP-like tower of two layers that looks at
pictures in 36 patches. Small enough that a group of pictures is drawn within a second on one core.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

SIDE = 24
"""The edge of a picture, in pixels."""
EDGE = 6
"""Codes along an edge."""
COUNT = EDGE * EDGE
CODES = 256
VOCABULARY = 512
WIDTH = 128
PLAN = "Plan: "
"""What is put before a prompt to ask for a plan in words first."""

BOS, EOS, PAD = "<|begin_of_sentence|>", "<|end_of_sentence|>", "<|pad|>"
BOI, EOI, IMAGE = "<begin_of_image>", "<end_of_image>", "<image_placeholder>"
ROLES = ("<|User|>", "<|Assistant|>", "<|System|>")
SPECIAL = (PAD, BOS, EOS, BOI, EOI, IMAGE, *ROLES)

_TEMPLATE = """{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'].capitalize() + '|>' }}\
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'image' %}{{ '<image_placeholder>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}\
{% endif %}{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"""


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer (any text round-trips) in which the words of the texts are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"</?[a-z]+>|\d| ?[^\W\d_]+|[^\w\s]|\s+|_+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI}
        | {f"role_{k}_token": role for k, role in enumerate(ROLES)},
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


@dataclass(frozen=True)
class Shape:
    """The sizes of a Janus: its pictures' side in pixels, the codes along an edge, and how many codes there are to
    choose from; width, depth and inner width of the Llama and how long a sequence may be; width, depth, heads and
    relative inner width of the tower that looks; channels of the codes' latent, and of each level on the way to it."""

    side: int = SIDE
    edge: int = EDGE
    codes: int = CODES
    width: int = WIDTH
    layers: int = 4
    inner: int = 352
    length: int = 1024
    tower_width: int = 96
    tower_layers: int = 2
    tower_heads: int = 4
    tower_ratio: float = 3.0
    latent: int = 64
    levels: tuple[int, ...] = (1, 1, 2)


TINY = Shape()


def build_processor(tokenizer: PreTrainedTokenizerFast, shape: Shape = TINY) -> JanusProcessor:
    """Pictures resized to the one size; values in [-1, 1]."""
    size = {"height": shape.side, "width": shape.side}
    pictures = JanusImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3, min_size=1)
    return JanusProcessor(pictures, tokenizer, chat_template=_TEMPLATE, num_image_tokens=shape.edge**2)


def build_model(
    tokenizer: PreTrainedTokenizerFast, seed: int = 0, shape: Shape = TINY
) -> JanusForConditionalGeneration:
    """The model with random weights."""
    ids = tokenizer.get_vocab()
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=shape.length,
            tie_word_embeddings=True,
            bos_token_id=ids[BOS],
            eos_token_id=ids[EOS],
            pad_token_id=ids[PAD],
        ),
        vision_config=JanusVisionConfig(
            hidden_size=shape.tower_width,
            num_hidden_layers=shape.tower_layers,
            num_attention_heads=shape.tower_heads,
            image_size=shape.side,
            patch_size=shape.side // shape.edge,
            projection_dim=shape.width,
            mlp_ratio=shape.tower_ratio,
            depth=2,
            num_image_tokens=shape.edge**2,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=shape.codes,
            latent_channels=shape.latent,
            base_channels=32,
            channel_multiplier=list(shape.levels),
            num_res_blocks=1,
            num_patches=shape.edge,
            projection_dim=shape.width,
            image_token_embed_dim=shape.width,
        ),
        image_token_id=ids[IMAGE],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = JanusForConditionalGeneration(config)
    generation: Any = model.generation_config
    generation.bos_token_id, generation.eos_token_id, generation.pad_token_id = ids[BOS], ids[EOS], ids[PAD]
    generation.generation_kwargs = {"boi_token_id": ids[BOI]}
    return model


def all_but_codes(model: JanusForConditionalGeneration) -> nn.ModuleDict:
    """What learns words and codes once the codes are settled."""
    names = ("language_model", "generation_embeddings", "generation_aligner", "generation_head", "vision_model")
    return nn.ModuleDict({name: getattr(model.model, name) for name in (*names, "aligner")})
