"""A detector of whatever is named (Grounding DINO, OWLv2), with colours read by CLIP: GenEval's way to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from PIL import Image

from gamutrl.rewards.composition import distinct_boxes
from gamutrl.rewards.models.embedding import load_clip
from gamutrl.rewards.models.loading import with_processor
from gamutrl.rewards.outputs import pixels
from gamutrl.rewards.seeing import Seen

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
"""GenEval's."""


@dataclass(frozen=True)
class OpenDetector:
    """What of the asked names a detector finds in each picture; a `See` for `rewards.shown`.

    name: a zero-shot detector (folder or hub id). threshold: the least score. overlap: of two boxes of one name that
    overlap by more, the surer stays. clip: the model that tells the colours of what was found ("": none is told).
    """

    name: str = "IDEA-Research/grounding-dino-base"
    threshold: float = 0.3
    overlap: float = 0.5
    clip: str = "openai/clip-vit-large-patch14"
    colors: tuple[str, ...] = COLORS
    device: str = "auto"
    dtype: str = "auto"

    def __call__(self, pictures: Sequence[Image.Image], names: Sequence[Sequence[str]]) -> list[list[Seen]]:
        model, processor = _load(self.name, self.device, self.dtype)
        found = []
        for picture, asked in zip(pictures, names):
            wanted = list(dict.fromkeys(name.lower() for name in asked))
            found.append(self._in_one(model, processor, picture.convert("RGB"), wanted) if wanted else [])
        return found

    @torch.no_grad()
    def _in_one(self, model: Any, processor: Any, picture: Image.Image, wanted: list[str]) -> list[Seen]:
        given = processor(images=picture, text=[wanted], return_tensors="pt").to(model.device)
        detected = model(**given)
        settings = {"threshold": self.threshold, "target_sizes": [(picture.height, picture.width)]}
        (result,) = processor.post_process_grounded_object_detection(detected, text_labels=[wanted], **settings)
        labels = result.get("text_labels") or result["labels"]
        seen = []
        for name in wanted:
            # A detector that reads a caption may answer with a part of the name, or with two names together.
            of_name = [i for i, label in enumerate(labels) if name in str(label) or (label and str(label) in name)]
            boxes, scores = result["boxes"][of_name].cpu(), result["scores"][of_name].cpu()
            for i in distinct_boxes(boxes, scores, above=self.overlap) if of_name else ():
                seen.append(self._seen(picture, name, boxes[i].tolist(), float(scores[i])))
        return sorted(seen, key=lambda thing: -thing.score)

    def _seen(self, picture: Image.Image, name: str, box: list[float], score: float) -> Seen:
        x1, x2 = (min(max(edge, 0), picture.width) for edge in (box[0], box[2]))
        y1, y2 = (min(max(edge, 0), picture.height) for edge in (box[1], box[3]))
        edges = (x1 / picture.width, y1 / picture.height, x2 / picture.width, y2 / picture.height)
        return Seen(name, self._color(picture, name, (x1, y1, x2, y2)), edges, score)

    def _color(self, picture: Image.Image, name: str, box: tuple[float, float, float, float]) -> str | None:
        left, top = int(box[0]), int(box[1])
        right, bottom = max(left + 1, round(box[2])), max(top + 1, round(box[3]))
        if not self.clip:
            return None
        clip = load_clip(self.clip, "", "", self.device, self.dtype)
        crop = clip.of_pixels([pixels(picture.crop((left, top, right, bottom)))])
        words = clip.of_texts([f"a photo of a {color} {name}" for color in self.colors])
        near = torch.nn.functional.cosine_similarity(crop, words)
        return self.colors[int(near.argmax())]


@lru_cache(maxsize=2)
def _load(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    return with_processor("The detector", "AutoModelForZeroShotObjectDetection", name, device, dtype)
