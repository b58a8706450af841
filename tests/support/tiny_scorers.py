"""Reward models of pictures at toy size, random, saved as the published ones are."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerFast,
    SwinConfig,
)
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

WORDS = ("a", "an", "the", "photo", "of", "red", "blue", "green", "circle", "square", "squares", "two", "and", ".", ",")
LETTERS = [chr(c) for c in range(97, 123)]


def tokenizer(folder: Path, length: int = 16, **special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of words, and of letters for what is no word it knows."""
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", **special}
    vocabulary = [*names.values(), *WORDS, *LETTERS]
    inner = Tokenizer(
        models.WordLevel({word: k for k, word in enumerate(dict.fromkeys(vocabulary))}, names["unk_token"])
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    from tokenizers.processors import TemplateProcessing

    cls, sep = names["cls_token"], names["sep_token"]
    inner.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, vocabulary.index(cls)), (sep, vocabulary.index(sep))]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=length, **names)
    made.save_pretrained(folder)
    return made


def _louder(model: nn.Module, seed: int) -> nn.Module:
    """Weights large enough that different inputs give different outputs."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2 if parameter.dim() > 1 else 0.05)
    return model


def clip(folder: Path, seed: int = 0) -> CLIPModel:
    """A CLIP model with its tokenizer."""
    words = tokenizer(folder, bos_token="[CLS]", eos_token="[SEP]")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    model = _louder(CLIPModel(config), seed)
    model.save_pretrained(folder)
    return model.eval()


def as_open_clip(model: CLIPModel) -> dict[str, Tensor]:
    """The same weights under open_clip's names, written from open_clip's own module tree."""
    found: dict[str, Tensor] = {
        "logit_scale": model.logit_scale,
        "text_projection": model.text_projection.weight.T,
        "visual.proj": model.visual_projection.weight.T,
        "positional_embedding": model.text_model.embeddings.position_embedding.weight,
        "token_embedding.weight": model.text_model.embeddings.token_embedding.weight,
        "visual.class_embedding": model.vision_model.embeddings.class_embedding,
        "visual.positional_embedding": model.vision_model.embeddings.position_embedding.weight,
        "visual.conv1.weight": model.vision_model.embeddings.patch_embedding.weight,
    }
    for side, tower in (("", model.text_model), ("visual.", model.vision_model)):
        norms = (
            [("ln_final", tower.final_layer_norm)]
            if not side
            else [("ln_pre", tower.pre_layrnorm), ("ln_post", tower.post_layernorm)]
        )
        for name, norm in norms:
            found |= {f"{side}{name}.weight": norm.weight, f"{side}{name}.bias": norm.bias}
        for k, layer in enumerate(tower.encoder.layers):
            at, attention = f"{side}transformer.resblocks.{k}", layer.self_attn
            for part in ("weight", "bias"):
                three = [getattr(getattr(attention, f"{x}_proj"), part) for x in "qkv"]
                found |= {
                    f"{at}.attn.in_proj_{part}": torch.cat(three),
                    f"{at}.attn.out_proj.{part}": getattr(attention.out_proj, part),
                    f"{at}.ln_1.{part}": getattr(layer.layer_norm1, part),
                    f"{at}.ln_2.{part}": getattr(layer.layer_norm2, part),
                    f"{at}.mlp.c_fc.{part}": getattr(layer.mlp.fc1, part),
                    f"{at}.mlp.c_proj.{part}": getattr(layer.mlp.fc2, part),
                }
    return {name: value.detach().clone() for name, value in found.items()}


def head(sizes: tuple[int, ...], prefix: str, numbers: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    """Linear layers as a checkpoint of a `Sequential` with dropout between them has them."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for number, inner, outer in zip(numbers, sizes, sizes[1:]):
        found[f"{prefix}{number}.weight"] = torch.randn(outer, inner, generator=generator) * 0.3
        found[f"{prefix}{number}.bias"] = torch.randn(outer, generator=generator) * 0.3
    return found


def image_reward(folder: Path, seed: int = 0) -> tuple[dict[str, Tensor], BlipVisionModel, BlipTextModel]:
    """ImageReward's checkpoint, under BLIP's own names, and the two encoders it is made of."""
    words = tokenizer(folder)
    vision = _louder(
        BlipVisionModel(
            BlipVisionConfig(
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=1,
                image_size=32,
                patch_size=8,
            )
        ),
        seed,
    )
    text = _louder(
        BlipTextModel(
            BlipTextConfig(
                vocab_size=len(words),
                hidden_size=64,
                encoder_hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=1,
                max_position_embeddings=40,
                is_decoder=True,
            ),
            add_pooling_layer=False,
        ),
        seed + 1,
    )
    named = (
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"),
        ("encoder.layers", "blocks"),
        ("self_attn.projection", "attn.proj"),
        ("self_attn", "attn"),
        ("layer_norm", "norm"),
        ("post_layernorm", "norm"),
    )
    state = {}
    for name, value in vision.state_dict().items():
        for ours, theirs in named:
            name = name.replace(ours, theirs)
        state[f"blip.visual_encoder.{name}"] = value.clone()
    state |= {f"blip.text_encoder.{name}": value.clone() for name, value in text.state_dict().items()}
    state |= head((64, 32, 8, 1), "mlp.layers.", (0, 2, 4))
    return state, vision.eval(), text.eval()


def owlv2(folder: Path, seed: int = 0) -> None:
    """OWLv2 with its processor."""
    from transformers import Owlv2Processor
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    words = tokenizer(folder, bos_token="[CLS]", eos_token="[SEP]")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**sizes, "vocab_size": len(words), "max_position_embeddings": 16},
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    _louder(Owlv2ForObjectDetection(config), seed).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 64, "width": 64}), words).save_pretrained(folder)


def grounding_dino(folder: Path, seed: int = 0) -> None:
    """Grounding DINO with its processor."""
    from transformers import GroundingDinoProcessor
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    words = tokenizer(folder, 64)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            patch_size=4,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 4],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_queries=12,
        max_text_len=64,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
    )
    _louder(GroundingDinoForObjectDetection(config), seed).save_pretrained(folder)
    processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(processor, words).save_pretrained(folder)
