"""FLUX.1: a rectified flow over patches of 2×2, told the guidance weight where it was distilled with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser, patches, unpatched


class Flux(PipelineDenoiser):
    """FLUX.1 dev (guidance embedded) and schnell."""

    pipeline_class = "FluxPipeline"
    even_levels = True
    text_tokens = 512

    def __init__(self, pipeline: Any, module: nn.Module | None = None, **settings: Any) -> None:
        super().__init__(pipeline, module, **settings)
        self.embeds_guidance = bool(self.model.config.guidance_embeds)

    @property
    def native_side(self) -> int:
        return int(self.pipeline.default_sample_size * self.scale)

    @property
    def channels(self) -> int:
        return int(self.model.config.in_channels) // 4

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        text, pooled, _ = self.pipeline.encode_prompt(texts, texts, self.device, 1, max_sequence_length=self.max_text)
        return {"text": text, "pooled": pooled}

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        height, width = x_N.shape[-2:]
        text = condition["text"]
        places = self.pipeline._prepare_latent_image_ids(len(x_N), height // 2, width // 2, x_N.device, x_N.dtype)
        predicted = self.module(
            hidden_states=patches(x_N),
            timestep=time_N.to(x_N.dtype),
            guidance=condition.get("guidance"),
            pooled_projections=condition["pooled"],
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, dtype=x_N.dtype, device=x_N.device),
            img_ids=places,
            return_dict=False,
        )[0]
        return unpatched(predicted, height, width)
