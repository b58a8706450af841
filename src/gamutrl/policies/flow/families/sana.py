"""Sana: a flow over the latents of a deep-compression autoencoder, told by a small language model."""

from __future__ import annotations

import inspect

from torch import Tensor

from gamutrl.policies.flow.denoiser import Condition
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser


class Sana(PipelineDenoiser):
    """Sana."""

    pipeline_class = "SanaPipeline"
    patch = 1
    text_tokens = 300

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        said = inspect.signature(type(self.pipeline).__call__).parameters["complex_human_instruction"].default
        return self._encoded(texts, said)

    def encode_negatives(self, texts: list[str]) -> dict[str, Tensor]:
        return self._encoded(texts, None)

    def _encoded(self, texts: list[str], instruction: list[str] | None) -> dict[str, Tensor]:
        text, mask, _, _ = self.pipeline.encode_prompt(
            texts,
            False,
            device=self.device,
            max_sequence_length=self.max_text,
            complex_human_instruction=instruction,
        )
        return {"text": text, "mask": mask}

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        predicted = self.module(
            x_N,
            encoder_hidden_states=condition["text"],
            encoder_attention_mask=condition["mask"],
            timestep=time_N * 1000 * self.model.config.timestep_scale,
            return_dict=False,
        )[0]
        return predicted[:, : x_N.shape[1]]
