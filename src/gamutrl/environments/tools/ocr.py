"""OCR: the print on a picture, read from its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from gamutrl.environments import crops
from gamutrl.environments.desk import Desk, Refusal, Shown, sayable
from gamutrl.rewards.parsing import numbers

Reading = Callable[[Image.Image], str]
"""A picture's print."""


@dataclass(frozen=True)
class FromHub:
    """A model of transformers that reads print off a picture unasked (GOT-OCR 2, …), loaded when first used.

    It runs on a GPU if there is one. most: tokens of a reading. Raises ValueError where it cannot be loaded.
    """

    model: str = "stepfun-ai/GOT-OCR-2.0-hf"
    most: int = 512

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from gamutrl.rewards.models.loading import with_processor

        return with_processor("The reader of print", "AutoModelForImageTextToText", self.model)

    def __call__(self, picture: Image.Image) -> str:
        import torch

        model, processor = self._loaded
        inputs = processor(picture.convert("RGB"), return_tensors="pt").to(model.device)
        with torch.no_grad():
            said = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=self.most,
                tokenizer=processor.tokenizer,
                stop_strings=[processor.tokenizer.eos_token, "<|im_end|>"],
            )
        return processor.tokenizer.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@dataclass(frozen=True)
class ReadPixels:
    """Reads the newest picture, or the box `bbox_2d` of it (in the picture as it was shown).

    most: characters that are told.
    """

    read: Reading = FromHub()
    most: int = 2000

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = desk.newest()
        box = arguments.get("bbox_2d", [0, 0, *seen.shown.size])
        if numbers(box, 4) is None:
            raise Refusal("bbox_2d must be a list of four numbers [x1, y1, x2, y2]")
        region = crops.scaled(crops.clipped(crops.ordered(box), seen.shown.size), seen.shown.size, seen.full.size)
        whole = crops.whole(region, nearest=True)
        if not crops.croppable(whole):
            raise Refusal(f"the box must cover a part of the image of {seen.shown.width} x {seen.shown.height}")
        words = sayable(self.read(seen.full.crop(tuple(whole))))[: self.most]  # type: ignore[arg-type]
        info = {"picture": desk.number(seen), "box": whole, "words": words}
        return Shown(text=words or "nothing is printed there", info=info)
