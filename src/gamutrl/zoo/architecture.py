"""The parts of `vlm-tiny`: an Idefics3 of some three million parameters, its tokenizer and its processor.

72-pixel canvases, 8-pixel patches, 4 × 128 vision layers, a pixel shuffle of 3, so 9 tokens an image, one for each
cell of the worlds; 4 × 192 Llama layers. Every image has the same size, so a batch of them is one dense call: the shape
that is fastest on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from gamutrl.data.worlds.render import SHAPES

VOCABULARY = 1024
IMAGE_SIZE = 72
IMAGE_TOKENS = 9
EOS = "<end_of_utterance>"
PAD = "<pad>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>", "<|tool|>")
SPECIAL = (PAD, EOS, "<image>", "<fake_token_around_image>", "<global-img>", *ROLES)
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<info>", "</info>", "<|box_start|>", "<|box_end|>")
"""Ordinary tokens, so that they stay in decoded text."""

WORDS = (
    "the a an of to and in is are it there that this with at least most one two three four five six seven eight "
    "nine ten exactly only both each all any no not more less than as many same different color colour shape size "
    "item items object objects block blocks tower box boxes black white grey orange pink touching edge wall base "
    "top bottom side corner middle close closely first second third last left right above below under over on "
    "next between number count how what which where when who why yes no true false find show list describe answer "
    "question image picture video frame please think step reason reply has have contains smaller larger small big "
    "medium attached made up can you do does be was were will would should I we they he she its their from for by "
    "or if then so but because"
)
"""Common words that the worlds do not use, so that a user's own questions stay short in tokens."""

_ROLES = """{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['content'] is string %}\
{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>' }}\
{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<end_of_utterance>' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer (any text round-trips) in which 0 to 99 and the tags are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}| ?[^\W\d_]+|[^\w\s]+ ?|\s+|_+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    numbers = [" ".join(str(n) for n in range(100))] * 2000
    words = [WORDS, " " + " ".join(word.capitalize() for word in WORDS.split()), *SHAPES] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *numbers, *words], trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[token for token in SPECIAL if token not in (PAD, EOS)],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """Canvases as they are, other pictures resized to one canvas; no splitting."""
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": IMAGE_SIZE},
        max_image_size={"longest_edge": IMAGE_SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return Idefics3Processor(pictures, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=_ROLES)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Idefics3ForConditionalGeneration:
    """The untrained model, in float32."""
    torch.manual_seed(seed)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIZE,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        scale_factor=3,
        image_token_id=tokenizer.get_vocab()["<image>"],
        tie_word_embeddings=True,
    )
    model = Idefics3ForConditionalGeneration(config)
    with torch.no_grad():
        model.model.connector.modality_projection.proj.weight.mul_(0.1)  # about as long as word embeddings become
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
