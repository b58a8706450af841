"""Wan: a rectified flow over the latents of clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser, from_picture, to_picture
from gamutrl.policies.flow.families.qwen_image import latent_statistics


class Wan(PipelineDenoiser):
    """Wan 2.1 (one transformer). Outputs are lists of pictures, one a frame."""

    pipeline_class = "WanPipeline"
    text_tokens = 512

    def __init__(self, pipeline: Any, module: nn.Module | None = None, **settings: Any) -> None:
        if getattr(pipeline, "transformer_2", None) is not None:
            raise ValueError("This Wan pipeline has two transformers (2.2, by noise level); give one with one.")
        super().__init__(pipeline, module, **settings)
        if (self.frames - 1) % pipeline.vae_scale_factor_temporal:
            every = pipeline.vae_scale_factor_temporal
            raise ValueError(f"Wan makes clips of 1, {1 + every}, {1 + 2 * every}, … frames, not {self.frames}.")

    @property
    def scale(self) -> int:
        return int(self.pipeline.vae_scale_factor_spatial)

    @property
    def native_side(self) -> int:
        return 480

    def latent_shape(self) -> tuple[int, ...]:
        frames = (self.frames - 1) // self.pipeline.vae_scale_factor_temporal + 1
        return (self.channels, frames, self.height // self.scale, self.width // self.scale)

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        encoded = self.pipeline.encode_prompt(
            texts, do_classifier_free_guidance=False, max_sequence_length=self.max_text, device=self.device
        )
        return {"text": encoded[0]}

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        return self.module(
            hidden_states=x_N,
            timestep=time_N * 1000,
            encoder_hidden_states=condition["text"],
            return_dict=False,
        )[0]

    def decode(self, latent_N: Tensor) -> Tensor:
        return super().decode(latent_N).transpose(1, 2)

    def show(self, decoded_N: Tensor) -> list[Any]:
        return [[to_picture(frame) for frame in clip] for clip in decoded_N]

    def pixels(self, outputs: Sequence[Any]) -> Tensor:
        clips = [torch.stack([from_picture(frame, self.width, self.height) for frame in clip], 1) for clip in outputs]
        return torch.stack(clips)

    def to_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = latent_statistics(self.pipeline.vae.config, latent_N)
        return latent_N * std + mean

    def from_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = latent_statistics(self.pipeline.vae.config, latent_N)
        return (latent_N - mean) / std
