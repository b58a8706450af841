"""Rewards of a picture alone."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from torch import Tensor


def jpeg_kilobytes(image_CHW: Tensor, *, quality: int = 95) -> float:
    """The size of a picture (channels in [0, 1]) as a JPEG, in units of 1000 bytes (DDPO, 2305.13301).

    Rewarded as it is, pictures become hard to compress; rewarded negatively, easy.
    """
    pixels = (image_CHW * 255).round().clamp(0, 255).byte().movedim(0, -1).cpu().numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.tell() / 1000
