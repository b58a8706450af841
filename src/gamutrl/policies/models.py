"""A policy by name: what a preset holds until a run loads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gamutrl.policies.text import TextPolicy


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter (peft). Without `targets` every linear layer of the language model is adapted."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextModel:
    """Any image-text-to-text model: one of the zoo (`vlm-tiny`), a folder, or a hub id.

    lora: train an adapter (its reference is the adapter switched off); None trains the weights themselves. freeze: parts
    that stay as they are ("vision", "connector"). max_prompt_tokens: longer prompts are an error, or are left out
    (`on_long_prompt`); never are they cut. dtype, device: "auto" takes what the machine is good at.
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
        """The policy. A packaged model's name wins over a folder of that name."""
        from gamutrl import zoo
        from gamutrl.policies.text import TextPolicy

        return TextPolicy.load(
            str(zoo.path(self.name)) if self.name in zoo.available() else self.name,
            lora=self.lora,
            freeze=self.freeze,
            dtype=self.dtype,
            device=self.device,
            max_prompt_tokens=self.max_prompt_tokens,
            on_long_prompt=self.on_long_prompt,
            gradient_checkpointing=self.gradient_checkpointing,
        )
