"""Open-vocabulary detection: a world's exact detector, or a model of the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from PIL import Image, ImageDraw

from gamutrl.core import Prompt
from gamutrl.data.worlds import render
from gamutrl.environments import crops
from gamutrl.environments.desk import Desk, Refusal, Shown, sayable
from gamutrl.environments.tools.draw import printable
from gamutrl.rewards.parsing import numbers

Found = dict[str, Any]
"""`bbox_2d` (fractions of the picture), `label`, `score`."""


class Detector(Protocol):
    """Finds things by name in a region of a row's picture, given in fractions of it."""

    def __call__(
        self, prompt: Prompt, picture: Image.Image, names: Sequence[str], region: Sequence[float]
    ) -> list[Found]: ...


@dataclass(frozen=True)
class Exact:
    """A world's own detector, such as `clutter.detect`: exact, for what a region shows large enough.

    find: `(prompt, names, region in the view, side it is shown in, least pixels)`.
    """

    find: Callable[..., list[Found]]
    shown: float = render.SIZE
    least: float = 8.0

    def __call__(
        self, prompt: Prompt, picture: Image.Image, names: Sequence[str], region: Sequence[float]
    ) -> list[Found]:
        return self.find(prompt, names, [side * render.SIZE for side in region], self.shown, self.least)


@dataclass(frozen=True)
class FromHub:
    """A zero-shot detector of transformers (OWLv2, Grounding DINO, …), loaded when first used.

    It runs on a GPU if there is one. Names that are longer than it reads are cut, boxes to the region; those thinner
    than a pixel are left out. Raises ValueError where it cannot be loaded.
    """

    model: str = "google/owlv2-base-patch16-ensemble"
    threshold: float = 0.2

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from gamutrl.rewards.models.loading import with_processor

        return with_processor("The detector", "AutoModelForZeroShotObjectDetection", self.model)

    def __call__(
        self, prompt: Prompt, picture: Image.Image, names: Sequence[str], region: Sequence[float]
    ) -> list[Found]:
        import torch

        model, processor = self._loaded
        box = crops.whole(crops.scaled(region, (1, 1), picture.size), nearest=True)
        cut = picture.crop(tuple(box)).convert("RGB")  # type: ignore[arg-type]
        inputs = processor(text=[list(names)], images=cut, truncation=True, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs.to(model.device))
        (result,) = processor.post_process_grounded_object_detection(
            outputs, threshold=self.threshold, target_sizes=[(cut.height, cut.width)], text_labels=[list(names)]
        )
        found = zip(result["boxes"].tolist(), result["text_labels"], result["scores"].tolist(), strict=True)
        inside = ((crops.clipped(corners, cut.size), str(label), score) for corners, label, score in found)
        return [
            {"bbox_2d": crops.scaled(box, cut.size, (1, 1)), "label": label, "score": score}
            for box, label, score in sorted(inside, key=lambda one: -one[2])
            if crops.croppable(box, longer_than=1)
        ]


@dataclass(frozen=True)
class Detect:
    """Finds the things named in `names`, in the first picture or in the box `bbox_2d` of it, and draws their boxes.

    frame: the size in which boxes are written and told. most: names, and boxes, of one call.
    """

    detector: Detector
    frame: tuple[float, float] = (render.SIZE, render.SIZE)
    draw: bool = True
    most: int = 32

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        names = arguments.get("names")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise Refusal("names must be a list of the things to find")
        box = arguments.get("bbox_2d", [0, 0, *self.frame])
        if numbers(box, 4) is None:
            raise Refusal("bbox_2d must be a list of four numbers [x1, y1, x2, y2]")
        region = crops.scaled(crops.clipped(crops.ordered(box), self.frame), self.frame, (1, 1))
        if not crops.croppable(region):
            raise Refusal(f"the box must cover a part of the image of {self.frame[0]:g} x {self.frame[1]:g}")
        full = desk.picture(0).full
        wanted = [sayable(name[:100]) for name in names[: self.most]]
        found = self.detector(desk.prompt, full, wanted, region)[: self.most]
        boxes = crops.out_of([one["bbox_2d"] for one in found], region)
        told = [crops.whole(crops.scaled(box, (1, 1), self.frame), nearest=True) for box in boxes]
        words = "; ".join(f"{one['label']} {box}" for one, box in zip(found, told)) or "nothing was found"
        pictures = (self._drawn(full, found, boxes),) if self.draw else ()
        info = {"found": [{**one, "bbox_2d": box} for one, box in zip(found, boxes)], "region": region}
        return Shown(words, pictures, info=info)

    def _drawn(self, picture: Image.Image, found: Sequence[Found], boxes: Sequence[Sequence[float]]) -> Image.Image:
        canvas = picture.convert("RGB")
        pen = ImageDraw.Draw(canvas)
        for one, box in zip(found, boxes):
            corners = crops.scaled(box, (1, 1), canvas.size)
            pen.rectangle(corners, outline="red", width=max(1, canvas.width // 200))
            pen.text((corners[0] + 2, corners[1] + 2), printable(one["label"]), fill="red")
        return canvas
