"""Scores from CLIP's embeddings: how well a picture fits its words (CLIP score, PickScore, HPSv2), how it looks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.core import Batch, Context
from gamutrl.rewards.alignment import cosine
from gamutrl.rewards.models.loading import distinct, fetched, head_of, prepared, ready, scored, tensors
from gamutrl.rewards.outputs import asked_text


@dataclass(frozen=True)
class ClipScore:
    """How well each picture fits its prompt, by the scaled cosine of their embeddings; differentiable in the pixels.

    name: a CLIP model (folder or hub id). words: where its tokenizer is ("": with the model). weights: an open_clip
    checkpoint to put in its place, a file or `owner/name/file`. scale: of the cosine (None: the model's own).
    """

    name: str = "openai/clip-vit-large-patch14"
    words: str = ""
    weights: str = ""
    scale: float | None = 1.0
    most: int = 32
    device: str = "auto"
    dtype: str = "auto"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        clip = load_clip(self.name, self.words, self.weights, self.device, self.dtype)
        texts, which_R = distinct([asked_text(rollout.prompt) for rollout in batch.rollouts])
        text_PD = clip.of_texts(texts)
        scale = clip.scale if self.scale is None else self.scale
        return scored(
            batch,
            self.most,
            lambda r, pixels: scale * cosine(clip.of_pixels(pixels), text_PD[which_R[r].to(text_PD.device)]),
        )


def pick_score(name: str = "yuvalkirstain/PickScore_v1", **settings: Any) -> ClipScore:
    """PickScore (2305.01569), on its own scale: about 20 for good pictures."""
    return ClipScore(name, words="laion/CLIP-ViT-H-14-laion2B-s32B-b79K", scale=None, **settings)


def hps_score(weights: str = "xswu/HPSv2/HPS_v2.1_compressed.pt", **settings: Any) -> ClipScore:
    """HPSv2 (2306.09341): CLIP ViT-H/14 with weights of its own; about 0.3 for good pictures."""
    return ClipScore("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", weights=weights, **settings)


@dataclass(frozen=True)
class AestheticScore:
    """How good each picture looks, about 1 to 10, by a head on CLIP's normalised embedding; differentiable.

    name: the CLIP model that the head was trained on. head: its linear layers, a file or `owner/name/file`. Source: the
    LAION aesthetics predictor, as in DDPO (2305.13301).
    """

    name: str = "openai/clip-vit-large-patch14"
    head: str = "trl-lib/ddpo-aesthetic-predictor/aesthetic-model.pth"
    most: int = 32
    device: str = "auto"
    dtype: str = "auto"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        clip = load_clip(self.name, "", "", self.device, self.dtype)
        head = _head(self.head, self.device, self.dtype)
        return scored(
            batch,
            self.most,
            lambda r, pixels: head(torch.nn.functional.normalize(clip.of_pixels(pixels), dim=-1))[:, 0],
        )


class Clip:
    """A frozen CLIP model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @property
    def scale(self) -> float:
        return float(self.model.logit_scale.exp())

    def of_texts(self, texts: list[str]) -> Tensor:
        """Embeddings of texts, `[P, D]`; what is longer than the model reads is cut."""
        limit = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.no_grad():
            read = self.model.text_model(
                ids["input_ids"].to(self.model.device), ids["attention_mask"].to(self.model.device)
            )
            return self.model.text_projection(read.pooler_output)

    def of_pixels(self, pixels: list[Tensor]) -> Tensor:
        """Embeddings of pictures `[3, H, W]` of any sizes, `[B, D]`."""
        side = self.model.config.vision_config.image_size
        seen = torch.stack([prepared(pixel_CHW.to(self.model.device), side) for pixel_CHW in pixels])
        return self.model.visual_projection(self.model.vision_model(seen.to(self.model.dtype)).pooler_output)


@lru_cache(maxsize=8)
def load_clip(name: str, words: str, weights: str, device: str, dtype: str) -> Clip:
    """A CLIP model, loaded once for all rewards that use it.

    Raises ValueError where model, tokenizer or weights cannot be had, or the weights do not fit.
    """
    from transformers import AutoTokenizer, CLIPModel

    model = fetched("The CLIP model", name, lambda: CLIPModel.from_pretrained(name))
    tokenizer = fetched("The tokenizer", words or name, lambda: AutoTokenizer.from_pretrained(words or name))
    if weights:
        state = fetched("The weights", weights, lambda: from_open_clip(tensors(weights)))
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"The weights {weights!r} do not fit the model {name!r}: {error}") from error
    return Clip(ready(model, device, dtype), tokenizer)


@lru_cache(maxsize=8)
def _head(place: str, device: str, dtype: str) -> nn.Module:
    return ready(fetched("The head", place, lambda: head_of(tensors(place))), device, dtype)


_RENAMED = (
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
)


def from_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names and layouts to those of transformers' `CLIPModel`."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name in ("visual.proj", "text_projection"):
            found["visual_projection.weight" if name == "visual.proj" else "text_projection.weight"] = (
                value.T.contiguous()
            )
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".in_proj_" in name:
            for part, piece in zip("qkv", value.chunk(3)):
                found[name.replace("in_proj_", f"{part}_proj.")] = piece.contiguous()
        elif name != "attn_mask":
            found[name] = value
    return found
