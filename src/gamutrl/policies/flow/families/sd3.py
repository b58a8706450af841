"""Stable Diffusion 3 and 3.5: a rectified flow over text and picture tokens, three text encoders."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser


class StableDiffusion3(PipelineDenoiser):
    """Stable Diffusion 3 and 3.5."""

    pipeline_class = "StableDiffusion3Pipeline"
    text_tokens = 256

    def __init__(self, pipeline: Any, module: nn.Module | None = None, *, max_text: int = 0, **sizes: int) -> None:
        # T5 reads what it is padded to, so a pipeline whose prompts were shorter in training says so by its tokenizer.
        longest = getattr(pipeline.tokenizer_3, "model_max_length", self.text_tokens)
        super().__init__(pipeline, module, max_text=max_text or min(self.text_tokens, longest), **sizes)

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        text, _, pooled, _ = self.pipeline.encode_prompt(
            texts, texts, texts, self.device, 1, False, max_sequence_length=self.max_text
        )
        return {"text": text, "pooled": pooled}

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        return self.module(
            hidden_states=x_N,
            timestep=time_N * 1000,
            encoder_hidden_states=condition["text"],
            pooled_projections=condition["pooled"],
            return_dict=False,
        )[0]
