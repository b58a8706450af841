"""Qwen-Image: a rectified flow over patches of 2×2, told by a vision-language model's text states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gamutrl.functional.denoising import guide
from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser, patches, unpatched


class QwenImage(PipelineDenoiser):
    """Qwen-Image. Its prompts keep their own length and are padded, under a mask, where they meet."""

    pipeline_class = "QwenImagePipeline"
    even_levels = True
    text_tokens = 512

    @property
    def native_side(self) -> int:
        return int(self.pipeline.default_sample_size * self.scale)

    @property
    def channels(self) -> int:
        return int(self.model.config.in_channels) // 4

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        text, mask = self.pipeline.encode_prompt(texts, self.device, 1, max_sequence_length=self.max_text)
        return {"text": text, "mask": text.new_ones(text.shape[:2], dtype=torch.bool) if mask is None else mask.bool()}

    def collate(self, conditions: Sequence[Condition]) -> Condition:
        words = [condition["text"][condition["mask"]] for condition in conditions]
        masks = [word.new_ones(len(word), dtype=torch.bool) for word in words]
        return {"text": pad_sequence(words, batch_first=True), "mask": pad_sequence(masks, batch_first=True)}

    def join(self, conditions: Sequence[Condition]) -> Condition:
        singles = [{name: value[n] for name, value in c.items()} for c in conditions for n in range(len(c["text"]))]
        return self.collate(singles)

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        height, width = x_N.shape[-2:]
        predicted = self.module(
            hidden_states=patches(x_N),
            timestep=time_N.to(x_N.dtype),
            encoder_hidden_states=condition["text"],
            encoder_hidden_states_mask=condition["mask"],
            img_shapes=[[(1, height // 2, width // 2)]] * len(x_N),
            return_dict=False,
        )[0]
        return unpatched(predicted, height, width)

    def guide(self, conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
        """Classifier-free guidance that keeps the length of each patch's conditional prediction."""
        height, width = conditional.shape[-2:]
        plain = patches(conditional)
        guided = guide(plain, patches(unconditional), weight)
        return unpatched(guided * (plain.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True)), height, width)

    def decode(self, latent_N: Tensor) -> Tensor:
        return super().decode(latent_N)[:, :, 0]

    def pixels(self, outputs: Sequence[Any]) -> Tensor:
        return super().pixels(outputs)[:, :, None]

    def to_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = latent_statistics(self.pipeline.vae.config, latent_N)
        return latent_N[:, :, None] * std + mean

    def from_vae(self, latent_N: Tensor) -> Tensor:
        mean, std = latent_statistics(self.pipeline.vae.config, latent_N)
        return ((latent_N - mean) / std)[:, :, 0]


def latent_statistics(config: Any, latent_N: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a video VAE's latents, `[1, C, 1, 1, 1]`."""
    mean, std = (latent_N.new_tensor(value).view(1, -1, 1, 1, 1) for value in (config.latents_mean, config.latents_std))
    return mean, std
