"""Small random pipelines of each diffusers family, built offline: what tests and benchmarks run on.

Each is the library's own classes at toy size, with byte-level tokenizers, saved as the published ones are:
`load_pipeline(random_pipelines.build("sd3", folder))`. Pictures are 32 pixels wide unless the caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import PreTrainedTokenizerFast

from gamutrl.zoo.random import byte_tokenizer

MAX_TEXT = 24
"""Tokens of a prompt, where the encoder has a fixed number."""


def build(family: str, folder: Path | str, *, seed: int = 0, scale: float = 2.0, **transformer: Any) -> Path:
    """A random pipeline of a family (a key of `FAMILIES`), saved; returns the folder.

    scale: the denoiser's weights' size relative to the library's initialisation, so that what it is told makes a
    difference. transformer: overrides of the denoiser's configuration (`num_layers=4`). Family "sd3" takes `text`, too:
    overrides of its encoders' configurations (`text={"t5": {"num_layers": 6}}`; "clip", "clip_2") and how many "tokens"
    the two CLIPs read.
    """
    if family not in FAMILIES:
        raise ValueError(f"There is no random pipeline of the family {family!r}; there are: {', '.join(FAMILIES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = FAMILIES[family](transformer)
        denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
        _stir(denoiser, scale)
        for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            if getattr(pipeline, name, None) is not None:
                _stir(getattr(pipeline, name), 1.0)
    pipeline.save_pretrained(folder)
    return Path(folder)


def _stir(module: nn.Module, scale: float) -> None:
    """Larger weights, and none that are all zeros: some classes begin so, which would hide what they are told."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.02) if not parameter.any() else parameter.mul_(scale)


# -- text encoders ----------------------------------------------------------------------------------------------------


def _tokenizer(length: int = MAX_TEXT, **tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **tokens})
    tokenizer.model_max_length = length
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def _clip(tokenizer: PreTrainedTokenizerFast, projected: bool, hidden: int = 32, **more: Any) -> Any:
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": hidden,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.CLIPTextConfig(**(settings | more))
    return transformers.CLIPTextModelWithProjection(config) if projected else transformers.CLIPTextModel(config)


def _t5(tokenizer: PreTrainedTokenizerFast, hidden: int = 32, **more: Any) -> Any:
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "d_model": hidden,
        "d_kv": 8,
        "d_ff": 2 * hidden,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return transformers.T5EncoderModel(transformers.T5Config(**(settings | more)))


def _language_model(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
    }


# -- autoencoders -----------------------------------------------------------------------------------------------------


def _vae(channels: int, shift: float | None, quant: bool, blocks: int = 2) -> Any:
    """A picture autoencoder that halves the side `blocks - 1` times."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
        shift_factor=shift,
        scaling_factor=1.5,
        sample_size=32,
    )


# -- pipelines --------------------------------------------------------------------------------------------------------

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _unet(transformer: dict[str, Any], **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
    }
    return UNet2DConditionModel(**{**settings, **more, **transformer})


def _sd(transformer: dict[str, Any], predicts: str = "epsilon") -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = _tokenizer()
    return StableDiffusionPipeline(
        vae=_vae(4, None, True),
        text_encoder=_clip(tokenizer, projected=False),
        tokenizer=tokenizer,
        unet=_unet(transformer),
        scheduler=DDIMScheduler(
            **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=predicts
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(transformer: dict[str, Any]) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = _tokenizer()
    unet = _unet(
        transformer,
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4, None, True),
        text_encoder=_clip(tokenizer, projected=False),
        text_encoder_2=_clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
    )


def _sd3(transformer: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    text = transformer.pop("text", {})
    tokenizer = _tokenizer(text.get("tokens", MAX_TEXT))
    settings: dict[str, Any] = {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
        "pos_embed_max_size": 32,
        "qk_norm": "rms_norm",
    }
    denoiser = settings | transformer
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**denoiser),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(denoiser["in_channels"], 0.1, False),
        text_encoder=_clip(tokenizer, projected=True, **text.get("clip", {})),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer, projected=True, **text.get("clip_2", {})),
        tokenizer_2=tokenizer,
        text_encoder_3=_t5(tokenizer, denoiser["joint_attention_dim"], **text.get("t5", {})),
        tokenizer_3=_tokenizer(512),
    )


def _flux(transformer: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer = _tokenizer()
    settings: dict[str, Any] = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    }
    return FluxPipeline(
        transformer=FluxTransformer2DModel(**(settings | transformer)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(4, 0.1, False),
        text_encoder=_clip(tokenizer, projected=False),
        tokenizer=tokenizer,
        text_encoder_2=_t5(tokenizer),
        tokenizer_2=tokenizer,
    )


def _sana(transformer: dict[str, Any]) -> Any:
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    tokenizer = _tokenizer(512)
    vae = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.5,
    )
    settings: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": 32,
        "sample_size": 16,
        "patch_size": 1,
    }
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.Gemma2Model(transformers.Gemma2Config(**_language_model(tokenizer))),
        vae=vae,
        transformer=SanaTransformer2DModel(**(settings | transformer)),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


def _qwen_image(transformer: dict[str, Any]) -> Any:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    tokenizer = _tokenizer(1024)
    text = {
        **_language_model(tokenizer),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    }
    reader = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    )
    settings: dict[str, Any] = {
        "in_channels": 16,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "axes_dims_rope": (4, 6, 6),
    }
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(**_video_vae()),
        text_encoder=reader,
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(**(settings | transformer)),
    )


def _video_vae() -> dict[str, Any]:
    return {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "latents_mean": [0.1, 0.0, -0.1, 0.2],
        "latents_std": [1.5, 2.0, 1.0, 0.5],
    }


def _wan(transformer: dict[str, Any]) -> Any:
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    tokenizer = _tokenizer(512)
    reader = transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    settings: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 4,
        "out_channels": 4,
        "text_dim": 32,
        "freq_dim": 32,
        "ffn_dim": 32,
        "num_layers": 2,
        "cross_attn_norm": True,
        "rope_max_seq_len": 32,
    }
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=reader,
        vae=AutoencoderKLWan(**_video_vae()),
        transformer=WanTransformer3DModel(**(settings | transformer)),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


FAMILIES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "sd": _sd,
    "sd_v": lambda transformer: _sd(transformer, "v_prediction"),
    "sdxl": _sdxl,
    "sd3": _sd3,
    "flux": _flux,
    "sana": _sana,
    "qwen_image": _qwen_image,
    "wan": _wan,
}
