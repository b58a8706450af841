"""Where a reward model's weights are, and how pictures are put before it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gamutrl.core import Batch
from gamutrl.rewards.outputs import pixels_of

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""The means and deviations of channels that CLIP was trained with, and those who came after it."""

Model = TypeVar("Model")


def fetched(what: str, place: str, load: Callable[[], Model]) -> Model:
    """What `load` gives; where it cannot be had, an error that names what was looked for and says how to bring it."""
    try:
        return load()
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{what} {place!r} could not be loaded: {reason} Give a folder that holds it, or a hub id that can be "
            "reached from here."
        ) from error


def tensors(place: str) -> dict[str, Tensor]:
    """The tensors of a file: a path, or `owner/name/file` on the hub; safetensors, or PyTorch's format without code."""
    path = Path(place).expanduser()
    if not path.is_file():
        owner, name, *rest = place.split("/")
        if not rest:
            raise ValueError(f"There is no file {place!r} (one on the hub is named owner/name/file).")
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(f"{owner}/{name}", "/".join(rest)))
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("it holds more than tensors, and code from elsewhere is not run.") from error
    return state.get("state_dict", state)


def ready(model: nn.Module, device: str, dtype: str) -> nn.Module:
    """The model frozen, where and in the precision it is to compute ("auto": on a GPU if there is one, float32)."""
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return model.to(where, torch.float32 if dtype == "auto" else getattr(torch, dtype)).eval().requires_grad_(False)


def with_processor(
    what: str, kind: str, place: str, device: str = "auto", dtype: str = "auto"
) -> tuple[nn.Module, Any]:
    """A model of one of transformers' `Auto` classes, frozen and where it is to compute, and its processor."""
    import transformers

    model = fetched(what, place, lambda: getattr(transformers, kind).from_pretrained(place))
    its = f"The processor of {what[0].lower()}{what[1:]}"
    return ready(model, device, dtype), fetched(its, place, lambda: transformers.AutoProcessor.from_pretrained(place))


def prepared(pixel_CHW: Tensor, side: int) -> Tensor:
    """A picture as CLIP and its like see it: the short side made `side`, the middle cut out, normalised.

    Differentiable; bicubic as Pillow resizes, to within its rounding.
    """
    height, width = pixel_CHW.shape[1:]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    sized = pixel_CHW[None].float()
    if size != (height, width):
        sized = interpolate(sized, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    cut = sized[0, :, top : top + side, left : left + side]
    mean, std = (torch.tensor(values, device=cut.device)[:, None, None] for values in (MEAN, STD))
    return (cut - mean) / std


def scored(batch: Batch, most: int, score: Callable[[list[int], list[Tensor]], Tensor]) -> Tensor:
    """A model's value for every rollout with a picture, at most `most` at once; NaN for the others, `[R]`.

    score: `(numbers of rollouts, their pixels) -> value`. Gradients are kept only where pictures carry one.
    """
    pixel_R = [pixels_of(rollout) for rollout in batch.rollouts]
    there = [(r, pixel_CHW) for r, pixel_CHW in enumerate(pixel_R) if pixel_CHW is not None]
    value_R = torch.full((len(pixel_R),), torch.nan)
    for start in range(0, len(there), most):
        part = there[start : start + most]
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(pixel.requires_grad for _, pixel in part)):
            value = score([r for r, _ in part], [pixel for _, pixel in part])
        value_R = value_R.index_put((torch.tensor([r for r, _ in part]),), value.float().cpu())
    return value_R


def head_of(state: dict[str, Tensor], prefix: str = "layers.") -> nn.Sequential:
    """The linear layers of a small head, in order, from their names in a checkpoint."""
    numbers = sorted(
        {int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix)},
    )
    layers: list[nn.Module] = []
    for number in numbers:
        weight, bias = (state[f"{prefix}{number}.{part}"] for part in ("weight", "bias"))
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    if not layers:
        raise ValueError(f"it holds no {prefix}0.weight: this is no head of linear layers.")
    return nn.Sequential(*layers)


def distinct(texts: Sequence[str]) -> tuple[list[str], Tensor]:
    """Each text once, and which of them each was: a group's prompt is read once."""
    known = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return list(known), torch.tensor([known[text] for text in texts])
