"""Measures of a picture alone, and of a picture against another, pixel by pixel."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.rewards.outputs import pixels_of


def jpeg_kilobytes(image_CHW: Tensor, *, quality: int = 95) -> float:
    """The size of a picture (channels in [0, 1]) as a JPEG, in units of 1000 bytes (DDPO, 2305.13301).

    Rewarded as it is, pictures become hard to compress; rewarded negatively, easy.
    """
    pixels = (image_CHW * 255).round().clamp(0, 255).byte().movedim(0, -1).cpu().numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.tell() / 1000


def jpeg_size(batch: Batch, context: Context) -> Tensor:
    """How many kilobytes each rollout's picture is as a JPEG, `[R]`; NaN where it made none."""
    pictures = [pixels_of(rollout) for rollout in batch.rollouts]
    return torch.tensor([torch.nan if image_CHW is None else jpeg_kilobytes(image_CHW) for image_CHW in pictures])


def squared_difference(one: np.ndarray, other: np.ndarray, *, foreground: bool = False) -> float:
    """The mean squared difference of two 8-bit pictures `[H, W, 3]`, as fractions of the range.

    foreground: only pixels that are white in neither count, though the mean is over all.
    """
    difference = (one / 255.0 - other / 255.0) ** 2
    if foreground:
        difference = difference * ((one < 255).any(2, keepdims=True) & (other < 255).any(2, keepdims=True))
    return float(difference.mean())


def structural_similarity(one: np.ndarray, other: np.ndarray, *, window: int = 11) -> float:
    """SSIM of two 8-bit pictures `[H, W, 3]` under a uniform window, averaged over its places and channels.

    Raises ValueError for pictures smaller than the window. Source: Wang et al. 2004, with sample covariances.
    """
    if min(one.shape[:2]) < window or one.shape != other.shape:
        raise ValueError(f"SSIM needs two pictures of one size with sides of at least {window} pixels.")
    a, b = one.astype(np.float64), other.astype(np.float64)
    over, edge = (window, window, 1), window // 2
    mean_a, mean_b, square_a, square_b, product = (
        uniform_filter(value, over)[edge:-edge, edge:-edge] for value in (a, b, a * a, b * b, a * b)
    )
    sample = window**2 / (window**2 - 1)
    variances = sample * (square_a - mean_a**2 + square_b - mean_b**2)
    covariance = sample * (product - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return float(ssim.mean())
