"""The families of diffusers pipelines that a flow policy runs on: a file each, with what its transformer wants."""

from gamutrl.policies.flow.families.flux import Flux
from gamutrl.policies.flow.families.pipeline import PipelineDenoiser
from gamutrl.policies.flow.families.qwen_image import QwenImage
from gamutrl.policies.flow.families.sana import Sana
from gamutrl.policies.flow.families.sd3 import StableDiffusion3
from gamutrl.policies.flow.families.unet import StableDiffusion, StableDiffusionXL
from gamutrl.policies.flow.families.wan import Wan

FAMILIES: tuple[type[PipelineDenoiser], ...] = (
    StableDiffusion3,
    Flux,
    Sana,
    QwenImage,
    Wan,
    StableDiffusionXL,
    StableDiffusion,
)

__all__ = [
    "FAMILIES",
    "Flux",
    "PipelineDenoiser",
    "QwenImage",
    "Sana",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "Wan",
]
