"""Loading: a diffusers pipeline, from a folder or the hub, as a denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import nn

from gamutrl.policies.flow.families.pipeline import PipelineDenoiser
from gamutrl.policies.loading import pick_device, pick_dtype, without_message
from gamutrl.policies.models import Lora

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""The layers that an adapter goes on unless others are named: attention's projections, as in Flow-GRPO."""

ADAPTER = "adapter_config.json"


def load_pipeline(
    name_or_path: str | Path,
    *,
    lora: Lora | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    gradient_checkpointing: bool = False,
    height: int = 0,
    width: int = 0,
    frames: int = 1,
    max_text: int = 0,
) -> PipelineDenoiser:
    """A pipeline of one of the `FAMILIES`, ready to sample and to train (all of its transformer, or an adapter).

    dtype "auto": float32 on a CPU, bfloat16 on an accelerator that computes in it. height, width: of the pictures, in
    pixels (0: the pipeline's own). frames: of a clip. max_text: the most tokens of a prompt (0: the pipeline's own). A
    folder with an adapter alone (as `save` writes it) finds its base pipeline by itself.
    Raises ImportError without diffusers, ValueError for what is no pipeline or of no known family.
    """
    try:
        from diffusers import DiffusionPipeline, __version__
        from diffusers.utils import logging
    except ImportError as error:
        raise ImportError("Pictures by diffusion need diffusers: pip install 'gamutrl[generation]'.") from error
    from gamutrl.policies.flow.families import FAMILIES

    name = str(name_or_path)
    adapter = Path(name) / ADAPTER
    base = json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"] if adapter.is_file() else name
    place = pick_device(device)
    logging.disable_progress_bar()  # One bar at a time: a run has its own.
    kept: dict[str, Any] = {dtype_argument(__version__): pick_dtype(dtype, place)}
    try:
        # Without torchvision a processor of pictures is PIL's, which is as good for pipelines that are given none.
        with without_message("transformers.utils.import_utils", "requires torchvision (not installed); falling back"):
            pipeline = DiffusionPipeline.from_pretrained(base, **kept)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{base!r} can't be loaded as a diffusers pipeline. Give a hub id or a folder with model_index.json and "
            f"the parts that it names. The loader says: {error}"
        ) from error
    kind = next((family for family in FAMILIES if family.fits(pipeline)), None)
    if kind is None:
        known = ", ".join(family.pipeline_class for family in FAMILIES)
        raise ValueError(f"{base!r} is a {type(pipeline).__name__}; a flow policy runs on: {known}.")
    pipeline.to(place)
    pipeline.set_progress_bar_config(disable=True)
    model = getattr(pipeline, kind.part)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    module = _trained(model, base, adapter.parent if adapter.is_file() else None, lora)
    return kind(pipeline, module, height=height, width=width, frames=frames, max_text=max_text)


def dtype_argument(version: str) -> str:
    """What `from_pretrained` of this version of diffusers calls the dtype; the older name is deprecated since 0.40."""
    return "dtype" if Version(version) >= Version("0.40.0") else "torch_dtype"


def _trained(model: Any, base: str, adapter: Path | None, lora: Lora | None) -> nn.Module:
    """The model with the adapter of a folder, with a new one, or as it is, all of it trained."""
    if adapter is None and lora is None:
        return model.requires_grad_(True)
    import peft

    model.requires_grad_(False)
    if adapter is not None:
        return peft.PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    assert lora is not None
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    targets = [name for name in names if name.endswith(tuple(f".{t}" for t in lora.targets or ATTENTION))]
    if not targets:
        raise ValueError(f"No linear layer is called {', '.join(lora.targets)}; name those of the transformer.")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=targets,
        init_lora_weights="gaussian",
    )
    module = peft.get_peft_model(model, config)
    module.peft_config["default"].base_model_name_or_path = base
    return module
