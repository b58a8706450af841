"""`janus-tiny`: a Janus of about a million parameters that draws coloured shapes and reads them, in transformers' own
class.

24-pixel pictures as 6 × 6 codes of 256; four Llama layers of 128; a SigLIP-like tower of two layers that looks at
pictures in 36 patches. Small enough that a group of pictures is drawn within a second on one core.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
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


def build_processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """Pictures resized to the one size; values in [-1, 1]."""
    pictures = JanusImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, min_size=1
    )
    return JanusProcessor(pictures, tokenizer, chat_template=_TEMPLATE, num_image_tokens=COUNT)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> JanusForConditionalGeneration:
    """The model with random weights."""
    ids = tokenizer.get_vocab()
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=ids[BOS],
            eos_token_id=ids[EOS],
            pad_token_id=ids[PAD],
        ),
        vision_config=JanusVisionConfig(
            hidden_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=SIDE // EDGE,
            projection_dim=WIDTH,
            mlp_ratio=3.0,
            depth=2,
            num_image_tokens=COUNT,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=CODES,
            latent_channels=64,
            base_channels=32,
            channel_multiplier=[1, 1, 2],
            num_res_blocks=1,
            num_patches=EDGE,
            projection_dim=WIDTH,
            image_token_embed_dim=WIDTH,
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
