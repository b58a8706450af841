"""ImageReward (2304.05977): BLIP reads the prompt while looking at the picture; a head says how much it is liked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.core import Batch, Context
from gamutrl.rewards.models.loading import fetched, head_of, prepared, ready, scored, tensors
from gamutrl.rewards.outputs import asked_text

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the released model's scores, which are told in deviations from their mean."""


@dataclass(frozen=True)
class ImageReward:
    """How much people would like each picture for its prompt, in deviations, about -2 to 2; differentiable.

    weights: the released checkpoint, a file or `owner/name/file`; the architecture's sizes are read from it. words: its
    tokenizer.
    """

    weights: str = "THUDM/ImageReward/ImageReward.pt"
    words: str = "bert-base-uncased"
    mean: float = MEAN
    std: float = STD
    most: int = 32
    device: str = "auto"
    dtype: str = "auto"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        model = _load(self.weights, self.device, self.dtype)
        tokenizer = _tokenizer(self.words)

        def score(numbers: list[int], pixels: list[Tensor]) -> Tensor:
            texts = [asked_text(batch.rollouts[r].prompt) for r in numbers]
            read = tokenizer(texts, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
            where = next(model.parameters()).device
            seen = torch.stack([prepared(pixel_CHW.to(where), model.side) for pixel_CHW in pixels])
            return (model(seen, read["input_ids"].to(where), read["attention_mask"].to(where)) - self.mean) / self.std

        return scored(batch, self.most, score)


class LikedPictures(nn.Module):
    """BLIP's picture encoder, its text encoder that attends to the picture, and a head on the first word's state."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from transformers.models.blip.modeling_blip import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        vision, text = (
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            for prefix in ("blip.visual_encoder.", "blip.text_encoder.")
        )
        vision = {_vision_name(name): value for name, value in vision.items()}
        text = {name: value for name, value in text.items() if not name.endswith("position_ids")}
        vision_config, text_config = _configs(vision, text)
        self.side = vision_config.image_size
        self.vision = BlipVisionModel(vision_config)
        self.text = BlipTextModel(text_config, add_pooling_layer=False)
        self.vision.load_state_dict(vision)
        self.text.load_state_dict(text)
        self.head = head_of(state, "mlp.layers.")

    def forward(self, pixel_BCHW: Tensor, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The score of each picture for its text, `[B]`."""
        seen_BSD = self.vision(pixel_BCHW.to(self.vision.dtype)).last_hidden_state
        read_BTD = self.text(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            encoder_hidden_states=seen_BSD,
            encoder_attention_mask=torch.ones(seen_BSD.shape[:2], dtype=torch.long, device=seen_BSD.device),
        ).last_hidden_state
        return self.head(read_BTD[:, 0])[:, 0]


def _configs(vision: dict[str, Tensor], text: dict[str, Tensor]) -> tuple[Any, Any]:
    """The sizes of both encoders, as their weights have them; heads are 64 wide."""
    from transformers import BlipTextConfig, BlipVisionConfig

    width, patch = (int(vision["embeddings.patch_embedding.weight"].shape[k]) for k in (0, 2))
    places = int(vision["embeddings.position_embedding"].shape[1]) - 1
    words, hidden = text["embeddings.word_embeddings.weight"].shape
    vision_config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=int(vision["encoder.layers.0.mlp.fc1.weight"].shape[0]),
        num_hidden_layers=_layers(vision),
        num_attention_heads=width // 64,
        image_size=round(places**0.5) * patch,
        patch_size=patch,
    )
    text_config = BlipTextConfig(
        vocab_size=int(words),
        hidden_size=int(hidden),
        encoder_hidden_size=width,
        intermediate_size=int(text["encoder.layer.0.intermediate.dense.weight"].shape[0]),
        num_hidden_layers=_layers(text),
        num_attention_heads=int(hidden) // 64,
        max_position_embeddings=int(text["embeddings.position_embeddings.weight"].shape[0]),
        is_decoder=True,
    )
    return vision_config, text_config


def _layers(state: dict[str, Tensor]) -> int:
    return 1 + max(int(found[1]) for name in state if (found := re.match(r"encoder\.layers?\.(\d+)\.", name)))


_RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"\.attn\.", ".self_attn."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"^norm\.", "post_layernorm."),
)


def _vision_name(name: str) -> str:
    """BLIP's own name for a part of the picture encoder, as transformers calls it."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


@lru_cache(maxsize=2)
def _load(weights: str, device: str, dtype: str) -> Any:
    return ready(fetched("The weights", weights, lambda: LikedPictures(tensors(weights))), device, dtype)


@lru_cache(maxsize=2)
def _tokenizer(words: str) -> Any:
    from transformers import AutoTokenizer

    return fetched("The tokenizer", words, lambda: AutoTokenizer.from_pretrained(words))
