"""Stable Diffusion 1.x, 2.x and XL: a UNet that predicts noise or velocity of a diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser


class StableDiffusion(PipelineDenoiser):
    """Stable Diffusion 1.x and 2.x."""

    pipeline_class = "StableDiffusionPipeline"
    part = "unet"
    patch = 1

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        return {"text": self.pipeline.encode_prompt(texts, self.device, 1, False)[0]}

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        return self.module(x_N, time_N, encoder_hidden_states=condition["text"], return_dict=False)[0]


class StableDiffusionXL(PipelineDenoiser):
    """Stable Diffusion XL: two text encoders, and the picture's size among what the UNet is told."""

    pipeline_class = "StableDiffusionXLPipeline"
    part = "unet"
    patch = 1

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        text, _, pooled, _ = self.pipeline.encode_prompt(texts, None, self.device, 1, False)
        return {"text": text, "pooled": pooled}

    def encode_negatives(self, texts: list[str]) -> dict[str, Tensor]:
        encoded = self.encode_texts(texts)
        if self.pipeline.config.force_zeros_for_empty_prompt:
            said = torch.tensor([bool(text) for text in texts], device=self.device)
            encoded = {name: value * said.view(-1, *[1] * (value.dim() - 1)) for name, value in encoded.items()}
        return encoded

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        size = (self.height, self.width)
        ids = torch.tensor([(*size, 0, 0, *size)], dtype=x_N.dtype, device=x_N.device).expand(len(x_N), -1)
        told = {"text_embeds": condition["pooled"], "time_ids": ids}
        return self.module(
            x_N, time_N, encoder_hidden_states=condition["text"], added_cond_kwargs=told, return_dict=False
        )[0]

    def to_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = self._statistics(latent_N)
        return latent_N * std / self.pipeline.vae.config.scaling_factor + mean

    def from_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = self._statistics(latent_N)
        return (latent_N - mean) / std * self.pipeline.vae.config.scaling_factor

    def _statistics(self, latent_N: Tensor) -> tuple[Tensor, Tensor]:
        config = self.pipeline.vae.config
        known = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        mean, std = (latent_N.new_tensor(value or [default]) for value, default in zip(known, (0.0, 1.0)))
        return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
