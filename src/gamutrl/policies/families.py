"""What differs between model classes: where the parts are, what the vision tower takes, how positions are counted.

Read from the model itself (its attributes, its functions' parameters, its configuration) wherever that is possible, so
that a class nobody here has seen works too; whether it does is checked against the model's own forward pass before it
is relied on.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from gamutrl.policies.attention import IMPLEMENTATION, Layout
from gamutrl.policies.decoder import Decoder
from gamutrl.policies.vision import hasten

LANGUAGE = ("language_model", "text_model")
VISION = ("vision_tower", "vision_model", "visual")
CONNECTOR = ("multi_modal_projector", "connector", "aligner", "image_newline")


class Backbone:
    """A transformers image-text-to-text model, taken by its parts.

    embed, logits: tokens to embeddings, hidden states to logits. widest: the size of a layer's largest matrix. reason:
    why its language model can't run under our layouts (None if it can). decoder: our own way to run it, where it is of
    the common kind.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.config = model, model.config
        self.base: Any = getattr(model, "model", model)
        self.language: Any = _first(self.base, LANGUAGE) or _first(model, LANGUAGE)
        self.text_config = model.config.get_text_config()
        self.embed: Any = model.get_input_embeddings()
        self.logits: Any = model.get_output_embeddings()
        self.vocabulary: int = self.text_config.vocab_size
        self.widest: int = self.text_config.hidden_size * (getattr(self.text_config, "intermediate_size", None) or 0)
        self.image_token = _either(model.config, "image_token_id", "image_token_index")
        self.video_token = _either(model.config, "video_token_id", "video_token_index")
        self.takes_video = self.video_token is not None and hasattr(self.base, "get_video_features")
        self.feature_names = {kind: self._parameters(f"get_{kind}_features") for kind in ("image", "video")}
        self.media_names = self.feature_names["image"] | self.feature_names["video"]
        self.media_names |= self._parameters("get_rope_index") - {"input_ids", "mm_token_type_ids"}
        self.axes = 3 if hasattr(self.base, "get_rope_index") else 1
        self.forward_names = set(inspect.signature(type(self.base).forward).parameters)
        # Only Gemma 3's family tells its mask which tokens are pictures: they see each other both ways.
        self.blocks = "token_type_ids" in self.forward_names
        eos = model.generation_config.eos_token_id if model.generation_config is not None else None
        self.generation_eos: set[int] = set(eos) if isinstance(eos, list) else {eos} - {None}
        hasten(model)
        self.reason = self._why_not()
        if self.reason is None:
            key = next(key for key in model.config.sub_configs if getattr(model.config, key) is self.text_config)
            model.set_attn_implementation({key: IMPLEMENTATION})
        self.decoder = Decoder(self.language) if self.reason is None and Decoder.fits(self.language) else None
        self._dummy: Tensor | None = None

    # -- running --------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device

    def hidden(
        self,
        embeds: Tensor,
        position: Tensor,
        layout: Layout,
        deep: dict[str, Any] | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Embeddings `[B, L, D]` with positions `[A, B, L]` to the last hidden states `[B, L, D]`.

        wanted: of which tokens, `[W]` of the flattened B·L; then they are `[W, D]`.
        """
        position = self.counted(position)
        if self.decoder is not None and self.decoder.ready:
            return self.decoder(embeds, position, layout, wanted, **(deep or {}))
        if self._dummy is None or self._dummy.device != embeds.device:
            # A mask of four axes is taken as prepared, so that none is built: the layout says who sees whom.
            self._dummy = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=embeds.device)
        out = self.language(
            inputs_embeds=embeds,
            position_ids=position,
            attention_mask=self._dummy,
            use_cache=False,
            layout=layout,
            **(deep or {}),
        )
        states = out.last_hidden_state
        return states if wanted is None else states.flatten(0, 1).index_select(0, wanted)

    def counted(self, position: Tensor) -> Tensor:
        """Positions `[A, B, L]` as the language model takes them."""
        return position if self.axes == 3 else position[0]

    def features(self, kind: str, media: dict[str, Tensor]) -> list[Tensor]:
        """Encoded pictures `[tokens, D]`, and where the model has them the deeper layers' (one tensor a layer)."""
        encode = getattr(self.base, f"get_{kind}_features")
        out = encode(**{name: value.to(self.device) for name, value in media.items()})
        pooled = out if isinstance(out, (Tensor, list, tuple)) else out.pooler_output
        deeper = getattr(out, "deepstack_features", None) or []
        return [_rows(pooled), *(_rows(layer) for layer in deeper)]

    def media_axis(self) -> int:
        """The axis along which pictures of several segments lie side by side."""
        return 1 if "pixel_attention_mask" in self.media_names else 0

    # -- reading --------------------------------------------------------------------------------------------------

    def positions(self, tokens_L: Tensor, kind_L: Tensor, media: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Rotary positions `[A, L]` of a segment that begins at 0, and where the next one begins."""
        if self.axes == 1 or not media:
            return torch.arange(len(tokens_L)).expand(self.axes, -1), len(tokens_L)
        # One text token more tells where text goes on, which after a picture is the model's own affair.
        tokens, kind = torch.cat([tokens_L, tokens_L.new_zeros(1)]), torch.cat([kind_L, kind_L.new_zeros(1)])
        offered = {"input_ids": tokens[None], "mm_token_type_ids": kind[None].int(), **media}
        names = self._parameters("get_rope_index")
        position, _ = self.base.get_rope_index(**{name: value for name, value in offered.items() if name in names})
        return position[-3:, 0, :-1], int(position[-1, 0, -1])

    def sizes(
        self, originals: Sequence[tuple[int, int]], media: dict[str, Tensor]
    ) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Each picture's size as given and as the tower sees it (of several tiles: the whole picture's own)."""
        grids = media.get("image_grid_thw", media.get("video_grid_thw"))
        if grids is not None and len(grids) == len(originals):
            patch = self.config.vision_config.patch_size
            return [(size, (int(grid[2]) * patch, int(grid[1]) * patch)) for size, grid in zip(originals, grids)]
        pixels = media.get("pixel_values", media.get("pixel_values_videos"))
        if pixels is None:
            return [(size, size) for size in originals]
        height, width = pixels.shape[-2:]
        return [(size, (int(width), int(height))) for size in originals]

    def part(self, name: str) -> list[nn.Parameter]:
        """The parameters of "vision", "connector" or "language"."""
        vision = _first(self.base, VISION)
        inner = [] if vision is None else [m for n, m in vision.named_children() if "merger" in n]
        connector = [p for m in inner for p in m.parameters()]
        for attribute in CONNECTOR:
            found = getattr(self.base, attribute, None)
            connector += [found] if isinstance(found, nn.Parameter) else list(found.parameters()) if found else []
        inside = {id(p) for p in connector}
        tower = [] if vision is None else [p for p in vision.parameters() if id(p) not in inside]
        if name == "vision":
            return tower
        if name == "connector":
            return connector
        if name == "language":
            seen = inside | {id(p) for p in tower}
            return [p for p in self.model.parameters() if id(p) not in seen]
        raise ValueError(f"A model has the parts vision, connector and language, not {name!r}.")

    def checkpoint_layers(self) -> None:
        """Gradient checkpointing: activations are made again in the backward pass. Dropout stays off."""
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True

    # -- what is what ---------------------------------------------------------------------------------------------

    def _parameters(self, name: str) -> set[str]:
        function = getattr(self.base, name, None)
        if function is None:
            return set()
        return set(inspect.signature(function).parameters) - {"self", "kwargs", "attention_mask"}

    def _why_not(self) -> str | None:
        if self.language is None:
            return "it has no language model of its own"
        if not hasattr(self.base, "get_image_features"):
            return "it does not say how it encodes pictures"
        layers = set(getattr(self.text_config, "layer_types", None) or ["full_attention"])
        if layers - {"full_attention", "sliding_attention"}:
            return f"its layers are of the kind {', '.join(sorted(layers))}"
        if not any(getattr(part, "_supports_attention_backend", False) for part in (self.model, self.language)):
            return "its attention can't be replaced"
        for name in ("final_logit_softcapping", "attn_logit_softcapping"):
            if getattr(self.text_config, name, None) is not None:
                return f"it has {name}"
        return None


def _rows(features: Tensor | Sequence[Tensor]) -> Tensor:
    return torch.cat([feature.reshape(-1, feature.shape[-1]) for feature in features])


def _first(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def _either(config: Any, *names: str) -> int | None:
    return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)
