"""Media: encoded pictures and clips, put in their places among the tokens' embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gamutrl.policies.families import Backbone
from gamutrl.policies.segments import IMAGE, TEXT, VIDEO, Segment


def embedded(
    backbone: Backbone, tokens_L: Tensor, segments: Sequence[Segment], starts: Sequence[int], keep: bool
) -> tuple[Tensor, dict[str, Any]]:
    """Embeddings `[1, L, D]` with every segment's media in their places, and the deeper layers' additions.

    starts: where in L a segment begins. keep: encoded media may be kept on their segments (the tower does not train).
    """
    vocabulary_only = tokens_L.clamp(max=backbone.vocabulary - 1)
    embeds = backbone.embed(vocabulary_only)[None]
    seen = [(segment, start) for segment, start in zip(segments, starts) if segment.placed]
    if not seen:
        return embeds, {}
    encode(backbone, [segment for segment, _ in seen], keep)
    places = [start + (segment.kind_L != TEXT).nonzero().flatten() for segment, start in seen]
    place = torch.cat(places).to(embeds.device)
    depth = max(len(segment.features or []) for segment, _ in seen)
    layers = [torch.cat([(segment.features or [])[layer] for segment, _ in seen]) for layer in range(depth)]
    order = place.argsort()
    embeds = embeds.index_copy(1, place, layers[0].to(embeds.dtype)[None])
    if not keep:
        for segment, _ in seen:
            segment.features = None
    if depth == 1:
        return embeds, {}
    mask = torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    mask[0, place] = True
    return embeds, {"visual_pos_masks": mask, "deepstack_visual_embeds": [layer[order] for layer in layers[1:]]}


def encode(backbone: Backbone, segments: Sequence[Segment], keep: bool) -> None:
    """Encode the media of segments, those of the same shape together, and put the features on their segments."""
    todo = list(dict.fromkeys(segment for segment in segments if not (keep and segment.features)))
    parts: dict[Segment, dict[int, list[Tensor]]] = {segment: {} for segment in todo}
    for kind, name, pixels in ((IMAGE, "image", "pixel_values"), (VIDEO, "video", "pixel_values_videos")):
        alike: dict[tuple[object, ...], list[Segment]] = {}
        for segment in todo:
            if bool((segment.kind_L == kind).any()):
                shape = segment.media[pixels].shape if pixels in segment.media else segment.media["pixel_values"].shape
                axis = backbone.media_axis()
                alike.setdefault((*shape[:axis], *shape[axis + 1 :]), []).append(segment)
        for group in alike.values():
            media = {
                key: torch.cat([s.media[key] for s in group], backbone.media_axis() if value.dim() > 2 else 0)
                for key, value in group[0].media.items()
                if key in backbone.feature_names[name]
            }
            counts = [int((s.kind_L == kind).sum()) for s in group]
            layers = backbone.features(name, media)
            if len(layers[0]) != sum(counts):
                raise ValueError(
                    f"The vision tower made {len(layers[0])} features for {sum(counts)} places: "
                    "the processor and the model do not belong together."
                )
            for layer in layers:
                for segment, features in zip(group, layer.split(counts)):
                    parts[segment].setdefault(kind, []).append(features)
    for segment, by_kind in parts.items():
        kinds = segment.kind_L[segment.kind_L != TEXT]
        if len(by_kind) == 1:
            segment.features = next(iter(by_kind.values()))
            continue
        merged = []
        for of_kinds in zip(*(by_kind[kind] for kind in sorted(by_kind))):
            joined = of_kinds[0].new_zeros(len(kinds), of_kinds[0].shape[1])
            for kind, features in zip(sorted(by_kind), of_kinds):
                joined = joined.index_copy(0, (kinds == kind).nonzero().flatten().to(joined.device), features)
            merged.append(joined)
        segment.features = merged
