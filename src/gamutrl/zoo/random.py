"""Small random models of each family, built offline: what tests and benchmarks run on.

Each is the library's own class at toy size, with a byte-level tokenizer and the family's own processor, so it loads
like any published model: `TextPolicy.load(random.build("qwen2_5_vl", folder))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from gamutrl.policies.loading import images_only

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}@image{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<start_of_image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """How to make one: special tokens by name, chat template, processor, and model from (tokenizer, text settings)."""

    tokens: Mapping[str, str]
    template: str
    processor: Callable[[PreTrainedTokenizerFast], ProcessorMixin]
    model: Callable[[PreTrainedTokenizerFast, dict[str, Any]], PreTrainedModel]
    text: Mapping[str, Any] = field(default_factory=dict)


def build(family: str, folder: Path | str, *, seed: int = 0, scale: float = 3.0, **text: Any) -> Path:
    """A random model of a family (a key of `FAMILIES`), saved with its processor; returns the folder.

    scale: the weights' size relative to the library's initialisation; larger makes outputs less uniform, so that a test
    can tell right from wrong. text: overrides of the language model's configuration (`hidden_size=256`).
    """
    if family not in FAMILIES:
        raise ValueError(f"There is no random model of the family {family!r}; there are: {', '.join(FAMILIES)}.")
    recipe = FAMILIES[family]
    tokenizer = byte_tokenizer(recipe.tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.model(tokenizer, {**TEXT, "vocab_size": len(tokenizer), **recipe.text, **text})
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:  # Some classes begin with zeros, which would hide the pictures.
                    parameter.normal_(std=0.02) if not parameter.any() else parameter.mul_(scale)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor = recipe.processor(tokenizer)
    processor.chat_template = recipe.template
    processor.save_pretrained(folder)
    return Path(folder)


def byte_tokenizer(tokens: Mapping[str, str]) -> PreTrainedTokenizerFast:
    """A tokenizer of the 256 bytes and named special tokens (`{"eos_token": "<|im_end|>", …}`)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(tokenizer_models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    usual = {name: tokens[name] for name in ("bos_token", "eos_token", "pad_token") if name in tokens}
    extra = {name: token for name, token in tokens.items() if name not in usual}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=extra, **usual)


def _ids(tokenizer: PreTrainedTokenizerFast, **tokens: str) -> dict[str, Any]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


QWEN_TOKENS = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "turn_token": "<|im_start|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
QWEN_TEMPLATE = CHATML.replace("@image", "<|vision_start|><|image_pad|><|vision_end|>")


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return _ids(
        tokenizer,
        image_token_id="<|image_pad|>",
        video_token_id="<|video_pad|>",
        vision_start_token_id="<|vision_start|>",
        vision_end_token_id="<|vision_end|>",
    )


def _mrope(sections: list[int], **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections, **more}


