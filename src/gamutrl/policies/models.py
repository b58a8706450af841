"""A policy by name: what a preset holds until a run loads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gamutrl.policies.flow import FlowPolicy
    from gamutrl.policies.image_tokens import ImageTokenPolicy
    from gamutrl.policies.masked import MaskedPolicy
    from gamutrl.policies.next_scale import NextScalePolicy
    from gamutrl.policies.text import TextPolicy


def place_of(name: str) -> str:
    """A model's folder or hub id; a packaged model's name wins over a folder of that name.

    Raises ValueError for a name that can be neither, before the hub is asked.
    """
    from gamutrl import zoo

    if name in zoo.available():
        return str(zoo.path(name))
    if "/" not in name and not Path(name).is_dir():
        packaged = ", ".join(zoo.available()) or "none; `gamut zoo build vlm-tiny` makes one"
        raise ValueError(
            f"There is no model {name!r}: it is no packaged model (there are: {packaged}) and no folder; "
            "a model of the hub is named owner/name."
        )
    return name


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter (peft). Without `targets` every linear layer of the language model is adapted.

    It has no dropout: what is scored and trained must be what was sampled.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """A model by its name, and how to load it."""

    name: str

    @property
    def place(self) -> str:
        """Its folder or hub id (`place_of`)."""
        return place_of(self.name)

    @property
    def settings(self) -> dict[str, Any]:
        """All that is said of it beside its name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}


@dataclass(frozen=True)
class TextModel(Named):
    """Any image-text-to-text model: one of the zoo (`vlm-tiny`), a folder, or a hub id.

    lora: train an adapter (its reference is the adapter switched off); None trains the weights themselves. freeze:
    parts that stay as they are ("vision", "connector"). max_prompt_tokens: longer prompts are an error, or are left
    out (`on_long_prompt`); never are they cut. dtype, device: "auto" takes what the machine is good at.
    """

    name: str = "vlm-tiny"
    lora: Lora | None = None
    freeze: tuple[Literal["vision", "connector"], ...] = ()
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    max_prompt_tokens: int | None = None
    on_long_prompt: Literal["fail", "drop"] = "fail"
    gradient_checkpointing: bool = False

    def load(self) -> TextPolicy:
        """The policy, ready to act and to train."""
        from gamutrl.policies.text import TextPolicy

        return TextPolicy.load(self.place, **self.settings)


@dataclass(frozen=True)
class CriticModel(TextModel):
    """A text model with a critic's value head on its last states (`training.critic`)."""

    def load(self) -> TextPolicy:
        from gamutrl.policies.text import TextPolicy

        return TextPolicy.load(self.place, **self.settings, value_head=True)


@dataclass(frozen=True)
class FlowModel(Named):
    """Any denoiser: one of the zoo (`blobs-flow`), or a diffusers pipeline as a folder or a hub id.

    lora: train an adapter on the denoiser (its reference is the adapter switched off); None trains the weights
    themselves. height, width: of a pipeline's pictures, in pixels; frames: of its clips; max_text: the most tokens of a
    prompt (0: the pipeline's own of each). freeze: parts of the denoiser that stay as they are, by how their names
    begin. dtype, device: "auto" takes what the machine is good at.
    """

    name: str = "blobs-flow"
    lora: Lora | None = None
    freeze: tuple[str, ...] = ()
    height: int = 0
    width: int = 0
    frames: int = 1
    max_text: int = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    gradient_checkpointing: bool = False

    def load(self) -> FlowPolicy:
        """The policy, ready to act and to train."""
        policy = self._loaded()
        for name, parameter in policy.module.named_parameters():
            if name.startswith(self.freeze):
                parameter.requires_grad_(False)
        return policy

    def _loaded(self) -> FlowPolicy:
        from gamutrl.policies.flow import FlowPolicy

        config = Path(self.place) / "config.json"
        if config.is_file() and json.loads(config.read_text("utf-8")).get("model_type") == "blobs":
            from gamutrl.zoo.blobs import BlobDenoiser

            return FlowPolicy(BlobDenoiser.load(self.place, "cpu" if self.device == "auto" else self.device))
        from gamutrl.policies.flow.pipelines import load_pipeline

        return FlowPolicy(load_pipeline(self.place, **{k: v for k, v in self.settings.items() if k != "freeze"}))


