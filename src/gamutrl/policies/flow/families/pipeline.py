"""A diffusers pipeline as a denoiser: what all families share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gamutrl.core import Prompt
from gamutrl.policies.flow.denoiser import Condition, Denoiser
from gamutrl.policies.flow.families.schedules import schedule_of


class PipelineDenoiser(Denoiser):
    """A pipeline's text encoders, transformer (or UNet) and VAE.

    pipeline: the diffusers pipeline; all but its transformer is frozen. module: the transformer, maybe with an adapter
    around it (None: as it is). height, width: of the pictures, in pixels (0: the pipeline's own). frames: of a clip.
    max_text: the most tokens of a prompt (0: the pipeline's own; longer ones are cut, as the pipeline does).

    A family states its pipeline's class, which part is its denoiser, how many latents make the side of a patch, whether
    the pipeline gives its scheduler evenly spaced levels, and how many tokens of text it takes.
    """

    pipeline_class: ClassVar[str]
    part: ClassVar[str] = "transformer"
    patch: ClassVar[int] = 2
    even_levels: ClassVar[bool] = False
    text_tokens: ClassVar[int] = 0

    def __init__(
        self,
        pipeline: Any,
        module: nn.Module | None = None,
        *,
        height: int = 0,
        width: int = 0,
        frames: int = 1,
        max_text: int = 0,
    ) -> None:
        self.pipeline = pipeline
        self.model: Any = getattr(pipeline, self.part)
        self.module = self.model if module is None else module
        self.dtype: torch.dtype = self.model.dtype  # Kept, for diffusers looks through all weights each time.
        self.max_text = max_text or self.text_tokens
        for name, component in pipeline.components.items():
            if isinstance(component, nn.Module):
                component.eval()
                if name != self.part:
                    component.requires_grad_(False)
        unit = self.scale * self.patch
        side = self.native_side
        self.height, self.width, self.frames = height or side, width or side, frames
        if self.height % unit or self.width % unit:
            raise ValueError(
                f"{type(self).__name__} makes pictures whose sides are multiples of {unit} pixels, "
                f"not {self.width}×{self.height}."
            )
        self.shape = self.latent_shape()
        self.schedule = schedule_of(pipeline.scheduler, self.tokens, self.even_levels)

    @classmethod
    def fits(cls, pipeline: Any) -> bool:
        """Whether a pipeline is of this family."""
        return any(kind.__name__ == cls.pipeline_class for kind in type(pipeline).__mro__)

    # -- sizes ----------------------------------------------------------------------------------------------------

    @property
    def scale(self) -> int:
        """Pixels of a picture's side to one of its latent's."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def native_side(self) -> int:
        """The side of the pictures that it was trained on, in pixels."""
        return int(self.model.config.sample_size * self.scale)

    @property
    def channels(self) -> int:
        return int(self.model.config.in_channels)

    @property
    def tokens(self) -> int:
        """How many patches a picture is to the transformer."""
        unit = self.scale * self.patch
        return (self.height // unit) * (self.width // unit)

    def latent_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height // self.scale, self.width // self.scale)

    # -- prompts --------------------------------------------------------------------------------------------------

    def encode(self, prompts: Sequence[Prompt]) -> list[Condition]:
        for prompt in prompts:
            if prompt.media:
                raise ValueError(
                    f"Row {prompt.id or prompt.text[:40]!r} has pictures; {type(self).__name__} takes text."
                )
        return self._split(self.encode_texts([prompt.text for prompt in prompts]))

    def negative(self, prompts: Sequence[Prompt]) -> list[Condition]:
        texts = [str(prompt.columns.get("negative_prompt") or "") for prompt in prompts]
        distinct = list(dict.fromkeys(texts))
        made = dict(zip(distinct, self._split(self.encode_negatives(distinct))))
        return [made[text] for text in texts]

    def encode_texts(self, texts: list[str]) -> dict[str, Tensor]:
        """Texts as named tensors with a row each."""
        raise NotImplementedError

    def encode_negatives(self, texts: list[str]) -> dict[str, Tensor]:
        """Texts that guidance leads away from."""
        return self.encode_texts(texts)

    def _split(self, encoded: dict[str, Tensor]) -> list[Condition]:
        encoded = {n: value.to(self.dtype) if value.is_floating_point() else value for n, value in encoded.items()}
        count = len(next(iter(encoded.values())))
        return [{name: value[n] for name, value in encoded.items()} for n in range(count)]

    # -- predictions ----------------------------------------------------------------------------------------------

    def predict(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        return self.forward(x_N.to(self.dtype), time_N, condition).float()

    def forward(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        """The module's own call."""
        raise NotImplementedError

    # -- pictures -------------------------------------------------------------------------------------------------

    def decode(self, latent_N: Tensor) -> Tensor:
        vae = self.pipeline.vae
        pixels = vae.decode(self.to_vae(latent_N).to(vae.dtype), return_dict=False)[0]
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def show(self, decoded_N: Tensor) -> list[Any]:
        return [to_picture(pixels) for pixels in decoded_N]

    @torch.no_grad()
    def latents(self, outputs: Sequence[Any]) -> Tensor:
        vae = self.pipeline.vae
        encoded = vae.encode((self.pixels(outputs) * 2 - 1).to(vae.device, vae.dtype))
        latent = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
        return self.from_vae(latent.float())

    def pixels(self, outputs: Sequence[Any]) -> Tensor:
        """Outputs as the VAE's pixels, in [0, 1]."""
        return torch.stack([from_picture(picture, self.width, self.height) for picture in outputs])

    def to_vae(self, latent_N: Tensor) -> Tensor:
        """Latents in the units of the VAE."""
        config = self.pipeline.vae.config
        return latent_N / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)

    def from_vae(self, latent_N: Tensor) -> Tensor:
        config = self.pipeline.vae.config
        return (latent_N - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor

    # -- weights --------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        if self.module is self.model:
            self.pipeline.save_pretrained(folder)
        else:
            self.module.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]


def to_picture(pixels: Tensor) -> Image.Image:
    """`[3, H, W]` in [0, 1] to a picture."""
    return Image.fromarray((pixels.detach().cpu() * 255).round().byte().permute(1, 2, 0).numpy())


def from_picture(picture: Image.Image, width: int, height: int) -> Tensor:
    """A picture as `[3, H, W]` in [0, 1], resized where it has another size."""
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255


def patches(latent_N: Tensor) -> Tensor:
    """Latents `[N, C, H, W]` as 2×2 patches, `[N, H·W/4, 4·C]`."""
    n, c, h, w = latent_N.shape
    return latent_N.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, 4 * c)


def unpatched(patch_N: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `patches`, for latents of that size."""
    n, _, c = patch_N.shape
    return (
        patch_N.view(n, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(n, -1, height, width)
    )