def _qwen_processor(name: str, patch_size: int) -> Callable[[PreTrainedTokenizerFast], ProcessorMixin]:
    def make(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
        pixels = (2 * patch_size) ** 2
        images = transformers.Qwen2VLImageProcessorPil(
            patch_size=patch_size, size={"shortest_edge": pixels, "longest_edge": 1024 * pixels}
        )
        return images_only(getattr(transformers, name))(images, tokenizer, None)

    return make


def _qwen2_vl(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    sections = _sections(text)
    vision = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 2, "hidden_size": text["hidden_size"]}
    config = transformers.Qwen2VLConfig(
        text_config={**text, "rope_parameters": _mrope(sections)}, vision_config=vision, **_qwen_ids(tokenizer)
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def _qwen2_5_vl(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    sections = _sections(text)
    vision = {
        "depth": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": text["hidden_size"],
        "fullatt_block_indexes": [3],
        "window_size": 112,
        **text.pop("vision", {}),
    }
    config = transformers.Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": _mrope(sections)}, vision_config=vision, **_qwen_ids(tokenizer)
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    sections = _sections(text)
    text = {**text, "head_dim": text["hidden_size"] // text["num_attention_heads"]}
    vision = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    config = transformers.Qwen3VLConfig(
        text_config={**text, "rope_parameters": _mrope(sections, mrope_interleaved=True)},
        vision_config=vision,
        **_qwen_ids(tokenizer),
    )
    return transformers.Qwen3VLForConditionalGeneration(config)


def _sections(text: dict[str, Any]) -> list[int]:
    """Rotary frequencies to the time, height and width axes, about 2 : 3 : 3."""
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    side = 3 * half // 8
    return [half - 2 * side, side, side]


IDEFICS_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<end_of_utterance>",
    "pad_token": "<|pad|>",
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    **{f"tile_{i}_{j}": f"<row_{i}_col_{j}>" for i in range(1, 4) for j in range(1, 4)},
}
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}: {% if message.content is string %}"
    "{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}<image>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _idefics_processor(split: bool) -> Callable[[PreTrainedTokenizerFast], ProcessorMixin]:
    def make(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
        images = transformers.Idefics3ImageProcessorPil(
            size={"longest_edge": 64 if split else 32},
            max_image_size={"longest_edge": 32},
            do_image_splitting=split,
        )
        return transformers.Idefics3Processor(images, tokenizer, image_seq_len=4)

    return make


def _idefics(config: str, model: str) -> Callable[[PreTrainedTokenizerFast, dict[str, Any]], PreTrainedModel]:
    def make(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
        vision = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        }
        made = getattr(transformers, config)(
            text_config={"model_type": "llama", **text},
            vision_config=vision,
            scale_factor=2,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            **_ids(tokenizer, image_token_id="<image>"),
        )
        return getattr(transformers, model)(made)

    return make


LLAVA_TOKENS = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "turn_token": "<|im_start|>",
    "image_token": "<image>",
    "video_token": "<video>",
}
PINPOINTS = [[32, 32], [32, 64], [64, 32], [64, 64]]
INTERN_TOKENS = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "turn_token": "<|im_start|>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
GEMMA_TOKENS = {
    "bos_token": "<bos>",
    "eos_token": "<end_of_turn>",
    "pad_token": "<pad>",
    "turn_token": "<start_of_turn>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "vision_use_head": False,
}


def _llava_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    images = transformers.LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
    )
    make = images_only(transformers.LlavaOnevisionProcessor)
    return make(images, tokenizer, None, num_image_tokens=16, vision_feature_select_strategy="full")


def _llava_onevision(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=SIGLIP,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=PINPOINTS,
        **_ids(tokenizer, image_token_id="<image>", video_token_id="<video>"),
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config)


def _intern_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    images = transformers.GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4)
    return images_only(transformers.InternVLProcessor)(images, tokenizer, None, image_seq_length=4)


def _internvl(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": [32, 32],
        "patch_size": [8, 8],
    }
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=vision,
        image_seq_length=4,
        **_ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
    )
    return transformers.InternVLForConditionalGeneration(config)


def _gemma_processor(tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    images = transformers.Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    return transformers.Gemma3Processor(images, tokenizer, image_seq_length=4)


def _gemma3(tokenizer: PreTrainedTokenizerFast, text: dict[str, Any]) -> PreTrainedModel:
    config = transformers.Gemma3Config(
        text_config={**text, "head_dim": text["hidden_size"] // text["num_attention_heads"]},
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        **_ids(
            tokenizer,
            image_token_id="<image_soft_token>",
            boi_token_index="<start_of_image>",
            eoi_token_index="<end_of_image>",
        ),
    )
    return transformers.Gemma3ForConditionalGeneration(config)


FAMILIES: Mapping[str, Family] = {
    "qwen2_vl": Family(QWEN_TOKENS, QWEN_TEMPLATE, _qwen_processor("Qwen2VLProcessor", 14), _qwen2_vl),
    "qwen2_5_vl": Family(QWEN_TOKENS, QWEN_TEMPLATE, _qwen_processor("Qwen2_5_VLProcessor", 14), _qwen2_5_vl),
    "qwen3_vl": Family(QWEN_TOKENS, QWEN_TEMPLATE, _qwen_processor("Qwen3VLProcessor", 16), _qwen3_vl),
    "idefics3": Family(
        IDEFICS_TOKENS,
        IDEFICS_TEMPLATE,
        _idefics_processor(split=True),
        _idefics("Idefics3Config", "Idefics3ForConditionalGeneration"),
    ),
    "smolvlm": Family(
        IDEFICS_TOKENS,
        IDEFICS_TEMPLATE,
        _idefics_processor(split=False),
        _idefics("SmolVLMConfig", "SmolVLMForConditionalGeneration"),
    ),
    "llava_onevision": Family(LLAVA_TOKENS, CHATML.replace("@image", "<image>"), _llava_processor, _llava_onevision),
    "internvl": Family(INTERN_TOKENS, CHATML.replace("@image", "<IMG_CONTEXT>"), _intern_processor, _internvl),
    "gemma3": Family(GEMMA_TOKENS, GEMMA, _gemma_processor, _gemma3, {"sliding_window": 24, "num_hidden_layers": 6}),
}