@dataclass(frozen=True)
class ImageTokenModel(Named):
    """Any model that draws by image tokens (Janus, Emu3): one of the zoo (`janus-tiny`), a folder, or a hub id.

    lora, dtype, device, max_prompt_tokens, on_long_prompt, gradient_checkpointing: as `TextModel` has them. freeze:
    parts that stay as they are; "generation" is what embeds and predicts codes. The code tables never train. side:
    codes along a picture's edge, where the model leaves that open.
    """

    name: str = "janus-tiny"
    lora: Lora | None = None
    freeze: tuple[Literal["vision", "connector", "generation"], ...] = ("vision", "connector", "generation")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    max_prompt_tokens: int | None = None
    on_long_prompt: Literal["fail", "drop"] = "fail"
    gradient_checkpointing: bool = False
    side: int | None = None

    def load(self) -> ImageTokenPolicy:
        """The policy, ready to act and to train."""
        from gamutrl.policies.image_tokens import ImageTokenPolicy

        return ImageTokenPolicy.load(self.place, **self.settings)


@dataclass(frozen=True)
class NextScaleModel(Named):
    """A next-scale model: one of the zoo (`var-tiny`), a folder, or VAR's published weights by their file
    (`FoundationVision/var/var_d30.pth`).

    actions: what is one action, all tokens of a "scale" or a single "token".
    """

    name: str = "var-tiny"
    actions: Literal["scale", "token"] = "scale"
    device: str = "auto"

    def load(self) -> NextScalePolicy:
        """The policy, ready to act and to train."""
        from gamutrl.policies.loading import pick_device
        from gamutrl.policies.next_scale import NextScalePolicy

        return NextScalePolicy.load(self.place, actions=self.actions, device=pick_device(self.device))


@dataclass(frozen=True)
class MaskedModel(Named):
    """A masked diffusion model over words and picture codes: one of the zoo (`mask-tiny`), or a folder."""

    name: str = "mask-tiny"
    device: str = "auto"

    def load(self) -> MaskedPolicy:
        """The policy, ready to act and to train."""
        from gamutrl.policies.loading import pick_device
        from gamutrl.policies.masked import MaskedPolicy

        return MaskedPolicy.load(self.place, device=pick_device(self.device))


KINDS: Mapping[str, type] = {
    "blobs": FlowModel,
    "emu3": ImageTokenModel,
    "gamut_masked": MaskedModel,
    "gamut_next_scale": NextScaleModel,
    "janus": ImageTokenModel,
}
"""Which models draw, by the `model_type` of their configuration; others are taken for ones that answer with text."""


def model_of(name: str) -> Any:
    """How to load whatever a name holds, by its files: a diffusers pipeline, or what its `config.json` says it is.

    An adapter is of the kind of its base. Raises ValueError for a name that can be no model.
    """
    place = place_of(name)
    if adapter := _file_of(place, "adapter_config.json"):
        place = json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"]
    if _file_of(place, "model_index.json"):
        return FlowModel(name)
    config = _file_of(place, "config.json")
    kind = json.loads(config.read_text("utf-8")).get("model_type", "") if config else ""
    return KINDS.get(kind, TextModel)(name)


def _file_of(place: str, file: str) -> Path | None:
    """A file of a model's folder or hub id; None where it has none, or the hub is out of reach."""
    if Path(place).is_dir():
        found = Path(place) / file
        return found if found.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(place, file))
    except (OSError, HfHubHTTPError, ValueError):
        return None
